package simulation

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// meanWait is of calls that come at random, so many a second, to k servers.
func meanWait(k int, perSecond float64, takes func(*rand.Rand) time.Duration) time.Duration {
	const calls = 400_000
	draws := rand.New(rand.NewPCG(1, 2))
	s := newServers(k)
	var at, waited time.Duration
	for range calls {
		at += time.Duration(draws.ExpFloat64() * float64(time.Second) / perSecond)
		waited += s.take(at, takes(draws)) - at
	}
	return waited / calls
}

// erlangC is the mean wait in an M/M/k queue.
func erlangC(k int, perSecond float64, mean time.Duration) time.Duration {
	load := perSecond * mean.Seconds()
	sum, term := 0.0, 1.0
	for n := range k {
		sum += term
		term *= load / float64(n+1)
	}
	busy := load / float64(k)
	last := term / (1 - busy)
	return time.Duration(last / (sum + last) / (float64(k)/mean.Seconds() - perSecond) * float64(time.Second))
}

func TestMeanWaitsAreThoseOfTheory(t *testing.T) {
	const mean = 169 * time.Millisecond
	exponential := func(d *rand.Rand) time.Duration { return time.Duration(d.ExpFloat64() * float64(mean)) }
	fixed := func(*rand.Rand) time.Duration { return mean }
	for _, k := range []int{1, 2, 4, 16} {
		for _, busy := range []float64{0.3, 0.6, 0.8} {
			perSecond := busy * float64(k) / mean.Seconds()
			check(t, fmt.Sprintf("M/M/%d at %v", k, busy), meanWait(k, perSecond, exponential), erlangC(k, perSecond, mean))
			if k == 1 {
				want := time.Duration(busy / (2 * (1 - busy)) * float64(mean)) // Pollaczek and Khinchine
				check(t, fmt.Sprintf("M/D/1 at %v", busy), meanWait(1, perSecond, fixed), want)
			}
		}
	}
}

func check(t *testing.T, name string, got, want time.Duration) {
	t.Helper()
	// 5 %, and of waits that hardly occur 0.1 ms.
	if off := math.Abs(float64(got - want)); off > 0.05*float64(want)+float64(100*time.Microsecond) {
		t.Errorf("%s: waits %s, by theory %s", name, got, want)
	}
}

func TestFirstComeFirstServed(t *testing.T) {
	s := newServers(2)
	var last time.Duration
	for i, c := range []struct{ at, takes, begins time.Duration }{
		{0, 10, 0}, {0, 4, 0}, {1, 1, 4}, {2, 20, 5}, {3, 1, 10}, {50, 1, 50},
	} {
		got := s.take(c.at, c.takes)
		if got != c.begins || got < last {
			t.Errorf("call %d begins at %d, not %d", i, got, c.begins)
		}
		last = got
	}
}
