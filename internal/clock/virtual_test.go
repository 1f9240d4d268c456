package clock

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// drain runs a clock until nothing waits any more for a time, and gives the group's tasks
// the time to end.
func drain(v *Virtual, tasks *sync.WaitGroup) {
	for {
		for v.Step() {
		}
		next, ok := v.Next()
		if !ok {
			break
		}
		v.Advance(next)
	}
	tasks.Wait()
}

func TestTasksRunOneAtATimeInTheOrderOfTheirTimes(t *testing.T) {
	v, said := NewVirtual(), []string{}
	var tasks sync.WaitGroup
	for i, d := range []time.Duration{3 * time.Hour, time.Hour, 2 * time.Hour, time.Hour} {
		v.Go(&tasks, func() {
			for n := range 2 {
				if !v.Wait(t.Context(), d, nil) {
					t.Error("the wait was ended")
				}
				said = append(said, fmt.Sprintf("%d.%d at %s", i, n, v.Now()))
			}
		})
	}
	v.At(time.Hour, func() { said = append(said, "call") })
	began := time.Now()
	drain(v, &tasks)
	want := []string{
		"call", "1.0 at 1h0m0s", "3.0 at 1h0m0s", "2.0 at 2h0m0s", "1.1 at 2h0m0s", "3.1 at 2h0m0s", "0.0 at 3h0m0s", "2.1 at 4h0m0s", "0.1 at 6h0m0s",
	}
	if !slices.Equal(said, want) {
		t.Errorf("%q, want %q", said, want)
	}
	if time.Since(began) > time.Hour {
		t.Error("real time passed")
	}
}

func TestATokenWakes(t *testing.T) {
	v := NewVirtual()
	var tasks sync.WaitGroup
	wake := make(chan struct{}, 1)
	var woken time.Duration
	v.Go(&tasks, func() {
		if !v.Wait(t.Context(), Forever, wake) {
			t.Error("ended")
		}
		woken = v.Now()
	})
	v.At(time.Minute, func() { wake <- struct{}{} })
	drain(v, &tasks)
	if woken != time.Minute || len(wake) != 0 {
		t.Errorf("woken at %s, %d tokens left", woken, len(wake))
	}
}

func TestTheEndOfAContextEndsAWait(t *testing.T) {
	v := NewVirtual()
	var tasks sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	ended := time.Duration(0)
	v.Go(&tasks, func() {
		if v.Wait(ctx, Forever, nil) {
			t.Error("not ended")
		}
		ended = v.Now()
	})
	v.At(time.Second, cancel)
	drain(v, &tasks)
	if ended != time.Second {
		t.Errorf("ended at %s", ended)
	}
}

func TestATimeoutIsADeadlineThatPassesOnThisClock(t *testing.T) {
	v := NewVirtual()
	var tasks sync.WaitGroup
	ctx, cancel := v.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	child, stop := context.WithCancel(ctx)
	defer stop()
	v.Go(&tasks, func() {
		if v.Wait(child, 2*time.Hour, nil) {
			t.Error("the child outlives it")
		}
		if v.Now() != time.Hour || ctx.Err() != context.DeadlineExceeded || child.Err() == nil {
			t.Errorf("at %s: %v, %v", v.Now(), ctx.Err(), child.Err())
		}
	})
	early, cancelled := v.WithTimeout(t.Context(), time.Minute)
	cancelled()
	drain(v, &tasks)
	if early.Err() != context.Canceled {
		t.Errorf("cancelled first: %v", early.Err())
	}
}

func TestWhatIsDueAtOneTimeGoesOnInTheOrderInWhichItBegan(t *testing.T) {
	v, said := NewVirtual(), []int{}
	var tasks sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range 6 {
		switch i % 3 {
		case 0: // only its time ends it
			v.Go(&tasks, func() { v.Wait(context.Background(), time.Second, nil); said = append(said, i) })
		case 1: // or a context
			v.Go(&tasks, func() { v.Wait(ctx, time.Second, nil); said = append(said, i) })
		default: // or mail
			v.Go(&tasks, func() { v.Wait(context.Background(), time.Second, make(chan struct{})); said = append(said, i) })
		}
	}
	drain(v, &tasks)
	if !slices.Equal(said, []int{0, 1, 2, 3, 4, 5}) {
		t.Error(said)
	}
}

func TestATimeoutThatWasCancelledIsNotWaitedFor(t *testing.T) {
	v := NewVirtual()
	_, cancel := v.WithTimeout(t.Context(), time.Hour)
	cancel()
	if next, ok := v.Next(); ok {
		t.Errorf("something is due at %s", next)
	}
}

func TestTheClockNeverGoesBack(t *testing.T) {
	v := NewVirtual()
	v.Advance(time.Hour)
	v.Advance(time.Minute)
	if v.Now() != time.Hour {
		t.Error(v.Now())
	}
}
