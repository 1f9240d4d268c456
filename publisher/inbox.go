package publisher

import "sync/atomic"

// inboxSize is how many events may wait between libvirt's callback and the
// watcher, which needs microseconds for each.
const inboxSize = 4096

// inbox is the way out of libvirt's callback. put never blocks and never logs:
// libvirt's event loop, keepalive included, stands still meanwhile.
type inbox struct {
	events chan lifecycle
	// overflow holds a token when events were lost since lost was last called.
	overflow chan struct{}
	count    atomic.Int64
}

func newInbox(size int) *inbox {
	return &inbox{events: make(chan lifecycle, size), overflow: make(chan struct{}, 1)}
}

func (b *inbox) put(e lifecycle) {
	select {
	case b.events <- e:
	default:
		b.count.Add(1)
		signal(b.overflow)
	}
}

// lost tells how many events were lost since the last call.
func (b *inbox) lost() int64 { return b.count.Swap(0) }

// signal leaves a token in a channel of capacity 1, if none is there.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
