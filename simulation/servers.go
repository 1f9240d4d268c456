package simulation

import (
	"container/heap"
	"time"
)

// servers are k that serve one queue, first come first served. Calls come in the order of
// their times: when each is served is then known as it comes.
type servers struct{ free times }

func newServers(k int) *servers { return &servers{make(times, k)} }

// take gives when a call that comes at that time, and takes that long, begins to be served.
func (s *servers) take(at, takes time.Duration) (begins time.Duration) {
	begins = max(at, s.free[0])
	s.free[0] = begins + takes
	heap.Fix(&s.free, 0)
	return begins
}

// times are when each server is free again, the earliest first.
type times []time.Duration

func (t times) Len() int           { return len(t) }
func (t times) Less(i, j int) bool { return t[i] < t[j] }
func (t times) Swap(i, j int)      { t[i], t[j] = t[j], t[i] }
func (t *times) Push(x any)        { *t = append(*t, x.(time.Duration)) }
func (t *times) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	*t = (*t)[:last]
	return x
}
