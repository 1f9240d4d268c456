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

	announces string // of a row without its profile, its migrating_to: see [Lean]
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

// Lean is a port for who keeps very many: without its MAC address and revision, and of its
// profiles with MigratingTo alone. What many ports have in common is there once.
type Lean struct {
	id, device string
	common     unique.Handle[common]
	rows       []leanRow
}

// common is what many ports have in common, kind what many rows have.
type (
	common struct {
		deviceOwner, network, status, driver string
		trunkParent                          bool
	}
	kind struct {
		active            bool
		vifType, vnicType string
	}
)

type leanRow struct {
	host, announces string
	kind            unique.Handle[kind]
}

// Lean gives what is kept of the port.
func (p Port) Lean() Lean {
	l := Lean{id: p.ID, device: p.Device, common: unique.Make(common{p.DeviceOwner, p.Network, p.Status, p.Driver, p.TrunkParent})}
	l.rows = make([]leanRow, len(p.Rows))
	for i, r := range p.Rows {
		l.rows[i] = leanRow{Intern(r.Host), Intern(r.MigratingTo()), unique.Make(kind{r.Active, r.VIFType, r.VNICType})}
	}
	return l
}

// Port gives the port, as far as it was kept.
func (l Lean) Port() Port {
	c := l.common.Value()
	p := Port{
		ID: l.id, Device: l.device, DeviceOwner: c.deviceOwner, Network: c.network, Status: c.status, Driver: c.driver,
		TrunkParent: c.trunkParent, Rows: make([]Row, len(l.rows)),
	}
	for i, r := range l.rows {
		k := r.kind.Value()
		p.Rows[i] = Row{Host: r.host, Active: k.active, VIFType: k.vifType, VNICType: k.vnicType, announces: r.announces}
	}
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
