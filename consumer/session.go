package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/wire"
)

// closeWithin bounds the closing of a connection.
const closeWithin = 5 * time.Second

// session is one connection's worth of work. Everything that it starts ends
// with it.
type session struct {
	*Consumer
	sender   *sender
	lease    *lease
	registry *registry
	journal  *journal
	conn     *amqp.Connection // that messages come through
	active   bool             // a tick of this session has come back: the queue serves us
	// journalled are the journal's messages, nil until this replica is active.
	journalled    <-chan amqp.Delivery
	journalClosed <-chan *amqp.Error // told before they end
	marked        time.Duration      // when the journal was opened: a mark of this session is not older
}

// serve runs one session until it breaks or the context ends, and always tells
// why. up is called once it consumes.
func (c *Consumer) serve(ctx context.Context, up func()) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	in, err := broker.Dial(ctx, c.settings.Settings, "earlybind-consumer "+c.replica)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer closeConnection(in)
	out, err := broker.Dial(ctx, c.settings.Settings, "earlybind-consumer "+c.replica+" sender")
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer closeConnection(out)
	go watch(cancel, in)
	go watch(cancel, out)
	go c.tellBlocked(out.NotifyBlocked(make(chan amqp.Blocking, 1)))

	ch, err := in.Channel()
	if err != nil {
		return err
	}
	if err := c.settings.declare(ch); err != nil {
		return err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	send, err := newSender(c.settings, c.replica, out)
	if err != nil {
		return err
	}
	cancelled := ch.NotifyCancel(make(chan string, 1))
	closed := ch.NotifyClose(make(chan *amqp.Error, 1)) // told before the deliveries end
	deliveries, err := ch.ConsumeWithContext(ctx, c.settings.Queue, c.replica, false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume %s: %w", c.settings.Queue, err)
	}
	up()

	s := &session{Consumer: c, sender: send, lease: &lease{clock: c.clock}, journal: newJournal(send.journal), conn: in}
	work, stop := context.WithCancel(ctx)
	s.breaker.abandon()
	s.registry = newRegistry(work, s.tools(work))
	defer s.registry.wait()
	defer stop()
	go c.settings.bindNova(work, in, s.novaBound())
	go s.tick(work, cancel)

	review := time.NewTicker(reviewEvery)
	defer review.Stop()
	var reviewNow <-chan time.Time
	sweep := time.NewTicker(time.Minute)
	defer sweep.Stop()
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("the broker ended the delivery: %w", cmp.Or(whyClosed(closed), context.Cause(ctx), errNoReason))
			}
			if err := s.deliver(work, d); err != nil {
				return err
			}
		case tag := <-cancelled:
			return fmt.Errorf("the broker cancelled the consumer %s: the queue is gone or has moved", tag)
		case reason := <-send.closed:
			return fmt.Errorf("the sender's channel was closed: %w", reason)
		case d, ok := <-s.journalled:
			if !ok {
				return fmt.Errorf("the broker ended the delivery of the journal: %w", cmp.Or(whyClosed(s.journalClosed), context.Cause(ctx), errNoReason))
			}
			if err := s.deliverJournal(work, d); err != nil {
				return err
			}
		case <-review.C:
			if err := s.markJournal(work); err != nil {
				return err
			}
			s.journal.renew(s.clock())
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

// watch ends the session when a connection does.
func watch(cancel context.CancelCauseFunc, conn *amqp.Connection) {
	if err, ok := <-conn.NotifyClose(make(chan *amqp.Error, 1)); ok {
		cancel(fmt.Errorf("connection closed: %w", err))
		return
	}
	cancel(errors.New("connection closed"))
}

var errNoReason = errors.New("no reason given")

