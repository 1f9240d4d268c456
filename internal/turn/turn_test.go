package turn

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/internal/clock"
)

// All come within one moment, and each has its turn for a second.
func TestWhoGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(clock.Real(), 2)
		var mu sync.Mutex
		var all sync.WaitGroup
		var order []string
		var inside, most int
		for _, one := range []struct {
			name  string
			class Class
		}{
			{"a", Reading}, {"b", Reading}, // there is room for them
			{"read", Reading}, {"activate", Committing}, {"restore", Restoring}, {"activate too", Committing}, {"restore too", Restoring},
		} {
			all.Go(func() {
				if err := g.Enter(As(t.Context(), one.class)); err != nil {
					t.Error(err)
				}
				defer g.Leave()
				mu.Lock()
				order = append(order, one.name)
				inside++
				most = max(most, inside)
				mu.Unlock()
				time.Sleep(time.Second)
				mu.Lock()
				inside--
				mu.Unlock()
			})
			synctest.Wait() // it stands in the queue before the next comes
		}
		all.Wait()
		// Two leave at one moment: which of the next two is the first to say so is chance.
		for _, pair := range [][2]int{{2, 4}, {4, 6}} {
			if order[pair[0]] > order[pair[0]+1] {
				order[pair[0]], order[pair[0]+1] = order[pair[0]+1], order[pair[0]]
			}
		}
		if got := strings.Join(order, ", "); got != "a, b, restore, restore too, activate, activate too, read" {
			t.Error(got)
		}
		if most != 2 || g.room != 2 {
			t.Errorf("%d at once, room for %d in the end", most, g.room)
		}
	})
}

// Who gives up leaves the queue, and takes nobody's turn.
func TestWhoGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewGate(clock.Real(), 1)
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone := make(chan error, 3)
		for i := range 3 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*time.Second)
			defer cancel()
			go func() { gone <- g.Enter(As(ctx, Class(i))) }()
		}
		time.Sleep(time.Minute)
		for range 3 {
			if err := <-gone; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v", err)
			}
		}
		g.Leave()
		if err := g.Enter(t.Context()); err != nil || len(g.waiting) != 0 || g.room != 0 {
			t.Errorf("%v, %d wait, room for %d", err, len(g.waiting), g.room)
		}
	})
}

// A turn that comes at the very moment in which its caller gives up goes to the next.
func TestATurnIsNotLost(t *testing.T) {
	for range 1000 {
		g := NewGate(clock.Real(), 1)
		if err := g.Enter(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() {
			if g.Enter(ctx) == nil {
				g.Leave()
			}
		})
		all.Go(cancel)
		all.Go(g.Leave)
		all.Wait()
		if g.room != 1 || len(g.waiting) != 0 {
			t.Fatalf("room for %d, %d wait", g.room, len(g.waiting))
		}
	}
}

func TestNoGateLetsAllThrough(t *testing.T) {
	var g *Gate
	if err := g.Enter(t.Context()); err != nil {
		t.Error(err)
	}
	g.Leave()
}
