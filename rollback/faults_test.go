package rollback_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/rollback/rollbacktest"
)

// faults are the ways in which Neutron, or what is in front of it, can fail a call.
// "After" is after it took effect.
var faults = []struct {
	name  string
	fault bindingtest.Fault
	times int // that it is met with one after the other
}{
	{"401", bindingtest.Fault{Status: 401}, 1},
	{"403", bindingtest.Fault{Status: 403, Type: "PolicyNotAuthorized"}, 1},
	{"404", bindingtest.Fault{Status: 404, Type: "PortBindingNotFound"}, 1},
	{"409", bindingtest.Fault{Status: 409, Type: "PortBindingAlreadyActive"}, 1},
	{"412", bindingtest.Fault{Status: 412, Type: "RevisionNumberConstraintFailed"}, 1},
	{"429", bindingtest.Fault{Status: 429, Gateway: true, Header: http.Header{"Retry-After": {"3"}}}, 5},
	{"500 before", bindingtest.Fault{Status: 500, Type: "HTTPInternalServerError"}, 1},
	{"500 after", bindingtest.Fault{Status: 500, Type: "HTTPInternalServerError", Apply: true}, 5},
	{"502 after", bindingtest.Fault{Status: 502, Gateway: true, Apply: true}, 1},
	{"503 before", bindingtest.Fault{Status: 503, Gateway: true}, 5},
	{"504 after", bindingtest.Fault{Status: 504, Gateway: true, Apply: true}, 1},
	{"cut before", bindingtest.Fault{Drop: true}, 1},
	{"cut after", bindingtest.Fault{Drop: true, Apply: true}, 5},
	{"cut half-way", bindingtest.Fault{Half: true, Apply: true}, 1},
	{"another answer", bindingtest.Fault{Status: 200, Gateway: true}, 1},
	{"an empty answer", bindingtest.Fault{Body: map[string]any{}}, 1},
}

// Whatever happens to one call or to several, wherever in a restore: once it is
// over, the rows are right and nothing is lost.
func TestFaultsAtEveryCallEndRight(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, s.rows...)
			if err := b.restore(t, b.options()); err != nil {
				t.Fatal(err)
			}
			for i, r := range b.Requests() {
				n := i + 1
				for k, f := range faults {
					if r.Method == http.MethodGet && (n+k)%3 != 0 {
						continue // to a restore all faults of a read are one: a third of them each
					}
					t.Run(fmt.Sprintf("call %d %s", n, f.name), func(t *testing.T) {
						b := newBench(t, s.rows...)
						b.inject(n, f.fault, f.times)
						if err := b.restore(t, b.options()); err != nil {
							t.Fatal(err)
						}
						b.wantRight(t, s.rows)
					})
				}
			}
		})
	}
}

// inject lets n-1 calls pass.
func (b bench) inject(n int, f bindingtest.Fault, times int) {
	if n > 1 {
		b.Inject(bindingtest.Fault{Times: n - 1})
	}
	f.Times = times
	b.Inject(f)
}

// abandoner gives a request up at once, as a time-out does later.
type abandoner struct {
	http.RoundTripper

	mu     sync.Mutex
	giveUp context.CancelFunc // of the last request
}

func (a *abandoner) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	a.mu.Lock()
	a.giveUp = cancel
	a.mu.Unlock()
	return a.RoundTripper.RoundTrip(r.WithContext(ctx))
}

func (a *abandoner) abandon() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.giveUp()
}

// A write is given up, at any point of a restore, and takes effect when later calls
// have been made, or when all is over. The second restore is the consumer's, which
// looks at such a port for a minute.
func TestWritesThatTakeEffectLateEndRight(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, s.rows...)
			if err := b.restore(t, b.options()); err != nil {
				t.Fatal(err)
			}
			for i, r := range b.Requests() {
				if r.Method == http.MethodGet {
					continue
				}
				n := i + 1
				for _, later := range []int{1, 2, 3, 4, 6, 1000} {
					t.Run(fmt.Sprintf("call %d %d calls late", n, later), func(t *testing.T) {
						b := newBench(t, s.rows...)
						a := &abandoner{RoundTripper: b.Client().HTTPClient.Transport}
						b.Client().HTTPClient.Transport = a
						now, over := make(chan struct{}), make(chan struct{})
						release := sync.OnceFunc(func() { close(now); <-over })
						b.inject(n, bindingtest.Fault{Arrived: a.abandon, Until: now, After: func() { close(over) }}, 1)
						if later > 1 {
							b.Inject(bindingtest.Fault{Times: later - 1})
						}
						b.Inject(bindingtest.Fault{Before: release})
						if err := b.restore(t, b.options()); err != nil {
							t.Fatal(err)
						}
						release()
						b.ClearFaults()
						if err := b.restore(t, b.options()); err != nil {
							t.Fatalf("again: %v", err)
						}
						b.wantRight(t, s.rows)
					})
				}
			}
		})
	}
}

