package consumer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/wire"
)

// keyKept is the routing key of what is published to be kept.
const keyKept = "kept"

const (
	// confirmWithin bounds the wait for the broker's word on a parked message
	// or an entry of the journal.
	confirmWithin = 10 * time.Second
	// turnWithin bounds the wait for what is kept first: with confirmWithin it is less than
	// roundWithin, by which a loop that waits here has to come round.
	turnWithin = 45 * time.Second
	tickExpiry = time.Minute
	// askExpiry is for how long a host that is away may still answer.
	askExpiry = time.Minute
)

// errNotKept marks a message that is not kept, by the broker's word or by the
// journal's bound: the journal is full.
var errNotKept = errors.New("the message is not kept")

// errNoTurn marks a message that was not sent: others were to be kept before it, and the broker
// took too long for them.
var errNoTurn = errors.New("others are kept first, and the broker takes long")

// sender publishes for one session, on a connection of its own: a broker that
// blocks publishers stops reading the whole connection, acknowledgements too.
type sender struct {
	settings Settings
	queues   queues
	replica  string
	id       string // the publisher_id of what it sends
	ch       *amqp.Channel
	closed   chan *amqp.Error // why the broker has closed the channel
	keeping  chan struct{}    // holds something while a message is kept: one at a time
	returned chan amqp.Return // kept messages that no queue took
	blocked  atomic.Bool      // the broker reads nothing: what is sent waits, perhaps for hours
}

func newSender(s Settings, q queues, replica string, conn *amqp.Connection, tell func(amqp.Blocking)) (*sender, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirms: %w", err)
	}
	send := &sender{
		settings: s, queues: q, replica: replica, id: "earlybind-consumer:" + replica, ch: ch,
		keeping:  make(chan struct{}, 1),
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
		returned: ch.NotifyReturn(make(chan amqp.Return, 16)),
	}
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking))
	go func() {
		for b := range blocked { // until the connection ends
			send.blocked.Store(b.Active)
			tell(b)
		}
	}()
	return send, nil
}

// tellBlocked says when the broker stops reading what is published, for want of
// memory or disk, and when it reads again. Meanwhile no tick comes back, and so
// the lease lapses; what is delivered is acknowledged as ever, on the other
// connection.
func (c *Consumer) tellBlocked(b amqp.Blocking) {
	line := audit.Line{Event: audit.ConsumerBlocked, Outcome: "unblocked"}
	if b.Active {
		line.Outcome, line.Why, line.Decided = audit.Blocked, b.Reason, "no port is written until the broker reads again"
	}
	c.log.Record(line)
}

// tick sends a tick through the queue of events, with how many shares this replica
// acts for.
func (s *sender) tick(ctx context.Context, now time.Duration, shares int) error {
	t := wire.Tick{Schema: wire.SchemaVersion, Replica: s.replica, SentNS: int64(now), Shares: shares}
	return s.publish(ctx, wire.ExchangeEvents, wire.TickKey(s.queues.events), wire.EventTick, t, tickExpiry)
}

// askStates asks every publisher for its domains.
func (s *sender) askStates(ctx context.Context, why string) error {
	m, err := StatesRequest(s.id, s.settings.AMQPUser, why)
	if err != nil {
		return err
	}
	_, err = s.ch.PublishWithDeferredConfirmWithContext(ctx, wire.ExchangeRequests, wire.KeyStatesRequest, false, false, m)
	return err
}

// publish sends one of earlybind's own notifications.
func (s *sender) publish(ctx context.Context, exchange, key, eventType string, payload any, expiry time.Duration) error {
	m, err := s.notification(eventType, payload)
	if err != nil {
		return err
	}
	_, err = s.ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, expiring(m, expiry))
	return err
}

// notification makes a message of one of earlybind's own notifications.
func (s *sender) notification(eventType string, payload any) (amqp.Publishing, error) {
	return notification(s.id, s.settings.AMQPUser, eventType, payload)
}

