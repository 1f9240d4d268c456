package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// Verdict is what a port has.
type Verdict int

// The verdicts.
const (
	// Right: one ACTIVE row, bound, where the guest is, and no other row.
	Right Verdict = iota
	// NotOurs: no port of an instance, or of one that is on no host.
	NotOurs
	// InFlight: something is under way with the instance. Left alone.
	InFlight

	// WrongWay: the ACTIVE row is on another host than the guest.
	WrongWay
	// Bricked: no row is ACTIVE.
	Bricked
	// Unbound: the ACTIVE row is where the guest is, and no agent wires it.
	Unbound
	// LeftMarked: migrating_to, or the mark of a restore, is left in the profile.
	LeftMarked
	// Stale: a row is left on another host. The next migration there is refused
	// (409; Launchpad 1979072).
	Stale

	// BindingFailed: Neutron could not bind the row.
	BindingFailed
	// Down: the rows are right, and the agent does not report the port up.
	Down
	// NoRow: no row on the guest's host, and nobody knows what it held.
	NoRow
	// Orphan: Nova does not know the port's instance.
	Orphan
	// Disputed: where the guest is, is not sure.
	Disputed
	// Subport: a trunk's subport that is not where its parent is.
	Subport
	// Strange: what no plan covers.
	Strange
)

var verdicts = [...]string{
	"right", "not an instance's", "in flight",
	"wrong way round", "bricked", "half rolled back", "left marked", "stale row",
	"binding failed", "down", "no row", "orphan", "disputed", "subport astray", "strange",
}

func (v Verdict) String() string { return verdicts[v] }

// MarshalText gives the verdict's words.
func (v Verdict) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// Wrong tells whether an operator is to hear of it.
func (v Verdict) Wrong() bool { return v > InFlight }

// Mends tells whether there is a plan that mends it.
func (v Verdict) Mends() bool { return v >= WrongWay && v <= Stale }

// Finding is what was found of one port.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	Why     string  `json:"why,omitempty"`
	// Host is where the guest is; empty if that is not known.
	Host string `json:"host,omitempty"`
	// Plan is what mends it, step by step, as far as Neutron answers as it has been
	// seen to. Empty where nothing is to be done.
	Plan []rollback.Step `json:"-"`
}

// Diagnose reads the facts. The table is read from the top, and the first line that fits
// counts.
//
//	port, instance                                             rows                              verdict
//	no instance's (device_owner is not compute:…)              any                               not an instance's
//	a trunk's subport, its parent's host                       ACTIVE there and bound            right, else subport astray
//	Nova does not know the instance, and a cell is down        any                               disputed
//	Nova does not know the instance                            any                               orphan
//	its own cell is down                                       any                               disputed
//	a migration unfinished, a task, resized, soft-deleted, or
//	it comes in                                                any                               in flight
//	on no host                                                 any                               not an instance's
//	Nova has it in ERROR, or where no host sees it             any                               disputed
//	a live migration speaks against Nova's word (doubtful)     any                               disputed
//	on H                                                       two ACTIVE                        strange
//	on H                                                       none on H, nothing written down   no row
//	on H                                                       ACTIVE on another                 wrong way round
//	on H                                                       none ACTIVE                       bricked
//	on H                                                       H ACTIVE, binding_failed          binding failed
//	on H                                                       H ACTIVE, unbound                 half rolled back
//	on H                                                       H ACTIVE, migrating_to or mark    left marked
//	on H                                                       H ACTIVE, another INACTIVE        stale row
//	on H, active                                               H ACTIVE, port status not ACTIVE  down
//	on H                                                       H ACTIVE                          right
//
// Where Nova's word is not whole (a cell is down), what would be mended is only told: a
// migration that nobody hears of may run. "Where no host sees it" is what a publisher
// says; where none answers Nova's word counts, unless the instance is in ERROR: an
// instance whose _post_live_migration was aborted runs on the destination while Nova has
// it on the source (run on Nova 26.2.2 with Neutron 21.0.0).
func Diagnose(f Facts) Finding {
	switch {
	case f.Parent != "":
		return subport(f)
	case !strings.HasPrefix(f.Port.DeviceOwner, "compute:"):
		return Finding{Verdict: NotOurs, Why: "device_owner is " + f.Port.DeviceOwner}
	case f.Server == nil && f.Gap != "":
		return Finding{Verdict: Disputed, Why: "Nova does not name the instance " + f.Port.Device + ", and " + f.Gap}
	case f.Server == nil:
		return Finding{Verdict: Orphan, Why: "Nova does not know the instance " + f.Port.Device}
	case f.Server.Status == "UNKNOWN":
		return Finding{Verdict: Disputed, Why: "Nova does not answer for the instance: its cell is down"}
	}
	if why := underWay(f); why != "" {
		return Finding{Verdict: InFlight, Why: why, Host: f.Server.Host}
	}
	if f.Server.Host == "" {
		return Finding{Verdict: NotOurs, Why: "the instance is on no host: " + f.Server.Status}
	}
	if why := cmp.Or(disputed(f), doubtful(f)); why != "" {
		return Finding{Verdict: Disputed, Why: why}
	}
	found := onHost(f, f.Server.Host)
	found.Host = f.Server.Host
	if found.Verdict.Mends() && f.Gap != "" {
		found.Plan, found.Why = nil, found.Why+"; not mended now: "+f.Gap
	}
	return found
}

