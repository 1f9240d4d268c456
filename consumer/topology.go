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
	// prefetch bounds what is held unacknowledged of each of the two queues: some 2,000
	// handovers that are armed, with five messages each, or 500 that end. maxShelf is how
	// much handovers may hold of both together; the rest is for what is read and settled
	// at once. A share has its portion of both.
	prefetch = 10_000
	maxShelf = 8_000
	// queueTTL bounds how long an absent consumer keeps messages in the broker;
	// queueMaxBytes how much.
	queueTTL      = time.Hour
	queueMaxBytes = 256 << 20
	// parkedTTL, parkedMax and queueMaxBytes bound the parking queue. Each look at it
	// counts as a delivery, and no number of looks in that time is too many.
	parkedTTL           = 7 * 24 * time.Hour
	parkedMax           = 10_000
	parkedDeliveryLimit = journalDeliveryLimit
	// journalMax bounds the journal: what does not fit is refused, and then not
	// done. Its messages have no end, and no number of deliveries is too many. The
	// broker counts only those that are not delivered, so that the reader counts, too;
	// journalPrefetch has room for what is written before it has counted.
	journalMax           = 10_000
	journalPrefetch      = 2 * journalMax
	journalDeliveryLimit = 1_000_000
	// deliveryLimit: a message comes back whenever a session ends before its
	// handover has; RabbitMQ 4 would drop it after 20 times.
	deliveryLimit = 1000
	// deliveriesLeft is how many it has left when it is parked instead.
	deliveriesLeft = 100
	// rebindEvery is how often the binding to Nova's exchange is made again: it
	// is gone when the exchange, which is Nova's, was deleted and made anew.
	rebindEvery = 30 * time.Second
)

// queues are the names of earlybind's own.
type queues struct {
	// events are the hosts' and this replica's ticks: the replica that this queue
	// serves is the one that acts.
	events string
	// notifications are Nova's. There may be thousands that are none of earlybind's
	// business: a host event does not stand behind them.
	notifications string
	journal       string
	parked        string
	// paused is that of what is paused, and of the exchange of orders.
	paused string
	// layout never holds a message: its arguments say how many shares there are.
	layout string
}

// queuesOf gives those of a share. What is parked, what is paused, and the layout, are of all.
func (s Settings) queuesOf(part share) queues {
	own := part.queue(s.Queue)
	return queues{
		events:        own,
		notifications: own + ".notifications",
		journal:       own + ".journal",
		parked:        s.Queue + ".parked",
		layout:        s.Queue + ".layout",
		paused:        s.Queue + ".paused",
	}
}

// declare makes what is earlybind's own: two exchanges for the publishers, the
// queues of events and notifications with one active consumer each, the parking
// queue and the journal. The journal has an exchange of its own, to which no
// publisher may write. bindNova binds the notifications.
func (s Settings) declare(ch *amqp.Channel, q queues) error {
	if err := s.declareLayout(ch, q); err != nil {
		return err
	}
	if err := declareOrders(ch, q.paused); err != nil {
		return err
	}
	for _, exchange := range []string{wire.ExchangeEvents, wire.ExchangeRequests, q.parked, q.journal} {
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
	if err := declareQueue(ch, q.notifications, queue); err != nil {
		return err
	}
	if err := declareBound(ch, q.events, wire.ExchangeEvents, queue, "libvirt.#", wire.TickKey(q.events)); err != nil {
		return err
	}
	if s.Shares > 1 {
		// An earlier version bound all: so a replica of it hears no tick of its own, and
		// writes nothing, and no share hears those of another.
		if err := ch.QueueUnbind(q.events, "#", wire.ExchangeEvents, nil); err != nil {
			return fmt.Errorf("unbind queue %s from exchange %s: %w", q.events, wire.ExchangeEvents, err)
		}
	}
	if err := declareBound(ch, q.parked, q.parked, s.ParkedArgs(), "#"); err != nil {
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
	return declareBound(ch, q.journal, q.journal, journal, "#")
}

// ParkedArgs are the arguments with which the parking queue is declared.
func (s Settings) ParkedArgs() amqp.Table {
	args := amqp.Table{
		"x-queue-type":       s.QueueType,
		"x-message-ttl":      parkedTTL.Milliseconds(),
		"x-max-length":       int64(parkedMax),
		"x-max-length-bytes": int64(queueMaxBytes),
	}
	if s.QueueType == "quorum" {
		args["x-delivery-limit"] = int64(parkedDeliveryLimit)
	}
	return args
}

func declareQueue(ch *amqp.Channel, queue string, args amqp.Table) error {
	_, err := ch.QueueDeclare(queue, true, false, false, false, args)
	switch {
	case wasMadeOtherwise(err):
		return fmt.Errorf("the queue %s is there with other arguments than those of this version and EARLYBIND_QUEUE_TYPE (docs/settings.md says how to change them): %w", queue, err)
	case err != nil:
		return fmt.Errorf("declare queue %s: %w", queue, err)
	}
	return nil
}

// wasMadeOtherwise tells of the error of a declaration that the queue is there, with
// other arguments.
func wasMadeOtherwise(err error) bool {
	var fault *amqp.Error
	return errors.As(err, &fault) && fault.Code == amqp.PreconditionFailed
}

func declareBound(ch *amqp.Channel, queue, exchange string, args amqp.Table, keys ...string) error {
	if err := declareQueue(ch, queue, args); err != nil {
		return err
	}
	for _, key := range keys {
		if err := ch.QueueBind(queue, key, exchange, false, nil); err != nil {
			return fmt.Errorf("bind queue %s to exchange %s: %w", queue, exchange, err)
		}
	}
	return nil
}

// bindNova keeps the queue of notifications bound to Nova's exchange. The exchange is
// Nova's: it is declared passively, whatever its durability, and waited for while it
// does not exist. Its keys must be named: "#" would bring Nova's RPC.
//
// An earlier version had one queue for both, which is unbound once a replica that reads
// the other acts: until then one of that version may act.
func (s Settings) bindNova(ctx context.Context, conn *amqp.Connection, q queues, acts func() bool, said func(error)) {
	for {
		err := tellingSilence(ctx, said, func() error { return s.bindNovaOnce(conn, q, acts()) })
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

func (s Settings) bindNovaOnce(conn *amqp.Connection, q queues, acts bool) error {
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
			key := topic + "." + priority
			if err := ch.QueueBind(q.notifications, key, s.NovaExchange, false, nil); err != nil {
				return fmt.Errorf("bind queue %s to exchange %s: %w", q.notifications, s.NovaExchange, err)
			}
			if !acts {
				continue
			}
			if err := ch.QueueUnbind(q.events, key, s.NovaExchange, nil); err != nil {
				return fmt.Errorf("unbind queue %s from exchange %s: %w", q.events, s.NovaExchange, err)
			}
		}
	}
	return nil
}
