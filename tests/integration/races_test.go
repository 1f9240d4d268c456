//go:build integration

package integration

import (
	"context"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/tests/duel"
	"github.com/earlybind/earlybind/tests/lab"
)

// Every case of `make races` once at five staggers.
func TestNeutronRaces(t *testing.T) {
	l := theLab(t)
	novas, err := l.NeutronAs(t.Context(), "nova")
	must(t, err)
	network, err := lab.NewNetwork(t.Context(), novas, "earlybind-integration-races")
	must(t, err)
	t.Cleanup(func() { must(t, network.Remove(context.WithoutCancel(t.Context()))) })
	arena := duel.NewArena(novas, asEarlybind(t), lab.Computes)
	arena.NewPort, arena.RemovePort = network.NewPort, network.RemovePort
	safe, err := binding.ConcurrentActivateSafe(t.Context(), novas)
	must(t, err)

	var jobs []duel.Job
	for _, c := range duel.Cases {
		if c.TwoActivates && !safe {
			continue // earlybind observes there
		}
		for _, stagger := range []time.Duration{-200, -50, 0, 50, 200} {
			jobs = append(jobs, duel.Job{Case: c, Stagger: stagger * time.Millisecond})
		}
	}
	n := 0
	must(t, arena.Run(t.Context(), jobs, 2, 1, func(r duel.Result) {
		n++
		if !r.Bad() {
			return
		}
		t.Errorf("%s at %d ms: right %v %s, hurt %v", r.Case, r.StaggerMS, r.Right, r.Why, r.Hurt)
		for _, e := range r.Calls {
			t.Log(e)
		}
	}))
	if n != len(jobs) {
		t.Errorf("%d of %d duels were fought", n, len(jobs))
	}
}
