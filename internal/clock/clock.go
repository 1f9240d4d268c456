// Package clock is time as the consumer's workers see it: [Real] when they serve a
// cloud, a clock that its owner moves when they replay a recording.
package clock

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Forever is longer than any wait.
const Forever = time.Duration(math.MaxInt64)

// Clock starts goroutines and has them wait. A goroutine that was started by Go
// waits for nothing but its own channels' mail in any other way.
type Clock interface {
	// Now is monotonic, from an arbitrary beginning.
	Now() time.Duration
	// Go runs f beside the caller, as a task of the group.
	Go(tasks *sync.WaitGroup, f func())
	// Wait returns after d or when wake, which may be nil, gives a token: true;
	// or when ctx has ended: false.
	Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool
	// WithTimeout is context.WithTimeout.
	WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc)
	// Spread gives a duration near d, so that many that wait do not return in step.
	Spread(d time.Duration) time.Duration
}

// Real is the machine's clock.
func Real() Clock { return realClock{time.Now()} }

type realClock struct{ began time.Time }

func (c realClock) Now() time.Duration { return time.Since(c.began) }

func (c realClock) Go(tasks *sync.WaitGroup, f func()) { tasks.Go(f) }

func (c realClock) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	var over <-chan time.Time
	if d < Forever {
		timer := time.NewTimer(d)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-over:
	case <-wake:
	}
	return true
}

func (c realClock) WithTimeout(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}

// Spread draws from d ±50 %.
func (c realClock) Spread(d time.Duration) time.Duration {
	return d/2 + rand.N(max(d, 1))
}
