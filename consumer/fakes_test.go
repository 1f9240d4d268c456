package consumer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

const (
	holdFor = 10 * time.Minute // as shipped
	src     = "compute1"
	dst     = "compute2"
	guest   = "67322275-37eb-4301-9b66-d8d416b4cca1"
)

// neutron is a Neutron in memory, for synctest's bubbles, where no network is.
// bindingtest's fake is the one that is held to the real one's answers; this one
// knows just enough to be told what to do.
type neutron struct {
	mu    sync.Mutex
	ports map[string]*port.Port
	calls []string
	// answer is asked at each call, e.g. "activate p1 compute2": whether it takes
	// effect and what is answered.
	answer func(ctx context.Context, call string) (apply bool, err error)
}

var _ Neutron = (*neutron)(nil)

// prepared is a port as Nova leaves it before the switchover.
func prepared(id string) *port.Port {
	return &port.Port{
		ID: id, Device: guest, DeviceOwner: "compute:nova", Status: "ACTIVE", Driver: "openvswitch", Revision: 1,
		Rows: []port.Row{
			{Host: src, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{port.MigratingTo: dst}},
			{Host: dst, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{}},
		},
	}
}

// committed is one whose destination was activated.
func committed(id string) *port.Port {
	p := prepared(id)
	p.Rows[0].Active, p.Rows[0].VIFType, p.Rows[1].Active = false, "unbound", true
	return p
}

func newNeutron(ports ...*port.Port) *neutron {
	n := &neutron{ports: map[string]*port.Port{}}
	for _, p := range ports {
		n.ports[p.ID] = p
	}
	return n
}

func (n *neutron) change(id string, f func(*port.Port)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f(n.ports[id])
	n.ports[id].Revision++
}

func (n *neutron) called() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.calls)
}

// writes are the calls that are no reads.
func (n *neutron) writes() []string {
	return slices.DeleteFunc(n.called(), func(c string) bool { return strings.HasPrefix(c, "read") || strings.HasPrefix(c, "ports") })
}

func (n *neutron) do(ctx context.Context, call, op string, f func() error) error {
	n.mu.Lock()
	n.calls = append(n.calls, call)
	answer := n.answer
	n.mu.Unlock()
	apply, err := true, error(nil)
	if ctx.Err() != nil {
		return &binding.Error{Op: op, Err: ctx.Err()}
	}
	if answer != nil {
		apply, err = answer(ctx, call)
	}
	if ctx.Err() != nil {
		return &binding.Error{Op: op, Err: ctx.Err()}
	}
	if apply {
		n.mu.Lock()
		fault := f()
		n.mu.Unlock()
		if err == nil {
			err = fault
		}
	}
	return err
}

func (n *neutron) Ports(ctx context.Context, instance string) ([]port.Port, error) {
	var out []port.Port
	err := n.do(ctx, "ports "+instance, binding.OpListPorts, func() error {
		for _, id := range slices.Sorted(maps.Keys(n.ports)) {
			out = append(out, clone(n.ports[id]))
		}
		return nil
	})
	return out, err
}

func (n *neutron) Read(ctx context.Context, id string) (p port.Port, err error) {
	err = n.do(ctx, "read "+id, binding.OpGetPort, func() error { p = clone(n.ports[id]); return nil })
	return p, err
}

func (n *neutron) WrongOn(ctx context.Context, host string) ([]string, error) {
	var out []string
	err := n.do(ctx, "ports on "+host, binding.OpListPorts, func() error {
		for _, p := range n.ports {
			_, there := p.Row(host)
			if active, ok := p.Active(); there && (!ok || active.Host != host || !active.Bound()) {
				out = append(out, p.Device)
			}
		}
		return nil
	})
	return out, err
}

func clone(p *port.Port) port.Port {
	c := *p
	c.Rows = slices.Clone(p.Rows)
	return c
}

func (n *neutron) Activate(ctx context.Context, id, host string) error {
	return n.do(ctx, "activate "+id+" "+host, binding.OpActivate, func() error {
		p := n.ports[id]
		if active, ok := p.Active(); ok && active.Host == host {
			return alreadyActive
		}
		for i, r := range p.Rows {
			if r.Active {
				p.Rows[i].VIFType = "unbound"
			}
			p.Rows[i].Active = r.Host == host
		}
		return nil
	})
}

func (n *neutron) SetProfile(ctx context.Context, id string, profile map[string]any, revision int) error {
	return n.do(ctx, "profile "+id, binding.OpUpdateProfile, func() error {
		p := n.ports[id]
		if p.Revision != revision {
			return &binding.Error{Op: binding.OpUpdateProfile, Status: http.StatusPreconditionFailed}
		}
		for i, r := range p.Rows {
			if r.Active {
				p.Rows[i].Profile, p.Rows[i].VIFType = profile, "ovs"
			}
		}
		return nil
	})
}

