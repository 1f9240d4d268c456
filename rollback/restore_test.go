package rollback_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/rollback/rollbacktest"
)

const (
	src   = "compute1"
	dst   = "compute2"
	third = "compute3"
)

// held is a profile that must come out as it went in; the number does not fit
// a float64.
func held() map[string]any {
	return map[string]any{
		"os_vif_delegation": true, "big": json.Number("9007199254740993"), "nested": map[string]any{"list": []any{"a", json.Number("1.50")}},
		port.MigratingTo: dst,
	}
}

func row(host, status, vif string, profile map[string]any) binding.Binding {
	return binding.Binding{Host: host, Status: status, VIFType: vif, VNICType: "normal", Profile: profile}
}

// device is a row that cannot be made on another host.
func device(status, vif string) binding.Binding {
	r := row(src, status, vif, held())
	r.VNICType = "direct"
	return r
}

// allocated is one that holds bandwidth of its host.
func allocated() binding.Binding {
	profile := held()
	profile["allocation"] = map[string]any{"group": "provider"}
	return row(src, inactive, "unbound", profile)
}

const (
	active   = binding.StatusActive
	inactive = binding.StatusInactive
)

// made is a row that a restore has made, with all that the row of the source held.
func made(r binding.Binding) binding.Binding {
	profile := maps.Clone(r.Profile)
	if profile == nil {
		profile = map[string]any{}
	}
	delete(profile, port.MigratingTo)
	profile[rollback.MadeHere] = r.Host
	r.Profile = profile
	return r
}

// situations are what a roll-back may find, bindings.md's table and every stop
// of a roll-back that was killed.
var situations = []struct {
	name   string
	rows   []binding.Binding
	writes []string // of a run without faults
}{
	{"right", []binding.Binding{row(src, active, "ovs", map[string]any{"os_vif_delegation": true})}, nil},
	{"an INACTIVE row is left", []binding.Binding{row(src, active, "ovs", nil), row(dst, inactive, "ovs", nil)}, nil},
	{"migrating_to is left", []binding.Binding{row(src, active, "ovs", held())}, []string{binding.OpUpdateProfile}},
	{"prepared, never committed", []binding.Binding{row(src, active, "ovs", held()), row(dst, inactive, "ovs", nil)}, []string{binding.OpUpdateProfile}},
	{"source unbound, its profile stays", []binding.Binding{row(src, active, "unbound", map[string]any{"a": "b"}), row(dst, inactive, "unbound", nil)}, []string{binding.OpUpdateProfile}},
	{"source unbound", []binding.Binding{row(src, active, "unbound", held()), row(dst, inactive, "unbound", nil)}, []string{binding.OpUpdateProfile}},
	{"committed", []binding.Binding{row(src, inactive, "unbound", held()), row(dst, active, "ovs", nil)}, []string{binding.OpActivate, binding.OpUpdateProfile}},
	{"Nova has deleted the ACTIVE row", []binding.Binding{row(src, inactive, "unbound", held())},
		[]string{binding.OpCreate, binding.OpActivate, binding.OpUpdateProfile, binding.OpDelete}},
	{"none ACTIVE of two", []binding.Binding{row(src, inactive, "unbound", held()), row(dst, inactive, "ovs", nil)},
		[]string{binding.OpDelete, binding.OpCreate, binding.OpActivate, binding.OpUpdateProfile, binding.OpDelete}},
	{"killed after create", []binding.Binding{row(src, inactive, "unbound", held()), made(row(dst, active, "ovs", nil))},
		[]string{binding.OpActivate, binding.OpUpdateProfile, binding.OpDelete}},
	{"killed after activate", []binding.Binding{row(src, active, "unbound", held()), made(row(dst, inactive, "unbound", nil))},
		[]string{binding.OpUpdateProfile, binding.OpDelete}},
	{"a device, Nova has deleted the ACTIVE row", []binding.Binding{device(inactive, "unbound")},
		[]string{binding.OpDelete, binding.OpCreate, binding.OpUpdateProfile}},
	{"a device, none ACTIVE of two", []binding.Binding{device(inactive, "unbound"), row(dst, inactive, "ovs", nil)},
		[]string{binding.OpDelete, binding.OpCreate, binding.OpUpdateProfile}},
	{"an allocation, Nova has deleted the ACTIVE row", []binding.Binding{allocated()},
		[]string{binding.OpDelete, binding.OpCreate, binding.OpUpdateProfile}},
	{"a device, committed", []binding.Binding{device(inactive, "unbound"), row(dst, active, "ovs", nil)},
		[]string{binding.OpActivate, binding.OpUpdateProfile}},
	{"a device, killed after create", []binding.Binding{made(device(active, "ovs"))}, []string{binding.OpUpdateProfile}},
	{"a device, made INACTIVE", []binding.Binding{made(device(inactive, "unbound"))},
		[]string{binding.OpDelete, binding.OpCreate, binding.OpUpdateProfile}},
	{"Nova has copied a mark to either row", []binding.Binding{
		row(src, active, "unbound", map[string]any{rollback.MadeHere: third, "a": "b"}), row(dst, inactive, "unbound", map[string]any{rollback.MadeHere: src})},
		[]string{binding.OpUpdateProfile}},
	{"killed before delete", []binding.Binding{row(src, active, "ovs", nil), made(row(dst, inactive, "unbound", nil))}, []string{binding.OpDelete}},
}

