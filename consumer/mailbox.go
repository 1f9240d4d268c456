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
	told func(handover.Aim) // of each aim that comes; nil: nobody wants to know
}

func newMailbox() mailbox { return mailbox{wake: make(chan struct{}, 1)} }

func (m *mailbox) put(a handover.Aim) {
	m.mu.Lock()
	m.aim, m.full = a, true
	if m.told != nil {
		m.told(a)
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// watch has end called when an aim comes that is such a one, or at once if one waits,
// until forget is called.
func (m *mailbox) watch(such func(handover.Aim) bool, end func()) (forget func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = func(a handover.Aim) {
		if such(a) {
			end()
		}
	}
	if m.full {
		m.told(m.aim)
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.told = nil
	}
}

// holds tells whether an aim waits that is such a one, and leaves it.
func (m *mailbox) holds(such func(handover.Aim) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.full && such(m.aim)
}

// take gives the aim that waits, if any.
func (m *mailbox) take() (handover.Aim, bool) {
	aim, taken, _ := m.takeIf(func(handover.Aim) bool { return true })
	return aim, taken
}

// takeIf takes the aim that waits if it is wanted; waits tells that one is
// there and was left.
func (m *mailbox) takeIf(wanted func(handover.Aim) bool) (aim handover.Aim, taken, waits bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.full:
		return handover.Aim{}, false, false
	case !wanted(m.aim):
		return handover.Aim{}, false, true
	}
	m.full = false
	return m.aim, true, false
}
