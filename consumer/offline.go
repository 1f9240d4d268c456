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
	// stirred are the instances that something waits for.
	stirred map[string]*actor
}

// NewOffline makes a consumer that acts on neutron. record is told of every line of the
// audit log; safe is as for [New].
func NewOffline(s Settings, neutron Neutron, safe bool, c clock.Clock, record func(audit.Line)) *Offline {
	journal := newJournal(func(context.Context, wire.JournalEntry) error { return nil })
	journal.complete()
	ctx, stop := context.WithCancel(context.Background())
	o := &Offline{settings: s, stop: stop, record: record, stirred: map[string]*actor{}}
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
			Policy: s.Policy, Networks: s.PolicyNetworks, Drivers: s.PolicyDrivers, Hosts: s.PolicyHosts, Canary: s.Canary,
			Repair: s.Repair, ConcurrentActivateSafe: safe,
		},
		halt:         func() handover.Halt { return handover.Halt{} },
		breaker:      newBreaker(s.BreakerFailures, s.BreakerPause, c.Now),
		unknownWatch: unknownWatch,
		upWithin:     s.UpWithin,
	})
	o.registry.run = func(a *actor) { // what Settle has to do
		a.stir = func() { o.stirred[a.instance] = a }
	}
	o.registry.searching = nil // a search waits here until the end: there is nothing to find
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

// Tell takes in what was read off a message: a [wire.NovaEvent], [wire.HostEvent] or
// [wire.HostStates]. queued is for how long it has waited in the queue.
func (o *Offline) Tell(read any, queued time.Duration) {
	fresh := func(e wire.HostEvent) time.Duration { return o.settings.freshFor(e, queued) }
	o.registry.take(read, fresh, false, func() {})
}

// Settle has every instance take what waits for it, and tells whether anything did. It
// is to be called before time moves on.
func (o *Offline) Settle() bool {
	worked := false
	for len(o.stirred) > 0 {
		for _, a := range inOrder(o.stirred) {
			delete(o.stirred, a.instance)
			for a.takeWaiting(o.registry.ctx) {
				worked = true
			}
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

// Tidy is to be called every minute: it ends handovers that have been silent for long,
// and forgets instances that have had none for long.
func (o *Offline) Tidy() {
	for _, a := range inOrder(o.registry.actors) {
		a.tidy(o.registry.ctx)
	}
	o.registry.sweep()
}

// Idle tells that no handover goes on.
func (o *Offline) Idle() bool { return o.Handovers() == 0 }

// Handovers tells how many go on.
func (o *Offline) Handovers() int {
	count := 0
	for _, a := range o.registry.actors {
		if a.core.Current() != nil {
			count++
		}
	}
	return count
}

// Stop ends what goes on: the tasks return at their next wait.
func (o *Offline) Stop() { o.stop() }

// inOrder gives actors in a fixed order, so that every run is the same.
func inOrder(actors map[string]*actor) []*actor {
	var ordered []*actor
	for _, instance := range slices.Sorted(maps.Keys(actors)) {
		ordered = append(ordered, actors[instance])
	}
	return ordered
}
