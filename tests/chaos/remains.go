package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// Where the consumers park, and chaos' own queue for what the broker drops from theirs.
const (
	parkedName = "earlybind.parked"
	deadName   = "chaos.dead"
)

// prepareDead makes the queue of dead letters.
func prepareDead(ctx context.Context, b bus) error {
	conn, ch, err := open(ctx, b)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ch.ExchangeDeclare(deadName, amqp.ExchangeFanout, true, false, false, false, nil); err != nil {
		return err
	}
	// A classic queue would be on one node.
	args := amqp.Table{"x-max-length": int64(100_000), "x-queue-type": "quorum"}
	if _, err := ch.QueueDeclare(deadName, true, false, false, false, args); err != nil {
		return err
	}
	return ch.QueueBind(deadName, "", deadName, false, nil)
}

// unreadable is a message that cannot but be parked, on behalf of a host.
func unreadable(h *host) letter {
	return letter{exchange: wire.ExchangeEvents, key: "libvirt." + h.name + ".unreadable", pack: func(time.Duration) amqp.Publishing {
		return amqp.Publishing{DeliveryMode: amqp.Persistent, UserId: h.user, Body: []byte("{" + nova.NewUUID())}
	}}
}

// readRemains reads what is left in the broker when the consumers are stopped: in
// their queues what was never acknowledged, in their journals what they have not done with, in the parking
// queue what was parked, among the dead letters what has expired. Before it reads those, it has a message
// expire in each of their queues.
func readRemains(ctx context.Context, b bus, a *account) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	conn, ch, err := open(ctx, b)
	if err != nil {
		return err
	}
	defer conn.Close()
	expiring := map[string]bool{}
	for _, queue := range eachQueue(a.shares, queues.read) {
		share := shareOfQueue(queue)
		if err := readAll(ctx, ch, queue, func(d amqp.Delivery) {
			if !isTick(d.RoutingKey) {
				a.note(share, digest(d.Body), d.RoutingKey, func(f *fate) { f.left++ })
			}
		}); err != nil {
			return err
		}
		// A queue looks for what has expired at its head; it is empty now.
		shortLived := amqp.Publishing{DeliveryMode: amqp.Persistent, Expiration: "1", Body: []byte(nova.NewUUID())}
		if err := put(ctx, ch, queue, shortLived); err != nil {
			return err
		}
		a.note(share, digest(shortLived.Body), queue, func(f *fate) { f.sent++ })
		expiring[string(shortLived.Body)] = true
	}
	for share := 1; share <= a.shares; share++ {
		if err := readAll(ctx, ch, queuesOf(share).journal, func(d amqp.Delivery) { a.leftInJournal(share, d.Body) }); err != nil {
			return err
		}
	}
	if err := lab.Until(ctx, "messages to expire", func() (bool, error) {
		return len(expiring) == 0, readAll(ctx, ch, deadName, func(d amqp.Delivery) {
			delete(expiring, string(d.Body))
			a.dead(d)
		})
	}); err != nil {
		return err
	}
	return readAll(ctx, ch, parkedName, func(d amqp.Delivery) {
		key, _ := d.Headers["earlybind-routing-key"].(string)
		a.found(digest(d.Body), key)
	})
}

// readDead reads what the broker has dropped so far.
func readDead(ctx context.Context, b bus, a *account) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, ch, err := open(ctx, b)
	if err != nil {
		return err
	}
	defer conn.Close()
	return readAll(ctx, ch, deadName, a.dead)
}

// open opens a channel on which what is published is confirmed.
func open(ctx context.Context, b bus) (*amqp.Connection, *amqp.Channel, error) {
	conn, err := b.dial("admin", "chaos account")(ctx)
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, ch, nil
}

// dead notes a dead letter, by the queue from which and why the broker says it dropped it.
func (a *account) dead(d amqp.Delivery) {
	why, _ := d.Headers["x-first-death-reason"].(string)
	queue, _ := d.Headers["x-first-death-queue"].(string)
	key := d.RoutingKey
	if isTick(key) {
		return
	}
	a.note(shareOfQueue(queue), digest(d.Body), key, func(f *fate) {
		if why == "expired" {
			f.expired++
		} else {
			f.dropped++
		}
	})
}

// readAll empties a queue: it sends a mark to it and reads up to that, one message
// at a time, so that what comes behind stays there.
func readAll(ctx context.Context, ch *amqp.Channel, queue string, see func(amqp.Delivery)) error {
	mark := nova.NewUUID()
	if err := put(ctx, ch, queue, amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: mark}); err != nil {
		return err
	}
	if err := ch.Qos(1, 0, false); err != nil {
		return err
	}
	// A queue with a single active consumer knows no basic.get.
	messages, err := ch.Consume(queue, mark, false, false, false, false, nil)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("reading what is left in %s: %w", queue, ctx.Err())
		case d, ok := <-messages:
			if !ok {
				return errors.New("the broker ended the delivery of " + queue)
			}
			if d.MessageId == mark {
				return errors.Join(ch.Cancel(mark, false), d.Ack(false))
			}
			see(d)
			if err := d.Ack(false); err != nil {
				return err
			}
		}
	}
}

// put sends a message to a queue.
func put(ctx context.Context, ch *amqp.Channel, queue string, m amqp.Publishing) error {
	taken, err := publish(ctx, ch, "", queue, m)
	if err == nil && !taken {
		err = errors.New("the broker did not take a message for " + queue)
	}
	return err
}
