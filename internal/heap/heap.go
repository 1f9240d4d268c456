// Package heap bounds by how much a program's heap grows between two collections. Go's own
// collector lets it double, so that a program which keeps much is resident twice.
package heap

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// growth is by how much the heap may grow, in bytes. One that keeps less doubles, as Go has it.
	growth = 32 << 20
	// least is by how many percent it may grow at least: each byte that is allocated costs the
	// collector 100/least times what it costs with Go's own 100.
	least = 25
	// step is between two percentages: each change stops the program for a moment.
	step = 5
	// every is how often what is kept is looked at.
	every = time.Second
)

// Bound bounds the growth until the context ends. Where an operator has set GOGC, that holds.
func Bound(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	bound(ctx, live, func(percent int) { debug.SetGCPercent(percent) })
}

func bound(ctx context.Context, live func() uint64, set func(percent int)) {
	look := time.NewTicker(every)
	defer look.Stop()
	last := 100 // Go's own
	for {
		if now := percent(live()); now != last {
			last = now
			set(now)
		}
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
	}
}

// percent is by how many percent the heap may grow where so many bytes are kept.
func percent(live uint64) int {
	if live <= growth {
		return 100
	}
	return max(least, int(100*growth/live)/step*step)
}

// live is how many bytes the last collection has found in use.
func live() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
