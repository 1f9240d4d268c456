package neutron

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/turn"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/simulated/neutron"
)

const (
	guest  = "52a29486-f502-4a47-8198-bc08e6ba1800"
	noPort = "11111111-1111-4111-8111-111111111111"
)

// cloud is a Neutron with a port of the guest that migrates from compute1 to compute2.
func cloud(t *testing.T) (*bindingtest.Neutron, API, string) {
	t.Helper()
	n := bindingtest.New(t, "compute1", "compute2", "compute3")
	return n, New(n.Client()), addPort(n.Neutron)
}

func addPort(n *neutron.Neutron) string {
	id := n.AddPort(neutron.PortOpts{DeviceID: guest, Host: "compute1", Profile: map[string]any{port.MigratingTo: "compute2"}, Status: binding.PortActive})
	n.PutRow(id, binding.Binding{Host: "compute2", Status: binding.StatusInactive, VIFType: "ovs"})
	return id
}

// atHand is the same without a network, for synctest.
func atHand(t *testing.T) (*neutron.Neutron, API, string) {
	t.Helper()
	n := neutron.New("compute1", "compute2", "compute3")
	t.Cleanup(n.Close)
	return n, New(neutron.NewClient(neutron.InMemory, neutron.Transport{Handler: n.Handler()})), addPort(n)
}

// ops are the operations of the requests that have come.
func ops(came []neutron.Request) []string {
	var out []string
	for _, r := range came {
		out = append(out, r.Op)
	}
	return out
}

// That a port is not there is believed where the user may write: to one who has lost its role
// Neutron says the same, and what has to be restored would be given up. Who sends nothing but reads
// has to believe it.
func TestAPortIsGoneIfItIsNotHiddenFromTheUser(t *testing.T) {
	for name, c := range map[string]struct {
		forbidden, reads bool
		fault            bindingtest.Fault
		is, isNot        error
		sent             []string
	}{
		"it was deleted": {
			is: port.ErrGone, isNot: binding.ErrForbidden, sent: []string{binding.OpGetPort, binding.OpCreate},
		},
		"the user may not write": {
			forbidden: true, is: binding.ErrForbidden, isNot: port.ErrGone, sent: []string{binding.OpGetPort, binding.OpCreate},
		},
		"whether it may is not answered": {
			fault: bindingtest.Fault{Op: binding.OpCreate, Drop: true},
			is:    binding.ErrNoAnswer, isNot: port.ErrGone, sent: []string{binding.OpGetPort, binding.OpCreate},
		},
		"it only reads": {
			reads: true, is: port.ErrGone, isNot: binding.ErrForbidden, sent: []string{binding.OpGetPort},
		},
		"it only reads, and may not write": {
			reads: true, forbidden: true, is: port.ErrGone, isNot: binding.ErrForbidden, sent: []string{binding.OpGetPort},
		},
		"Neutron does not know": {
			fault: bindingtest.Fault{Op: binding.OpGetPort, Status: http.StatusServiceUnavailable, Gateway: true},
			isNot: port.ErrGone, sent: []string{binding.OpGetPort},
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, api, _ := cloud(t)
			n.Forbid(c.forbidden)
			if c.fault.Op != "" {
				n.Inject(c.fault)
			}
			if c.reads {
				api = api.ReadOnly()
			}
			_, err := api.Read(t.Context(), noPort)
			if err == nil || c.is != nil && !errors.Is(err, c.is) || errors.Is(err, c.isNot) {
				t.Errorf("%v; want %v, and not %v", err, c.is, c.isNot)
			}
			if answered := c.fault.Op != binding.OpGetPort; errors.Is(err, binding.ErrPortNotFound) != answered {
				t.Errorf("%v: and what was asked for?", err)
			}
			if sent := ops(n.Requests()); !slices.Equal(sent, c.sent) {
				t.Errorf("sent %v, want %v", sent, c.sent)
			}
		})
	}
}

// A port that is deleted between its two reads is not gone yet: the next read tells.
func TestAPortWhoseRowsAreNotThereIsNotGone(t *testing.T) {
	n, api, id := cloud(t)
	n.Inject(bindingtest.Fault{Op: binding.OpList, Before: func() { n.DeletePort(id) }})
	if _, err := api.Read(t.Context(), id); !errors.Is(err, binding.ErrPortNotFound) || errors.Is(err, port.ErrGone) {
		t.Errorf("%v", err)
	}
	if _, err := api.Read(t.Context(), id); !errors.Is(err, port.ErrGone) {
		t.Errorf("and then %v", err)
	}
}