// underWay gives what is under way with the instance; empty if nothing is.
func underWay(f Facts) string {
	switch {
	case len(f.Unfinished) > 0:
		m := f.Unfinished[0]
		return fmt.Sprintf("%s %s from %s to %s is %s", m.Type, m.UUID, m.Source, m.Dest, m.Status)
	case f.Server.TaskState != "":
		return "its task state is " + f.Server.TaskState
	case f.Server.VMState == "resized":
		return "its resize waits to be confirmed: a cross-cell one keeps a row until then"
	case f.Server.VMState == softDeleted:
		return "it is soft-deleted: its ports are its own until Nova restores or reclaims it"
	case len(f.Sighting.Incoming) > 0:
		return "its guest is coming in on " + f.Sighting.Incoming[0]
	}
	return ""
}

// softDeleted is SOFT_DELETED of nova/objects/fields.py, InstanceState: where Nova's
// reclaim_instance_interval is not 0, an instance that a user has deleted is shut down and kept,
// with its host and its ports, until it is restored or that time is over (nova/compute/manager.py,
// soft_delete_instance, _reclaim_queued_deletes).
const softDeleted = "soft-delete"

// disputed gives the reason why it is not sure where the guest is; empty if it is. A guest
// that is to run and is paused on its host may run on another: a post-copy that has failed leaves
// it paused/postcopy_failed on the source.
func disputed(f Facts) string {
	s, seen := *f.Server, f.Sighting
	elsewhere := slices.DeleteFunc(slices.Clone(seen.On), func(host string) bool { return host == s.Host })
	here := len(elsewhere) < len(seen.On)
	runs := slices.Contains(seen.Running, s.Host)
	silent := slices.DeleteFunc(slices.Clone(f.Port.Rows), func(r port.Row) bool {
		return r.Host == s.Host || slices.Contains(seen.Answered, r.Host)
	})
	switch {
	case len(elsewhere) > 0 && here:
		return "the guest is on " + s.Host + " and on " + strings.Join(elsewhere, ", ") + " too: look with virsh list"
	case len(elsewhere) > 0:
		return "Nova has the instance on " + s.Host + ", and the guest is on " + strings.Join(elsewhere, ", ") + ": mend Nova's record first"
	case here && !runs && (s.VMState == "active" || s.VMState == "error"):
		return "Nova has the instance " + s.VMState + ", and its publisher sees its guest paused on " + s.Host + ": look with virsh list on both sides of its last migration"
	case here && s.VMState == "error" && len(silent) > 0:
		return "Nova has the instance in ERROR, and no publisher has answered on " + hosts(silent) + ", where the port has a row: whether the guest runs there too is not sure"
	case here:
		return ""
	case s.VMState == "error":
		return "Nova has the instance in ERROR, and no publisher sees its guest: where it runs is not sure"
	case s.VMState == "active" && seen.Asked:
		return "Nova has the instance active on " + s.Host + ", and its publisher does not see the guest"
	case s.VMState == "active" && s.PowerState != powerRunning:
		return fmt.Sprintf("Nova has the instance active on %s, and last saw its guest not running (power state %d)", s.Host, s.PowerState)
	}
	return ""
}

