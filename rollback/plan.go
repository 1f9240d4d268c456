package rollback

import (
	"maps"

	"github.com/earlybind/earlybind/port"
)

// MadeHere marks, in its profile, a row that Restore has made on the
// destination, so that any replica knows it again and deletes it. A row of
// Nova's is deleted only where the port has no ACTIVE row and Nova is done.
const MadeHere = "earlybind_restore"

// allocation is the profile's key of a row that holds resources of its host
// (QoS bandwidth, nova/network/constants.py): it cannot be made elsewhere.
const allocation = "allocation"

// Situation is what a plan is made from.
type Situation struct {
	Port        port.Port
	Source      string // where the guest is
	Destination string
	// NovaDone: Nova's own roll-back has finished, or is not to be expected
	// any more. Before that, what Nova will do itself is left to it.
	NovaDone bool
	// Presumed: NovaDone is taken from Nova's silence. It may then still be at
	// work: a row that nobody moved is left to it.
	Presumed bool
}

// Action is the kind of a step.
type Action int

// The actions. Wait and HandsOff write nothing.
const (
	Done     Action = iota + 1 // the rows are right
	Wait                       // Nova is about to mend the rest
	Activate                   // PUT bindings/{Host}/activate
	Rebind                     // PUT the port with Profile: binds an unbound row, tells the agents
	Create                     // POST a row on Host, with Profile
	Delete                     // DELETE the row on Host
	HandsOff                   // not ours to mend: tell an operator
)

var actionNames = [...]string{"", "done", "wait", "activate", "rebind", "create", "delete", "hands off"}

func (a Action) String() string { return actionNames[a] }

// Step is the next thing to do.
type Step struct {
	Action  Action
	Host    string
	VNIC    string         // of Create
	Profile map[string]any // of Create and Rebind: the whole profile
	Why     string
}

// Plan gives the next step for a port whose guest is on the source of a failed
// migration. A row on a third host is never touched.
//
//	source row        destination row   other ACTIVE   next step
//	any               any               yes            hands off; so it is with two ACTIVE rows
//	ACTIVE failed     any               -              hands off (binding_failed)
//	ACTIVE unbound    any               -              rebind: PUT the profile without migrating_to
//	ACTIVE bound      made here         -              delete the destination's row
//	ACTIVE bound      any, migrating_to -              wait for Nova; when it has said that it is done: rebind
//	ACTIVE bound      INACTIVE          -              wait for Nova; when it is done: done
//	ACTIVE bound      none              -              done
//	INACTIVE          ACTIVE            -              activate the source
//	INACTIVE          not ACTIVE        -              vnic_type is not normal, or an allocation: hands off
//	INACTIVE          INACTIVE          -              wait for Nova; when it is done: delete the destination's row
//	INACTIVE          none              -              no destination is known: hands off
//	INACTIVE          none              -              create on the destination (ACTIVE at once), to be undone by the lines above
//	none              any               -              hands off: what the row held is gone
func Plan(s Situation) Step {
	source, hasSource := s.Port.Row(s.Source)
	destination, hasDestination := s.Port.Row(s.Destination)
	active, hasActive := s.Port.Active()
	switch {
	case s.Port.ActiveRows() > 1:
		return Step{Action: HandsOff, Why: "more than one ACTIVE row"}
	case hasActive && active.Host != s.Source && active.Host != s.Destination:
		return Step{Action: HandsOff, Why: "the ACTIVE row is on a third host, " + active.Host}
	case !hasSource:
		return Step{Action: HandsOff, Why: "the source has no row and what it held was not written down"}
	case source.Active:
		return settle(s, source, destination, hasDestination)
	case hasDestination && destination.Active:
		return Step{Action: Activate, Host: s.Source, Why: "the destination's row is ACTIVE"}
	case source.VNICType != "normal" || source.Profile[allocation] != nil:
		return Step{Action: HandsOff, Why: "no ACTIVE row, and the port holds a device or an allocation of its host"}
	case hasDestination && !s.NovaDone:
		return Step{Action: Wait, Why: "no ACTIVE row; Nova is about to delete the destination's"}
	case hasDestination:
		return Step{Action: Delete, Host: s.Destination, Why: "no ACTIVE row; the destination's is in the way of making it anew"}
	}
	if s.Destination == "" {
		return Step{Action: HandsOff, Why: "no ACTIVE row, and no second host is known to make one on"}
	}
	return detour(s, source)
}

// settle finishes a port whose source row is ACTIVE.
func settle(s Situation, source, destination port.Row, hasDestination bool) Step {
	made := hasDestination && destination.Profile[MadeHere] != nil
	switch {
	case source.VIFType == port.VIFBindingFailed:
		return Step{Action: HandsOff, Why: "Neutron could not bind the source's row (binding_failed)"}
	case !source.Bound():
		return Step{Action: Rebind, Host: s.Source, Profile: without(source.Profile), Why: "the source's row is ACTIVE but unbound"}
	case made:
		return Step{Action: Delete, Host: s.Destination, Why: "the destination's row was made by this roll-back"}
	case source.MigratingTo() != "" && (!s.NovaDone || s.Presumed):
		return Step{Action: Wait, Why: "Nova is about to clear migrating_to"}
	case source.MigratingTo() != "":
		return Step{Action: Rebind, Host: s.Source, Profile: without(source.Profile), Why: "migrating_to is left in the profile"}
	case hasDestination && !s.NovaDone:
		return Step{Action: Wait, Why: "Nova is about to delete the destination's row"}
	case hasDestination:
		return Step{Action: Done, Why: "an INACTIVE row is left on " + s.Destination}
	}
	return Step{Action: Done}
}

// detour makes a row on the destination, which becomes ACTIVE at once since the
// port has none; from there the other lines of the plan lead to the source. It
// keeps the source's row with its vnic_type and profile. Plan allows it only for
// rows that claim nothing of their host.
func detour(s Situation, source port.Row) Step {
	return Step{
		Action: Create, Host: s.Destination, VNIC: source.VNICType,
		Profile: map[string]any{MadeHere: s.Source},
		Why:     "no ACTIVE row: Nova's roll-back has deleted the destination's",
	}
}

// without gives the profile without migrating_to; all else is kept.
func without(profile map[string]any) map[string]any {
	kept := maps.Clone(profile)
	if kept == nil {
		kept = map[string]any{}
	}
	delete(kept, port.MigratingTo)
	return kept
}