// The commit's own activate was given up, and takes effect at any call of the
// restore, or when that is over.
func TestACommitThatTakesEffectLateEndsRight(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			for n := 1; n <= calls(t, s.rows)+1; n++ {
				b := newBench(t, s.rows...)
				b.inject(n, bindingtest.Fault{Before: func() {
					_ = binding.Activate(t.Context(), b.Client(), b.port, dst).Err
				}}, 1)
				for range 2 {
					if err := b.restore(t, b.options()); err != nil {
						t.Fatalf("at call %d: %v", n, err)
					}
				}
				b.wantRight(t, s.rows)
				if t.Failed() {
					t.Fatalf("at call %d", n)
				}
			}
		})
	}
}

// A way back that deletes the source's row is for what Neutron will not make on the
// destination, and not for a Neutron that is away.
func TestANeutronThatIsAwayRefusesNothing(t *testing.T) {
	for _, f := range faults {
		if f.fault.Type != "" || f.fault.Apply {
			continue // an answer of Neutron's own, or the row is there
		}
		rows := []binding.Binding{row(src, inactive, "unbound", held())}
		b := newBench(t, rows...)
		f.fault.Op, f.fault.Times = binding.OpCreate, 10
		b.Inject(f.fault)
		if err := b.restore(t, b.options()); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		b.wantRight(t, rows)
		for _, w := range b.Writes() {
			if w.Op == binding.OpDelete && w.Host == src {
				t.Errorf("%s: the source's row was deleted", f.name)
			}
		}
	}
}

// An instance that is deleted meanwhile takes its ports along.
func TestAPortThatIsGoneIsNotWrittenTo(t *testing.T) {
	for _, s := range situations {
		b := newBench(t, s.rows...)
		b.DeletePort(b.port)
		ctx, cancel := context.WithCancel(t.Context())
		o, reports := b.options(), 0
		o.Report = func(step rollback.Taken) {
			if !errors.Is(step.Err, binding.ErrPortNotFound) {
				t.Errorf("%s: %+v", s.name, step)
			}
			if reports++; reports == 20 {
				cancel()
			}
		}
		if err := rollback.Restore(ctx, b.neutron, b.port, src, dst, o); err == nil || !strings.Contains(err.Error(), "404 PortNotFound") {
			t.Errorf("%s: %v", s.name, err)
		}
		cancel()
		for _, w := range b.Writes() {
			if w.PortID == b.port { // others ask whether the user may see it
				t.Errorf("%s: %+v", s.name, w)
			}
		}
	}
}

// remote is a Neutron in memory, for synctest's bubbles, with one port whose
// destination was activated.
type remote struct {
	port  port.Port
	fault func(ctx context.Context, write bool) error
	came  []time.Duration // when each call came
	began time.Time
}

func newRemote(fault func(ctx context.Context, write bool) error) *remote {
	return &remote{fault: fault, began: time.Now(), port: port.Port{
		ID: "p1", DeviceOwner: "compute:nova", Status: "ACTIVE",
		Rows: []port.Row{
			{Host: src, VIFType: "unbound", VNICType: "normal", Profile: held()},
			{Host: dst, Active: true, VIFType: "ovs", VNICType: "normal"},
		},
	}}
}

func (r *remote) call(ctx context.Context, write bool) error {
	r.came = append(r.came, time.Since(r.began))
	return r.fault(ctx, write)
}

func (r *remote) Read(ctx context.Context, _ string) (port.Port, error) {
	p := r.port
	p.Rows = slices.Clone(p.Rows)
	return p, r.call(ctx, false)
}

