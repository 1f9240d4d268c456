package publisher

import (
	"strconv"

	"libvirt.org/go/libvirt"

	"github.com/earlybind/earlybind/wire"
)

// Names of events, details, states and reasons are libvirt's own, lower case
// (include/libvirt/libvirt-domain.h). They are looked up by number: the
// binding's String() says "unknown" for the POSTCOPY details and SHUTDOWN/HOST.

const (
	pmSuspended wire.Event = "pmsuspended"
	crashed     wire.Event = "crashed"
)

type eventName struct {
	event   wire.Event
	details []wire.Detail // by number
}

var eventNames = map[libvirt.DomainEventType]eventName{
	libvirt.DOMAIN_EVENT_DEFINED:   {wire.Defined, []wire.Detail{"added", "updated", "renamed", "from_snapshot"}},
	libvirt.DOMAIN_EVENT_UNDEFINED: {wire.Undefined, []wire.Detail{"removed", "renamed"}},
	libvirt.DOMAIN_EVENT_STARTED:   {wire.Started, []wire.Detail{"booted", wire.Migrated, "restored", "from_snapshot", "wakeup", "recreated"}},
	libvirt.DOMAIN_EVENT_SUSPENDED: {wire.Suspended, []wire.Detail{wire.Paused, wire.Migrated, "ioerror", "watchdog", "restored",
		"from_snapshot", "api_error", wire.PostCopy, wire.PostCopyFailed, "guest_shutdown"}},
	libvirt.DOMAIN_EVENT_RESUMED: {wire.Resumed, []wire.Detail{wire.Unpaused, wire.Migrated, "from_snapshot", wire.PostCopy, wire.PostCopyFailed}},
	libvirt.DOMAIN_EVENT_STOPPED: {wire.Stopped, []wire.Detail{"shutdown", "destroyed", "crashed", wire.Migrated, "saved", wire.Failed,
		"from_snapshot", "recreated"}},
	libvirt.DOMAIN_EVENT_SHUTDOWN:    {wire.Shutdown, []wire.Detail{"finished", "guest", "host"}},
	libvirt.DOMAIN_EVENT_PMSUSPENDED: {pmSuspended, []wire.Detail{"memory", "disk"}},
	libvirt.DOMAIN_EVENT_CRASHED:     {crashed, []wire.Detail{"panicked", "crashloaded"}},
}

// nameEvent names a lifecycle event; a number that is not known is
// "unknown-<number>".
func nameEvent(event libvirt.DomainEventType, detail int) (wire.Event, wire.Detail) {
	n, ok := eventNames[event]
	if !ok {
		return wire.Event(unknownNumber(int(event))), wire.Detail(unknownNumber(detail))
	}
	return n.event, wire.Detail(pick(n.details, detail))
}

type stateName struct {
	state   string
	reasons []string // by number
}

var stateNames = map[libvirt.DomainState]stateName{
	libvirt.DOMAIN_NOSTATE: {"nostate", []string{"unknown"}},
	libvirt.DOMAIN_RUNNING: {"running", []string{"unknown", "booted", "migrated", "restored", "from_snapshot", "unpaused",
		"migration_canceled", "save_canceled", "wakeup", "crashed", "postcopy", "postcopy_failed"}},
	libvirt.DOMAIN_BLOCKED: {"blocked", []string{"unknown"}},
	libvirt.DOMAIN_PAUSED: {"paused", []string{"unknown", "user", "migration", "save", "dump", "ioerror", "watchdog", "from_snapshot",
		"shutting_down", "snapshot", "crashed", "starting_up", "postcopy", "postcopy_failed", "api_error"}},
	libvirt.DOMAIN_SHUTDOWN: {"shutdown", []string{"unknown", "user"}},
	libvirt.DOMAIN_SHUTOFF: {"shutoff", []string{"unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed",
		"from_snapshot", "daemon"}},
	libvirt.DOMAIN_CRASHED:     {"crashed", []string{"unknown", "panicked"}},
	libvirt.DOMAIN_PMSUSPENDED: {"pmsuspended", []string{"unknown"}},
}

// nameState names a domain's state and the reason for it.
func nameState(state libvirt.DomainState, reason int) condition {
	n, ok := stateNames[state]
	if !ok {
		return condition{unknownNumber(int(state)), unknownNumber(reason)}
	}
	return condition{n.state, pick(n.reasons, reason)}
}

func pick[T ~string](names []T, number int) string {
	if number < 0 || number >= len(names) {
		return unknownNumber(number)
	}
	return string(names[number])
}

func unknownNumber(n int) string { return "unknown-" + strconv.Itoa(n) }
