package rollback

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/earlybind/earlybind/port"
)

// MadeHere marks, in its profile, a row that Restore has made, so that any
// replica knows it again; see [Made]. Its value is the row's own host.
const MadeHere = "earlybind_restore"

// Made tells whether a restore has made the row and is not done with it: on the
// destination it is to be deleted, on the guest's host to be updated without the
// mark, which binds it and tells the agent. A mark of another host's does not
// count: Nova copies the profile of a port into the row that it makes on the next
// host (nova/network/neutron.py, bind_ports_to_host).
func Made(r port.Row) bool { return r.Profile[MadeHere] == r.Host }

// Forgotten gives a row that a restore has made and not deleted, of a port that is right
// elsewhere: one ACTIVE row, bound, which announces no migration. It is nobody's, wherever
// the guest is, and in the way of the next migration to its host, which Nova gives up with
// 409.
func Forgotten(p port.Port) (port.Row, bool) {
	active, ok := p.Active()
	if !ok || p.ActiveRows() != 1 || !active.Bound() || active.MigratingTo() != "" || Made(active) {
		return port.Row{}, false
	}
	for _, r := range p.Rows {
		if !r.Active && Made(r) {
			return r, true
		}
	}
	return port.Row{}, false
}

// allocation is the profile's key of a row that holds resources of its host
// (QoS bandwidth, nova/network/constants.py): it cannot be made elsewhere.
const allocation = "allocation"

// Mark gives the row's profile with the mark, all else as it is.
func Mark(r port.Row) map[string]any {
	marked := maps.Clone(r.Profile)
	if marked == nil {
		marked = map[string]any{}
	}
	marked[MadeHere] = r.Host
	return marked
}

// Held is what a row held before it was deleted to be made again: all of it
// that Neutron does not make itself.
type Held struct {
	VNICType string
	Profile  map[string]any // without migrating_to and mark
}

// heldBy gives what a row holds.
func heldBy(r port.Row) Held { return Held{VNICType: r.VNICType, Profile: without(r.Profile)} }

func (h Held) String() string {
	profile, err := json.Marshal(h.Profile)
	if err != nil {
		return "vnic_type " + h.VNICType
	}
	return "vnic_type " + h.VNICType + ", profile " + string(profile)
}

// equal compares what is held as it goes to Neutron.
func (h Held) equal(other Held) bool {
	return h.VNICType == other.VNICType && sameJSON(h.Profile, other.Profile)
}

// sameJSON compares profiles as JSON has them.
func sameJSON(a, b map[string]any) bool {
	textA, errA := json.Marshal(a)
	textB, errB := json.Marshal(b)
	return errA == nil && errB == nil && string(textA) == string(textB)
}

// Situation is what a plan is made from.
type Situation struct {
	Port        port.Port
	Source      string // where the guest is
	Destination string // empty if it is not known
	// NovaDone: Nova's own roll-back has finished, or is not to be expected
	// any more. Before that, what Nova will do itself is left to it.
	NovaDone bool
	// Presumed: NovaDone is taken from Nova's silence. It may then still be at
	// work: a row that nobody moved is left to it.
	Presumed bool
	// Came: the guest came to Source by a migration from Destination, which Nova has
	// finished, or has given up. What Destination's row announces of that one goes on no more.
	Came bool
	// Held is what was written down of the source's row; nil if nothing was.
	Held *Held
	// Unread: what was written down is not known yet, so that Held may be
	// missing.
	Unread bool
	// NoDetour: Neutron does not let a row be made on the destination.
	NoDetour bool
}

// Action is the kind of a step.
type Action int

// The actions. Done, Wait and HandsOff do nothing, WriteDown writes to the
// journal, the others to Neutron.
const (
	Done      Action = iota + 1 // the rows are right
	Wait                        // Nova is about to mend the rest
	WriteDown                   // make durable what the row on Host holds
	Activate                    // PUT bindings/{Host}/activate
	Rebind                      // PUT the port with Profile: binds an unbound row, tells the agents
	Create                      // POST a row on Host, with Profile
	Delete                      // DELETE the row on Host
	HandsOff                    // not ours to mend: tell an operator
)

var actionNames = [...]string{"", "done", "wait", "write down", "activate", "rebind", "create", "delete", "hands off"}

func (a Action) String() string { return actionNames[a] }

// Writes tells whether the action is a write to Neutron.
func (a Action) Writes() bool { return a >= Activate && a <= Delete }

