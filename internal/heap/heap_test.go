package heap

import (
	"context"
	"runtime"
	"slices"
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
		kept := uint64(growth)
		var set []int
		go bound(ctx, func() uint64 { return kept }, func(percent int) { set = append(set, percent) })
		for _, now := range []uint64{growth, 2 * growth, 2*growth - 1000, 4 * growth, 5 * growth, 10} {
			kept = now
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
	before := live()
	kept := make([]byte, growth)
	runtime.GC()
	if now := live(); now < before+growth {
		t.Errorf("%d bytes, and %d before %d more were kept", now, before, growth)
	}
	runtime.KeepAlive(kept)
}
