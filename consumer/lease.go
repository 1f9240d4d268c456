package consumer

import (
	"sync/atomic"
	"time"
)

const (
	tickEvery = time.Second
	// tickWithin bounds one round of what sends the ticks.
	tickWithin = 30 * time.Second
	// leaseFor is how long after its last tick came back a replica may write.
	leaseFor = 5 * time.Second
)

// lease remembers when the last tick that came back had been sent, on this
// process's monotonic clock.
type lease struct {
	clock func() time.Duration
	sent  atomic.Int64 // nanoseconds on clock; 0 before the first tick
}

// renew takes a tick that came back.
func (l *lease) renew(sent time.Duration) { l.sent.Store(int64(sent)) }

// drop ends it, before another replica is let in.
func (l *lease) drop() { l.sent.Store(0) }

// queued bounds how long the message that is being delivered has been in the
// queue; false before the first tick has come back.
func (l *lease) queued() (time.Duration, bool) {
	sent := l.sent.Load()
	return l.clock() - time.Duration(sent), sent != 0
}

// held tells whether this replica may write now.
func (l *lease) held() bool {
	age, ok := l.queued()
	return ok && age < leaseFor
}
