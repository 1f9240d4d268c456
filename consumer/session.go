package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/wire"
)

const (
	// closeWithin bounds the closing of a connection.
	closeWithin = 5 * time.Second
	// setUpWithin bounds the opening of a session, and what is opened more when it becomes
	// the one that acts.
	setUpWithin = 15 * time.Second
	// roundWithin bounds one round of the session's loop, which may wait for its turn and the
	// broker's word on a parked message and at its end for writes to be answered; and one of the
	// doubts', which are kept too.
	roundWithin = time.Minute
	// settledSession is how long a session must have lived for the delays between sessions to
	// start from the shortest again: each that ends counts against the delivery limit of all
	// that it was given.
	settledSession = time.Minute
)

// session is what is done with one set of connections. Everything that it starts ends
// with it.
type session struct {
	*Consumer
	sender   *sender
	asking   *asking
	lease    *lease
	registry *registry
	shelf    *shelf
	journal  *journal
	loop     *health.Loop
	writing  sync.WaitGroup   // what is sent each second
	conn     *amqp.Connection // that host events come through
	nova     *amqp.Connection // that Nova's notifications come through
	out      *amqp.Connection // that is sent on
	active   bool             // a tick of this session has come back: the queue serves us
	gone     bool             // the queues were given back
	// aside are messages that are to be parked when the broker reads again.
	aside []unparked
	// rival is a replica that waits for this share, as its last tick told, until that
	// is looked at; rivalHolds how many it acts for.
	rival      string
	rivalHolds int

	layout, orders, events feed
	// What the replica that is active reads beside the events. The notifications have a connection
	// of their own: thousands of them may be on their way, and an event would come behind them. It
	// is to the same node, so that all moves to another replica together.
	notifications feed
	journalled    feed
	marked        time.Duration // when the journal was opened: a mark of this session is not older
}

