package doctor

import (
	"slices"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// longest bounds a plan; the longest that was seen in the test that makes all has eight
// steps.
const longest = 12

// plan gives the requests that bring a port right on host and take every other row away,
// as Neutron was seen to answer; stuck says why there are none.
func plan(f Facts, host string) (steps []rollback.Step, stuck string) {
	p, held, from := f.Port, f.Held, other(f.Port, host)
	for range longest {
		step := next(p, host, from, held)
		switch step.Action {
		case rollback.Done:
			return steps, ""
		case rollback.HandsOff, rollback.Wait:
			return nil, step.Why
		case rollback.WriteDown:
			held = &step.Held
		default:
			p = after(p, step)
		}
		steps = append(steps, step)
	}
	return nil, "it does not come to an end"
}

// next gives the next request for a port that comes back from a host: the roll-back's own
// plan first, as for a migration that has failed and that Nova is done with, then the rows
// that are left.
func next(p port.Port, host, from string, held *rollback.Held) rollback.Step {
	if leftBehind(p, host) {
		return rollback.Step{Action: rollback.Activate, Host: host, Why: "the guest has arrived here, and the ACTIVE row was left behind"}
	}
	step := rollback.Plan(rollback.Situation{Port: p, Source: host, Destination: from, NovaDone: true, Held: held})
	if step.Action != rollback.Done {
		return step
	}
	for _, r := range p.Rows {
		if r.Host != host {
			return rollback.Step{Action: rollback.Delete, Host: r.Host, Why: "the row on " + r.Host + " is stale"}
		}
	}
	return step
}

// other gives the host that the port is to be brought back from: that of the ACTIVE row,
// else the one that is announced, else any that has a row.
func other(p port.Port, host string) string {
	if active, ok := p.Active(); ok && active.Host != host {
		return active.Host
	}
	if row, _ := p.Row(host); row.MigratingTo() != "" && row.MigratingTo() != host {
		return row.MigratingTo()
	}
	for _, r := range p.Rows {
		if r.Host != host {
			return r.Host
		}
	}
	return ""
}

// after gives the port as Neutron has been seen to leave it after a request
// (neutron-bindings transcripts 03, 08, 09, 13, 14 of both releases): activate unbinds the row that was
// ACTIVE and does not bind one that was; a row that is made while none is ACTIVE is.
func after(p port.Port, s rollback.Step) port.Port {
	_, taken := p.Active()
	p.Rows = slices.Clone(p.Rows)
	i := slices.IndexFunc(p.Rows, func(r port.Row) bool { return r.Host == s.Host })
	switch s.Action {
	case rollback.Create:
		p.Rows = append(p.Rows, port.Row{Host: s.Host, Active: !taken, VIFType: "bound", VNICType: s.VNIC, Profile: s.Profile})
	case rollback.Delete:
		p.Rows = slices.DeleteFunc(p.Rows, func(r port.Row) bool { return r.Host == s.Host })
	case rollback.Activate:
		for j := range p.Rows {
			if p.Rows[j].Active {
				p.Rows[j].Active, p.Rows[j].VIFType = false, port.VIFUnbound
			}
		}
		p.Rows[i].Active = true
	case rollback.Rebind:
		p.Rows[i].VIFType, p.Rows[i].Profile = "bound", s.Profile
	}
	return p
}

// leftBehind tells whether the ACTIVE row stayed behind when a migration went well: it
// announces the very host where the guest is. To the roll-back's plan, for which no
// migration away from there is over, that is hands off.
func leftBehind(p port.Port, host string) bool {
	active, _ := p.Active()
	_, here := p.Row(host)
	return here && active.Host != host && active.MigratingTo() == host && p.ActiveRows() == 1
}
