package consumer

import (
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// timeline keeps when a handover's moments came, on the monotonic clock, for
// the figures of its last line.
type timeline struct {
	driver   string      // of the ports, as far as shown; audit.DriverMixed if they differ
	flavor   wire.Flavor // the instance's, as Nova's notifications have it
	began    time.Duration
	paused   time.Duration // the guest stood still
	arrived  time.Duration // it was on the destination
	cause    time.Duration // what led to the first activate was delivered, or read
	activate time.Duration // the first activate was sent
	answered time.Duration // the last activate was answered
	nova     time.Duration // Nova took over, and activates next what is not ACTIVE
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
			first(&t.paused, now)
		case handover.Arrived:
			first(&t.arrived, now)
		}
	case handover.NovaSign:
		if in.Flavor != (wire.Flavor{}) {
			t.flavor = in.Flavor
		}
		if in.Step == wire.NovaPost && !in.Ended {
			first(&t.nova, now)
		}
	}
}

func (t *timeline) committed(sent, answered time.Duration) {
	first(&t.activate, sent)
	t.answered = max(t.answered, answered)
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
	size("memory_mb", t.flavor.MemoryMB)
	size("vcpus", t.flavor.VCPUs)
	span("pause_to_arrival_ms", t.paused, t.arrived)
	span("pause_to_activate_ms", t.paused, t.activate)
	span("pause_to_active_ms", t.paused, t.answered)
	span("pause_to_nova_ms", t.paused, t.nova)
	span("reaction_ms", t.cause, t.activate)
	if t.activate > 0 {
		span("lead_ms", t.answered, t.nova)
	} else {
		span("would_lead_suspended_ms", t.paused, t.nova)
		span("would_lead_resumed_ms", t.arrived, t.nova)
	}
	return f
}

func first(moment *time.Duration, now time.Duration) {
	if *moment == 0 {
		*moment = now
	}
}