// Step is the next thing to do.
type Step struct {
	Action  Action
	Host    string
	VNIC    string         // of Create
	Profile map[string]any // of Create and Rebind: the whole profile
	Held    Held           // of WriteDown
	Why     string
}

// Request is the step as a request to Neutron, for an operator to send; empty if
// it is none.
func (s Step) Request(id string) string {
	body := func(key string, fields map[string]any) string {
		text, err := json.Marshal(map[string]any{key: fields})
		if err != nil {
			return ""
		}
		return " " + string(text)
	}
	rows := "/v2.0/ports/" + id + "/bindings"
	switch s.Action {
	case Activate:
		return "PUT " + rows + "/" + s.Host + "/activate (without a body)"
	case Rebind:
		return "PUT /v2.0/ports/" + id + body("port", map[string]any{"binding:profile": s.Profile})
	case Create:
		return "POST " + rows + body("binding", map[string]any{"host": s.Host, "vnic_type": s.VNIC, "profile": s.Profile})
	case Delete:
		return "DELETE " + rows + "/" + s.Host
	default:
		return ""
	}
}

// Plan gives the next step for a port whose guest is on the source of a failed
// migration. The table is read from the top, and the first line that fits
// counts; "any" is any row or none, ">" is migrating_to in its profile, "made"
// is the mark of a row that a roll-back has made. A row on a third host is never
// touched.
//
//	source           destination     third   Nova      written    port      next step
//	any              any             any     any       any        other     hands off
//	any              any             ACTIVE  any       any        any       hands off
//	ACTIVE           ACTIVE          any     any       any        any       hands off
//	ACTIVE >other    any             any     any       any        any       hands off
//	any              ACTIVE >        any     any       any        any       hands off
//	ACTIVE made      any             any     any       any        any       rebind
//	ACTIVE unbound   any             any     any       any        any       rebind
//	ACTIVE failed    any             any     any       any        any       rebind
//	ACTIVE           made            any     any       any        any       delete destination
//	ACTIVE >         any             any     done      any        any       rebind
//	ACTIVE >         any             any     any       any        any       wait
//	ACTIVE           INACTIVE        any     at work   any        any       wait
//	ACTIVE           any             any     any       any        any       done
//	none             any             any     any       yes        any       create source
//	none             any             any     any       unread     any       wait
//	none             any             any     any       no         any       hands off
//	INACTIVE         ACTIVE          any     any       any        any       activate source
//	INACTIVE         INACTIVE        any     at work   any        any       wait
//	INACTIVE         INACTIVE        any     any       any        movable   delete destination
//	INACTIVE         none            any     any       any        movable   create destination
//	INACTIVE         any             any     any       same       any       delete source
//	INACTIVE         any             any     any       any        any       write down
//
// Nova: "at work" until it has said that its roll-back has ended, or has been
// silent for long; "done" only when it has said so. Where the guest came by a migration
// that Nova has finished or given up, the destination's ">" to the guest's host does not count. Written: what is known of
// the source's row from the journal; "same" is what the row holds now. Port:
// "other" is no instance's, "movable" is one for which a row can be made on the
// destination: vnic_type normal, no allocation, a destination that is known and
// where Neutron lets one be made.
//
// There are two ways back from a port without an ACTIVE row. A row that is made
// on the destination becomes ACTIVE at once, and from there the lines for an
// ACTIVE destination lead back; the source's row keeps what it holds. Where
// that is not possible the source's row is deleted and made again, after what it
// held was written down where a crash cannot lose it; it is made with the mark,
// and updated without, since it is the changed profile of an ACTIVE row that
// tells the agent (run on Neutron 21.0.0 and 26.0.3).
func Plan(s Situation) Step {
	source, hasSource := s.Port.Row(s.Source)
	destination, hasDestination := s.Port.Row(s.Destination)
	active, hasActive := s.Port.Active()
	switch {
	case !strings.HasPrefix(s.Port.DeviceOwner, "compute:"):
		return handsOff("device_owner is " + s.Port.DeviceOwner + ": not an instance's port")
	case s.Port.ActiveRows() > 1:
		return handsOff("more than one ACTIVE row")
	case hasActive && active.Host != s.Source && active.Host != s.Destination:
		return handsOff("the ACTIVE row is on a third host, " + active.Host)
	case source.Active && source.MigratingTo() != "" && source.MigratingTo() != s.Destination:
		return handsOff("the source's row announces another migration, to " + source.MigratingTo())
	case destination.Active && destination.MigratingTo() != "" && !(s.Came && destination.MigratingTo() == s.Source):
		return handsOff("the destination's row is ACTIVE and announces another migration, to " + destination.MigratingTo())
	case source.Active:
		return settle(s, source, destination, hasDestination)
	case !hasSource:
		return remake(s)
	case hasDestination && destination.Active:
		return Step{Action: Activate, Host: s.Source, Why: "the destination's row is ACTIVE"}
	case hasDestination && !s.NovaDone:
		return Step{Action: Wait, Why: "no ACTIVE row; Nova is about to delete the destination's"}
	case !movable(s, source):
		return replace(s, source)
	case hasDestination:
		return Step{Action: Delete, Host: s.Destination, Why: "no ACTIVE row; the destination's is in the way of making it anew"}
	default:
		return Step{
			Action: Create, Host: s.Destination, VNIC: source.VNICType, Profile: map[string]any{MadeHere: s.Destination},
			Why: "no ACTIVE row: Nova's roll-back has deleted the destination's",
		}
	}
}

