package consumer

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// lab is a registry before bindingtest's Neutron, which answers as the real one.
type lab struct {
	*stage
	neutron *bindingtest.Neutron
	port    string
	ended   chan struct{}
}

func newLab(t *testing.T) *lab {
	t.Helper()
	n := bindingtest.New(t)
	n.AutoWire(true)
	l := &lab{neutron: n, ended: make(chan struct{})}
	l.port = n.AddPort(bindingtest.PortOpts{DeviceID: guest, Host: src, Status: binding.PortActive,
		Profile: map[string]any{"os_vif_delegation": true, binding.ProfileMigratingTo: dst}})
	n.PutRow(l.port, binding.Binding{Host: dst, Status: binding.StatusInactive, VIFType: "ovs"})
	k := newKit(nil)
	k.tools.neutron = NewNeutron(n.Client())
	k.book.ended = l.ended
	ctx, cancel := context.WithCancel(t.Context())
	l.stage = &stage{kit: k, r: newRegistry(ctx, k.tools)}
	t.Cleanup(func() { cancel(); l.r.wait() })
	return l
}

func (l *lab) event(host string, event wire.Event, detail wire.Detail) {
	l.sent++
	l.r.event(wire.HostEvent{Host: host, Order: wire.Order{Epoch: 1, Sequence: l.sent}, Instance: guest, Event: event, Detail: detail},
		5*time.Second, false, l.settle(""))
}

func (l *lab) says(step wire.NovaStep, ended bool) {
	e := wire.NovaEvent{Instance: guest, RequestID: "req", Step: step, Ended: ended, PublisherHost: src, PayloadHost: src}
	if step == wire.NovaPre || step == wire.NovaPostDest {
		e.PublisherHost = dst
	}
	l.r.nova(e, false, l.settle(""))
}

// onceActivated waits until the destination's row is ACTIVE.
func (l *lab) onceActivated(t *testing.T) {
	t.Helper()
	for t.Context().Err() == nil && len(l.of(audit.PortWritten)) == 0 {
	}
}

func (l *lab) waitForTheEnd(t *testing.T) string {
	t.Helper()
	select {
	case <-l.ended:
	case <-time.After(20 * time.Second):
		t.Fatalf("no end: %q", l.story())
	}
	return l.last(t, audit.HandoverEnded).Outcome
}

func (l *lab) ops() []string {
	var ops []string
	for _, w := range l.neutron.Writes() {
		ops = append(ops, w.Op+" "+w.Host)
	}
	return ops
}

func (l *lab) wantRight(t *testing.T, host string) {
	t.Helper()
	p, err := NewNeutron(l.neutron.Client()).Read(t.Context(), l.port)
	if err != nil {
		t.Fatal(err)
	}
	if right, why := p.RightOn(host); !right || p.Status != binding.PortActive {
		t.Errorf("not right on %s: %s, status %s", host, why, p.Status)
	}
}

func TestARealSuccess(t *testing.T) {
	l := newLab(t)
	l.says(wire.NovaPre, false)
	l.event(dst, wire.Started, wire.Migrated)
	l.says(wire.NovaPre, true)
	l.event(src, wire.Suspended, wire.Migrated)
	l.onceActivated(t)
	l.event(dst, wire.Resumed, wire.Migrated)
	l.event(src, wire.Stopped, wire.Migrated)
	l.says(wire.NovaPost, false)
	l.neutron.DeleteRow(l.port, src) // Nova, in post_dest
	l.says(wire.NovaPostDest, true)
	if got := l.waitForTheEnd(t); got != "migrated" {
		t.Errorf("ends %s", got)
	}
	l.wantRight(t, dst)
	if got := l.ops(); !slices.Equal(got, []string{"activate binding compute2"}) {
		t.Errorf("writes %q", got)
	}
	if w := l.last(t, audit.PortWritten); w.Outcome != "activated" || w.Took <= 0 {
		t.Errorf("%+v", w)
	}
}

func TestARealFailureWhoseRowNovaDeletesFirst(t *testing.T) {
	l := newLab(t)
	l.says(wire.NovaPre, false)
	l.event(dst, wire.Started, wire.Migrated)
	l.event(src, wire.Suspended, wire.Migrated)
	l.onceActivated(t)
	l.neutron.DeleteRow(l.port, dst)
	l.says(wire.NovaRollback, true)
	l.event(dst, wire.Stopped, wire.Failed)
	l.event(src, wire.Resumed, wire.Unpaused)
	if got := l.waitForTheEnd(t); got != "restored" {
		t.Errorf("ends %s", got)
	}
	l.wantRight(t, src)
	want := []string{
		"activate binding compute2", "create binding compute2", "activate binding compute1", "update profile ", "delete binding compute2",
	}
	if got := l.ops(); !slices.Equal(got, want) {
		t.Errorf("writes %q", got)
	}
}

