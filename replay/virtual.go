package replay

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/internal/clock"
)

// virtual is a clock that stands still while anything works and is moved by its owner
// when everything waits. One goroutine runs at a time, the owner's or one task: each
// run of the same things is the same.
//
// Only the goroutine that runs may call it.
type virtual struct {
	now     time.Duration
	waiting []*wait // in the order in which they began to
	yield   chan struct{}
}

var _ clock.Clock = (*virtual)(nil)

// wait is a task that waits, or a call that is due at a time.
type wait struct {
	until  time.Duration
	ctx    context.Context //nolint:containedctx // ends the wait
	wake   <-chan struct{}
	resume chan bool // of a task
	call   func()
}

func newVirtual() *virtual { return &virtual{yield: make(chan struct{})} }

func (v *virtual) Now() time.Duration { return v.now }

// Go starts a task; it runs once the caller waits.
func (v *virtual) Go(tasks *sync.WaitGroup, f func()) {
	w := &wait{until: v.now, resume: make(chan bool)}
	v.waiting = append(v.waiting, w)
	tasks.Add(1)
	go func() {
		<-w.resume
		f()
		tasks.Done()
		v.yield <- struct{}{}
	}()
}

func (v *virtual) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	w := &wait{until: v.now + min(d, clock.Forever-v.now), ctx: ctx, wake: wake, resume: make(chan bool)}
	v.waiting = append(v.waiting, w)
	v.yield <- struct{}{}
	return <-w.resume
}

// Spread gives d.
func (v *virtual) Spread(d time.Duration) time.Duration { return d }

// at has f called by the owner's next step at that time.
func (v *virtual) at(when time.Duration, f func()) {
	v.waiting = append(v.waiting, &wait{until: when, call: f})
}

func (v *virtual) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	inner, cancel := context.WithCancel(ctx)
	bounded := &timeout{Context: inner}
	v.at(v.now+d, func() {
		bounded.passed = inner.Err() == nil
		cancel()
	})
	return bounded, cancel
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

// step lets the first that need not wait any longer go on until it waits again; false if
// all have to wait.
func (v *virtual) step() bool {
	for i, w := range v.waiting {
		ready, ended := v.ready(w)
		if !ready {
			continue
		}
		v.waiting = slices.Delete(v.waiting, i, i+1)
		if w.call != nil {
			w.call()
			return true
		}
		w.resume <- !ended
		<-v.yield
		return true
	}
	return false
}

func (v *virtual) ready(w *wait) (ready, ended bool) {
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

// next is when the next wait is over by itself; false if none will be.
func (v *virtual) next() (time.Duration, bool) {
	earliest := clock.Forever
	for _, w := range v.waiting {
		earliest = min(earliest, w.until)
	}
	return earliest, earliest < clock.Forever
}
