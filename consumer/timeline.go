package consumer

import (
	"time"
	"unique"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// timeline keeps when a handover's moments came, on the monotonic clock, for
// the figures of its last line.
type timeline struct {
	driver string                     // of the ports, as far as shown; audit.DriverMixed if they differ
	flavor unique.Handle[wire.Flavor] // see size
	began  time.Duration
	came   *moments // nil: none
}

// moments are the later ones: of very many handovers that are only armed none has come.
type moments struct {
	paused   time.Duration // the guest stood still
	arrived  time.Duration // it was on the destination
	cause    time.Duration // what led to the first activate was delivered, or read
	activate time.Duration // the first activate was sent
	answered time.Duration // the last activate was answered
	nova     time.Duration // Nova took over, and activates next what is not ACTIVE
}

// moments gives them to be set.
func (t *timeline) moments() *moments {
	if t.came == nil {
		t.came = &moments{}
	}
	return t.came
}

// size is the instance's flavor, as Nova's notifications have it; zero: not told.
func (t *timeline) size() wire.Flavor {
	if t.flavor == (unique.Handle[wire.Flavor]{}) {
		return wire.Flavor{}
	}
	return t.flavor.Value()
}

// note keeps the first time of each moment.
func (t *timeline) note(in handover.Input, h *handover.Handover, now time.Duration) {
	if h == nil {
		return
	}
	switch in := in.(type) {
	case handover.HostSign:
		switch h.Phase() {
		case handover.Paused, handover.PostCopy:
			first(&t.moments().paused, now)
		case handover.Arrived:
			first(&t.moments().arrived, now)
		}
	case handover.NovaSign:
		if in.Flavor != (wire.Flavor{}) {
			t.flavor = unique.Make(in.Flavor)
		}
		if in.Step == wire.NovaPost && !in.Ended {
			first(&t.moments().nova, now)
		}
	}
}

func (t *timeline) committed(sent, answered time.Duration) {
	m := t.moments()
	first(&m.activate, sent)
	m.answered = max(m.answered, answered)
}

// shown takes what ports show of their driver: only a bound ACTIVE row does, so that
// what was shown before counts too.
func (t *timeline) shown(ports []port.Port) {
	for _, p := range ports {
		switch {
		case p.Driver == "", p.Driver == t.driver:
		case t.driver == "":
			t.driver = p.Driver
		default:
			t.driver = audit.DriverMixed
		}
	}
}

// figures are in milliseconds, and the size of the instance. lead_ms is how much earlier the destination was
// ACTIVE than Nova began to look; where nothing was activated,
// would_lead_ms is how much earlier the request could have been sent.
func (t *timeline) figures() map[string]int64 {
	f := map[string]int64{}
	m, flavor := *t.moments(), t.size()
	span := func(name string, from, to time.Duration) {
		if from > 0 && to > 0 {
			f[name] = (to - from).Milliseconds()
		}
	}
	size := func(name string, n int) {
		if n > 0 {
			f[name] = int64(n)
		}
	}
	size("memory_mb", flavor.MemoryMB)
	size("vcpus", flavor.VCPUs)
	span("pause_to_arrival_ms", m.paused, m.arrived)
	span("pause_to_activate_ms", m.paused, m.activate)
	span("pause_to_active_ms", m.paused, m.answered)
	span("pause_to_nova_ms", m.paused, m.nova)
	span("reaction_ms", m.cause, m.activate)
	if m.activate > 0 {
		span("lead_ms", m.answered, m.nova)
	} else {
		span("would_lead_suspended_ms", m.paused, m.nova)
		span("would_lead_resumed_ms", m.arrived, m.nova)
	}
	return f
}

func first(moment *time.Duration, now time.Duration) {
	if *moment == 0 {
		*moment = now
	}
}
