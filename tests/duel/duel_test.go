package duel

import (
	"context"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
)

var hosts = [2]string{"compute1", "compute2"}

func newArena(t *testing.T) (*bindingtest.Neutron, Arena) {
	neutron := bindingtest.New(t, hosts[:]...)
	a := NewArena(neutron.Client(), neutron.Client(), hosts)
	a.NewPort = func(_ context.Context, instance, host string, profile map[string]any) (string, error) {
		return neutron.AddPort(bindingtest.PortOpts{Host: host, DeviceID: instance, Profile: profile}), nil
	}
	a.RemovePort = func(_ context.Context, id string) error {
		neutron.DeletePort(id)
		return nil
	}
	return neutron, a
}

// On the fake, which answers at once, every duel ends right.
func TestCases(t *testing.T) {
	for _, c := range Cases {
		t.Run(c.Key, func(t *testing.T) {
			t.Parallel()
			_, a := newArena(t)
			lane := a.NewLane(rand.New(rand.NewPCG(1, 2)))
			for _, stagger := range []time.Duration{-20 * time.Millisecond, 20 * time.Millisecond} {
				if c.Key == "r4" && stagger < 0 {
					continue // Nova then updates binding:host_id, which the fake does not know
				}
				r, err := lane.Fight(t.Context(), c, stagger)
				if err != nil {
					t.Fatal(err)
				}
				if r.Bad() {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// A duel that ends wrong is found wrong, and one that hurts Nova is told.
func TestWhatIsFound(t *testing.T) {
	r1 := Cases[0]
	t.Run("Nova'sActivateFails", func(t *testing.T) {
		neutron, a := newArena(t)
		lane := a.NewLane(rand.New(rand.NewPCG(1, 2)))
		neutron.Inject(bindingtest.Fault{Op: binding.OpActivate, Status: http.StatusInternalServerError})
		r, err := lane.Fight(t.Context(), r1, -20*time.Millisecond)
		if err != nil || len(r.Hurt) != 1 || len(r.Calls) == 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("ARowIsLeft", func(t *testing.T) {
		neutron, a := newArena(t)
		id := neutron.AddPort(bindingtest.PortOpts{Host: hosts[0], Profile: Profile()})
		p, err := a.Ours.Read(t.Context(), id)
		if right, why := Judge(p, hosts[0]); err != nil || !right {
			t.Errorf("%s, %v", why, err)
		}
		neutron.PutRow(id, binding.Binding{Host: hosts[1], Status: binding.StatusInactive, VIFType: "ovs"})
		p, _ = a.Ours.Read(t.Context(), id)
		if right, _ := Judge(p, hosts[0]); right {
			t.Error("a row on another host is not seen")
		}
	})
	t.Run("AProfileIsLost", func(t *testing.T) {
		neutron, a := newArena(t)
		id := neutron.AddPort(bindingtest.PortOpts{Host: hosts[0], Profile: map[string]any{"os_vif_delegation": true}})
		p, _ := a.Ours.Read(t.Context(), id)
		if right, _ := Judge(p, hosts[0]); right {
			t.Error("not seen")
		}
	})
}

func TestRunFightsEveryJobOnce(t *testing.T) {
	neutron, a := newArena(t)
	var jobs []Job
	for range 5 {
		jobs = append(jobs, Job{Cases[0], 5 * time.Millisecond}, Job{Cases[1], -5 * time.Millisecond})
	}
	met := map[string]int{}
	err := a.Run(t.Context(), jobs, 3, 1, func(r Result) {
		met[r.Case]++
		if r.Bad() {
			t.Errorf("%+v", r)
		}
	})
	if err != nil || met["r1"] != 5 || met["r2"] != 5 {
		t.Errorf("%v, %v", met, err)
	}
	if ports, err := binding.ListPortsOnHost(t.Context(), neutron.Client(), hosts[0]); err != nil || len(ports) != 0 {
		t.Errorf("%d ports are left, %v", len(ports), err)
	}
}

func TestRunEndsWhenDuelsCannotTakePlace(t *testing.T) {
	neutron, a := newArena(t)
	neutron.Inject(bindingtest.Fault{Op: binding.OpCreate, Times: 3, Status: http.StatusInternalServerError})
	err := a.Run(t.Context(), []Job{{Cases[0], 0}, {Cases[0], 0}}, 1, 1, func(Result) { t.Error("a duel took place") })
	if err == nil {
		t.Error("no error")
	}
}
