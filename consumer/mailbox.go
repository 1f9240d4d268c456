package consumer

import (
	"sync"

	"github.com/earlybind/earlybind/handover"
)

// mailbox holds the newest aim of a port. An aim that was not taken is
// replaced: only the last one counts.
type mailbox struct {
	wake chan struct{} // holds one token while there may be mail

	mu   sync.Mutex
	aim  handover.Aim
	full bool
}

func newMailbox() mailbox { return mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(a handover.Aim) {
	m.mu.Lock()
	m.aim, m.full = a, true
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mailbox) peek() (handover.Aim, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.aim, m.full
}

func (m *mailbox) take(into *handover.Aim) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.full {
		return false
	}
	*into, m.full = m.aim, false
	return true
}
