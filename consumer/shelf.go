package consumer

import (
	"container/list"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// shelf holds the messages that actors have been given and have not settled, so
// that what an actor leaves at its end goes back to its queue at once, and to
// whoever acts next, and not only with the session.
//
// It has room for most of what RabbitMQ delivers unacknowledged of one queue. When
// it is full the oldest is acknowledged, as if its handover had lasted for long:
// else many handovers at once would leave no room for their own next messages, nor
// for the tick, without which nothing is written.
type shelf struct {
	mu   sync.Mutex
	room int
	came uint64                   // how many, so far: delivery tags are a channel's own
	held map[uint64]*list.Element // by number, in the order in which they came
	of   map[string][]uint64      // those of an instance, in that order
	all  *list.List               // of *item, in that order too
}

// item is a message without its body.
type item struct {
	instance    string
	number      uint64
	tag         uint64 // of the delivery, on the channel it came by
	channel     amqp.Acknowledger
	acknowledge func()
}

func newShelf(room int) *shelf {
	return &shelf{room: room, held: map[uint64]*list.Element{}, of: map[string][]uint64{}, all: list.New()}
}

// hold keeps a message of an instance and gives what takes it off and acknowledges
// it; that may be kept for long, and holds nothing of the message.
func (s *shelf) hold(instance string, d amqp.Delivery, acknowledge func()) (settle func()) {
	s.mu.Lock()
	s.came++
	kept := &item{instance, s.came, d.DeliveryTag, d.Acknowledger, acknowledge}
	s.held[kept.number] = s.all.PushBack(kept)
	s.of[instance] = append(s.of[instance], kept.number)
	full, oldest := s.all.Len() > s.room, s.all.Front().Value.(*item)
	s.mu.Unlock()
	if full {
		s.settle(oldest.number)
	}
	number := kept.number
	return func() { s.settle(number) }
}

// settle acknowledges a message, unless that was done before.
func (s *shelf) settle(number uint64) {
	s.mu.Lock()
	m := s.takeOff(number)
	if m != nil {
		left := slices.DeleteFunc(s.of[m.instance], func(n uint64) bool { return n == number })
		if s.of[m.instance] = left; len(left) == 0 {
			delete(s.of, m.instance)
		}
	}
	s.mu.Unlock()
	if m != nil {
		m.acknowledge()
	}
}

// takeOff takes a message off, nil if it is not there any more.
func (s *shelf) takeOff(number uint64) *item {
	at, held := s.held[number]
	if !held {
		return nil
	}
	delete(s.held, number)
	return s.all.Remove(at).(*item)
}

// len tells how many messages are held.
func (s *shelf) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Len()
}

// giveBack returns the messages of an instance whose actor has ended.
func (s *shelf) giveBack(instance string) {
	s.mu.Lock()
	var left []*item // the oldest first
	for _, number := range s.of[instance] {
		left = append(left, s.takeOff(number))
	}
	delete(s.of, instance)
	s.mu.Unlock()
	for _, m := range left {
		_ = m.channel.Nack(m.tag, false, true) // fails only with the session
	}
}
