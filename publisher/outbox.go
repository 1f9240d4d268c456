package publisher

import (
	"sync"
	"time"
)

// outbox holds the messages that the broker has not confirmed, oldest first. The
// watcher adds, the sender takes and confirms. When it is full the oldest is
// dropped and counted.
type outbox struct {
	// ready holds a token when a message was added.
	ready chan struct{}

	mu      sync.Mutex
	limit   int
	queue   []*message
	sent    int // of the queue's front, in the session that is open
	lost    int
	drained chan struct{} // closed when empty; nil until finish
}

func newOutbox(limit int) *outbox {
	return &outbox{ready: make(chan struct{}, 1), limit: limit}
}

// add appends a message. States that directly follow unsent states take their
// place.
func (o *outbox) add(m *message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := len(o.queue) - 1; last >= o.sent && m.replaces(o.queue[last]) {
		o.queue[last] = m
		signal(o.ready)
		return
	}
	// States may go over the limit by one: they are what a loss asks for, and
	// must not cause the next.
	for m.states == nil && len(o.queue) >= o.limit {
		o.removeFront(1)
		o.lost++
	}
	o.queue = append(o.queue, m)
	signal(o.ready)
}

// rewind starts a session: everything is to be sent again, but of states that
// follow each other only the last, so that sessions that come and go do not fill
// the outbox with them.
func (o *outbox) rewind() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent = 0
	var kept []*message
	for _, m := range o.queue {
		if last := len(kept) - 1; last >= 0 && m.replaces(kept[last]) {
			kept[last] = m
		} else {
			kept = append(kept, m)
		}
	}
	o.queue = kept
}

// replaces tells whether m, the next message after earlier, makes it
// superfluous: both are states. The gap before the earlier is then before m.
func (m *message) replaces(earlier *message) bool {
	if m.states == nil || earlier.states == nil {
		return false
	}
	m.states.Reconnected = m.states.Reconnected || earlier.states.Reconnected
	return true
}

// next gives the oldest message that was not sent in this session, or nil.
func (o *outbox) next() *message {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.sent == len(o.queue) {
		return nil
	}
	o.sent++
	return o.queue[o.sent-1]
}

// confirm removes a message that the broker has. Confirmations come in the order
// of sending, so that older ones are confirmed too.
func (o *outbox) confirm(m *message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < o.sent && !m.order().Before(o.queue[n].order()) {
		n++
	}
	o.removeFront(n)
	o.checkDrained()
}

func (o *outbox) removeFront(n int) {
	clear(o.queue[:n])
	o.queue = o.queue[n:]
	o.sent = max(0, o.sent-n)
}

// takeLost tells how many messages were dropped since the last call.
func (o *outbox) takeLost() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.lost
	o.lost = 0
	return n
}

// backlog gives how many messages are not confirmed, and the age of the oldest.
func (o *outbox) backlog() (n int, oldest time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) > 0 {
		oldest = time.Since(o.queue[0].at)
	}
	return len(o.queue), oldest
}

func (o *outbox) len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.queue)
}

// finish says that nothing will be added any more; the channel is closed when
// everything is confirmed. To be called once.
func (o *outbox) finish() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drained = make(chan struct{})
	drained := o.drained
	o.checkDrained()
	return drained
}

func (o *outbox) checkDrained() {
	if o.drained != nil && len(o.queue) == 0 {
		close(o.drained)
		o.drained = nil
	}
}
