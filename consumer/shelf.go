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
	came uint64                              // how many, so far: delivery tags are a channel's own
	held map[string]map[uint64]amqp.Delivery // by instance and the order in which they came
}

func newShelf() *shelf { return &shelf{held: map[string]map[uint64]amqp.Delivery{}} }

// hold keeps a message of an instance and gives what acknowledges it.
func (s *shelf) hold(instance string, d amqp.Delivery) (settle func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[instance] == nil {
		s.held[instance] = map[uint64]amqp.Delivery{}
	}
	s.came++
	number := s.came
	s.held[instance][number] = d
	return func() {
		s.mu.Lock()
		delete(s.held[instance], number)
		if len(s.held[instance]) == 0 {
			delete(s.held, instance)
		}
		s.mu.Unlock()
		_ = d.Ack(false) // fails only with the session
	}
}

// giveBack returns the messages of an instance whose actor has ended.
func (s *shelf) giveBack(instance string) {
	s.mu.Lock()
	left := s.held[instance]
	delete(s.held, instance)
	s.mu.Unlock()
	for _, number := range slices.Sorted(maps.Keys(left)) { // the oldest first
		_ = left[number].Nack(false, true) // fails only with the session
	}
}
