// Package turn bounds how many requests go to a server at once, and says whose go
// first: what restores a port before what activates one early, and that before all
// else. Of one kind first come, first served.
package turn

import (
	"container/heap"
	"context"
	"sync"

	"github.com/earlybind/earlybind/internal/clock"
)

// Class is what a request is for. One of a higher class goes first.
type Class int

// The classes; a context without one has the lowest.
const (
	Reading Class = iota
	Committing
	Restoring
)

type classKey struct{}

// As marks what is asked with the context.
func As(ctx context.Context, c Class) context.Context { return context.WithValue(ctx, classKey{}, c) }

// Gate lets so many through at once. A nil Gate lets all through.
type Gate struct {
	clock clock.Clock

	mu      sync.Mutex
	room    int
	arrived uint64
	waiting tickets
}

// NewGate makes one; atOnce is 1 at least.
func NewGate(c clock.Clock, atOnce int) *Gate { return &Gate{clock: c, room: atOnce} }

// Enter returns when it is the caller's turn, who then has to Leave; or the context's
// error, if that ends before.
func (g *Gate) Enter(ctx context.Context) error {
	if g == nil {
		return nil
	}
	t := g.ticket(ctx)
	if t == nil || g.clock.Wait(ctx, clock.Forever, t.let) {
		return nil
	}
	g.mu.Lock()
	waits := t.place >= 0
	if waits {
		heap.Remove(&g.waiting, t.place)
	}
	g.mu.Unlock()
	if !waits { // it was let in at the very moment
		g.Leave()
	}
	return ctx.Err()
}

// ticket takes a place in the queue; nil where there is room.
func (g *Gate) ticket(ctx context.Context) *ticket {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.room > 0 {
		g.room--
		return nil
	}
	class, _ := ctx.Value(classKey{}).(Class)
	t := &ticket{class: class, number: g.arrived, let: make(chan struct{}, 1)}
	g.arrived++
	heap.Push(&g.waiting, t)
	return t
}

// Leave ends a turn.
func (g *Gate) Leave() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) == 0 {
		g.room++
		return
	}
	heap.Pop(&g.waiting).(*ticket).let <- struct{}{}
}

// ticket is one that waits; let gets a token when its turn has come.
type ticket struct {
	class  Class
	number uint64
	place  int // in the heap; -1 once it is let in
	let    chan struct{}
}

type tickets []*ticket

func (t tickets) Len() int { return len(t) }
func (t tickets) Less(i, j int) bool {
	return t[i].class > t[j].class || t[i].class == t[j].class && t[i].number < t[j].number
}
func (t tickets) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].place, t[j].place = i, j
}
func (t *tickets) Push(x any) {
	one := x.(*ticket)
	one.place = len(*t)
	*t = append(*t, one)
}
func (t *tickets) Pop() any {
	last := len(*t) - 1
	x := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	x.place = -1
	return x
}
