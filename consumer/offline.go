package consumer

import (
	"context"
	"errors"
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
		neutron:      neutron,
		audit:        record,
		clock:        c.Now,
		time:         c,
		may:          func() bool { return ctx.Err() == nil },
		journal:      journal,
		doubt:        func(wire.JournalEntry) {},
		ask:          func(string) {},
		settings:     s.core(safe),
		halt:         func() handover.Halt { return handover.Halt{} },
		breaker:      newBreaker(s.BreakerFailures, s.BreakerPause, c.Now),
		unknownWatch: unknownWatch,
		upWithin:     s.UpWithin,
		holdFor:      s.HoldMessages,
	})
	o.registry.ordered = true
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

// Tidy is to be called every minute: it ends handovers that have been silent for long,
// and forgets instances that have had none for long.
func (o *Offline) Tidy() { o.registry.sweep() }

// Idle tells that no handover goes on.
func (o *Offline) Idle() bool { return o.Handovers() == 0 }

// Handovers tells how many go on.
func (o *Offline) Handovers() int {
	count := 0
	for _, a := range o.registry.actors {
		if busy, _ := a.busy(); busy {
			count++
		}
	}
	return count
}

// Stop ends what goes on: the tasks return at their next wait.
func (o *Offline) Stop() { o.stop() }