// settle finishes a port whose source row is ACTIVE.
func settle(s Situation, source, destination port.Row, hasDestination bool) Step {
	switch {
	case Made(source):
		return Step{Action: Rebind, Host: s.Source, Profile: without(source.Profile), Why: "the source's row carries the mark of a restore: its agent is told"}
	case source.VIFType == port.VIFBindingFailed:
		return Step{Action: Rebind, Host: s.Source, Profile: without(source.Profile), Why: "Neutron could not bind the source's row (binding_failed)"}
	case !source.Bound():
		return Step{Action: Rebind, Host: s.Source, Profile: without(source.Profile), Why: "the source's row is ACTIVE but unbound"}
	case hasDestination && Made(destination):
		return Step{Action: Delete, Host: s.Destination, Why: "the destination's row was made by this roll-back"}
	case source.MigratingTo() != "" && (!s.NovaDone || s.Presumed):
		return Step{Action: Wait, Why: "Nova is about to clear migrating_to"}
	case source.MigratingTo() != "":
		return Step{Action: Rebind, Host: s.Source, Profile: without(source.Profile), Why: "migrating_to is left in the profile"}
	case hasDestination && !s.NovaDone:
		return Step{Action: Wait, Why: "Nova is about to delete the destination's row"}
	}
	step := Step{Action: Done}
	for _, r := range s.Port.Rows {
		if r.Host != s.Source {
			step.Why = strings.TrimPrefix(step.Why+"; an INACTIVE row is left on "+r.Host, "; ")
		}
	}
	return step
}

// remake makes the source's row, which is gone, from what was written down.
func remake(s Situation) Step {
	switch {
	case s.Held == nil && s.Unread:
		return Step{Action: Wait, Why: "the source has no row, and what it held is not known before the journal is read"}
	case s.Held == nil:
		return handsOff("the source has no row, and what it held was not written down")
	}
	return Step{
		Action: Create, Host: s.Source, VNIC: s.Held.VNICType, Profile: Mark(port.Row{Host: s.Source, Profile: without(s.Held.Profile)}),
		Why: "the source's row was deleted to be made anew",
	}
}

// replace is the way back from no ACTIVE row for what cannot be made on the
// destination.
func replace(s Situation, source port.Row) Step {
	if s.Held != nil && s.Held.equal(heldBy(source)) {
		return Step{Action: Delete, Host: s.Source, Why: "no ACTIVE row: the source's is made anew, and is ACTIVE then"}
	}
	return Step{Action: WriteDown, Host: s.Source, Held: heldBy(source), Why: "no ACTIVE row, and none can be made on the destination: what the source's holds is made durable first"}
}

// movable tells whether a row like the source's can be made on the destination:
// one that claims nothing of its host.
func movable(s Situation, source port.Row) bool {
	return source.VNICType == "normal" && source.Profile[allocation] == nil && s.Destination != "" && !s.NoDetour
}

func handsOff(why string) Step { return Step{Action: HandsOff, Why: why} }

// without gives the profile without migrating_to and mark; all else is kept.
func without(profile map[string]any) map[string]any {
	kept := maps.Clone(profile)
	if kept == nil {
		kept = map[string]any{}
	}
	delete(kept, port.MigratingTo)
	delete(kept, MadeHere)
	return kept
}
