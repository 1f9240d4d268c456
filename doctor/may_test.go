package doctor

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/neutron"
	simulated "github.com/earlybind/earlybind/simulated/neutron"
)

// What is asked before each request, and what stops it.

func TestNothingIsWrittenWhereTheFactsHaveChanged(t *testing.T) {
	running := []Migration{{UUID: "m", Type: "live-migration", Status: "preparing", Source: here, Dest: there}}
	for _, c := range []struct {
		name    string
		meeting func(*ward, string) // within the minute
		want    string
	}{
		{"a migration has begun", func(w *ward, _ string) { w.nova.unfinished[instance] = running }, "changed"},
		{"the instance is elsewhere", func(w *ward, _ string) {
			s := *runsHere()
			s.Host = there
			w.nova.servers[instance] = s
		}, "changed"},
		{"its user has stopped it", func(w *ward, _ string) {
			s := *runsHere()
			s.TaskState = "powering-off"
			w.nova.servers[instance] = s
		}, "changed"},
		{"a cell has gone down", func(w *ward, _ string) { w.nova.gap = "a cell is down" }, "changed"},
		{"another row has come", func(w *ward, id string) {
			w.neutron.PutRow(id, binding.Binding{Host: third, Status: binding.StatusInactive, VIFType: "ovs"})
		}, "changed"},
		{"its guest is seen elsewhere", func(w *ward, _ string) {
			w.Ask = func(context.Context, []string) (Guests, error) {
				return Guests{there: {{Instance: instance, State: "running"}}}, nil
			}
		}, "changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			admit(t, func(t *testing.T, w *ward) {
				id := w.port(with(inactiveRow(here), "unbound"), activeRow(there))
				r := w.examine()
				c.meeting(w, id)
				m := w.mend(r)
				if len(m) != 1 || m[0].Right || !strings.Contains(m[0].Outcome, c.want) {
					t.Errorf("%+v", m)
				}
				if got := w.neutron.Writes(); len(got) != 0 {
					t.Errorf("writes %+v", got)
				}
			})
		})
	}
}

func TestAMigrationThatBeginsBetweenTwoRequestsStopsTheSecond(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		id := w.port(with(inactiveRow(here), "unbound"), activeRow(there))
		r := w.examine()
		asked := 0
		w.nova.asked = func() {
			if asked++; asked == 3 { // the second look, and before the first and the second request
				w.nova.unfinished[instance] = []Migration{{UUID: "m", Type: "live-migration", Status: "accepted"}}
			}
		}
		m := w.mend(r)
		if got := w.neutron.Writes(); len(got) != 1 || len(m) != 1 || m[0].Right || !strings.Contains(m[0].Outcome, "stopped") {
			t.Errorf("%d writes, %+v, rows %s", len(got), m, w.rows(id))
		}
	})
}

// slowly has each write wait for a token, as it does when the old one has expired.
type slowly struct {
	http.RoundTripper
	clock clock.Clock
	waits []time.Duration // one for each write, in turn; then none
	sent  int
}

func (s *slowly) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodGet {
		if len(s.waits) > 0 {
			s.clock.Wait(r.Context(), s.waits[0], nil)
			s.waits = s.waits[1:]
		}
		if err := binding.Check(r); err != nil {
			return nil, err
		}
		s.sent++
	}
	return s.RoundTripper.RoundTrip(r)
}

// Nova's word of seconds ago is not acted on: it is asked again.
func TestNovasWordHoldsForSeconds(t *testing.T) {
	for _, c := range []struct {
		wait time.Duration
		asks int // for the first write that is sent
	}{{standsFor, 1}, {standsFor + time.Second, 2}} {
		admit(t, func(t *testing.T, w *ward) {
			id := w.port(activeRow(here), inactiveRow(there))
			slow := &slowly{RoundTripper: simulated.Transport{Handler: w.neutron.Handler()}, clock: w.Clock, waits: []time.Duration{c.wait}}
			w.Neutron = neutron.New(simulated.NewClient(simulated.InMemory, slow))
			r := w.examine()
			asks := 0
			w.nova.asked = func() {
				if len(slow.waits) == 0 && slow.sent == 0 {
					asks++
				}
			}
			if m := w.mend(r); len(m) != 1 || !m[0].Right || w.rows(id) != rightRows || asks != c.asks-1 {
				t.Errorf("a wait of %s: %+v, rows %s, asked %d times between it and the write that was sent", c.wait, m, w.rows(id), asks)
			}
		})
	}
}

func TestWhatComesRightByItselfIsNotTouched(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		id := w.port(activeRow(here), inactiveRow(there))
		r := w.examine()
		w.neutron.DeleteRow(id, there)
		if m := w.mend(r); len(m) != 1 || !m[0].Right || len(w.neutron.Writes()) != 0 {
			t.Errorf("%+v", m)
		}
	})
}
