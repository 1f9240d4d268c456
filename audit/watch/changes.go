package watch

import (
	"cmp"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/audit/report"
	"github.com/earlybind/earlybind/internal/timeline"
)

// told are the lines beside handovers that are told as they come.
var told = []audit.Event{
	audit.CommitsStopped, audit.CommitsResumed, audit.HostRefused, audit.MessageParked, audit.ConsumerActive, audit.ConsumerBlocked,
	audit.ConsumerLost, audit.ConsumerStopping, audit.ConsumerStopped, audit.ConsumerGivesUp, audit.ConsumerPaused, audit.ConsumerResumed,
}

// Changes tells what changes, one line for each change.
type Changes struct {
	live *report.Live
	said map[string]string // of each instance, what was last said of its handover
}

// NewChanges tells what changes in what live says.
func NewChanges(live *report.Live) *Changes { return &Changes{live, map[string]string{}} }

// Of gives the lines for what has changed by a line of the log, which live has taken in,
// and by which these have ended.
func (c *Changes) Of(e audit.Entry, ended []report.Outcome) (lines []string) {
	say := func(parts ...string) {
		lines = append(lines, timeline.Plain(e.Time.UTC().Format("2006-01-02 15:04:05.000")+"  "+strings.Join(parts, "  ")))
	}
	h := e.Handover
	switch {
	case e.Event == audit.HandoverAlarm:
		text := "ALARM " + strings.TrimSpace(portOf(report.Alarm{Port: e.Port})+" "+e.Why)
		if e.Decided != "" {
			text += "; to do: " + e.Decided
		}
		say(cmp.Or(h.Instance, "-"), between(h.Source, h.Destination), text)
	case slices.Contains(told, e.Event):
		say(e.Replica, report.Say(e))
	}
	for _, o := range ended {
		delete(c.said, o.Instance)
		verdict, _ := verdictOf(o)
		parts := []string{"ended " + cmp.Or(o.Outcome, "without an end in the log")}
		for _, part := range []string{verdict, outcomePorts(o), lead(o.Handover)} {
			if part != "" {
				parts = append(parts, part)
			}
		}
		say(o.Instance, between(o.Source, o.Destination), strings.Join(append(parts, o.Why...), ", "))
	}
	for _, g := range c.live.Of(h.Instance) {
		if text := standing(g); text != c.said[g.Instance] {
			c.said[g.Instance] = text
			say(g.Instance, between(g.Source, g.Destination), text)
		}
	}
	return lines
}

// Standing gives a line for each handover that goes on.
func (c *Changes) Standing() (lines []string) {
	for _, g := range c.live.Now().Going {
		c.said[g.Instance] = standing(g)
		at := g.PhaseFrom.UTC().Format("2006-01-02 15:04:05.000")
		lines = append(lines, timeline.Plain(at+"  "+strings.Join([]string{g.Instance, between(g.Source, g.Destination), standing(g)}, "  ")))
	}
	return lines
}

// standing tells where a handover stands, without a clock.
func standing(g report.Going) string {
	return cmp.Or(g.Phase, "phase not known") + ", waits for " + waits(g) + "; " + portsOf(g) + ": " + decided(g)
}
