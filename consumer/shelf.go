package consumer

import (
	"container/list"
	"maps"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// shelf holds the messages that actors have been given and have not settled, so
// that what an actor leaves at its end goes back to the queue at once, and to
// whoever acts next, and not only with the session.
//
// It has room for most of what RabbitMQ delivers unacknowledged. When it is full
// the oldest is acknowledged, as if its handover had lasted for long: else many
// handovers at once would leave no room for their own next messages, nor for the
// tick, without which nothing is written.
type shelf struct {
	mu   sync.Mutex
	room int
	held map[string]map[uint64]*list.Element // by instance and delivery tag
	all  *list.List                          // of item, in the order of delivery
}

// item is a message without its body.
type item struct {
	instance    string
	tag         uint64
	broker      amqp.Acknowledger
	acknowledge func()
}

func newShelf(room int) *shelf {
	return &shelf{room: room, held: map[string]map[uint64]*list.Element{}, all: list.New()}
}

// hold keeps a message of an instance and gives what takes it off and acknowledges
// it.
func (s *shelf) hold(instance string, d amqp.Delivery, acknowledge func()) (settle func()) {
	kept := item{instance, d.DeliveryTag, d.Acknowledger, acknowledge}
	s.mu.Lock()
	if s.held[instance] == nil {
		s.held[instance] = map[uint64]*list.Element{}
	}
	s.held[instance][kept.tag] = s.all.PushBack(kept)
	full, oldest := s.all.Len() > s.room, s.all.Front().Value.(item)
	s.mu.Unlock()
	if full {
		s.settle(oldest)
	}
	return func() { s.settle(kept) }
}

// settle acknowledges a message, unless that was done before.
func (s *shelf) settle(m item) {
	s.mu.Lock()
	at, held := s.held[m.instance][m.tag]
	if held {
		s.all.Remove(at)
		delete(s.held[m.instance], m.tag)
		if len(s.held[m.instance]) == 0 {
			delete(s.held, m.instance)
		}
	}
	s.mu.Unlock()
	if held {
		m.acknowledge()
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
	for _, tag := range slices.Sorted(maps.Keys(left)) { // the oldest first
		_ = left[tag].Value.(item).broker.Nack(tag, false, true) // fails only with the session
	}
}
