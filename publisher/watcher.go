package publisher

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/wire"
)

const (
	// libvirtMaxDelay caps the delay between two attempts: events of the gap
	// are lost and the socket is local, so it is short.
	libvirtMaxDelay = 5 * time.Second
	// libvirtPatience is after how long a connect or a reading that does not
	// return is worth a line in the log.
	libvirtPatience = 10 * time.Second
)

// watcher owns the connection to libvirt, the cache and the order of messages.
// One goroutine does all of it, so that the order of callbacks is the order of
// sequences, and states stand between the right events.
type watcher struct {
	host       string
	hypervisor hypervisor
	outbox     *outbox
	// wanted asks for states: a token, and gap says that messages were lost.
	wanted *statesWanted
	log    zerolog.Logger

	newInbox func() *inbox
	order    wire.Order // of the last message
	domains  *domains
	plugs    plugs

	board *health.Board
	loop  *health.Loop // of a connection

	metrics *metrics.Publisher
}

// plugs is what can plug a guest's interfaces in again after a failed migration.
// Both calls answer from memory: they stand on the hot path.
type plugs interface {
	// Heard takes an event of a domain. Of SUSPENDED/MIGRATED it gives the
	// ports that can be plugged in again.
	Heard(instance string, event wire.Event, detail wire.Detail) []string
	// Read takes the states of all domains after events may have been missed.
	Read([]wire.DomainState)
}

// noPlugs is a publisher that was given no Open vSwitch database.
type noPlugs struct{}

func (noPlugs) Heard(string, wire.Event, wire.Detail) []string { return nil }
func (noPlugs) Read([]wire.DomainState)                        {}

// statesWanted is the sender's request for states to the watcher. Requests that
// come before the first was answered become one.
type statesWanted struct {
	token chan struct{}
	mu    sync.Mutex
	gap   bool
}

func newStatesWanted() *statesWanted { return &statesWanted{token: make(chan struct{}, 1)} }

// ask asks for states; gap says that messages before them were lost.
func (s *statesWanted) ask(gap bool) {
	s.mu.Lock()
	s.gap = s.gap || gap
	s.mu.Unlock()
	signal(s.token)
}

