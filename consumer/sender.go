package consumer

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

const (
	// confirmWithin bounds the wait for the broker's word on a parked message.
	confirmWithin = 10 * time.Second
	tickExpiry    = time.Minute
)

// sender publishes for one session, on a connection of its own: a broker that
// blocks publishers stops reading the whole connection, acknowledgements too.
type sender struct {
	settings Settings
	replica  string
	ch       *amqp.Channel
	closed   chan *amqp.Error // why the broker has closed the channel
	returned chan amqp.Return // parked messages that no queue took
}

func newSender(s Settings, replica string, conn *amqp.Connection) (*sender, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirms: %w", err)
	}
	return &sender{
		settings: s, replica: replica, ch: ch,
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
		returned: ch.NotifyReturn(make(chan amqp.Return, 16)),
	}, nil
}

// tick sends a tick through this replica's own queue.
func (s *sender) tick(ctx context.Context, now time.Duration) error {
	t := wire.Tick{Schema: wire.SchemaVersion, Replica: s.replica, SentNS: int64(now)}
	_, err := s.publish(ctx, wire.ExchangeEvents, t.RoutingKey(), wire.EventTick, t, tickExpiry)
	return err
}

// askStates asks every publisher for its domains.
func (s *sender) askStates(ctx context.Context, why string) error {
	r := wire.StatesRequest{Schema: wire.SchemaVersion, Reason: why}
	_, err := s.publish(ctx, wire.ExchangeRequests, "states", wire.EventStatesRequest, r, tickExpiry)
	return err
}

// publish sends one of earlybind's own notifications.
func (s *sender) publish(ctx context.Context, exchange, key, eventType string, payload any, expiry time.Duration) (*amqp.DeferredConfirmation, error) {
	now := time.Now()
	n, err := wire.NewNotification("earlybind-consumer:"+s.replica, eventType, payload, rand.Text(), now)
	if err != nil {
		return nil, err
	}
	body, err := n.Encode()
	if err != nil {
		return nil, err
	}
	return s.ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, amqp.Publishing{
		ContentType: "application/json",
		MessageId:   n.MessageID,
		Type:        eventType,
		UserId:      s.settings.AMQPUser, // validated by the broker
		Expiration:  strconv.FormatInt(expiry.Milliseconds(), 10),
		Timestamp:   now,
		Body:        body,
	})
}

// park keeps a message that cannot be understood, as it came, with the reason.
// It returns when the broker has it for good.
func (s *sender) park(ctx context.Context, d amqp.Delivery, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	confirm, err := s.ch.PublishWithDeferredConfirmWithContext(ctx, s.settings.parkedName(), "parked", true, false, amqp.Publishing{
		ContentType:  d.ContentType,
		DeliveryMode: amqp.Persistent,
		MessageId:    d.MessageId,
		Timestamp:    time.Now(),
		Headers: amqp.Table{
			"earlybind-reason":      reason,
			"earlybind-exchange":    d.Exchange,
			"earlybind-routing-key": d.RoutingKey,
			"earlybind-user-id":     d.UserId,
			"earlybind-sha256":      hash(d.Body),
		},
		Body: d.Body,
	})
	if err != nil {
		return err
	}
	confirmed, err := confirm.WaitContext(ctx)
	if err == nil && !confirmed {
		err = errors.New("the broker refused to keep the message")
	}
	// A message that no queue takes is returned first and then confirmed.
	select {
	case <-s.returned:
		return errors.Join(err, fmt.Errorf("no queue is bound to exchange %s", s.settings.parkedName()))
	default:
		return err
	}
}

func hash(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}