func TestReadGivesWhatNeutronHas(t *testing.T) {
	_, api, id := cloud(t)
	got, err := api.Read(t.Context(), id)
	want := port.Port{
		ID: id, Device: guest, DeviceOwner: "compute:nova", Network: got.Network, MAC: got.MAC, Status: binding.PortActive, Driver: "openvswitch", Revision: 2,
		Rows: []port.Row{
			{Host: "compute1", Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{port.MigratingTo: "compute2"}},
			{Host: "compute2", VIFType: "ovs", VNICType: "normal", Profile: map[string]any{}},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// Rows that change after the port was read are newer than its revision: a write that goes by what was
// read is refused.
func TestThePortIsReadBeforeItsRows(t *testing.T) {
	n, api, id := cloud(t)
	n.Inject(bindingtest.Fault{Op: binding.OpList, Before: func() {
		n.PutRow(id, binding.Binding{Host: "compute3", Status: binding.StatusInactive, VIFType: "ovs"})
	}})
	p, err := api.Read(t.Context(), id)
	if _, has := p.Row("compute3"); err != nil || !has {
		t.Fatalf("%+v, %v", p, err)
	}
	if err := api.SetProfile(t.Context(), id, nil, p.Revision); !errors.Is(err, binding.ErrChanged) {
		t.Errorf("written by an older revision: %v", err)
	}
}

func TestPortsAreAllOrNone(t *testing.T) {
	n, api, first := cloud(t)
	second := n.AddPort(bindingtest.PortOpts{DeviceID: guest, Host: "compute1"})
	n.AddPort(bindingtest.PortOpts{DeviceID: noPort, Host: "compute1"})
	got, err := api.Ports(t.Context(), guest)
	if err != nil || len(got) != 2 || got[0].ID != first || got[1].ID != second || len(got[0].Rows) != 2 || len(got[1].Rows) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	for name, f := range map[string]bindingtest.Fault{
		"the list":       {Op: binding.OpListPorts, Status: http.StatusInternalServerError},
		"rows of a port": {Op: binding.OpList, PortID: second, Status: http.StatusInternalServerError},
	} {
		n.Inject(f)
		if got, err := api.Ports(t.Context(), guest); err == nil || got != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := api.Ports(t.Context(), "of nobody"); err != nil || len(got) != 0 {
		t.Errorf("of an instance without any: %+v, %v", got, err)
	}
}

func TestInstancesThatAreWrongOnAHost(t *testing.T) {
	n := bindingtest.New(t, "compute1", "compute2")
	for instance, rows := range map[string][]binding.Binding{
		"right":           {{Host: "compute1", Status: binding.StatusActive, VIFType: "ovs"}, {Host: "compute2", VIFType: "ovs"}},
		"is on the other": {{Host: "compute1", VIFType: "ovs"}, {Host: "compute2", Status: binding.StatusActive, VIFType: "ovs"}},
		"unbound":         {{Host: "compute1", Status: binding.StatusActive, VIFType: port.VIFUnbound}},
		"binding failed":  {{Host: "compute1", Status: binding.StatusActive, VIFType: port.VIFBindingFailed}},
		"without ACTIVE":  {{Host: "compute1", VIFType: "ovs"}},
		"has no row here": {{Host: "compute2", VIFType: port.VIFUnbound}},
	} {
		id := n.AddPort(bindingtest.PortOpts{DeviceID: instance})
		for _, r := range rows {
			if r.Status == "" {
				r.Status = binding.StatusInactive
			}
			n.PutRow(id, r)
		}
	}
	wrong, err := New(n.Client()).WrongOn(t.Context(), "compute1")
	slices.Sort(wrong)
	if want := []string{"binding failed", "is on the other", "unbound", "without ACTIVE"}; err != nil || !slices.Equal(wrong, want) {
		t.Errorf("%q, %v; want %q", wrong, err, want)
	}
	n.Inject(bindingtest.Fault{Op: binding.OpListPorts, Status: http.StatusInternalServerError})
	if _, err := New(n.Client()).WrongOn(t.Context(), "compute1"); err == nil {
		t.Error("a list that cannot be read names nobody")
	}
}

// requests is what is asked of a port, and by which operation.
var requests = []struct {
	op  string
	ask func(ctx context.Context, a API, p port.Port) error
}{
	{binding.OpListPorts, func(ctx context.Context, a API, p port.Port) error { _, err := a.List(ctx, p.Device); return err }},
	{binding.OpListPorts, func(ctx context.Context, a API, _ port.Port) error { _, err := a.OnHost(ctx, "compute1"); return err }},
	{binding.OpGetPort, func(ctx context.Context, a API, p port.Port) error { _, err := a.Read(ctx, p.ID); return err }},
	{binding.OpList, func(ctx context.Context, a API, p port.Port) error {
		_, err := a.WithRows(ctx, binding.Port{ID: p.ID})
		return err
	}},
	{binding.OpActivate, func(ctx context.Context, a API, p port.Port) error { return a.Activate(ctx, p.ID, "compute2") }},
	{binding.OpUpdateProfile, func(ctx context.Context, a API, p port.Port) error {
		return a.SetProfile(ctx, p.ID, map[string]any{"a": "b"}, p.Revision)
	}},
	{binding.OpUpdateProfile, func(ctx context.Context, a API, p port.Port) error { return a.Rebind(ctx, p.ID) }},
	{binding.OpDelete, func(ctx context.Context, a API, p port.Port) error { return a.Delete(ctx, p.ID, "compute1") }},
	{binding.OpCreate, func(ctx context.Context, a API, p port.Port) error {
		return a.Create(ctx, p.ID, "compute1", "normal", nil)
	}},
}

func TestEachRequestWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, api, id := atHand(t)
		gate := turn.NewGate(clock.Real(), 1)
		inTurn := api.Through(gate)
		soon, done := context.WithTimeout(t.Context(), time.Minute)
		defer done()
		for _, r := range requests {
			p, err := api.Read(soon, id)
			if err != nil {
				t.Fatal(err)
			}
			n.Forget()
			if err := gate.Enter(soon); err != nil {
				t.Fatalf("before %s no turn was given back: %v", r.op, err)
			}
			ctx, cancel := context.WithCancel(soon)
			asked := make(chan error, 1)
			go func() { asked <- r.ask(ctx, inTurn, p) }()
			synctest.Wait() // until it waits
			cancel()
			if err := <-asked; !errors.Is(err, binding.ErrWithheld) || !errors.Is(err, context.Canceled) {
				t.Errorf("%s, out of turn: %v", r.op, err)
			}
			if sent := ops(n.Requests()); len(sent) != 0 {
				t.Errorf("%s: sent out of turn: %v", r.op, sent)
			}
			gate.Leave()
			if err := r.ask(soon, inTurn, p); err != nil {
				t.Fatalf("%s: %v", r.op, err)
			}
			if sent := ops(n.Requests()); len(sent) == 0 || sent[0] != r.op {
				t.Errorf("%s: sent %v", r.op, sent)
			}
		}
		var rows []string
		for _, r := range n.Rows(id) {
			rows = append(rows, fmt.Sprintf("%s %s %s %v", r.Host, r.Status, r.VIFType, r.Profile))
		}
		if want := []string{"compute1 INACTIVE ovs map[]", "compute2 ACTIVE ovs map[a:b]"}; !slices.Equal(rows, want) {
			t.Errorf("the rows are %q, want %q", rows, want)
		}
	})
}

func TestNoMoreAtOnceThanThereAreTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, api, _ := atHand(t)
		for range 7 {
			n.AddPort(neutron.PortOpts{DeviceID: guest, Host: "compute1"})
		}
		let := make(chan struct{})
		var came atomic.Int32
		n.Inject(neutron.Fault{Op: binding.OpList, Times: -1, Arrived: func() { came.Add(1) }, Until: let})
		soon, done := context.WithTimeout(t.Context(), time.Minute)
		defer done()
		asked := make(chan error, 1)
		go func() {
			_, err := api.Through(turn.NewGate(clock.Real(), 2)).Ports(soon, guest)
			asked <- err
		}()
		synctest.Wait() // until all wait
		if at := came.Load(); at != 2 {
			t.Errorf("%d requests at once", at)
		}
		close(let)
		if err := <-asked; err != nil || came.Load() != 8 {
			t.Errorf("%d in all, %v", came.Load(), err)
		}
	})
}

// Where it is not known whether Neutron has made the row, it was not refused.
func TestACreateIsRefusedIfNeutronItselfSaysNo(t *testing.T) {
	for name, c := range map[string]struct {
		fault   bindingtest.Fault
		refused bool
	}{
		"the row exists already": {bindingtest.Fault{}, true},
		"it cannot be bound":     {bindingtest.Fault{Op: binding.OpCreate, Status: http.StatusInternalServerError, Type: "PortBindingError", Message: "Binding for port on host failed"}, true},
		"a proxy":                {bindingtest.Fault{Op: binding.OpCreate, Status: http.StatusServiceUnavailable, Gateway: true}, false},
		"no answer":              {bindingtest.Fault{Op: binding.OpCreate, Drop: true}, false},
	} {
		n, api, id := cloud(t)
		n.Inject(c.fault)
		err := api.Create(t.Context(), id, "compute2", "normal", nil)
		if fault := (*binding.Error)(nil); err == nil || errors.Is(err, rollback.ErrRefused) != c.refused || !errors.As(err, &fault) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