// take ends the request and tells whether there was a gap.
func (s *statesWanted) take() bool {
	select {
	case <-s.token:
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	gap := s.gap
	s.gap = false
	return gap
}

// run connects, watches and connects again until ctx ends.
func (w *watcher) run(ctx context.Context) {
	delays := broker.Backoff()
	delays.MaxInterval = libvirtMaxDelay
	var log repeats
	for ctx.Err() == nil {
		inbox := w.newInbox()
		conn, err := w.connect(ctx, inbox)
		if err == nil {
			var read bool
			if read, err = w.watch(ctx, conn, inbox); read {
				delays.Reset()
				log.reset()
			}
		}
		if ctx.Err() != nil {
			return
		}
		w.board.Lacks(factLibvirt, err.Error())
		delay := delays.NextBackOff()
		log.warn(w.log, err).Dur("retry_in_ms", delay).Msg("libvirt is away")
		wait(ctx, delay)
	}
}

// connect waits for one attempt for as long as it takes: only the answer of a
// frozen daemon, or its death, ends it, and a second attempt would hang beside
// the first.
func (w *watcher) connect(ctx context.Context, inbox *inbox) (connection, error) {
	type outcome struct {
		conn connection
		err  error
	}
	answer := make(chan outcome, 1)
	go func() {
		conn, err := w.hypervisor.connect(inbox.put)
		answer <- outcome{conn, err}
	}()
	patience := time.NewTimer(libvirtPatience)
	defer patience.Stop()
	for {
		select {
		case o := <-answer:
			return o.conn, o.err
		case <-patience.C:
			w.board.Lacks(factLibvirt, "does not answer a connect")
			w.log.Warn().Dur("waited_ms", libvirtPatience).Msg("libvirt does not answer a connect, still waiting")
		case <-ctx.Done():
			go func() {
				if o := <-answer; o.err == nil {
					o.conn.close()
				}
			}()
			return nil, ctx.Err()
		}
	}
}

// watch serves one connection until it is lost or ctx ends. It tells whether a
// reading of all domains succeeded.
func (w *watcher) watch(ctx context.Context, conn connection, inbox *inbox) (read bool, err error) {
	var calls sync.WaitGroup // into libvirt, each in its own goroutine
	over := make(chan struct{})
	defer func() {
		close(over)
		// Not waited for: a call can hang as long as its domain does.
		go func() {
			calls.Wait()
			conn.close()
		}()
	}()

	type outcome struct {
		all []reading
		err error
	}
	var answer chan outcome // of the reading under way, or nil
	patience := time.NewTimer(libvirtPatience)
	defer patience.Stop()
	readAll := func() {
		w.domains.beginReading()
		known := w.domains.ofNova()
		answer = make(chan outcome, 1)
		patience.Reset(libvirtPatience)
		into := answer
		calls.Go(func() {
			all, err := conn.read(known)
			into <- outcome{all, err}
		})
	}
	owners := make(chan reading) // instance and owner only
	ask := func(instance string) {
		calls.Go(func() {
			began := time.Now()
			owner, err := conn.owner(instance)
			w.log.Debug().Err(err).Str("instance", instance).Bool("nova", owner == ownedByNova).Dur("took_ms", time.Since(began)).Msg("asked whose a domain is")
			if err != nil {
				return // stays unknown, which is published; a reading asks again
			}
			select {
			case owners <- reading{instance: instance, owner: owner}:
			case <-over:
			}
		})
	}

	w.metrics.Connected(metrics.ToLibvirt)
	w.log.Info().Msg("libvirt connected")
	readAll()
	known := false // the cache has the effect of every event that came
	again := false // an overflow during the reading: read once more
	defer w.loop.Rest()
	for {
		w.loop.Rest() // nothing wakes it while there is nothing to do; what it is given to do it is watched at
		select {
		case e := <-inbox.events:
			w.loop.Beat()
			if w.take(e) {
				ask(e.instance)
			}
		case o := <-owners:
			w.loop.Beat()
			w.domains.learn(o.instance, o.owner)
		case <-inbox.overflow:
			w.loop.Beat()
			n := inbox.lost()
			w.metrics.Lost(n)
			w.log.Error().Int64("lost", n).Msg("events of libvirt were lost: too many at once; reading all domains")
			known = false
			if again = answer != nil; !again {
				readAll()
			}
		case o := <-answer:
			w.loop.Beat()
			answer = nil
			patience.Stop()
			switch {
			case o.err != nil:
				return read, o.err
			case again:
				again = false
				readAll()
				continue
			}
			w.domains.endReading(o.all)
			w.plugs.Read(w.domains.states())
			read, known = true, true
			w.board.Has(factLibvirt, "connected, its domains are known")
			w.wanted.take()
			w.publishStates(true)
		case <-patience.C:
			w.loop.Beat()
			w.board.Lacks(factLibvirt, "does not answer about its domains")
			w.log.Warn().Dur("waited_ms", libvirtPatience).Msg("libvirt does not answer about its domains, still waiting")
		case <-w.wantedIf(known):
			w.loop.Beat()
			w.publishStates(w.wanted.take())
		case err := <-conn.lost():
			w.loop.Beat()
			w.takeAll(inbox)
			return read, err
		case <-ctx.Done():
			w.loop.Beat()
			w.takeAll(inbox)
			return read, ctx.Err()
		}
	}
}

// wantedIf keeps requests for states waiting until the cache can answer them:
// before the first reading, while libvirt is away, and after events were lost nobody knows.
func (w *watcher) wantedIf(known bool) <-chan struct{} {
	if !known {
		return nil
	}
	return w.wanted.token
}

// takeAll takes what the callbacks of an ended session have left.
func (w *watcher) takeAll(inbox *inbox) {
	for {
		select {
		case e := <-inbox.events:
			w.take(e)
		default:
			return
		}
	}
}

// take publishes an event, unless its domain is known not to be Nova's, and
// keeps the cache. This is the hot path: it asks libvirt nothing. A domain whose
// owner is not known yet is published, since a message too many does no harm. It
// tells whether now is a time to ask for the owner.
func (w *watcher) take(e lifecycle) (ask bool) {
	if w.domains.owner(e.instance) != foreign {
		w.order.Sequence++
		w.outbox.add(&message{at: e.at, event: wire.HostEvent{
			Schema:   wire.SchemaVersion,
			Host:     w.host,
			Order:    w.order,
			Instance: e.instance,
			Event:    e.event,
			Detail:   e.detail,
			Replug:   w.plugs.Heard(e.instance, e.event, e.detail),
			At:       e.at.Round(0).UTC().Truncate(time.Microsecond),
		}})
	}
	w.domains.apply(e)
	return w.domains.mayAsk(e)
}

func (w *watcher) publishStates(gap bool) {
	w.order.Sequence++
	w.outbox.add(&message{at: time.Now(), states: &wire.HostStates{
		Schema:      wire.SchemaVersion,
		Host:        w.host,
		Order:       w.order,
		Reconnected: gap,
		Domains:     w.domains.states(),
	}})
}

// repeats keeps a server that stays away from filling the log: the first of
// equal errors is a warning, the others are for debug.
type repeats struct {
	last    string
	attempt int
}

func (r *repeats) warn(log zerolog.Logger, err error) *zerolog.Event {
	r.attempt++
	line := log.Warn()
	if err.Error() == r.last {
		line = log.Debug()
	}
	r.last = err.Error()
	return line.Err(err).Int("attempt", r.attempt)
}

func (r *repeats) reset() { *r = repeats{} }

// wait ends after the delay or with ctx.
func wait(ctx context.Context, delay time.Duration) {
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
