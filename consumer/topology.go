package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

const (
	// prefetch bounds what is held unacknowledged: some 2,000 handovers that are
	// armed, with five messages each, or 500 that end. maxShelf is how much of it
	// handovers may hold; the rest is for what is read and settled at once.
	prefetch = 10_000
	maxShelf = 8_000
	// queueTTL bounds how long an absent consumer keeps messages in the broker;
	// queueMaxBytes how much.
	queueTTL      = time.Hour
	queueMaxBytes = 256 << 20
	// parkedTTL and parkedMax bound the parking queue.
	parkedTTL = 7 * 24 * time.Hour
	parkedMax = 10_000
	// journalMax bounds the journal: what does not fit is refused, and then not
	// done. Its messages have no end, and no number of deliveries is too many.
	journalMax           = 10_000
	journalDeliveryLimit = 1_000_000
	// deliveryLimit: a message comes back whenever a session ends before its
	// handover has; RabbitMQ 4 would drop it after 20 times.
	deliveryLimit = 1000
	// rebindEvery is how often the binding to Nova's exchange is made again: it
	// is gone when the exchange, which is Nova's, was deleted and made anew.
	rebindEvery = 30 * time.Second
)

func (s Settings) parkedName() string  { return s.Queue + ".parked" }
func (s Settings) journalName() string { return s.Queue + ".journal" }

// declare makes what is earlybind's own: two exchanges for the publishers, the
// queue with one active consumer, the parking queue and the journal. The journal
// has an exchange of its own, to which no publisher may write.
func (s Settings) declare(ch *amqp.Channel) error {
	for _, exchange := range []string{wire.ExchangeEvents, wire.ExchangeRequests, s.parkedName(), s.journalName()} {
		if err := ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return fmt.Errorf("declare exchange %s: %w", exchange, err)
		}
	}
	queue := amqp.Table{
		"x-queue-type":             s.QueueType,
		"x-single-active-consumer": true,
		"x-message-ttl":            queueTTL.Milliseconds(),
		"x-max-length-bytes":       int64(queueMaxBytes),
	}
	if s.QueueType == "quorum" {
		queue["x-delivery-limit"] = int64(deliveryLimit)
	}
	if err := declareBound(ch, s.Queue, wire.ExchangeEvents, queue); err != nil {
		return err
	}
	if err := declareBound(ch, s.parkedName(), s.parkedName(), amqp.Table{
		"x-queue-type":  s.QueueType,
		"x-message-ttl": parkedTTL.Milliseconds(),
		"x-max-length":  int64(parkedMax),
	}); err != nil {
		return err
	}
	journal := amqp.Table{
		"x-queue-type":             s.QueueType,
		"x-single-active-consumer": true,
		"x-max-length":             int64(journalMax),
		"x-overflow":               "reject-publish",
	}
	if s.QueueType == "quorum" {
		journal["x-delivery-limit"] = int64(journalDeliveryLimit)
	}
	return declareBound(ch, s.journalName(), s.journalName(), journal)
}

func declareBound(ch *amqp.Channel, queue, exchange string, args amqp.Table) error {
	if _, err := ch.QueueDeclare(queue, true, false, false, false, args); err != nil {
		return fmt.Errorf("declare queue %s: %w", queue, err)
	}
	if err := ch.QueueBind(queue, "#", exchange, false, nil); err != nil {
		return fmt.Errorf("bind queue %s to exchange %s: %w", queue, exchange, err)
	}
	return nil
}

// bindNova keeps the queue bound to Nova's exchange. The exchange is Nova's: it
// is declared passively, whatever its durability, and waited for while it does
// not exist. Its keys must be named: "#" would bring Nova's RPC.
func (s Settings) bindNova(ctx context.Context, conn *amqp.Connection, said func(error)) {
	for {
		err := s.bindNovaOnce(conn)
		if ctx.Err() != nil {
			return
		}
		said(err)
		wait := rebindEvery
		if err != nil {
			wait = 5 * time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

func (s Settings) bindNovaOnce(conn *amqp.Connection) error {
	// A channel of its own: a passive declaration of what is not there closes it.
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.ExchangeDeclarePassive(s.NovaExchange, amqp.ExchangeTopic, false, false, false, false, nil); err != nil {
		var fault *amqp.Error
		if errors.As(err, &fault) && fault.Code == amqp.NotFound {
			return fmt.Errorf("exchange %s does not exist yet: waiting for Nova to send its first notification", s.NovaExchange)
		}
		return err
	}
	for _, topic := range s.NotificationTopics {
		for _, priority := range []string{"info", "error"} {
			if err := ch.QueueBind(s.Queue, topic+"."+priority, s.NovaExchange, false, nil); err != nil {
				return fmt.Errorf("bind queue %s to exchange %s: %w", s.Queue, s.NovaExchange, err)
			}
		}
	}
	return nil
}
