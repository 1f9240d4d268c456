// Package port holds what earlybind knows of a Neutron port and its bindings:
// plain values, shared by the pure packages that decide and by the client that
// reads them. A "row" is what Neutron calls a binding: it keeps one per port
// and host, and one of them is ACTIVE.
package port

import (
	"errors"
	"slices"
	"unique"
)

// ErrGone marks the answer of a Neutron that does not know the port any more.
var ErrGone = errors.New("the port was deleted")

// VIF types of a row that the agents do not wire
// (neutron_lib/api/definitions/portbindings.py).
const (
	VIFUnbound       = "unbound"
	VIFBindingFailed = "binding_failed"
)

// MigratingTo is the key that Nova writes into the profile of the ACTIVE row in
// pre_live_migration and clears in its roll-back
// (nova/network/neutron.py, MIGRATING_ATTR).
const MigratingTo = "migrating_to"

// Port is one port of an instance, as read.
type Port struct {
	ID          string
	Device      string // UUID of the instance
	DeviceOwner string
	Network     string // UUID
	MAC         string
	// Status is the port's status, as its agent reported it ("ACTIVE",
	// "DOWN"): a thing of its own beside a row's.
	Status      string
	Driver      string // mechanism driver of the ACTIVE row's level 0; empty if Neutron does not show it
	TrunkParent bool
	Revision    int
	Rows        []Row
}

// Row is one binding of a port.
type Row struct {
	Host     string
	Active   bool
	VIFType  string
	VNICType string
	Profile  map[string]any

	announces string // of a row without its profile, its migrating_to: see Lean
}

// Bound tells whether the agents can wire the row.
func (r Row) Bound() bool {
	return r.VIFType != "" && r.VIFType != VIFUnbound && r.VIFType != VIFBindingFailed
}

// MigratingTo is the host that the profile announces; empty if none.
func (r Row) MigratingTo() string {
	if r.Profile == nil {
		return r.announces
	}
	host, _ := r.Profile[MigratingTo].(string)
	return host
}

// Lean gives the port without its profiles, of which only MigratingTo is still told: for who
// keeps very many. What many ports have in common is one string in all of them.
func (p Port) Lean() Port {
	for _, shared := range []*string{&p.DeviceOwner, &p.Network, &p.Status, &p.Driver} {
		*shared = Intern(*shared)
	}
	rows := make([]Row, len(p.Rows))
	for i, r := range p.Rows {
		rows[i] = Row{
			Host: Intern(r.Host), Active: r.Active, VIFType: Intern(r.VIFType), VNICType: Intern(r.VNICType),
			announces: Intern(r.MigratingTo()),
		}
	}
	p.Rows = rows
	return p
}

// Intern gives the same string for equal ones, so that each has its memory once.
func Intern(s string) string { return unique.Make(s).Value() }

// Active gives the ACTIVE row; more than one was never seen.
func (p Port) Active() (Row, bool) {
	return p.find(func(r Row) bool { return r.Active })
}

// ActiveRows counts them: one, or none for a port that is broken.
func (p Port) ActiveRows() int {
	n := 0
	for _, r := range p.Rows {
		if r.Active {
			n++
		}
	}
	return n
}

// Row gives the row of a host.
func (p Port) Row(host string) (Row, bool) {
	return p.find(func(r Row) bool { return r.Host == host })
}

func (p Port) find(match func(Row) bool) (Row, bool) {
	i := slices.IndexFunc(p.Rows, match)
	if i < 0 {
		return Row{}, false
	}
	return p.Rows[i], true
}

// RightOn tells whether the rows are right for a guest on host: exactly one
// ACTIVE row, there, bound, and no migrating_to. The second value says what is
// wrong. The port's status is the agent's to report, and not looked at.
func (p Port) RightOn(host string) (bool, string) {
	active, ok := p.Active()
	switch {
	case !ok:
		return false, "no ACTIVE row"
	case p.ActiveRows() > 1:
		return false, "more than one ACTIVE row"
	case active.Host != host:
		return false, "the ACTIVE row is on " + active.Host
	case !active.Bound():
		return false, "the ACTIVE row's vif_type is " + active.VIFType
	case active.MigratingTo() != "":
		return false, "the profile still has migrating_to " + active.MigratingTo()
	}
	return true, ""
}

// Describe gives the port's status and its rows as people read them, in logs and
// reports. They are two things: see [Port].
func (p Port) Describe() string {
	text := "port status " + p.Status + "; rows:"
	for _, r := range p.Rows {
		status := "INACTIVE"
		if r.Active {
			status = "ACTIVE"
		}
		text += " " + r.Host + " " + status + " " + r.VIFType
		if to := r.MigratingTo(); to != "" {
			text += " migrating_to=" + to
		}
		text += ";"
	}
	return text
}
