package clock

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestAWaitEndsByTimeByATokenOrWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := Real()
		if !c.Wait(t.Context(), time.Hour, nil) || c.Now() != time.Hour {
			t.Errorf("by time: at %s", c.Now())
		}
		wake := make(chan struct{}, 1)
		wake <- struct{}{}
		if !c.Wait(t.Context(), Forever, wake) || c.Now() != time.Hour {
			t.Errorf("by a token: at %s", c.Now())
		}
		ctx, cancel := c.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if c.Wait(ctx, Forever, nil) || c.Now() != time.Hour+time.Minute || ctx.Err() != context.DeadlineExceeded {
			t.Errorf("with its context: at %s, %v", c.Now(), ctx.Err())
		}
	})
}

func TestTasksAreTheirGroups(t *testing.T) {
	var tasks sync.WaitGroup
	ran := false
	Real().Go(&tasks, func() { ran = true })
	tasks.Wait()
	if !ran {
		t.Error("it did not run")
	}
}

func TestSpreadStaysWithinHalf(t *testing.T) {
	c, different := Real(), map[time.Duration]bool{}
	for range 100 {
		d := c.Spread(time.Second)
		if d < time.Second/2 || d >= 3*time.Second/2 {
			t.Fatalf("%s", d)
		}
		different[d] = true
	}
	if len(different) < 2 {
		t.Error("all are the same")
	}
	if d := c.Spread(0); d != 0 {
		t.Errorf("of nothing: %s", d)
	}
}