// notification makes a message of one of earlybind's own, sent by id as a user of the broker.
func notification(id, user, eventType string, payload any) (amqp.Publishing, error) {
	n, err := wire.NewNotification(id, eventType, payload, rand.Text(), time.Now())
	if err != nil {
		return amqp.Publishing{}, err
	}
	body, err := n.Encode()
	if err != nil {
		return amqp.Publishing{}, err
	}
	return amqp.Publishing{
		ContentType: "application/json",
		MessageId:   n.MessageID,
		Type:        eventType,
		UserId:      user, // validated by the broker
		Body:        body,
	}, nil
}

// expiring has the broker keep a message for so long.
func expiring(m amqp.Publishing, expiry time.Duration) amqp.Publishing {
	m.Expiration, m.Timestamp = strconv.FormatInt(expiry.Milliseconds(), 10), time.Now()
	return m
}

// park keeps a message that cannot be understood, as it came, with the reason.
// It returns when the broker has it for good.
func (s *sender) park(ctx context.Context, d amqp.Delivery, reason string) error {
	return s.keep(ctx, s.queues.parked, amqp.Publishing{
		ContentType: d.ContentType,
		MessageId:   d.MessageId,
		Headers: amqp.Table{
			"earlybind-reason":      reason,
			"earlybind-exchange":    d.Exchange,
			"earlybind-routing-key": d.RoutingKey,
			"earlybind-user-id":     d.UserId,
			"earlybind-sha256":      hash(d.Body),
		},
		Body: d.Body,
	})
}

// journal writes an entry of the journal. It returns when the broker has it for
// good.
func (s *sender) journal(ctx context.Context, e wire.JournalEntry) error {
	m, err := s.notification(wire.EventJournal, e)
	if err != nil {
		return err
	}
	return s.keep(ctx, s.queues.journal, m)
}

// again makes a message of one that was delivered, of this user's.
func (s *sender) again(d amqp.Delivery) amqp.Publishing {
	return amqp.Publishing{ContentType: d.ContentType, MessageId: d.MessageId, Type: d.Type, UserId: s.settings.AMQPUser, Body: d.Body}
}

// journalMark sends a tick through the journal: what comes before it was in
// the queue.
func (s *sender) journalMark(ctx context.Context, now time.Duration) error {
	m, err := s.notification(wire.EventTick, wire.Tick{Schema: wire.SchemaVersion, Replica: s.replica, SentNS: int64(now)})
	if err != nil {
		return err
	}
	return s.keep(ctx, s.queues.journal, m)
}

// keep publishes a persistent message to the one queue of an exchange of
// earlybind's own and returns when the broker has it for good. It waits for its turn, and for
// the broker's word, no longer than the context lasts and turnWithin and confirmWithin say.
func (s *sender) keep(ctx context.Context, exchange string, m amqp.Publishing) error {
	if err := s.awaitTurn(ctx); err != nil {
		return err
	}
	defer func() { <-s.keeping }()
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	m.DeliveryMode, m.Timestamp = amqp.Persistent, time.Now()
	confirm, err := s.ch.PublishWithDeferredConfirmWithContext(ctx, exchange, keyKept, true, false, m)
	if err != nil {
		return err
	}
	confirmed, err := confirm.WaitContext(ctx)
	switch {
	case err == nil && !confirmed && s.ch.IsClosed():
		err = amqp.ErrClosed // which the library tells of all that waits as of a refusal
	case err == nil && !confirmed:
		err = errNotKept
	}
	// A message that no queue takes is returned first and then confirmed.
	select {
	case <-s.returned:
		return errors.Join(err, fmt.Errorf("no queue is bound to exchange %s", exchange))
	default:
		return err
	}
}

func (s *sender) awaitTurn(ctx context.Context) error {
	late := time.NewTimer(turnWithin)
	defer late.Stop()
	select {
	case s.keeping <- struct{}{}:
		return nil
	case <-late.C:
		return errNoTurn
	case <-ctx.Done():
		return ctx.Err()
	}
}

func hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
