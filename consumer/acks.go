package consumer

import (
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// ackTogether is how many deliveries are acknowledged with one frame, at most.
	ackTogether = 64
	// ackWithin is how long one that is settled waits for others.
	ackWithin = 20 * time.Millisecond
)

// acks acknowledges the deliveries of one channel, those that are settled as they come with one
// frame for many: nearly all notifications are none of earlybind's, and each frame is a system
// call (docs/performance.md). While one is held, for a handover, each later one is
// acknowledged by itself: RabbitMQ takes "multiple" for all that it has delivered before.
//
// It stands in the place of the channel in each delivery, see take. Its errors are the channel's,
// which fails only with the session: what was not told then comes again.
type acks struct {
	channel amqp.Acknowledger

	mu      sync.Mutex
	open    map[uint64]bool // taken, and not settled
	last    uint64          // settled like all before it, and not told yet; 0: none is
	waiting int             // how many these are
	later   *time.Timer
	ended   bool // nothing waits any more
}

func newAcks(channel amqp.Acknowledger) *acks {
	a := &acks{channel: channel, open: map[uint64]bool{}}
	a.later = time.AfterFunc(ackWithin, a.flush)
	a.later.Stop()
	return a
}

// take has a delivery settled by a. All of the channel must be taken, in the order in which they come.
func (a *acks) take(d amqp.Delivery) amqp.Delivery {
	a.mu.Lock()
	a.open[d.DeliveryTag] = true
	a.mu.Unlock()
	d.Acknowledger = a
	return d
}

// Ack settles one delivery; multiple is not for callers.
func (a *acks) Ack(tag uint64, _ bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, tag)
	if len(a.open) > 0 || a.ended {
		return a.channel.Ack(tag, false)
	}
	a.last = tag
	a.waiting++
	switch a.waiting {
	case 1:
		a.later.Reset(ackWithin)
	case ackTogether:
		return a.tell()
	}
	return nil
}

// Nack gives one delivery back.
func (a *acks) Nack(tag uint64, _, requeue bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.open, tag)
	return a.channel.Nack(tag, false, requeue)
}

// Reject is Nack.
func (a *acks) Reject(tag uint64, requeue bool) error { return a.Nack(tag, false, requeue) }

// flush tells the broker what waits to be told.
func (a *acks) flush() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.tell()
}

// end is called when nothing more is taken: what is settled from now on is told at once, since the
// session may end at any moment.
func (a *acks) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	_ = a.tell()
}

// tell is flush, for who has the lock.
func (a *acks) tell() error {
	a.later.Stop()
	if a.waiting == 0 {
		return nil
	}
	last := a.last
	a.last, a.waiting = 0, 0
	return a.channel.Ack(last, true)
}