// serve runs one session until it breaks, and tells why, or until asked ends, and
// is drained. up is called once it is set up.
func (c *Consumer) serve(asked context.Context, drain time.Duration, up func()) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(asked))
	defer cancel(nil)
	loop := c.health.Loop("session"+c.name, roundWithin)
	defer loop.Rest() // when all that follows has ended

	s, err := c.begin(asked, cancel)
	if err != nil {
		return err
	}
	defer s.disconnect()
	s.loop = loop
	up()
	c.serving.Store(s)
	defer c.serving.Store(nil)
	work, stop := context.WithCancel(ctx)
	s.asking = &asking{publish: func(why string) { s.askHosts(work, why) }, blocked: s.sender.blocked.Load, clock: c.clock}
	s.breaker.abandon()
	s.halts.doubt("it was not read yet")
	s.registry = newRegistry(work, s.tools(work))
	s.registry.ended = s.shelf.giveBack
	defer s.noLongerActs()
	defer s.registry.wait()
	defer s.leaveJournal()
	defer stop()
	defer func() { _ = s.letGo() }() // fails only with the connection
	go c.settings.bindNova(work, s.conn, c.queues(), s.lease.held, s.novaBound())
	s.writing.Go(func() { s.eachSecond(work, cancel, "ticker", tickWithin, s.tick) })
	s.writing.Go(func() { s.eachSecond(work, cancel, "doubts", roundWithin, s.writeDoubts) })
	kept := retained{settings: s.settings, name: c.queues().paused, conn: s.out, refused: s.refuse}
	go s.heed(work, s.orders, kept, cancel)

	review := time.NewTicker(reviewEvery)
	defer review.Stop()
	var reviewNow <-chan time.Time
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	round := time.NewTicker(health.Turn)
	defer round.Stop()
	toStop := asked.Done()
	var last <-chan time.Time // when the restores have had their time
	s.sayHow()
	for {
		loop.Beat()
		if last == nil && s.givesUp() {
			return cmp.Or(s.release(stop), errGivenUp)
		}
		if last != nil && !s.registry.restoring() {
			return s.release(stop)
		}
		select {
		case <-round.C: // the broker may read again
			s.sayHow()
		case <-s.mayPark():
			if err := s.parkAside(work); err != nil {
				return err
			}
		case <-toStop:
			toStop, last = nil, time.After(finishRestores(drain))
			s.stopping(finishRestores(drain))
		case <-last:
			return s.release(stop)
		case d, ok := <-s.events.deliveries:
			if !ok {
				return s.events.ended(ctx)
			}
			if err := s.deliver(work, d); err != nil {
				return err
			}
		case d, ok := <-s.notifications.deliveries:
			if !ok {
				return s.notifications.ended(ctx)
			}
			if err := s.deliver(work, s.notifications.acks.take(d)); err != nil {
				return err
			}
		case _, ok := <-s.layout.deliveries:
			if !ok {
				return s.layout.ended(ctx)
			}
		case reason := <-s.sender.closed:
			return fmt.Errorf("the sender's channel was closed: %w", reason)
		case d, ok := <-s.journalled.deliveries:
			if !ok {
				return s.journalled.ended(ctx)
			}
			if err := s.deliverJournal(work, d); err != nil {
				return err
			}
		case <-review.C:
			if err := s.markJournal(work); err != nil {
				return err
			}
			s.journal.renew(s.clock(), s.settings.HoldMessages)
			if s.journal.waits(s.clock()) && reviewNow == nil {
				s.registry.tools.ask("the journal holds ports that were not found right")
				reviewNow = time.After(answerPatience)
			}
		case <-reviewNow:
			reviewNow = nil
			s.registry.review(s.journal)
		case f := <-s.registry.leftOvers:
			s.registry.leftOver(f)
		case <-sweep.C:
			s.registry.sweep()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// begin connects, and opens what a session works with from its beginning. Each connection that
// ends ends the session.
func (c *Consumer) begin(asked context.Context, broken context.CancelCauseFunc) (*session, error) {
	name := "earlybind-consumer " + c.replica
	if !c.part.only() {
		name += " share " + c.part.String()
	}
	conns, err := c.dial(asked, c.settings.Settings, name, name+" notifications", name+" sender")
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	s := &session{Consumer: c, conn: conns[0], nova: conns[1], out: conns[2], lease: &lease{clock: c.clock}, shelf: newShelf(c.part.portion(maxShelf))}
	for _, conn := range conns {
		go watch(broken, conn)
	}
	// A frozen node of a cluster keeps a connection alive and answers nothing.
	setUp, cancel := context.WithTimeoutCause(asked, setUpWithin, fmt.Errorf("the session was not set up within %s", setUpWithin))
	defer cancel()
	// amqp091-go's calls know no context; closing ends them.
	begun := context.AfterFunc(setUp, s.disconnect)
	err = s.open()
	if !begun() {
		err = context.Cause(setUp)
	}
	if err != nil {
		s.disconnect()
		return nil, err
	}
	return s, nil
}

// open declares what is this program's own and opens it.
func (s *session) open() error {
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	if err := s.settings.declare(ch, s.queues()); err != nil {
		return err
	}
	if err := s.settings.findBeyond(s.conn); err != nil {
		return err
	}
	if s.layout, err = openFeed(s.conn, s.queues().layout, s.replica+" layout", 1); err != nil {
		return err
	}
	if s.orders, err = openOrders(s.conn, s.queues().paused, keyKept, s.replica); err != nil {
		return err
	}
	if s.sender, err = newSender(s.settings, s.queues(), s.replica, s.out, s.tellBlocked); err != nil {
		return err
	}
	s.journal = newJournal(s.sender.journal)
	s.events, err = openFeed(s.conn, s.queues().events, s.replica, s.part.portion(prefetch))
	return err
}

// watch ends the session when a connection does.
func watch(cancel context.CancelCauseFunc, conn *amqp.Connection) {
	if err, ok := <-conn.NotifyClose(make(chan *amqp.Error, 1)); ok {
		cancel(fmt.Errorf("connection closed: %w", err))
		return
	}
	cancel(errors.New("connection closed"))
}

// hangUp ends what waits for the broker on the connections that are read: amqp091-go's calls know
// no context.
func (s *session) hangUp() {
	closeConnection(s.conn)
	closeConnection(s.nova)
}

// errSilent is of a call that the broker does not answer.
var errSilent = fmt.Errorf("the broker has not answered for %s", setUpWithin)

// tellingSilence tells of a call that takes longer than setUpWithin: the node that leads a queue can be frozen, while
// another keeps the connection. tell has returned when it returns.
func tellingSilence(ctx context.Context, tell func(error), call func() error) error {
	told := make(chan struct{})
	silent := time.AfterFunc(setUpWithin, func() {
		defer close(told)
		if ctx.Err() == nil {
			tell(errSilent)
		}
	})
	err := call()
	if !silent.Stop() {
		<-told
	}
	return err
}

// disconnect closes them all.
func (s *session) disconnect() {
	closeConnection(s.out)
	s.hangUp()
}

func closeConnection(conn *amqp.Connection) {
	_ = conn.CloseDeadline(time.Now().Add(closeWithin))
}

// tools are what the actors of this session work with.
func (s *session) tools(ctx context.Context) *tools {
	return &tools{
		neutron:  s.neutron,
		audit:    s.log.Record,
		clock:    s.clock,
		time:     clock.Real(),
		may:      func() bool { return ctx.Err() == nil && s.lease.held() },
		settings: s.core,
		breaker:  s.breaker,
		halt:     s.halts.now,
		journal:  s.journal,
		doubt:    s.doubts.add,
		upWithin: s.settings.UpWithin,
		holdFor:  s.settings.HoldMessages,

		unknownWatch: unknownWatch,
		ask:          s.asking.ask,
	}
}

// askHosts asks every publisher for its domains.
func (s *session) askHosts(ctx context.Context, why string) {
	if err := s.sender.askStates(ctx, why); err != nil {
		s.log.Record(audit.Line{Event: audit.HostsAsked, Why: why, Outcome: "failed", Err: err})
	}
}

// eachSecond sends something each second, unless the broker reads nothing, and ends the session
// when that fails. One round takes no longer than within.
func (s *session) eachSecond(ctx context.Context, broken context.CancelCauseFunc, name string, within time.Duration, send func(context.Context, *health.Loop) error) {
	every := time.NewTicker(tickEvery)
	defer every.Stop()
	loop := s.health.Loop(name+s.name, within)
	defer loop.Rest()
	for {
		loop.Beat()
		if !s.sender.blocked.Load() {
			if err := send(ctx, loop); err != nil {
				broken(err)
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
}

// tick sends a tick, and the question to the hosts that waits. Without ticks the lease lapses,
// while the queue goes on serving this replica.
func (s *session) tick(ctx context.Context, _ *health.Loop) error {
	if err := s.sender.tick(ctx, s.clock(), s.balance.held()); err != nil {
		return fmt.Errorf("send a tick: %w", err)
	}
	s.asking.again()
	return nil
}

// novaBound says once, and again on change, how the binding to Nova's exchange
// stands.
func (s *session) novaBound() func(error) {
	last := "unknown"
	return func(err error) {
		now := "bound"
		if err != nil {
			now = err.Error()
		}
		if now != last {
			last = now
			s.log.Record(audit.Line{Event: audit.ConsumerStarted, Saw: "exchange " + s.settings.NovaExchange, Outcome: now})
		}
	}
}

// deliver settles one delivery: acknowledged when its outcome is recorded,
// parked when it cannot be understood. An error ends the session; the message
// then comes again.
func (s *session) deliver(ctx context.Context, d amqp.Delivery) error {
	settled := s.settler(d)
	settle := func() { settled("done") }
	read, err := s.settings.read(delivered{exchange: d.Exchange, userID: d.UserId, body: d.Body})
	s.metrics.Took(messageOf(read))
	switch {
	case errors.Is(err, errRefused), errors.Is(err, wire.ErrUnknownSchema):
		s.refuse(err)
	case err != nil && !s.part.has(string(d.Body)):
		settle() // another share parks it
		return nil
	case err != nil:
		return s.park(ctx, d, err)
	}
	switch m := read.(type) {
	case wire.Tick:
		if d.RoutingKey == wire.TickKey(s.queues().events) { // an earlier version bound the queue to all of them
			if err := s.ticked(ctx, m); err != nil {
				return err
			}
			s.sayHow()
		}
	case wire.NovaEvent:
		if !s.part.has(m.Instance) {
			settle()
			return nil
		}
		if err := worn(d); err != nil {
			return s.park(ctx, d, err)
		}
		settle = s.shelf.hold(m.Instance, d, settle)
	case wire.HostEvent:
		if !s.part.has(m.Instance) {
			s.registry.understood(m.Host)
			settle()
			return nil
		}
		if err := worn(d); err != nil {
			return s.park(ctx, d, err)
		}
		settle = s.shelf.hold(m.Instance, d, settle)
	case wire.HostStates:
		m.Domains = slices.DeleteFunc(m.Domains, func(d wire.DomainState) bool { return !s.part.has(d.Instance) })
		read = m
	}
	s.registry.take(read, func(e wire.HostEvent) time.Duration { return s.freshFor(e, d.Redelivered) }, d.Redelivered, settle)
	return nil
}

// errWorn marks a message that comes again and again.
var errWorn = errors.New("delivered too often")

// worn tells of a message that RabbitMQ will soon drop: one session after the other has ended
// before it was settled.
func worn(d amqp.Delivery) error {
	if count, _ := d.Headers["x-delivery-count"].(int64); count >= deliveryLimit-deliveriesLeft {
		return fmt.Errorf("%w: it has come back %d times, and is dropped after %d", errWorn, count, deliveryLimit)
	}
	return nil
}

func (s *session) freshFor(e wire.HostEvent, redelivered bool) time.Duration {
	queued, known := s.lease.queued()
	if redelivered || !known {
		return 0
	}
	return s.settings.freshFor(e, queued)
}

// freshFor tells for how long a host event may still lead to a commit: the
// window less what it has waited at its publisher and, at most, in the queue.
// A message that was delivered before was acted on before, or by another: for none.
func (s Settings) freshFor(e wire.HostEvent, queued time.Duration) time.Duration {
	if e.AgeMS < 0 || e.AgeMS > s.CommitWindow.Milliseconds() {
		return 0
	}
	return s.CommitWindow - time.Duration(e.AgeMS)*time.Millisecond - max(queued, 0)
}

// unparked is a message that could not be parked yet.
type unparked struct {
	amqp.Delivery
	reason error
}

// always is ready.
var always = func() <-chan struct{} {
	ready := make(chan struct{})
	close(ready)
	return ready
}()

// mayPark is ready while there is something aside and the broker reads.
func (s *session) mayPark() <-chan struct{} {
	if len(s.aside) == 0 || s.sender.blocked.Load() {
		return nil
	}
	return always
}

// parkAside parks the first message that was put aside: one in a turn of the loop, since there
// may be thousands, and the tick that renews the lease does not wait for all of them.
func (s *session) parkAside(ctx context.Context) error {
	first := s.aside[0]
	s.aside[0] = unparked{} // the array does not keep its body
	s.aside = s.aside[1:]
	return s.park(ctx, first.Delivery, first.reason)
}

// park parks a message, or puts it aside while the broker reads nothing that is published. (That
// can show while the broker's word is waited for: then the message may be parked twice.)
func (s *session) park(ctx context.Context, d amqp.Delivery, reason error) error {
	if s.sender.blocked.Load() {
		s.aside = append(s.aside, unparked{d, reason})
		return nil
	}
	why := reasonOf(reason)
	switch err := s.sender.park(ctx, d, why); {
	case err != nil && s.sender.blocked.Load(), errors.Is(err, errNoTurn):
		s.aside = append(s.aside, unparked{d, reason})
		return nil
	case err != nil:
		return fmt.Errorf("park a message: %w", err)
	}
	s.log.Record(audit.Line{
		Event: audit.MessageParked, Kind: kindOf(reason), Saw: identityOf(d),
		Why: why, Decided: "parked in " + s.queues().parked, Figures: map[string]int64{"bytes": int64(len(d.Body))},
	})
	s.settler(d)("parked")
	return nil
}

// settler gives what acknowledges a message whose outcome is recorded. Who wants an account
// of every message sets the log to trace: its line is written first, so that what the
// broker has let go of has one; if the acknowledgement is then lost with the session, the
// message comes again and has a second. What was in the message is not kept.
func (s *session) settler(d amqp.Delivery) func(outcome string) {
	channel, tag := d.Acknowledger, d.DeliveryTag
	if !s.log.Traces() {
		return func(string) { _ = channel.Ack(tag, false) } // fails only with the session
	}
	saw := identityOf(d)
	return func(outcome string) {
		s.log.Record(audit.Line{Event: audit.MessageSettled, Saw: saw, Outcome: outcome})
		_ = channel.Ack(tag, false)
	}
}

// identityOf tells a message from others without its content.
func identityOf(d amqp.Delivery) string {
	return "exchange " + d.Exchange + ", key " + d.RoutingKey + ", sha256 " + hash(d.Body)
}