// whyClosed gives what a channel was closed with, if it is known.
func whyClosed(closed <-chan *amqp.Error) error {
	select {
	case err := <-closed:
		if err != nil {
			return err
		}
	default:
	}
	return nil
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
		may:      func() bool { return ctx.Err() == nil && s.lease.held() },
		settings: s.core,
		breaker:  s.breaker,
		journal:  s.journal,
		doubt:    s.doubts.add,
		upWithin: s.settings.UpWithin,

		unknownWatch: unknownWatch,
		ask: func(why string) {
			if err := s.sender.askStates(ctx, why); err != nil {
				s.log.Record(audit.Line{Event: audit.HostsAsked, Why: why, Outcome: "failed", Err: err})
			}
		},
	}
}

// tick sends a tick a second and ends the session when it cannot: without
// ticks the lease lapses, while the queue goes on serving this replica.
func (s *session) tick(ctx context.Context, broken context.CancelCauseFunc) {
	every := time.NewTicker(tickEvery)
	defer every.Stop()
	for {
		if err := s.sender.tick(ctx, s.clock()); err != nil {
			broken(fmt.Errorf("send a tick: %w", err))
			return
		}
		switch err := s.doubts.flush(func(e wire.JournalEntry) error { return s.sender.journal(ctx, e) }); {
		case errors.Is(err, errNotKept):
			s.journalFull(err) // and wait for room
		case err != nil:
			broken(fmt.Errorf("write to the journal: %w", err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-every.C:
		}
	}
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
	settle := func() { _ = d.Ack(false) } // fails only with the session
	m, err := s.settings.read(delivered{exchange: d.Exchange, userID: d.UserId, body: d.Body})
	switch {
	case errors.Is(err, errRefused), errors.Is(err, wire.ErrUnknownSchema):
		s.refuse(err)
		settle()
		return nil
	case err != nil:
		return s.park(ctx, d, err.Error())
	}
	switch m := m.(type) {
	case nil:
		settle()
	case wire.Tick:
		if m.Replica == s.replica {
			s.lease.renew(time.Duration(m.SentNS))
			if err := s.becomeActive(ctx); err != nil {
				return err
			}
		}
		settle()
	case wire.NovaEvent:
		s.registry.nova(m, d.Redelivered, settle)
	case wire.HostEvent:
		s.registry.event(m, s.freshFor(m, d.Redelivered), d.Redelivered, settle)
	case wire.HostStates:
		s.registry.states(m)
		settle()
	}
	return nil
}

// freshFor tells for how long a host event may still lead to a commit: the
// window less what it has waited at its publisher and, at most, in the queue.
// A message that was delivered before was acted on before, or by another.
func (s *session) freshFor(e wire.HostEvent, redelivered bool) time.Duration {
	queued, known := s.lease.queued()
	if redelivered || !known || e.AgeMS < 0 || e.AgeMS > s.settings.CommitWindow.Milliseconds() {
		return 0
	}
	return s.settings.CommitWindow - time.Duration(e.AgeMS)*time.Millisecond - max(queued, 0)
}

// becomeActive is called when the queue serves this replica: the journal is
// read, and what was missed is asked for.
func (s *session) becomeActive(ctx context.Context) error {
	if s.active {
		return nil
	}
	s.active = true
	s.log.Record(audit.Line{Event: audit.ConsumerActive, Why: "the queue " + s.settings.Queue + " delivers to this replica"})
	if err := s.openJournal(ctx); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	s.registry.tools.ask("a consumer has become active")
	return nil
}

func (s *session) park(ctx context.Context, d amqp.Delivery, reason string) error {
	if err := s.sender.park(ctx, d, reason); err != nil {
		return fmt.Errorf("park a message: %w", err)
	}
	s.log.Record(audit.Line{
		Event: audit.MessageParked, Saw: "exchange " + d.Exchange + ", key " + d.RoutingKey + ", sha256 " + hash(d.Body),
		Why: reason, Decided: "parked in " + s.settings.parkedName(), Figures: map[string]int64{"bytes": int64(len(d.Body))},
	})
	return d.Ack(false)
}
