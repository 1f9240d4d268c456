package consumer

import (
	"maps"
	"slices"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// shelf holds the messages that actors have been given and have not settled, so
// that what an actor leaves at its end goes back to the queue at once, and to
// whoever acts next, and not only with the session.
type shelf struct {
	mu   sync.Mutex
	held map[string]map[uint64]amqp.Delivery // by instance and delivery tag
}

func newShelf() *shelf { return &shelf{held: map[string]map[uint64]amqp.Delivery{}} }

// hold keeps a message of an instance and gives what takes it off and
// acknowledges it.
func (s *shelf) hold(instance string, d amqp.Delivery, acknowledge func()) (settle func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[instance] == nil {
		s.held[instance] = map[uint64]amqp.Delivery{}
	}
	s.held[instance][d.DeliveryTag] = d
	return func() {
		s.mu.Lock()
		delete(s.held[instance], d.DeliveryTag)
		if len(s.held[instance]) == 0 {
			delete(s.held, instance)
		}
		s.mu.Unlock()
		acknowledge()
	}
}

// giveBack returns the messages of an instance whose actor has ended.
func (s *shelf) giveBack(instance string) {
	s.mu.Lock()
	left := s.held[instance]
	delete(s.held, instance)
	s.mu.Unlock()
	for _, tag := range slices.Sorted(maps.Keys(left)) { // the oldest first
		_ = left[tag].Nack(false, true) // fails only with the session
	}
}
