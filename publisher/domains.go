package publisher

import (
	"cmp"
	"slices"
	"time"

	"github.com/earlybind/earlybind/wire"
)

// lifecycle is one lifecycle event as libvirt's callback gave it.
type lifecycle struct {
	instance string // UUID
	event    wire.Event
	detail   wire.Detail
	at       time.Time // in the callback; wall clock and monotonic
}

// condition is a domain's state and the reason for it.
type condition struct{ state, reason string }

// Conditions that the cache itself looks at.
var (
	pausedForMigration = condition{"paused", "migration"}
	startingUp         = condition{"paused", "starting_up"}
	shutOff            = condition{"shutoff", "unknown"}
)

// ownership is what is known of a domain's owner.
type ownership int

const (
	ownerUnknown ownership = iota // not asked yet, or no answer
	ownedByNova
	foreign
)

// reading is what libvirt answered about one domain.
type reading struct {
	instance   string
	condition  condition
	persistent bool
	owner      ownership
}

// domains is the cache of one host's domains, keyed by UUID. Events keep it, so
// that nothing need be asked of libvirt to say where a guest is. It is pure; the
// zero value is not ready, see newDomains.
type domains struct {
	byID map[string]*domain
	// Events since the reading under way began; see beginReading. They are
	// as many as libvirt sends in that time, milliseconds as a rule.
	reading bool
	since   []lifecycle
}

type domain struct {
	condition  condition
	persistent bool
	// incoming: started by an incoming migration and not run yet. Nova's
	// domains are persistent where they run and transient while they come in
	// (the finish phase defines them, some 10 ms before RESUMED:
	// seen on libvirt 9.0), which is how a reading tells an incoming
	// domain from one that is on its way out: both are paused/migration.
	incoming bool
	owner    ownership
}

func newDomains() *domains { return &domains{byID: map[string]*domain{}} }

// owner tells whose a domain is, as far as is known.
func (d *domains) owner(instance string) ownership {
	if one, ok := d.byID[instance]; ok {
		return one.owner
	}
	return ownerUnknown
}

// learn takes the answer about a domain's owner; it is ignored if the domain
// has gone meanwhile.
func (d *domains) learn(instance string, owner ownership) {
	if one, ok := d.byID[instance]; ok {
		one.owner = owner
	}
}

// mayAsk tells, once the event is applied, whether now is a time to ask libvirt
// about the domain's owner: at its start and definition, never in a migration's
// switchover. (DEFINED comes to the destination in the midst of it.)
func (d *domains) mayAsk(e lifecycle) bool {
	one, ok := d.byID[e.instance]
	switch {
	case !ok || one.owner == ownedByNova:
		return false
	case e.event == wire.Started:
		return true
	default:
		return e.event == wire.Defined && !one.incoming && one.condition != pausedForMigration
	}
}

// apply takes an event into the cache.
func (d *domains) apply(e lifecycle) {
	if d.reading {
		d.since = append(d.since, e)
	}
	one, known := d.byID[e.instance]
	if !known {
		// What is first seen otherwise than by a start has been here
		// before, and then it is defined.
		one = &domain{condition: shutOff, persistent: e.event != wire.Started}
		d.byID[e.instance] = one
	}
	if next, ok := conditionAfter(e); ok {
		one.condition = next
	}
	switch e.event {
	case wire.Defined:
		one.persistent = true
	case wire.Undefined:
		one.persistent = false
		if one.condition.state == shutOff.state {
			delete(d.byID, e.instance)
		}
	case wire.Started:
		one.incoming = e.detail == wire.Migrated
	case wire.Resumed:
		one.incoming = false
	case wire.Suspended:
		if e.detail == wire.Paused {
			one.incoming = false // a guest that comes up paused
		}
	case wire.Stopped:
		// A guest that has moved away is undefined without an UNDEFINED
		// event (Nova's migrations have VIR_MIGRATE_UNDEFINE_SOURCE; run with
		// libvirt 9.0), and so is one whose migration to here failed.
		if !one.persistent || one.incoming || e.detail == wire.Migrated {
			delete(d.byID, e.instance)
		}
	}
}

// beginReading says that libvirt is being asked for all domains. Until
// endReading, events go into the cache and are kept to be applied again.
func (d *domains) beginReading() {
	d.reading, d.since = true, nil
}

// endReading replaces the cache by what libvirt answered, and applies again the
// events that came meanwhile: of a domain with an event the event is right,
// because the answer may be older; where the answer is newer, its event is still
// to come and will say the same.
func (d *domains) endReading(all []reading) {
	old, since := d.byID, d.since
	d.byID, d.reading, d.since = make(map[string]*domain, len(all)), false, nil
	for _, r := range all {
		one := &domain{condition: r.condition, persistent: r.persistent, owner: r.owner}
		before, known := old[r.instance]
		if known && one.owner == ownerUnknown {
			one.owner = before.owner
		}
		// Nova defines a domain before it starts it, so that one which starts without a
		// definition comes in; libvirt calls it paused/migration a moment later only
		// (qemuProcessInit, qemuMigrationDstPrepareActive).
		one.incoming = r.condition == pausedForMigration && (!r.persistent || known && before.incoming) ||
			r.condition == startingUp && !r.persistent
		d.byID[r.instance] = one
	}
	for _, e := range since {
		d.apply(e)
		if before, ok := old[e.instance]; ok && d.owner(e.instance) == ownerUnknown {
			d.learn(e.instance, before.owner)
		}
	}
}

// ofNova is the set of domains that are known to be Nova's.
func (d *domains) ofNova() map[string]bool {
	set := map[string]bool{}
	for id, one := range d.byID {
		if one.owner == ownedByNova {
			set[id] = true
		}
	}
	return set
}

// states lists the domains that are Nova's or may be, by UUID.
func (d *domains) states() []wire.DomainState {
	list := make([]wire.DomainState, 0, len(d.byID))
	for id, one := range d.byID {
		if one.owner != foreign {
			list = append(list, wire.DomainState{Instance: id, State: one.condition.state, Reason: one.condition.reason, Incoming: one.incoming})
		}
	}
	slices.SortFunc(list, func(a, b wire.DomainState) int { return cmp.Compare(a.Instance, b.Instance) })
	return list
}

// conditionAfter is the condition that an event leaves a domain in; not ok if
// it leaves it as it was. The pairs are those that libvirt's QEMU driver sets
// together with the event (src/qemu/qemu_process.c, qemu_migration.c): an
// incoming domain is paused/migration from its start on
// (qemuMigrationDstPrepareActive, qemuProcessFinishStartup).
func conditionAfter(e lifecycle) (condition, bool) {
	reason := string(e.detail)
	switch e.event {
	case wire.Started:
		if e.detail == wire.Migrated {
			return pausedForMigration, true
		}
		return condition{"running", reason}, true
	case wire.Resumed:
		return condition{"running", reason}, true
	case wire.Suspended:
		switch e.detail {
		case wire.Migrated:
			return pausedForMigration, true
		case wire.Paused:
			reason = "user"
		}
		return condition{"paused", reason}, true
	case wire.Stopped:
		return condition{shutOff.state, reason}, true
	case wire.Shutdown:
		return condition{"shutdown", "unknown"}, true
	case pmSuspended:
		return condition{"pmsuspended", "unknown"}, true
	case crashed:
		return condition{"crashed", reason}, true
	default:
		return condition{}, false
	}
}