// doubtful gives the reason why the instance's last live migration speaks against Nova's word
// about its host; empty if it does not. What Nova says of a guest's power is up to ten minutes
// old (sync_power_state_interval), and a nova-compute that was started anew in a migration
// ends it in Nova's records and not in libvirt (nova/compute/manager.py,
// _reset_live_migration: status error, task state None). Who has a publisher that sees the
// guest run where Nova has it need not doubt.
func doubtful(f Facts) string {
	m, s := f.Newest, f.Server
	if m == nil || m.Type != "live-migration" || m.Dest == s.Host || slices.Contains(f.Sighting.Running, s.Host) {
		return ""
	}
	const look = ": where the guest runs is not sure (-ask has the publishers say it, or look with virsh list)"
	switch m.Status {
	case "completed", "done":
		return "its live migration to " + m.Dest + " is " + m.Status + ", and Nova has the instance on " + s.Host + look
	case "error": // not failed, which is Nova's own roll-back, nor cancelled
		if slices.ContainsFunc(f.Port.Rows, func(r port.Row) bool { return r.Active && r.Host == m.Dest || r.MigratingTo() == m.Dest }) {
			return "its live migration to " + m.Dest + " has ended in error with the port on its way there" + look
		}
	}
	return ""
}

// powerRunning is RUNNING of nova/objects/fields.py, InstancePowerState.
const powerRunning = 1

// onHost judges the rows of a port whose guest is on host.
func onHost(f Facts, host string) Finding {
	p := f.Port
	row, here := p.Row(host)
	active, any := p.Active()
	others := slices.DeleteFunc(slices.Clone(p.Rows), func(r port.Row) bool { return r.Host == host })
	left := ""
	if len(others) > 0 {
		left = "a row is left on " + hosts(others) + ": a migration there is refused with 409"
	}
	found := Finding{}
	switch {
	case p.ActiveRows() > 1:
		return Finding{Verdict: Strange, Why: "more than one ACTIVE row"}
	case !here && f.Held == nil:
		return Finding{Verdict: NoRow, Why: "there is no row on " + host + ", where the guest is, and nobody knows what it held"}
	case any && active.Host != host:
		found = Finding{Verdict: WrongWay, Why: "the guest is on " + host + ", the ACTIVE row on " + active.Host}
	case !any:
		found = Finding{Verdict: Bricked, Why: "no row is ACTIVE: the port cannot be activated, updated or bound anew"}
	case row.VIFType == port.VIFBindingFailed:
		return Finding{Verdict: BindingFailed, Why: "Neutron could not bind the row on " + host + ": is the agent there alive? An update of the port tries again" + also(left)}
	case !row.Bound():
		found = Finding{Verdict: Unbound, Why: "the row on " + host + " is ACTIVE and " + row.VIFType + ": no agent wires it" + also(left)}
	case row.MigratingTo() != "":
		found = Finding{Verdict: LeftMarked, Why: "the profile still has migrating_to " + row.MigratingTo() + ", and no migration runs" + also(left)}
	case rollback.Made(row):
		found = Finding{Verdict: LeftMarked, Why: "the row still carries the mark of a restore" + also(left)}
	case len(others) > 0:
		found = Finding{Verdict: Stale, Why: left}
	case f.Server.VMState == "active" && p.Status != "ACTIVE":
		return Finding{Verdict: Down, Why: "the rows are right, and the port's status is " + p.Status + ": is it plugged in, and the agent alive? (docs/repair.md)"}
	default:
		return Finding{Verdict: Right}
	}
	var stuck string
	found.Plan, stuck = plan(f, host)
	if stuck != "" {
		found.Verdict, found.Why, found.Plan = Strange, found.Why+"; no plan leads back: "+stuck, nil
	}
	return found
}

func also(why string) string {
	if why == "" {
		return ""
	}
	return "; " + why
}

func hosts(rows []port.Row) string {
	var names []string
	for _, r := range rows {
		names = append(names, r.Host)
	}
	return strings.Join(names, ", ")
}

// subport judges a subport of a trunk: it has no instance, and follows its parent.
func subport(f Facts) Finding {
	if right, why := f.Port.RightOn(f.Parent); !right {
		return Finding{Verdict: Subport, Host: f.Parent, Why: "its parent is on " + f.Parent + ": " + why}
	}
	return Finding{Verdict: Right, Host: f.Parent}
}
