package rollback_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/rollback"
)

// calls counts the requests of a run without faults.
func calls(t *testing.T, rows []binding.Binding) int {
	t.Helper()
	b := newBench(t, rows...)
	if err := b.restore(t, b.options()); err != nil {
		t.Fatal(err)
	}
	return len(b.Requests())
}

// atCall runs f at the nth call, at the given place in it.
func (b bench) atCall(n int, place string, f func()) {
	count := 0
	hit := func() {
		if count++; count == n {
			f()
		}
	}
	fault := bindingtest.Fault{Times: -1}
	switch place {
	case "before":
		fault.Before = hit
	case "after":
		fault.After = hit
	}
	b.Inject(fault)
}

func TestNovaDeletesTheDestinationsRowAtEveryPoint(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= calls(t, s.rows); n++ {
				for _, place := range []string{"before", "after"} {
					b := newBench(t, s.rows...)
					var done atomic.Bool
					b.atCall(n, place, func() { b.DeleteRow(b.port, dst); done.Store(true) })
					o := b.options()
					// Nova is done when it has deleted, or when there is nothing else to wait for.
					looks := 0
					o.NovaDone = func() (bool, bool) { looks++; return done.Load() || looks > 10, false }
					if err := b.restore(t, o); err != nil {
						t.Fatalf("%s call %d: %v", place, n, err)
					}
					b.wantRight(t, s.rows)
				}
			}
		})
	}
}

func TestNovaDeletesBetweenTheTwoTransactionsOfActivate(t *testing.T) {
	for _, s := range situations {
		if !slices.Contains(s.writes, binding.OpActivate) {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, s.rows...)
			b.Inject(bindingtest.Fault{Op: binding.OpActivate, Between: func() { b.DeleteRow(b.port, dst) }})
			var lied bool
			o := b.options()
			o.Report = func(step rollback.Taken) { lied = lied || errors.Is(step.Err, binding.ErrOtherHost) }
			if err := b.restore(t, o); err != nil {
				t.Fatal(err)
			}
			if !lied {
				t.Error("the 200 did not lie")
			}
			b.wantRight(t, s.rows)
			if got := b.writes(); slices.Index(got, binding.OpCreate) < 0 {
				t.Errorf("writes %v: the row was not made anew", got)
			}
		})
	}
}

func TestBothRollBacksAtOnceEndRight(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, s.rows...)
			faults := make(chan error, 2)
			for range 2 {
				go func() { faults <- b.restore(t, b.options()) }()
			}
			for range 2 {
				if err := <-faults; err != nil {
					t.Error(err)
				}
			}
			// Whatever the two made of it, a third finishes.
			if err := b.restore(t, b.options()); err != nil {
				t.Fatal(err)
			}
			b.wantRight(t, s.rows)
		})
	}
}

func TestKilledAtAnyCallAnotherFinishes(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= calls(t, s.rows); n++ {
				for _, place := range []string{"before", "after"} {
					b := newBench(t, s.rows...)
					ctx, kill := context.WithCancel(t.Context())
					b.atCall(n, place, kill)
					err := rollback.Restore(ctx, b.neutron, b.port, src, dst, b.options())
					kill()
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Fatalf("%s call %d: %v", place, n, err)
					}
					b.settle(t)
					b.ClearFaults()
					if err := b.restore(t, b.options()); err != nil {
						t.Fatalf("after a kill %s call %d: %v", place, n, err)
					}
					b.wantRight(t, s.rows)
				}
				// The request itself never came.
				b := newBench(t, s.rows...)
				ctx, kill := context.WithCancel(t.Context())
				if n > 1 {
					b.Inject(bindingtest.Fault{Times: n - 1})
				}
				b.Inject(bindingtest.Fault{Arrived: kill, Drop: true})
				_ = rollback.Restore(ctx, b.neutron, b.port, src, dst, b.options())
				kill()
				b.settle(t)
				if err := b.restore(t, b.options()); err != nil {
					t.Fatalf("after call %d was lost: %v", n, err)
				}
				b.wantRight(t, s.rows)
			}
		})
	}
}

// settle waits until Neutron has finished what a killed client had begun.
func (b bench) settle(t *testing.T) {
	t.Helper()
	for t.Context().Err() == nil {
		if !slices.ContainsFunc(b.Requests(), func(r bindingtest.Request) bool { return r.Ended.IsZero() }) {
			return
		}
	}
}
