package consumer

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

// What is paused is one message, which a queue of the broker keeps for those that start
// later. Whoever changes it sends the new one through the queue's exchange, to which each
// session has a queue of its own bound: so one message is kept, and told.
//
// Nobody can read a message of a queue and leave it there: for a moment it is away. Hence
// the lock, a queue that belongs to one connection; who holds it finds what there is.
//
// The queue is made by the first order: while there is none nothing was ever paused. A
// queue that is empty has lost what it kept (it was purged, or a policy gives messages a
// short life): that is not taken for "nothing is paused".

const (
	// retainedMax bounds the queue. There is one message, and after an order that was cut
	// off two, of which the higher revision counts; the oldest goes first.
	retainedMax = 16
	// renewAfter: a quorum queue drops a message that was delivered too often, which each
	// look at it counts as. It is sent anew long before.
	renewAfter = 1000
	// keyObeys is the routing key of the sessions' answers; orders have that of all that is kept.
	keyObeys = "obeys"
)

var (
	// errBusy: another looks at what a queue keeps, or changes it.
	errBusy = errors.New("another holds the lock")
	// errLost: the queue is there, and empty.
	errLost = errors.New("the broker has lost what was paused")
	// errStrange: what the queue keeps is not understood, as of a newer version.
	errStrange = errors.New("what was paused is not understood")
)

// retained is what is paused as a broker keeps it, seen through one connection.
type retained struct {
	settings Settings
	name     string // of the queue, and of its exchange
	conn     *amqp.Connection
	// refused is told of each message that came from another user.
	refused func(error)
}

// declareOrders makes the exchange through which orders and answers go.
func declareOrders(ch *amqp.Channel, name string) error {
	if err := ch.ExchangeDeclare(name, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return fmt.Errorf("declare exchange %s: %w", name, err)
	}
	return nil
}

// declare makes the queue that keeps what is paused.
func (r retained) declare(ch *amqp.Channel) error {
	args := amqp.Table{"x-queue-type": r.settings.QueueType, "x-max-length": int64(retainedMax)}
	if r.settings.QueueType == "quorum" {
		args["x-delivery-limit"] = int64(journalDeliveryLimit)
	}
	return declareBound(ch, r.name, r.name, args, keyKept)
}

// exists tells whether anything was ever paused.
func (r retained) exists() (bool, error) { return exists(r.conn, r.name) }

// exists tells whether there is a queue.
func exists(conn *amqp.Connection, queue string) (bool, error) {
	// A channel of its own: a passive declaration of what is not there closes it.
	ch, err := conn.Channel()
	if err != nil {
		return false, err
	}
	defer ch.Close()
	_, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	var fault *amqp.Error
	switch {
	case err == nil:
		return true, nil
	// A classic queue whose node is down is NOT_FOUND too, in other words.
	case errors.As(err, &fault) && fault.Code == amqp.NotFound && strings.Contains(fault.Reason, "no queue"):
		return false, nil
	}
	return false, fmt.Errorf("look for queue %s: %w", queue, err)
}

// locked does something with a queue that nobody else does meanwhile: errBusy if
// another does.
func locked(conn *amqp.Connection, queue string, do func(*amqp.Channel) error) error {
	lock, err := conn.Channel()
	if err != nil {
		return err
	}
	defer lock.Close()
	name := queue + ".lock"
	_, err = lock.QueueDeclare(name, false, false, true, false, amqp.Table{"x-queue-type": "classic"})
	var fault *amqp.Error
	if errors.As(err, &fault) && fault.Code == amqp.ResourceLocked {
		return fmt.Errorf("%w %s", errBusy, name)
	}
	if err != nil {
		return fmt.Errorf("declare queue %s: %w", name, err)
	}
	ch, err := conn.Channel()
	if err == nil {
		err = do(ch)
		_ = ch.Close() // what was not settled goes back
	}
	if _, fault := lock.QueueDelete(name, false, false, false); err == nil && fault != nil {
		err = fmt.Errorf("delete queue %s: %w", name, fault)
	}
	return err
}

// take takes what is kept, under the lock, up to last, which settles all of it, also with
// errStrange. often: that was done so often that it is to be sent anew.
func (r retained) take(ch *amqp.Channel) (kept wire.Halt, last amqp.Delivery, often bool, err error) {
	var strange error
	for {
		d, ok, err := ch.Get(r.name, false)
		if err != nil {
			return kept, last, often, fmt.Errorf("read queue %s: %w", r.name, err)
		}
		if !ok {
			break
		}
		count, _ := d.Headers["x-delivery-count"].(int64)
		last, often = d, often || count >= renewAfter
		h, err := r.settings.readOrder(d)
		switch {
		case errors.Is(err, errRefused):
			r.refused(err)
		case err != nil:
			strange = fmt.Errorf("%w: %w", errStrange, err)
		case h.Revision > kept.Revision:
			kept = h
		}
	}
	if strange != nil {
		return kept, last, often, strange
	}
	if kept.Revision == 0 {
		return kept, last, often, fmt.Errorf("%w: the queue %s is empty", errLost, r.name)
	}
	return kept, last, often, nil
}

// read gives what is paused. renew keeps it anew when that is due.
func (r retained) read(renew func(wire.Halt) error) (kept wire.Halt, err error) {
	there, err := r.exists()
	if err != nil || !there {
		return wire.Halt{}, err
	}
	err = locked(r.conn, r.name, func(ch *amqp.Channel) error {
		var last amqp.Delivery
		var often bool
		if kept, last, often, err = r.take(ch); err != nil {
			return err
		}
		if !often {
			return r.giveBack(ch, last)
		}
		if err := renew(kept); err != nil {
			return fmt.Errorf("keep anew what is paused: %w", err)
		}
		return last.Ack(true)
	})
	return kept, err
}

// giveBack returns what was taken, and returns when that is done.
func (r retained) giveBack(ch *amqp.Channel, last amqp.Delivery) error {
	if err := last.Nack(true, true); err != nil {
		return err
	}
	// The broker takes what comes through a channel one after the other.
	_, err := ch.QueueDeclarePassive(r.name, true, false, false, false, nil)
	return err
}

// readOrder reads what an order says is paused. An error that wraps errRefused is of one
// that another user has sent.
func (s Settings) readOrder(d amqp.Delivery) (wire.Halt, error) {
	if d.UserId != s.AMQPUser {
		return wire.Halt{}, fmt.Errorf("%w: an order to pause came from user %q, not %q", errRefused, d.UserId, s.AMQPUser)
	}
	n, err := wire.Decode(d.Body)
	if err != nil {
		return wire.Halt{}, err
	}
	if n.EventType != wire.EventPaused {
		return wire.Halt{}, fmt.Errorf("an order has event type %s", n.EventType)
	}
	return wire.ParseHalt(n)
}

// openOrders opens a queue of this connection's own for what goes through the exchange
// from now on, with that key.
func openOrders(conn *amqp.Connection, exchange, key, owner string) (feed, error) {
	ch, err := conn.Channel()
	if err != nil {
		return feed{}, err
	}
	defer ch.Close()
	queue := exchange + "." + owner + "-" + rand.Text()[:6]
	if _, err := ch.QueueDeclare(queue, false, true, true, false, amqp.Table{"x-queue-type": "classic"}); err != nil {
		return feed{}, fmt.Errorf("declare queue %s: %w", queue, err)
	}
	if err := ch.QueueBind(queue, key, exchange, false, nil); err != nil {
		return feed{}, fmt.Errorf("bind queue %s to exchange %s: %w", queue, exchange, err)
	}
	return openFeed(conn, queue, owner+" "+key, 100)
}
