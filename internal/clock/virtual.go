package clock

import (
	"container/heap"
	"context"
	"sync"
	"time"
)

// Virtual is a clock that stands still while anything works and is moved by its owner
// when everything waits. One goroutine runs at a time, the owner's or one task: each
// run of the same things is the same.
//
// Only the goroutine that runs may call it. Step, Next and Advance are the owner's.
type Virtual struct {
	now   time.Duration
	begun uint64 // waits, so far
	// Waits whose time is to come, by time; and those whose time has come, in the order
	// in which they began. One that was ended otherwise stays until it is met.
	timed, due queue
	// watching are the waits that may end before their time, in the order in which they
	// began.
	watching []*wait
	yield    chan struct{}
}

var _ Clock = (*Virtual)(nil)

// wait is a task that waits, or a call that is due at a time.
type wait struct {
	number uint64
	until  time.Duration
	over   bool
	ctx    context.Context //nolint:containedctx // ends the wait
	wake   <-chan struct{}
	resume chan bool // of a task
	call   func()
}

// NewVirtual begins at 0.
func NewVirtual() *Virtual {
	return &Virtual{
		timed: queue{before: func(a, b *wait) bool { return a.until < b.until }},
		due:   queue{before: func(a, b *wait) bool { return a.number < b.number }},
		yield: make(chan struct{}),
	}
}

// Now is how far the clock was moved.
func (v *Virtual) Now() time.Duration { return v.now }

// Go starts a task; it runs once the caller waits.
func (v *Virtual) Go(tasks *sync.WaitGroup, f func()) {
	w := &wait{until: v.now, resume: make(chan bool)}
	v.add(w)
	tasks.Add(1)
	go func() {
		<-w.resume
		f()
		tasks.Done()
		v.yield <- struct{}{}
	}()
}

// Wait is for tasks, not for the owner.
func (v *Virtual) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	w := &wait{until: v.now + min(d, Forever-v.now), ctx: ctx, wake: wake, resume: make(chan bool)}
	v.add(w)
	v.yield <- struct{}{}
	return <-w.resume
}

// Spread gives d.
func (v *Virtual) Spread(d time.Duration) time.Duration { return d }

// At has f called by the owner's next step at that time.
func (v *Virtual) At(when time.Duration, f func()) { v.add(&wait{until: when, call: f}) }

// WithTimeout is context.WithTimeout on this clock.
func (v *Virtual) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(ctx)
	bounded := &timeout{Context: inner}
	w := &wait{until: v.now + d, call: func() {
		bounded.passed = inner.Err() == nil
		cancel()
	}}
	v.add(w)
	return bounded, func() {
		w.over = true
		cancel()
	}
}

// timeout is a context that ends with context.DeadlineExceeded when its time has passed.
type timeout struct {
	context.Context
	passed bool
}

func (t *timeout) Err() error {
	if t.passed {
		return context.DeadlineExceeded
	}
	return t.Context.Err()
}

func (v *Virtual) add(w *wait) {
	v.begun++
	w.number = v.begun
	if w.until < Forever {
		heap.Push(&v.timed, w)
	}
	if w.wake != nil || w.ctx != nil && w.ctx.Done() != nil {
		v.watching = append(v.watching, w)
	}
}

// Step lets the first that need not wait any longer go on until it waits again; false if
// all have to wait.
func (v *Virtual) Step() bool {
	for first := v.timed.first(); first != nil && first.until <= v.now; first = v.timed.first() {
		heap.Push(&v.due, heap.Pop(&v.timed))
	}
	chosen, ended := v.due.first(), false
	kept := 0
	for i, w := range v.watching {
		if w.over {
			continue
		}
		if chosen != nil && w.number > chosen.number {
			kept += copy(v.watching[kept:], v.watching[i:])
			break
		}
		if ready, gone := v.ready(w); ready {
			chosen, ended = w, gone
			kept += copy(v.watching[kept:], v.watching[i+1:])
			break
		}
		v.watching[kept] = w
		kept++
	}
	clear(v.watching[kept:])
	v.watching = v.watching[:kept]
	if chosen == nil {
		return false
	}
	chosen.over = true
	if chosen.call != nil {
		chosen.call()
		return true
	}
	chosen.resume <- !ended
	<-v.yield
	return true
}

func (v *Virtual) ready(w *wait) (ready, ended bool) {
	if w.ctx != nil && w.ctx.Err() != nil {
		return true, true
	}
	select {
	case <-w.wake:
		return true, false
	default:
	}
	return w.until <= v.now, false
}

// Next is when the next wait is over by itself; false if none will be.
func (v *Virtual) Next() (time.Duration, bool) {
	if first := v.due.first(); first != nil {
		return v.now, true
	}
	if first := v.timed.first(); first != nil {
		return max(first.until, v.now), true
	}
	return Forever, false
}

// Advance moves the clock, which never goes back.
func (v *Virtual) Advance(to time.Duration) { v.now = max(v.now, to) }

// queue is a heap of waits; equals are in the order in which they began.
type queue struct {
	waits  []*wait
	before func(a, b *wait) bool
}

// first is the first that is not over, nil if there is none.
func (q *queue) first() *wait {
	for len(q.waits) > 0 {
		if !q.waits[0].over {
			return q.waits[0]
		}
		heap.Pop(q)
	}
	return nil
}

func (q *queue) Len() int { return len(q.waits) }
func (q *queue) Less(i, j int) bool {
	a, b := q.waits[i], q.waits[j]
	return q.before(a, b) || !q.before(b, a) && a.number < b.number
}
func (q *queue) Swap(i, j int) { q.waits[i], q.waits[j] = q.waits[j], q.waits[i] }
func (q *queue) Push(w any)    { q.waits = append(q.waits, w.(*wait)) }
func (q *queue) Pop() any {
	last := len(q.waits) - 1
	w := q.waits[last]
	q.waits[last] = nil
	q.waits = q.waits[:last]
	return w
}