type bench struct {
	*bindingtest.Neutron
	neutron consumer.Neutron
	port    string
	notes   *rollbacktest.Journal
}

func newBench(t *testing.T, rows ...binding.Binding) bench {
	t.Helper()
	n := bindingtest.New(t)
	id := n.AddPort(bindingtest.PortOpts{DeviceID: "guest"})
	for _, r := range rows {
		n.PutRow(id, r)
	}
	return bench{n, consumer.NewNeutron(n.Client()), id, &rollbacktest.Journal{}}
}

// always is a wake channel that ends every pause at once.
func always() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func (b bench) options() rollback.Options {
	return rollback.Options{
		NovaDone: func() (bool, bool) { return true, false },
		May:      func() bool { return true },
		Report:   func(rollback.Taken) {},
		Journal:  b.notes,
		Wake:     always(),
	}
}

func (b bench) restore(t *testing.T, o rollback.Options) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return rollback.Restore(ctx, b.neutron, b.port, src, dst, o)
}

func (b bench) writes() []string {
	var ops []string
	for _, r := range b.Writes() {
		ops = append(ops, r.Op)
	}
	return ops
}

// wantRight checks the rows and that nothing of the source's row was lost.
func (b bench) wantRight(t *testing.T, before []binding.Binding) {
	t.Helper()
	p, err := b.neutron.Read(t.Context(), b.port)
	if err != nil {
		t.Fatal(err)
	}
	if right, why := p.RightOn(src); !right {
		t.Fatalf("not right: %s\n%+v", why, p.Rows)
	}
	got, _ := p.Row(src)
	for _, r := range before {
		if r.Host != src {
			continue
		}
		want := maps.Clone(r.Profile)
		delete(want, port.MigratingTo)
		delete(want, rollback.MadeHere)
		if asJSON(t, got.Profile) != asJSON(t, want) {
			t.Errorf("profile %s, want %s", asJSON(t, got.Profile), asJSON(t, want))
		}
		if got.VNICType != r.VNICType {
			t.Errorf("vnic_type %s, want %s", got.VNICType, r.VNICType)
		}
	}
	if d, ok := p.Row(dst); ok && rollback.Made(d) {
		t.Errorf("the row that was made is left: %+v", d)
	}
}

func asJSON(t *testing.T, m map[string]any) string {
	t.Helper()
	if len(m) == 0 {
		return "{}"
	}
	text, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Before 23.0.0 an update that only binds is refused for ever.
func TestEverySituationEndsRightOnAnOldNeutron(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, s.rows...)
			b.MakeOld()
			if err := b.restore(t, b.options()); err != nil {
				t.Fatal(err)
			}
			b.wantRight(t, s.rows)
		})
	}
}

func TestEverySituationEndsRight(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, s.rows...)
			var taken []rollback.Taken
			o := b.options()
			o.Report = func(step rollback.Taken) { taken = append(taken, step) }
			if err := b.restore(t, o); err != nil {
				t.Fatal(err)
			}
			b.wantRight(t, s.rows)
			if got := b.writes(); !slices.Equal(got, s.writes) {
				t.Errorf("writes %v, want %v", got, s.writes)
			}
			for _, w := range b.Writes() {
				if w.Op == binding.OpUpdateProfile && w.IfMatch == "" && s.name != "source unbound, its profile stays" {
					t.Error("the profile was written without If-Match")
				}
			}
			if len(taken) != len(s.writes)+b.notes.Written()+1 || taken[len(taken)-1].Action != rollback.Done {
				t.Errorf("reported %+v", taken)
			}
		})
	}
}

