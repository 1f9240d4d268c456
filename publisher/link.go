package publisher

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/wire"
)

// closeBound is how long a broker may take to say goodbye.
const closeBound = 2 * time.Second

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
		// amqp091-go's calls know no context; closing ends them.
		stop := context.AfterFunc(ctx, func() { closeConn(conn) })
		defer stop()
		l, err := open(conn, s)
		if err != nil {
			closeConn(conn)
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
		closing: make(chan struct{}),
	}
	// Passive: to declare is the consumer's right, and only it knows how.
	for _, exchange := range []string{wire.ExchangeEvents, wire.ExchangeRequests} {
		if err := ch.ExchangeDeclarePassive(exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return nil, fmt.Errorf("exchange %s (the consumer declares it): %w", exchange, err)
		}
	}
	requests, err := takeOverQueue(ch, wire.PublisherQueue(s.Host))
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("confirms: %w", err)
	}
	go l.pump(pumpInput{
		requests: requests,
		// Not buffered: one goroutine of amqp091-go feeds both, so that a
		// return reaches the pump before its confirmation.
		confirms:   ch.NotifyPublish(make(chan amqp.Confirmation)),
		returns:    ch.NotifyReturn(make(chan amqp.Return)),
		blocks:     conn.NotifyBlocked(make(chan amqp.Blocking)),
		chanClosed: ch.NotifyClose(make(chan *amqp.Error, 1)),
		connClosed: conn.NotifyClose(make(chan *amqp.Error, 1)),
	})
	return l, nil
}

// takeOverQueue makes the host's queue for requests anew and consumes it. It is
// deleted first: the broker may take half a minute to see that the last session
// has gone silently, and until then would give that one every second request.
// For the same reason the queue is not exclusive: the new session would be
// refused for that time. It is durable, since brokers to come will have no
// transient queues that are not exclusive, and goes with its consumer. Requests
// need no acknowledgement: every session starts with states.
func takeOverQueue(ch *amqp.Channel, name string) (<-chan amqp.Delivery, error) {
	if _, err := ch.QueueDelete(name, false, false, false); err != nil {
		return nil, fmt.Errorf("queue %s: delete: %w", name, err)
	}
	if _, err := ch.QueueDeclare(name, true, true, false, false, nil); err != nil {
		return nil, fmt.Errorf("queue %s: declare: %w", name, err)
	}
	if err := ch.QueueBind(name, "#", wire.ExchangeRequests, false, nil); err != nil {
		return nil, fmt.Errorf("queue %s: bind to %s: %w", name, wire.ExchangeRequests, err)
	}
	requests, err := ch.Consume(name, "", true, false, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("queue %s: consume: %w", name, err)
	}
	return requests, nil
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
	requests   <-chan amqp.Delivery
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
		in.requests = nil
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
		case d, ok := <-in.requests:
			if !ok {
				end(errors.New("the queue for requests was taken away: does another publisher run for this host?"))
				continue
			}
			r, err := readRequest(d.Body)
			switch {
			case err != nil:
				add(unreadable{err, len(d.Body)})
			case !requestQueued: // one answer serves all that wait
				requestQueued = true
				add(requested{r.Reason})
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
