package nova

import (
	"net/http"
	"slices"
	"testing"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/wire"
)

const source, dest = "compute1", "compute2"

func newMigration(t *testing.T) (*bindingtest.Neutron, Network, Migration) {
	t.Helper()
	neutron := bindingtest.New(t, source, dest)
	m := Migration{Instance: NewUUID(), RequestID: NewRequestID(), Source: source, Destination: dest}
	for range 2 {
		profile := map[string]any{"os_vif_delegation": true}
		id := neutron.AddPort(bindingtest.PortOpts{Host: source, DeviceID: m.Instance, Profile: profile})
		m.Ports = append(m.Ports, Port{ID: id, VNICType: "normal", Profile: profile})
	}
	return neutron, Network{Client: neutron.Client()}, m
}

func unhurt(t *testing.T, harms ...[]Harm) {
	t.Helper()
	for _, h := range slices.Concat(harms...) {
		t.Error(h)
	}
}

// wantOnly wants each port to have one row, ACTIVE and bound there.
func wantOnly(t *testing.T, neutron *bindingtest.Neutron, m Migration, host string) {
	t.Helper()
	for _, p := range m.Ports {
		rows := neutron.Rows(p.ID)
		if len(rows) != 1 || rows[0].Host != host || !rows[0].Active() || !rows[0].Bound() || rows[0].MigratingTo() != "" || rows[0].Profile["os_vif_delegation"] != true {
			t.Errorf("rows of %s: %+v", p.ID, rows)
		}
	}
}

func TestSuccess(t *testing.T) {
	neutron, nova, m := newMigration(t)
	unhurt(t, nova.BindPortsToHost(t.Context(), m), nova.SetUpMigration(t.Context(), m))
	for _, p := range m.Ports {
		rows := neutron.Rows(p.ID)
		if len(rows) != 2 || rows[0].MigratingTo() != dest || rows[1].Active() || rows[1].MigratingTo() != "" {
			t.Errorf("prepared: %+v", rows)
		}
	}
	unhurt(t, nova.MigrateInstanceStart(t.Context(), m), nova.MigrateInstanceFinish(t.Context(), m), nova.TearDownSource(t.Context(), m))
	wantOnly(t, neutron, m, dest)
}

func TestRollBack(t *testing.T) {
	neutron, nova, m := newMigration(t)
	unhurt(t, nova.BindPortsToHost(t.Context(), m), nova.SetUpMigration(t.Context(), m), nova.TearDownDestination(t.Context(), m))
	wantOnly(t, neutron, m, source)
}

// Nova looks at no row's status when it rolls back.
func TestRollBackDeletesARowThatIsActive(t *testing.T) {
	neutron, nova, m := newMigration(t)
	unhurt(t, nova.BindPortsToHost(t.Context(), m), nova.SetUpMigration(t.Context(), m))
	for _, p := range m.Ports {
		if err := binding.Activate(t.Context(), neutron.Client(), p.ID, dest).Err; err != nil {
			t.Fatal(err)
		}
	}
	unhurt(t, nova.TearDownDestination(t.Context(), m))
	for _, p := range m.Ports {
		if rows := neutron.Rows(p.ID); len(rows) != 1 || rows[0].Active() {
			t.Errorf("rows: %+v", rows)
		}
	}
}