func (n *neutron) Rebind(ctx context.Context, id string) error {
	return n.do(ctx, "rebind "+id, binding.OpUpdateProfile, func() error {
		p := n.ports[id]
		for i, r := range p.Rows {
			if r.Active {
				p.Rows[i].VIFType = "ovs"
			}
		}
		return nil
	})
}

func (n *neutron) Create(ctx context.Context, id, host, vnic string, profile map[string]any) error {
	return n.do(ctx, "create "+id+" "+host, binding.OpCreate, func() error {
		p := n.ports[id]
		_, taken := p.Active()
		p.Rows = append(p.Rows, port.Row{Host: host, Active: !taken, VIFType: "ovs", VNICType: vnic, Profile: profile})
		return nil
	})
}

func (n *neutron) Delete(ctx context.Context, id, host string) error {
	return n.do(ctx, "delete "+id+" "+host, binding.OpDelete, func() error {
		p := n.ports[id]
		p.Rows = slices.DeleteFunc(p.Rows, func(r port.Row) bool { return r.Host == host })
		return nil
	})
}

var (
	alreadyActive = &binding.Error{Op: binding.OpActivate, Status: http.StatusConflict, Type: "PortBindingAlreadyActive"}
	internal      = &binding.Error{Op: binding.OpActivate, Status: http.StatusInternalServerError, Type: "HTTPInternalServerError"}
)

// on answers calls that begin so; all others as they are.
func on(prefix string, answer func(context.Context) (bool, error)) func(context.Context, string) (bool, error) {
	return func(ctx context.Context, call string) (bool, error) {
		if strings.HasPrefix(call, prefix) {
			return answer(ctx)
		}
		return true, nil
	}
}

// never answers until the caller gives up.
func never(ctx context.Context) (bool, error) {
	<-ctx.Done()
	return false, nil
}

// book collects audit lines.
type book struct {
	mu    sync.Mutex
	lines []audit.Line
	ended chan struct{} // closed at the first HandoverEnded, if set
}

func (b *book) record(l audit.Line) {
	if faulty := l.Event == audit.HandoverAlarm || l.Event == audit.HostRefused || l.Event == audit.MessageParked; faulty != (l.Kind != "") {
		panic(fmt.Sprintf("a fault is of a kind, and nothing else: %+v", l))
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, l)
	if l.Event == audit.HandoverEnded && b.ended != nil {
		close(b.ended)
		b.ended = nil
	}
}

func (b *book) all() []audit.Line {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.lines)
}

func (b *book) of(e audit.Event) []audit.Line {
	return slices.DeleteFunc(b.all(), func(l audit.Line) bool { return l.Event != e })
}

func (b *book) last(t *testing.T, e audit.Event) audit.Line {
	t.Helper()
	lines := b.of(e)
	if len(lines) == 0 {
		t.Fatalf("no line %s in %+v", e, b.all())
	}
	return lines[len(lines)-1]
}

// kit are tools with everything that a test turns.
type kit struct {
	*tools
	*book
	neutron *neutron
	barred  atomic.Bool // may answers no
	halts   halts
	asked   atomic.Int32
	pages   *pages
}

// pages are what was written to the journal and what was doubted.
type pages struct {
	mu           sync.Mutex
	kept, doubts []wire.JournalEntry
}

func (p *pages) keep(_ context.Context, e wire.JournalEntry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = append(p.kept, e)
	return nil
}

func (p *pages) doubt(e wire.JournalEntry) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.doubts = append(p.doubts, e)
}

func newKit(n *neutron) *kit {
	k := &kit{book: &book{}, neutron: n, pages: &pages{}}
	journal := newJournal(k.pages.keep)
	journal.complete()
	began := time.Now()
	k.tools = &tools{
		neutron:  n,
		audit:    k.record,
		clock:    func() time.Duration { return time.Hour + time.Since(began) },
		time:     clock.Real(),
		may:      func() bool { return !k.barred.Load() },
		ask:      func(string) { k.asked.Add(1) },
		halt:     k.halts.now,
		journal:  journal,
		doubt:    k.pages.doubt,
		upWithin: time.Minute,
		holdFor:  holdFor,

		unknownWatch: unknownWatch,
		settings:     handover.Settings{Policy: handover.PolicySuspended, Repair: handover.RepairOwn, ConcurrentActivateSafe: true},
	}
	k.tools.breaker = newBreaker(3, time.Hour, k.tools.clock)
	return k
}

var errTest = errors.New("test")
