package consumer

import (
	"errors"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

// review looks at the ports of the journal that are due.
func (r *registry) review(j *journal) {
	for _, e := range j.due(r.tools.clock()) {
		host, alone := r.runsOn(e.Instance)
		without := r.without(e.Instance)
		r.wg.Go(func() {
			select {
			case r.reviewing <- struct{}{}:
				defer func() { <-r.reviewing }()
				r.look(j, e, host, alone, without)
			case <-r.ctx.Done():
			}
		})
	}
}

// look reads a port of the journal. One that is right where its guest runs alone,
// that is gone or that is another's by now, is settled. One that is found wrong
// twice in a row is mended as a left-over, unless its rows show a migration. Where the
// guest is on no host, as it has died, what a restore has forgotten is deleted, and a port that is
// left with one row alone, which is not ACTIVE, is brought back to that: while no row is
// ACTIVE, Nova's PUT of the port answers 404 (run on Neutron 21.0.0 and 26.0.3). without holds the hosts that say that they do not have the guest.
func (r *registry) look(j *journal, e wire.JournalEntry, host string, alone bool, without map[string]bool) {
	settle := j.settler(e.Port, r.tools.clock())
	call, cancel := r.tools.time.WithTimeout(r.ctx, requestTimeout)
	defer cancel()
	p, err := r.tools.neutron.Read(call, e.Port)
	line := audit.Line{Event: audit.PortVerified, Handover: audit.Handover{Instance: e.Instance}, Port: e.Port, Host: host, Why: "the journal: " + e.Why, Err: err}
	right := false
	if err == nil {
		line.Saw, line.Outcome = p.Describe(), "the guest is not known to run on one host alone: nothing is changed"
		if alone {
			right, _ = settled(p, host)
			line.Outcome = rightness(p, host)
		}
	}
	forgotten, isForgotten := rollback.Forgotten(p)
	isForgotten = isForgotten && err == nil && !alone
	gone := errors.Is(err, port.ErrGone) || err == nil && p.Device != e.Instance
	if gone {
		line.Outcome = "gone"
	}
	r.tools.audit(line)
	switch {
	case right, gone:
		settle()
	case err == nil && alone && !inMigration(p, host) && j.stillWrong(e.Port, host):
		r.report(e.Instance, p, host, false)
	case err == nil && stranded(p) && without[p.Rows[0].Host] && writes(r.tools.settings) && j.stillWrong(e.Port, p.Rows[0].Host):
		r.report(e.Instance, p, p.Rows[0].Host, true)
	case isForgotten && writes(r.tools.settings) && j.stillWrong(e.Port, forgotten.Host) && r.tools.may():
		line := audit.Line{
			Event: audit.PortWritten, Handover: line.Handover, Port: e.Port, Host: forgotten.Host, Decided: rollback.Delete.String(),
			Why: "a restore has made this row and not deleted it", Outcome: "answered",
		}
		if line.Err = r.tools.neutron.Delete(binding.OnlyIf(call, r.tools.may), e.Port, forgotten.Host); line.Err != nil {
			line.Outcome = "failed"
		}
		r.tools.audit(line)
	}
}

// report has a left-over mended on a host.
func (r *registry) report(instance string, p port.Port, host string, dead bool) {
	input := handover.LeftOver{Host: host, Other: otherHost([]port.Port{p}, host), Now: r.tools.clock()}
	select {
	case r.leftOvers <- found{instance, input, dead}:
	case <-r.ctx.Done():
	}
}

// stranded tells whether a port has one row, which is not ACTIVE, and announces where its migration
// was to lead.
func stranded(p port.Port) bool {
	return len(p.Rows) == 1 && !p.Rows[0].Active && p.Rows[0].MigratingTo() != ""
}

// writes tells whether repair may change anything at all.
func writes(s handover.Settings) bool {
	return s.Repair == handover.RepairAll || s.Repair == handover.RepairOwn && s.Policy != handover.PolicyObserve
}
