package publisher

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/wire"
)

const (
	// closeBound is how long a broker may take to say goodbye.
	closeBound = 2 * time.Second
	// setUpBound is how long it may take to set a session up: a frozen node of a cluster
	// keeps the connection alive and answers nothing.
	setUpBound = 15 * time.Second
)

// link is one session with the broker, thrown away when any of it fails.
type link interface {
	// send hands one message over without waiting for the broker and gives
	// its tag; tags rise by one from 1. An error ends the session.
	send(p parcel) (tag uint64, err error)
	// news tells what the broker says, in its order.
	news() <-chan any
	// close ends the session, a send that waits included; it may be called
	// again.
	close()
}

// What a link's news are.
type (
	// settled: the broker has taken the message (or refused it). Tags come in
	// the order of sending.
	settled struct {
		tag   uint64
		taken bool
	}
	// returned: no queue wants the message; it comes before its settled.
	returned struct{ id, why string }
	// blocked: the broker has run short of memory or disk, or has recovered.
	blocked struct {
		now bool
		why string
	}
	// requested: a consumer asks for states.
	requested struct{ reason string }
	// unheard: the queue for requests cannot be had now; it is tried again.
	unheard struct{ err error }
	// unreadable: a request that could not be understood, and was dropped.
	unreadable struct {
		err  error
		size int // bytes
	}
	// lost: the session has ended; nothing follows.
	lost struct{ err error }
)

// dialer opens a session.
type dialer func(ctx context.Context) (link, error)

var _ link = (*amqpLink)(nil)

// amqpLink is a link over one connection with one channel: the session is
// thrown away whole, so that there is nothing to keep apart.
type amqpLink struct {
	conn    *amqp.Connection
	ch      *amqp.Channel
	user    string
	expiry  string // milliseconds
	out     chan any
	heard   chan any // of the queue for requests: deliveries, unheard, requested, or lost
	closing chan struct{}
	closed  sync.Once
}

// dialAMQP opens real sessions.
func dialAMQP(s Settings) dialer {
	return func(ctx context.Context) (link, error) {
		conn, err := broker.Dial(ctx, s.Settings, wire.PublisherID(s.Host))
		if err != nil {
			return nil, err
		}
		bounded, cancel := context.WithTimeout(ctx, setUpBound)
		defer cancel()
		// amqp091-go's calls know no context; closing ends them.
		stop := context.AfterFunc(bounded, func() { closeConn(conn) })
		defer stop()
		l, err := open(conn, s)
		if err != nil {
			closeConn(conn)
			if ctx.Err() == nil && bounded.Err() != nil {
				err = fmt.Errorf("the session was not set up within %s: %w", setUpBound, err)
			}
			return nil, err
		}
		return l, nil
	}
}

func open(conn *amqp.Connection, s Settings) (*amqpLink, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	l := &amqpLink{
		conn: conn, ch: ch,
		user:    s.AMQPUser,
		expiry:  strconv.FormatInt(s.EventExpiry.Milliseconds(), 10),
		out:     make(chan any),
		heard:   make(chan any),
		closing: make(chan struct{}),
	}
	// Passive: to declare is the consumer's right, and only it knows how.
	for _, exchange := range []string{wire.ExchangeEvents, wire.ExchangeRequests} {
		if err := ch.ExchangeDeclarePassive(exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return nil, fmt.Errorf("exchange %s (the consumer declares it): %w", exchange, err)
		}
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("confirms: %w", err)
	}
	go l.pump(pumpInput{
		heard: l.heard,
		// Not buffered: one goroutine of amqp091-go feeds both, so that a
		// return reaches the pump before its confirmation.
		confirms:   ch.NotifyPublish(make(chan amqp.Confirmation)),
		returns:    ch.NotifyReturn(make(chan amqp.Return)),
		blocks:     conn.NotifyBlocked(make(chan amqp.Blocking)),
		chanClosed: ch.NotifyClose(make(chan *amqp.Error, 1)),
		connClosed: conn.NotifyClose(make(chan *amqp.Error, 1)),
	})
	if err := l.hearRequests(wire.PublisherQueue(s.Host)); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *amqpLink) send(p parcel) (uint64, error) {
	confirmation, err := l.ch.PublishWithDeferredConfirm(wire.ExchangeEvents, p.routingKey, true, false, amqp.Publishing{
		ContentType:     "application/json",
		ContentEncoding: "utf-8",
		DeliveryMode:    amqp.Persistent,
		Expiration:      l.expiry,
		MessageId:       p.id,
		Type:            p.kind,
		UserId:          l.user, // the broker refuses any but the connection's own
		Body:            p.body,
	})
	if err != nil {
		return 0, err
	}
	return confirmation.DeliveryTag, nil
}

func (l *amqpLink) news() <-chan any { return l.out }

func (l *amqpLink) close() {
	l.closed.Do(func() {
		close(l.closing)
		closeConn(l.conn)
	})
}

func closeConn(conn *amqp.Connection) { _ = conn.CloseDeadline(time.Now().Add(closeBound)) }

type pumpInput struct {
	heard      <-chan any
	confirms   <-chan amqp.Confirmation
	returns    <-chan amqp.Return
	blocks     <-chan amqp.Blocking
	chanClosed <-chan *amqp.Error
	connClosed <-chan *amqp.Error
}

// pump makes one stream of what amqp091-go tells through many channels. It never
// waits for the reader of news: amqp091-go reads no frame, heartbeats included,
// while one of its channels is not drained. What piles up is bounded by the
// sender's window and by its one pending request. It ends when the connection
// has closed.
func (l *amqpLink) pump(in pumpInput) {
	var queue []any
	requestQueued := false
	add := func(n any) { queue = append(queue, n) }
	end := func(err error) {
		add(lost{err})
		in.heard = nil
	}
	for {
		var out chan any
		var head any
		if len(queue) > 0 {
			out, head = l.out, queue[0]
		}
		select {
		case out <- head:
			if _, ok := head.(requested); ok {
				requestQueued = false
			}
			queue = queue[1:]
		case c, ok := <-in.confirms:
			if !ok {
				in.confirms = nil
				continue
			}
			add(settled{c.DeliveryTag, c.Ack})
		case r, ok := <-in.returns:
			if !ok {
				in.returns = nil
				continue
			}
			add(returned{r.MessageId, r.ReplyText})
		case b, ok := <-in.blocks:
			if !ok {
				in.blocks = nil
				continue
			}
			add(blocked{b.Active, b.Reason})
		case n := <-in.heard:
			switch n := n.(type) {
			case lost:
				end(n.err)
			case requested:
				if !requestQueued { // one answer serves all that wait
					requestQueued = true
					add(n)
				}
			default:
				add(n)
			}
		case err := <-in.chanClosed:
			in.chanClosed = nil
			end(closeError("channel", err))
		case err := <-in.connClosed:
			end(closeError("connection", err))
			l.flush(queue)
			return
		}
	}
}

// flush gives the rest of the news, until the session's user has closed it.
func (l *amqpLink) flush(queue []any) {
	for _, n := range queue {
		select {
		case l.out <- n:
		case <-l.closing:
			return
		}
	}
}

func closeError(what string, err *amqp.Error) error {
	if err == nil {
		return fmt.Errorf("%s closed", what)
	}
	return fmt.Errorf("%s closed: %w", what, err)
}
