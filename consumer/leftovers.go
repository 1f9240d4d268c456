package consumer

import (
	"context"
	"slices"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
)

// leftOverPatience is how long rows must have been wrong before they are taken
// for left over. Nova activates the destination within seconds of the guest's
// arrival, and clears up after a failure in about one.
const leftOverPatience = time.Minute

// answerPatience is how long the hosts have to answer from their caches.
const answerPatience = 5 * time.Second

// found is what the search for left-overs came upon.
type found struct {
	instance string
	input    handover.LeftOver
}

// findLeftOvers looks, once per host and session, for instances that run on
// host while the ACTIVE rows of their ports are not there, or not bound: what a
// replica that was killed, or a broker that lost its messages, has left. It
// looks twice, a minute apart, has the hosts asked for their domains anew before
// the second look, and reports what was wrong both times.
func findLeftOvers(ctx context.Context, t *tools, host string, running []string, report func(found)) {
	first, ok := wrongOn(ctx, t, host, running)
	if !ok || len(first) == 0 {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(leftOverPatience):
	}
	t.ask("rows on " + host + " have been wrong for a while")
	select {
	case <-ctx.Done():
		return
	case <-time.After(answerPatience):
	}
	second, ok := wrongOn(ctx, t, host, first)
	if !ok {
		return
	}
	for _, instance := range second {
		ports, err := t.neutron.Ports(ctx, instance)
		if err != nil {
			t.audit(audit.Line{Event: audit.LeftOversRead, Host: host, Handover: audit.Handover{Instance: instance}, Outcome: "failed", Err: err})
			continue
		}
		report(found{instance, handover.LeftOver{Host: host, Other: otherHost(ports, host), Now: t.clock()}})
	}
}

// wrongOn gives which of the instances have a port that is wrong on host.
func wrongOn(ctx context.Context, t *tools, host string, instances []string) ([]string, bool) {
	call, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	wrong, err := t.neutron.WrongOn(call, host)
	line := audit.Line{Event: audit.LeftOversRead, Host: host, Outcome: "read", Err: err}
	wrong = slices.DeleteFunc(wrong, func(instance string) bool { return !slices.Contains(instances, instance) })
	slices.Sort(wrong)
	wrong = slices.Compact(wrong)
	line.Figures = map[string]int64{"wrong": int64(len(wrong)), "running": int64(len(instances))}
	t.audit(line)
	return wrong, err == nil
}

// otherHost gives the host of the row that is not on the guest's host; that of
// the ACTIVE one if there is one, and where there is no other row the one that
// the guest's own announces.
func otherHost(ports []port.Port, host string) string {
	other := ""
	for _, p := range ports {
		for _, r := range p.Rows {
			if r.Host != host && (other == "" || r.Active) {
				other = r.Host
			}
		}
	}
	for _, p := range ports {
		if row, ok := p.Row(host); ok && other == "" {
			other = row.MigratingTo()
		}
	}
	return other
}
