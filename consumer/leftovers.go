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
	dead     bool // its guest runs on no host
}

// findLeftOvers looks, once per host and session, for instances that run on
// host while the ACTIVE rows of their ports are not there, or not bound: what a
// replica that was killed, or a broker that lost its messages, has left. It
// looks twice, a minute apart, has the hosts asked for their domains anew before
// the second look, and reports what was wrong both times. A Neutron that does not
// answer is asked again until it does.
func findLeftOvers(ctx context.Context, t *tools, host string, running []string, report func(found)) {
	first, ok := wrongOn(ctx, t, host, running)
	if !ok || len(first) == 0 {
		return
	}
	if !t.time.Wait(ctx, leftOverPatience, nil) {
		return
	}
	t.ask("rows on " + host + " have been wrong for a while")
	if !t.time.Wait(ctx, answerPatience, nil) {
		return
	}
	second, ok := wrongOn(ctx, t, host, first)
	if !ok {
		return
	}
	for _, instance := range second {
		var ports []port.Port
		if !t.insist(ctx, audit.Line{Event: audit.LeftOversRead, Host: host, Handover: audit.Handover{Instance: instance}}, func(call context.Context) (err error) {
			ports, err = t.neutron.Ports(call, instance)
			return err
		}) {
			return
		}
		report(found{instance: instance, input: handover.LeftOver{Host: host, Other: otherHost(ports, host), Now: t.clock()}})
	}
}

// wrongOn gives which of the instances have a port that is wrong on host; false
// when the context ends before Neutron has answered.
func wrongOn(ctx context.Context, t *tools, host string, instances []string) (wrong []string, ok bool) {
	line := audit.Line{Event: audit.LeftOversRead, Host: host}
	if !t.insist(ctx, line, func(call context.Context) (err error) {
		wrong, err = t.neutron.WrongOn(call, host)
		return err
	}) {
		return nil, false
	}
	wrong = slices.DeleteFunc(wrong, func(instance string) bool { return !slices.Contains(instances, instance) })
	slices.Sort(wrong)
	wrong = slices.Compact(wrong)
	line.Outcome = "read"
	line.Figures = map[string]int64{"wrong": int64(len(wrong)), "running": int64(len(instances))}
	t.audit(line)
	return wrong, true
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
