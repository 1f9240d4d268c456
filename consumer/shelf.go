package consumer

import (
	"container/list"
	"maps"
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
	came uint64                              // how many, so far: delivery tags are a channel's own
	held map[string]map[uint64]*list.Element // by instance and number, in the order in which they came
	all  *list.List                          // of *item, in that order too
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
	return &shelf{room: room, held: map[string]map[uint64]*list.Element{}, all: list.New()}
}

// hold keeps a message of an instance and gives what takes it off and acknowledges
// it; that may be kept for long, and holds nothing of the message.
func (s *shelf) hold(instance string, d amqp.Delivery, acknowledge func()) (settle func()) {
	s.mu.Lock()
	s.came++
	kept := &item{instance, s.came, d.DeliveryTag, d.Acknowledger, acknowledge}
	if s.held[instance] == nil {
		s.held[instance] = map[uint64]*list.Element{}
	}
	s.held[instance][kept.number] = s.all.PushBack(kept)
	full, oldest := s.all.Len() > s.room, s.all.Front().Value.(*item)
	s.mu.Unlock()
	if full {
		s.settle(oldest.instance, oldest.number)
	}
	number := kept.number
	return func() { s.settle(instance, number) }
}

// settle acknowledges a message, unless that was done before.
func (s *shelf) settle(instance string, number uint64) {
	s.mu.Lock()
	at, held := s.held[instance][number]
	if held {
		s.all.Remove(at)
		delete(s.held[instance], number)
		if len(s.held[instance]) == 0 {
			delete(s.held, instance)
		}
	}
	s.mu.Unlock()
	if held {
		at.Value.(*item).acknowledge()
	}
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
	left := s.held[instance]
	delete(s.held, instance)
	for _, at := range left {
		s.all.Remove(at)
	}
	s.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(left)) { // the oldest first
		m := left[number].Value.(*item)
		_ = m.channel.Nack(m.tag, false, true) // fails only with the session
	}
}
