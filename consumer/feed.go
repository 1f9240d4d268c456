package consumer

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// feed is a queue that a session reads, on a channel of its own. Its zero value
// delivers nothing.
type feed struct {
	queue      string
	tag        string // of the consumer
	channel    *amqp.Channel
	acks       *acks // nil: each delivery is acknowledged by itself
	deliveries <-chan amqp.Delivery
	closed     <-chan *amqp.Error // told before the deliveries end, as is cancelled
	cancelled  <-chan string
}

// openFeed begins to read a queue, with at most so many messages unacknowledged.
func openFeed(conn *amqp.Connection, queue, tag string, prefetch int) (feed, error) {
	ch, err := conn.Channel()
	if err != nil {
		return feed{}, err
	}
	return feedOn(ch, queue, tag, prefetch)
}

// feedOn is openFeed on a channel that the caller has.
func feedOn(ch *amqp.Channel, queue, tag string, prefetch int) (f feed, err error) {
	f = feed{
		queue: queue, tag: tag, channel: ch,
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)), cancelled: ch.NotifyCancel(make(chan string, 1)),
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return feed{}, err
	}
	// Not with a context: its end would cancel the consumer beside giveBack, and
	// amqp091-go takes one call at a time on a channel.
	if f.deliveries, err = ch.Consume(queue, tag, false, false, false, false, nil); err != nil {
		return feed{}, fmt.Errorf("consume %s: %w", queue, err)
	}
	return f, nil
}

var errNoReason = errors.New("no reason given")

// ended tells why there are no more deliveries.
func (f feed) ended(ctx context.Context) error {
	select {
	case tag := <-f.cancelled:
		return fmt.Errorf("the broker cancelled the consumer %s: the queue %s is gone or has moved", tag, f.queue)
	default:
	}
	return fmt.Errorf("the broker ended the delivery of %s: %w", f.queue, cmp.Or(whyClosed(f.closed), context.Cause(ctx), errNoReason))
}

// giveBack reads no more, so that the queue serves another replica, and returns
// what had come and was not taken.
func (f feed) giveBack() error {
	if f.channel == nil {
		return nil
	}
	if err := f.channel.Cancel(f.tag, false); err != nil {
		return fmt.Errorf("cancel the consumer of %s: %w", f.queue, err)
	}
	if f.acks != nil {
		f.acks.end()
	}
	for d := range f.deliveries {
		_ = d.Nack(false, true) // fails only with the session
	}
	return nil
}

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
