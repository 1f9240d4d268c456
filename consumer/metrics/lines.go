package metrics

import (
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
)

// Values of labels.
var (
	outcomes = []string{
		string(handover.OutcomeMigrated), string(handover.OutcomeRestored), string(handover.OutcomeWrong),
		string(handover.OutcomeSuperseded), string(handover.OutcomeExpired),
	}
	goals = []string{
		handover.GoalCommit.String(), handover.GoalRestore.String(), handover.GoalVerify.String(), handover.GoalHold.String(),
	}
	// finalGoals are those whose end is a reading of the port.
	finalGoals = []string{handover.GoalRestore.String(), handover.GoalVerify.String()}
	readings   = []string{right, wrong, gone, unread}
)

// What was read of a port at the end of its goal.
const (
	right  = "right"
	wrong  = "wrong"
	gone   = "gone"
	unread = "unread"
)

// Count counts a line of the audit log. It is called for every line, on the way of
// whoever writes it, before an activate too: so nothing is looked up by hashing labels
// and, but for the last line of a handover, nothing is allocated.
//
//	every line                         audit_lines_total
//	handover.begun, .ended             handovers_under_way
//	handover.ended                     handovers_total; of one that migrated, its figures
//	consumer.lost, .stopped            handovers_under_way: nothing is
//	handover.alarm                     alarms_total
//	port.decided                       ports_decided_total
//	port.verified, of restore, verify  ports_verified_total
//	message.parked                     messages_parked_total
func (c *Consumer) Count(broker, share string, l audit.Line) {
	if c == nil {
		return
	}
	cell := c.cell(part{broker, share})
	count(cell.lines, l.Event)
	switch l.Event {
	case audit.HandoverBegun:
		cell.underWay.Add(1)
	case audit.HandoverEnded:
		cell.underWay.Add(-1)
		count(cell.ended, l.Outcome)
		if l.Outcome == string(handover.OutcomeMigrated) {
			c.observe(l)
		}
	case audit.ConsumerLost, audit.ConsumerStopped:
		cell.underWay.Store(0) // the session's instances have ended with it
	case audit.HandoverAlarm:
		count(cell.alarms, l.Kind)
	case audit.PortDecided:
		count(cell.goals, l.Decided)
	case audit.PortVerified:
		count(cell.found, [2]string{l.Decided, reading(l)})
	case audit.MessageParked:
		count(cell.parked, l.Kind)
	}
}

// observe takes the figures of a migration that has succeeded. Of one that failed there
// is no lead, and an activate before it was no gain.
func (c *Consumer) observe(l audit.Line) {
	driver := l.Driver
	switch {
	case driver == "":
		driver = "unknown"
	case !c.drivers[driver]:
		driver = "other"
	}
	figure := func(name string, into prometheus.Observer) {
		if ms, ok := l.Figures[name]; ok {
			into.Observe((time.Duration(ms) * time.Millisecond).Seconds())
		}
	}
	figure("lead_ms", c.lead.WithLabelValues(driver))
	figure("would_lead_suspended_ms", c.wouldLead.WithLabelValues(driver, handover.PolicySuspended.String()))
	figure("would_lead_resumed_ms", c.wouldLead.WithLabelValues(driver, handover.PolicyResumed.String()))
	figure("pause_to_active_ms", c.toActive.WithLabelValues(driver))
	figure("pause_to_nova_ms", c.toNova.WithLabelValues(driver))
	figure("reaction_ms", c.reaction)
}

// reading tells what a port's last line says of it.
func reading(l audit.Line) string {
	switch {
	case l.Err != nil:
		return unread
	case l.Outcome == "gone":
		return gone
	case l.Outcome == "rows right":
		return right
	case strings.HasPrefix(l.Outcome, "rows wrong"):
		return wrong
	}
	return ""
}