func TestA500AfterTheWriteTookEffectIsFoundDone(t *testing.T) {
	for _, s := range situations {
		for _, op := range slices.Compact(slices.Sorted(slices.Values(s.writes))) {
			for _, applied := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %s, applied %t", s.name, op, applied), func(t *testing.T) {
					t.Parallel()
					b := newBench(t, s.rows...)
					b.Inject(bindingtest.Fault{Op: op, Apply: applied, Status: http.StatusInternalServerError, Type: "HTTPInternalServerError"})
					if err := b.restore(t, b.options()); err != nil {
						t.Fatal(err)
					}
					b.wantRight(t, s.rows)
				})
			}
		}
	}
}

func TestAPortThatChangedMeanwhileIsReadAgain(t *testing.T) {
	b := newBench(t, row(src, active, "unbound", held()))
	b.Inject(bindingtest.Fault{Op: binding.OpUpdateProfile, Before: func() { b.SetPortStatus(b.port, binding.PortBuild) }})
	var changed int
	o := b.options()
	o.Report = func(step rollback.Taken) {
		if errors.Is(step.Err, binding.ErrChanged) {
			changed++
		}
	}
	if err := b.restore(t, o); err != nil {
		t.Fatal(err)
	}
	if changed != 1 {
		t.Errorf("%d answers of 412", changed)
	}
	b.wantRight(t, []binding.Binding{row(src, active, "unbound", held())})
}

func TestADeadAgentOnTheDestinationIsNoObstacle(t *testing.T) {
	rows := []binding.Binding{row(src, inactive, "unbound", held())}
	b := newBench(t, rows...)
	b.SetAgent(dst, false)
	if err := b.restore(t, b.options()); err != nil {
		t.Fatal(err)
	}
	b.wantRight(t, rows)
}

func TestADeadAgentOnTheSourceIsWaitedFor(t *testing.T) {
	rows := []binding.Binding{row(src, inactive, "unbound", held()), row(dst, active, "ovs", nil)}
	b := newBench(t, rows...)
	b.SetAgent(src, false)
	o, rebinds := b.options(), 0
	o.Report = func(step rollback.Taken) {
		if step.Action == rollback.Rebind {
			if rebinds++; rebinds == 3 {
				b.SetAgent(src, true)
			}
		}
	}
	if err := b.restore(t, o); err != nil {
		t.Fatal(err)
	}
	if rebinds != 4 {
		t.Errorf("%d rebinds", rebinds)
	}
	b.wantRight(t, rows)
}

func TestWithoutAKnownDestinationARowIsMadeAnew(t *testing.T) {
	rows := []binding.Binding{row(src, inactive, "unbound", map[string]any{"a": "b"})}
	b := newBench(t, rows...)
	if err := rollback.Restore(t.Context(), b.neutron, b.port, src, "", b.options()); err != nil {
		t.Fatal(err)
	}
	b.wantRight(t, rows)
	if got := b.writes(); !slices.Equal(got, []string{binding.OpDelete, binding.OpCreate, binding.OpUpdateProfile}) {
		t.Errorf("writes %v", got)
	}
}

func TestADestinationThatRefusesARowIsGoneAround(t *testing.T) {
	rows := []binding.Binding{row(src, inactive, "unbound", held())}
	b := newBench(t, rows...)
	b.Inject(bindingtest.Fault{Op: binding.OpCreate, Host: dst, Times: -1, Status: http.StatusInternalServerError, Type: "HTTPInternalServerError"})
	if err := b.restore(t, b.options()); err != nil {
		t.Fatal(err)
	}
	b.wantRight(t, rows)
}

func TestNothingIsDeletedThatIsNotWrittenDown(t *testing.T) {
	rows := []binding.Binding{device(inactive, "unbound")}
	b := newBench(t, rows...)
	b.notes.Fail(errors.New("the broker is away"))
	o, faults := b.options(), 0
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o.Report = func(step rollback.Taken) {
		if step.Action == rollback.WriteDown && step.Err != nil {
			if faults++; faults == 5 {
				cancel()
			}
		}
	}
	err := rollback.Restore(ctx, b.neutron, b.port, src, dst, o)
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if got := b.writes(); len(got) != 0 {
		t.Errorf("writes %v", got)
	}
	b.notes.Fail(nil)
	if err := b.restore(t, b.options()); err != nil {
		t.Fatal(err)
	}
	b.wantRight(t, rows)
}

