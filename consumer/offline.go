package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/wire"
)

// Offline is a consumer without a broker: the same decoding, registry, actors and
// workers, for messages that its caller has. It runs on one goroutine, the caller's, and
// on the tasks that it starts on the clock.
//
// What is not there: other replicas, a lease that could be lost, publishers that could
// be asked (what they were asked for then stands in the recording), and the search for
// what earlier migrations have left.
type Offline struct {
	settings Settings
	registry *registry
	stop     context.CancelFunc
	record   func(audit.Line)
}

// NewOffline makes a consumer that acts on neutron. record is told of every line of the
// audit log; safe is as for [New].
func NewOffline(s Settings, neutron Neutron, safe bool, c clock.Clock, record func(audit.Line)) *Offline {
	journal := newJournal(func(context.Context, wire.JournalEntry) error { return nil })
	journal.complete()
	ctx, stop := context.WithCancel(context.Background())
	o := &Offline{settings: s, stop: stop, record: record}
	o.registry = newRegistry(ctx, &tools{
		neutron: neutron,
		audit:   record,
		clock:   c.Now,
		time:    c,
		may:     func() bool { return ctx.Err() == nil },
		journal: journal,
		doubt:   func(wire.JournalEntry) {},
		ask:     func(string) {},
		settings: handover.Settings{
			Policy: s.Policy, Networks: s.PolicyNetworks, Drivers: s.PolicyDrivers, Repair: s.Repair, ConcurrentActivateSafe: safe,
		},
		breaker:      newBreaker(s.BreakerFailures, s.BreakerPause, c.Now),
		unknownWatch: unknownWatch,
		upWithin:     s.UpWithin,
	})
	o.registry.run = func(*actor) {} // Settle does
	o.registry.searching = nil       // a search waits here until the end: there is nothing to find
	return o
}

// Deliver takes a message in, as it was delivered now. A message that a live consumer
// would refuse or park becomes a line of the audit log.
func (o *Offline) Deliver(exchange, userID string, redelivered bool, body []byte) {
	m, err := o.settings.read(delivered{exchange: exchange, userID: userID, body: body})
	switch {
	case errors.Is(err, errRefused), errors.Is(err, wire.ErrUnknownSchema):
		o.record(audit.Line{Event: audit.HostRefused, Kind: kindOf(err), Why: err.Error(), Decided: "its messages are dropped"})
	case err != nil:
		o.record(audit.Line{Event: audit.MessageParked, Kind: kindOf(err), Saw: "exchange " + exchange, Why: err.Error()})
		return
	}
	fresh := func(e wire.HostEvent) time.Duration {
		if redelivered {
			return 0
		}
		return o.settings.freshFor(e, 0)
	}
	o.registry.take(m, fresh, redelivered, func() {})
}

// Settle has every instance take what waits for it, and tells whether anything did. It
// is to be called before time moves on.
func (o *Offline) Settle() bool {
	worked := false
	for _, a := range o.actors() {
		for a.takeWaiting(o.registry.ctx) {
			worked = true
		}
	}
	return worked
}

// takeWaiting takes one thing that waits, what was found before what was said; false if
// nothing does.
func (a *actor) takeWaiting(ctx context.Context) bool {
	select {
	case result := <-a.results:
		result()
		return true
	default:
	}
	select {
	case m := <-a.inbox:
		a.take(ctx, m)
		return true
	default:
		return false
	}
}

// Tidy is to be called every minute: it ends handovers that have been silent for long.
func (o *Offline) Tidy() {
	for _, a := range o.actors() {
		a.tidy(o.registry.ctx)
	}
}

// Idle tells that no handover goes on.
func (o *Offline) Idle() bool {
	return !slices.ContainsFunc(o.actors(), func(a *actor) bool { return a.core.Current() != nil })
}

// Stop ends what goes on: the tasks return at their next wait.
func (o *Offline) Stop() { o.stop() }

// actors are in a fixed order, so that every run is the same.
func (o *Offline) actors() []*actor {
	var ordered []*actor
	for _, instance := range slices.Sorted(maps.Keys(o.registry.actors)) {
		ordered = append(ordered, o.registry.actors[instance])
	}
	return ordered
}