func TestARealFailureWhoseRowNovaDeletesMeanwhile(t *testing.T) {
	l := newLab(t)
	l.says(wire.NovaPre, false)
	l.event(dst, wire.Started, wire.Migrated)
	l.event(src, wire.Suspended, wire.Migrated)
	l.onceActivated(t)
	l.neutron.Inject(bindingtest.Fault{Op: binding.OpActivate, Host: src, Between: func() { l.neutron.DeleteRow(l.port, dst) }})
	l.event(src, wire.Resumed, wire.Unpaused)
	l.says(wire.NovaRollback, true)
	if got := l.waitForTheEnd(t); got != "restored" {
		t.Errorf("ends %s", got)
	}
	l.wantRight(t, src)
}

func TestARealReplicaThatIsKilledIsFollowedByAnother(t *testing.T) {
	l := newLab(t)
	l.says(wire.NovaPre, false)
	l.event(dst, wire.Started, wire.Migrated)
	l.event(src, wire.Suspended, wire.Migrated)
	l.onceActivated(t)
	// Another replica is given the same messages, as redelivered.
	k := newKit(nil)
	k.tools.neutron = l.kit.tools.neutron
	k.tools.unknownWatch = 100 * time.Millisecond // real time
	ended := make(chan struct{})
	k.book.ended = ended
	ctx, cancel := context.WithCancel(t.Context())
	next := &lab{stage: &stage{kit: k, r: newRegistry(ctx, k.tools)}, neutron: l.neutron, port: l.port, ended: ended}
	t.Cleanup(func() { cancel(); next.r.wait() })
	again := func(host string, sequence uint64, event wire.Event, detail wire.Detail) {
		next.r.event(wire.HostEvent{Host: host, Order: wire.Order{Epoch: 1, Sequence: sequence}, Instance: guest, Event: event, Detail: detail}, 0, true, next.settle(""))
	}
	next.says(wire.NovaPre, false)
	again(dst, 1, wire.Started, wire.Migrated)
	again(src, 2, wire.Suspended, wire.Migrated)
	again(src, 3, wire.Resumed, wire.Unpaused)
	next.says(wire.NovaRollback, true)
	if got := next.waitForTheEnd(t); got != "restored" {
		t.Errorf("ends %s", got)
	}
	next.wantRight(t, src)
	if got := next.of(audit.PortDecided); slices.ContainsFunc(got, func(l audit.Line) bool { return l.Decided == "commit" }) {
		t.Errorf("the next replica commits: %+v", got)
	}
}

func TestAnOldNeutronIsOnlyObserved(t *testing.T) {
	l := newLab(t)
	l.neutron.MakeOld()
	l.kit.tools.settings = handover.Settings{Policy: handover.PolicySuspended, Repair: handover.RepairOwn}
	l.says(wire.NovaPre, false)
	l.event(dst, wire.Started, wire.Migrated)
	l.event(src, wire.Suspended, wire.Migrated)
	l.event(src, wire.Stopped, wire.Migrated)
	l.neutron.DeleteRow(l.port, src)
	l.neutron.PutRow(l.port, binding.Binding{Host: dst, Status: binding.StatusActive, VIFType: "ovs"})
	l.says(wire.NovaPostDest, true)
	if got := l.waitForTheEnd(t); got != "migrated" {
		t.Errorf("ends %s", got)
	}
	if got := l.ops(); len(got) != 0 {
		t.Errorf("writes %q", got)
	}
}

func TestNeutronsPortsBecomeOurs(t *testing.T) {
	n := bindingtest.New(t)
	id := n.AddPort(bindingtest.PortOpts{DeviceID: guest, Host: src, Status: binding.PortActive, Profile: map[string]any{binding.ProfileMigratingTo: dst}})
	n.PutRow(id, binding.Binding{Host: dst, Status: binding.StatusInactive, VIFType: "ovs"})
	n.AddPort(bindingtest.PortOpts{DeviceID: "other", Host: src})
	api := NewNeutron(n.Client())
	ports, err := api.Ports(t.Context(), guest)
	if err != nil || len(ports) != 1 {
		t.Fatalf("%+v, %v", ports, err)
	}
	p := ports[0]
	if p.ID != id || p.Device != guest || p.DeviceOwner != "compute:nova" || p.Status != "ACTIVE" || p.Driver != "openvswitch" || p.Revision == 0 || len(p.Rows) != 2 {
		t.Errorf("%+v", p)
	}
	active, _ := p.Active()
	other, _ := p.Row(dst)
	if active.Host != src || active.MigratingTo() != dst || active.VNICType != "normal" || !active.Bound() || other.Active {
		t.Errorf("%+v", p.Rows)
	}
	n.Inject(bindingtest.Fault{Op: binding.OpList, Status: 500})
	if ports, err := api.Ports(t.Context(), guest); err == nil {
		t.Errorf("half an answer: %+v", ports)
	}
	wrong, err := api.WrongOn(t.Context(), dst)
	if err != nil || !slices.Equal(wrong, []string{guest}) {
		t.Errorf("wrong on the destination: %q, %v", wrong, err)
	}
	if wrong, err := api.WrongOn(t.Context(), src); err != nil || len(wrong) != 0 {
		t.Errorf("wrong on the source: %q, %v", wrong, err)
	}
}