func TestHarms(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault bindingtest.Fault
		step  func(Network, *testing.T, Migration) []Harm
		want  Kind
		calls int // that Nova makes of it
	}{
		{"RowThere", bindingtest.Fault{Op: binding.OpCreate, Status: http.StatusConflict},
			func(n Network, t *testing.T, m Migration) []Harm { return n.BindPortsToHost(t.Context(), m) }, Refused, 1},
		{"ActivateFails", bindingtest.Fault{Op: binding.OpActivate, Status: 500},
			func(n Network, t *testing.T, m Migration) []Harm { return n.MigrateInstanceStart(t.Context(), m) }, NotActivated, 2},
		{"RowGone", bindingtest.Fault{Op: binding.OpGet, Status: 404},
			func(n Network, t *testing.T, m Migration) []Harm { return n.MigrateInstanceStart(t.Context(), m) }, Missing, 1},
		{"ActivateComesSecond", bindingtest.Fault{Op: binding.OpActivate, Status: 409},
			func(n Network, t *testing.T, m Migration) []Harm { return n.MigrateInstanceStart(t.Context(), m) }, "", 4},
		{"DeleteFails", bindingtest.Fault{Op: binding.OpDelete, Status: 500},
			func(n Network, t *testing.T, m Migration) []Harm { return n.TearDownDestination(t.Context(), m) }, NotDeleted, 5},
		{"NothingToDelete", bindingtest.Fault{Op: binding.OpDelete, Status: 404},
			func(n Network, t *testing.T, m Migration) []Harm { return n.TearDownDestination(t.Context(), m) }, "", 5},
		{"ProfileRefused", bindingtest.Fault{Op: binding.OpUpdateProfile, Status: 404},
			func(n Network, t *testing.T, m Migration) []Harm { return n.TearDownDestination(t.Context(), m) }, NotUpdated, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			neutron, nova, m := newMigration(t)
			if c.want != Refused {
				unhurt(t, nova.BindPortsToHost(t.Context(), m), nova.SetUpMigration(t.Context(), m))
			}
			neutron.Inject(c.fault)
			calls := 0
			nova.Report = func(Call) { calls++ }
			harms := c.step(nova, t, m)
			got := Kind("")
			if len(harms) == 1 {
				got = harms[0].Kind
			}
			if got != c.want || len(harms) > 1 || calls != c.calls {
				t.Errorf("%d calls, harms %v", calls, harms)
			}
		})
	}
}

// A source row that somebody deleted hides the port from Nova's roll-back.
func TestAPortThatIsNotListedIsMissing(t *testing.T) {
	neutron, nova, m := newMigration(t)
	unhurt(t, nova.BindPortsToHost(t.Context(), m))
	neutron.DeleteRow(m.Ports[1].ID, source)
	harms := nova.TearDownDestination(t.Context(), m)
	if len(harms) != 1 || harms[0].Kind != Missing || harms[0].Call.Port != m.Ports[1].ID {
		t.Errorf("harms %v", harms)
	}
}

// The notifications say to earlybind what Nova's say.
func TestNotifications(t *testing.T) {
	m := Migration{
		Instance: NewUUID(), RequestID: NewRequestID(), Source: "left.example", Destination: "right.example",
		Ports: []Port{{ID: NewUUID()}, {ID: NewUUID()}},
	}
	for _, c := range []struct {
		step   Step
		says   wire.NovaStep
		sender string
	}{
		{Pre, wire.NovaPre, m.Destination}, {Post, wire.NovaPost, m.Source}, {PostDest, wire.NovaPostDest, m.Destination},
		{Rollback, wire.NovaRollback, m.Source}, {RollbackDest, wire.NovaRollbackDest, m.Destination},
	} {
		for _, ended := range []bool{false, true} {
			for i, n := range m.Notifications(c.step, ended) {
				decoded, err := wire.Decode(n.Body)
				if err != nil {
					t.Fatal(err)
				}
				e, ok, err := wire.ParseNova(decoded)
				if err != nil || !ok {
					t.Fatalf("%s: %v", n.EventType, err)
				}
				host := m.Source
				if c.step == PostDest && ended {
					host = m.Destination
				}
				want := wire.NovaEvent{Instance: m.Instance, RequestID: m.RequestID, Step: c.says, Ended: ended, PublisherHost: c.sender, PayloadHost: host}
				if i == 1 {
					want.Ports = []string{m.Ports[0].ID, m.Ports[1].ID}
				}
				if e.Instance != want.Instance || e.RequestID != want.RequestID || e.Step != want.Step || e.Ended != want.Ended ||
					e.PublisherHost != want.PublisherHost || e.PayloadHost != want.PayloadHost || !slices.Equal(e.Ports, want.Ports) {
					t.Errorf("%s says %+v, want %+v", n.EventType, e, want)
				}
			}
		}
	}
}
