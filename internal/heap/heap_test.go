package heap

import (
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheMoreIsKeptTheLessItGrows(t *testing.T) {
	for live, want := range map[uint64]int{0: 100, growth: 100, growth + 1: 95, 2 * growth: 50, 3 * growth: 30, 4 * growth: 25, 1 << 40: 25} {
		if got := percent(live); got != want {
			t.Errorf("%d bytes: %d percent, want %d", live, got, want)
		}
	}
}

func TestOnlyAChangeIsSet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var kept atomic.Uint64
		kept.Store(growth)
		var set []int
		go bound(ctx, kept.Load, func(percent int) { set = append(set, percent) })
		for _, now := range []uint64{growth, 2 * growth, 2*growth - 1000, 4 * growth, 5 * growth, 10} {
			kept.Store(now)
			time.Sleep(every)
			synctest.Wait()
		}
		stop()
		synctest.Wait()
		if want := []int{50, 25, 100}; !slices.Equal(set, want) {
			t.Errorf("set: %v, want %v", set, want)
		}
	})
}

func TestWhatIsKeptIsRead(t *testing.T) {
	runtime.GC() // what ran before keeps nothing
	before := live()
	kept := make([]byte, growth)
	runtime.GC()
	if now := live(); now < before+growth/2 {
		t.Errorf("%d bytes, and %d before %d more were kept", now, before, len(kept))
	}
	runtime.KeepAlive(kept)
}