func (r *remote) Activate(ctx context.Context, _, host string) error {
	if err := r.call(ctx, true); err != nil {
		return err
	}
	for i := range r.port.Rows {
		r.port.Rows[i].Active = r.port.Rows[i].Host == host
	}
	return nil
}

func (r *remote) SetProfile(ctx context.Context, _ string, profile map[string]any, _ int) error {
	if err := r.call(ctx, true); err != nil {
		return err
	}
	for i := range r.port.Rows {
		if r.port.Rows[i].Active {
			r.port.Rows[i].Profile, r.port.Rows[i].VIFType = profile, "ovs"
		}
	}
	return nil
}

func (r *remote) Rebind(ctx context.Context, _ string) error {
	active, _ := r.port.Active()
	return r.SetProfile(ctx, "", active.Profile, 0)
}

func (r *remote) Create(ctx context.Context, _, _, _ string, _ map[string]any) error {
	return r.call(ctx, true)
}

func (r *remote) Delete(ctx context.Context, _, _ string) error { return r.call(ctx, true) }

// While Neutron fails it is asked at once, then less and less, at least every 8 s;
// when it is back the port is right within that time.
func TestAFailingNeutronIsNotRunAgainst(t *testing.T) {
	const outage = 5 * time.Minute
	for name, fails := range map[string]func(ctx context.Context, write bool) error{
		"reads":  func(_ context.Context, write bool) error { return failIf(!write) },
		"writes": func(_ context.Context, write bool) error { return failIf(write) },
		"all":    func(context.Context, bool) error { return failIf(true) },
		"no answer to writes": func(ctx context.Context, write bool) error {
			if write {
				<-ctx.Done()
			}
			return ctx.Err()
		},
		"no answer to anything": func(ctx context.Context, _ bool) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r *remote
				r = newRemote(func(ctx context.Context, write bool) error {
					if time.Since(r.began) < outage {
						return fails(ctx, write)
					}
					return nil
				})
				// Nothing wakes it, as nothing wakes a consumer's while no news comes.
				o := bench{notes: &rollbacktest.Journal{}}.options()
				o.Wake = nil
				if err := rollback.Restore(t.Context(), r, "p1", src, dst, o); err != nil {
					t.Fatal(err)
				}
				if took := time.Since(r.began); took > outage+30*time.Second {
					t.Errorf("right after %s", took)
				}
				if right, why := r.port.RightOn(src); !right {
					t.Error(why)
				}
				within := func(from, to time.Duration) (calls int) {
					for _, at := range r.came {
						if at >= from && at < to {
							calls++
						}
					}
					return calls
				}
				first := within(0, time.Second)
				if first == 0 || first > 20 {
					t.Errorf("%d calls in the first second", first)
				}
				for from := time.Minute; from < outage; from += time.Minute {
					// At most a read and a write each 2.5 s.
					if got := within(from, from+time.Minute); got == 0 || got > 48 {
						t.Errorf("%d calls in the minute from %s", got, from)
					}
				}
			})
		})
	}
}

func failIf(fails bool) error {
	if fails {
		return fmt.Errorf("test: %w", errors.ErrUnsupported)
	}
	return nil
}

// busy is an answer that asks to wait.
type busy time.Duration

func (b busy) Error() string             { return "429" }
func (b busy) RetryAfter() time.Duration { return time.Duration(b) }

func TestARestoreWaitsAsLongAsItIsAsked(t *testing.T) {
	for asked, want := range map[time.Duration]time.Duration{0: 0, 7 * time.Second: 7 * time.Second, time.Hour: 15 * time.Second} {
		for _, write := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				refused := false
				r := newRemote(func(_ context.Context, isWrite bool) error {
					if isWrite == write && !refused {
						refused = true
						return busy(asked)
					}
					return nil
				})
				err := rollback.Restore(t.Context(), r, "p1", src, dst, rollback.Options{
					NovaDone: func() (bool, bool) { return true, false }, May: func() bool { return true },
					Report: func(rollback.Taken) {}, Journal: &rollbacktest.Journal{},
				})
				if took := time.Since(r.began); err != nil || took > want+200*time.Millisecond || took < want {
					t.Errorf("asked to wait %s: right after %s, %v", asked, took, err)
				}
			})
		}
	}
}