func TestWhatMayBeInTheJournalIsWaitedFor(t *testing.T) {
	before := []binding.Binding{device(inactive, "unbound")}
	b := newBench(t)
	profile := held()
	delete(profile, port.MigratingTo)
	b.notes.Put(b.port, src, rollback.Held{VNICType: "direct", Profile: profile})
	b.notes.SetUnread(true)
	o, waits := b.options(), 0
	o.NovaDone = func() (bool, bool) {
		if waits++; waits == 5 {
			if got := b.writes(); len(got) != 0 {
				t.Errorf("writes %v before the journal was read", got)
			}
			b.notes.SetUnread(false)
		}
		return true, false
	}
	if err := b.restore(t, o); err != nil {
		t.Fatal(err)
	}
	b.wantRight(t, before)
}

func TestHandsOffWritesNothing(t *testing.T) {
	for name, rows := range map[string][]binding.Binding{
		"ACTIVE on a third host":             {row(src, inactive, "unbound", held()), row(third, active, "ovs", nil)},
		"no row for the source":              {row(dst, active, "ovs", nil)},
		"no row at all":                      {},
		"none ACTIVE, but one on a third":    {device(inactive, "unbound"), row(third, active, "ovs", nil), row(dst, inactive, "ovs", nil)},
		"another migration shows":            {row(src, active, "unbound", map[string]any{port.MigratingTo: third})},
		"two ACTIVE":                         {row(src, active, "ovs", nil), row(dst, active, "ovs", nil)},
		"two ACTIVE, one of them on a third": {row(src, active, "ovs", nil), row(third, active, "ovs", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, rows...)
			if err := b.restore(t, b.options()); !errors.Is(err, rollback.ErrHandsOff) {
				t.Errorf("%v", err)
			}
			if got := b.writes(); len(got) != 0 {
				t.Errorf("writes %v", got)
			}
		})
	}
}

func TestWhileNovaIsAtWorkOnlyTheSwitchIsMade(t *testing.T) {
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			b := newBench(t, s.rows...)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := b.options()
			looks := 0
			o.NovaDone = func() (bool, bool) {
				if looks++; looks > 20 {
					cancel()
				}
				return false, false
			}
			if err := rollback.Restore(ctx, b.neutron, b.port, src, dst, o); err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			for _, r := range b.Rows(b.port) {
				if r.Host == dst && r.Profile[rollback.MadeHere] == dst {
					t.Errorf("left %+v", r)
				}
			}
			if s.name == "prepared, never committed" || s.name == "none ACTIVE of two" || s.name == "migrating_to is left" {
				if got := b.writes(); len(got) != 0 {
					t.Errorf("writes %v before Nova", got)
				}
			}
		})
	}
}

func TestWithoutLeaveNothingIsWritten(t *testing.T) {
	for _, s := range situations {
		if len(s.writes) == 0 {
			continue
		}
		b := newBench(t, s.rows...)
		o := b.options()
		o.May = func() bool { return false }
		if err := b.restore(t, o); !errors.Is(err, rollback.ErrStopped) {
			t.Errorf("%s: %v", s.name, err)
		}
		if got := b.writes(); len(got) != 0 {
			t.Errorf("%s: writes %v", s.name, got)
		}
	}
}

func TestLeaveIsAskedBeforeEveryWrite(t *testing.T) {
	for left := range 4 {
		b := newBench(t, row(src, inactive, "unbound", held()))
		o := b.options()
		asked := 0
		o.May = func() bool { asked++; return asked <= left }
		if err := b.restore(t, o); !errors.Is(err, rollback.ErrStopped) {
			t.Errorf("%v", err)
		}
		if got := b.writes(); len(got) != left {
			t.Errorf("with leave for %d: writes %v", left, got)
		}
	}
}

func TestNeutronThatCannotBeReadIsTriedAgain(t *testing.T) {
	rows := []binding.Binding{row(src, inactive, "unbound", held()), row(dst, active, "ovs", nil)}
	b := newBench(t, rows...)
	b.Inject(bindingtest.Fault{Op: binding.OpGetPort, Times: 3, Status: http.StatusServiceUnavailable})
	reported := 0
	o := b.options()
	o.Report = func(step rollback.Taken) {
		if step.Action == rollback.Wait && step.Err != nil {
			reported++
		}
	}
	if err := b.restore(t, o); err != nil {
		t.Fatal(err)
	}
	if reported == 0 {
		t.Error("the faults were not reported")
	}
	b.wantRight(t, rows)
}
