//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback/rollbacktest"
	"github.com/earlybind/earlybind/tests/lab"
)

// profile is what Nova and an operator leave in a row's profile; all of it has
// to survive.
const profile = `{"os_vif_delegation": true, "big": 9007199254740993,
	"nested": {"list": [1, "two", null, true], "empty": {}, "text": "<&>é"}}`

// network is a network of the test's own, with which all its ports go.
type network struct{ *lab.Network }

func newNetwork(t *testing.T) network {
	t.Helper()
	novas, err := theLab(t).NeutronAs(t.Context(), "nova")
	must(t, err)
	n, err := lab.NewNetwork(t.Context(), novas, "earlybind-integration")
	must(t, err)
	t.Cleanup(func() {
		if err := n.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("network %s is left over: %v", n.ID, err)
		}
	})
	return network{n}
}

// port makes a port as Nova does, bound on a host. Nova knows no such instance,
// and nothing plugs it in.
func (n network) port(t testing.TB, host string) string {
	t.Helper()
	return n.portOf(t, newUUID(), host)
}

// portOf makes one of an instance.
func (n network) portOf(t testing.TB, instance, host string) string {
	t.Helper()
	id, err := n.NewPort(t.Context(), instance, host, nil)
	must(t, err)
	t.Cleanup(func() {
		if err := n.RemovePort(context.WithoutCancel(t.Context()), id); err != nil {
			t.Errorf("port %s is left over: %v", id, err)
		}
	})
	return id
}

// atNeutron holds those subtests that ask Neutron all the time: eight at once have long been
// seen to pass, whatever -parallel is. Neutron has four workers, and two cores with all else.
var atNeutron = make(chan struct{}, 8)

// besideOthers has a subtest run beside the others of its test.
func besideOthers(t *testing.T) {
	t.Helper()
	t.Parallel()
	atNeutron <- struct{}{}
	t.Cleanup(func() { <-atNeutron }) // after its port has gone
}

type neutronEnv struct {
	network
	client *gophercloud.ServiceClient
}

func (e neutronEnv) Client() *gophercloud.ServiceClient       { return e.client }
func (e neutronEnv) Hosts() (string, string)                  { return source, dest }
func (e neutronEnv) NewPort(t testing.TB, host string) string { return e.port(t, host) }

// The real Neutron passes the suite that the fake of the unit tests passes.
func TestNeutron(t *testing.T) {
	net := newNetwork(t)
	bindingtest.Conformance(t, func(t *testing.T) bindingtest.Env {
		besideOthers(t)
		return neutronEnv{net, asEarlybind(t)}
	})
}

// A live migration was activated early and then failed. Whoever thinks of the
// roll-back first writes "activate the source again, done". The API answers 200
// to that, and the guest is cut off all the same.
func TestNeutronNaiveRollback(t *testing.T) {
	net, client := newNetwork(t), asEarlybind(t)
	// migrate brings a port to where a failure finds it: Nova's conductor has
	// made the destination's row, and we have activated it.
	migrate := func(t *testing.T) string {
		id := net.port(t, source)
		must(t, binding.Create(t.Context(), client, id, binding.CreateOpts{Host: dest}).Err)
		must(t, binding.Activate(t.Context(), client, id, dest).Err)
		return id
	}

	t.Run("ActivateAloneLeavesThePortUnbound", func(t *testing.T) {
		id := migrate(t)
		// To activate the destination Neutron had to unbind the source's row:
		// its vif_type, its details, its binding levels went.
		// Activating it again makes it ACTIVE, and binds nothing.
		row, err := binding.Activate(t.Context(), client, id, source).Extract()
		must(t, err) // 200: all is well?
		if !row.Active() || row.Bound() {
			t.Errorf("the row that activate answered with: %+v", row)
		}
		p, err := binding.GetPort(t.Context(), client, id)
		must(t, err)
		// vif_type "unbound" means that no agent is told anything of the port,
		// and it stays DOWN.
		if p.HostID != source || p.VIFType != binding.VIFTypeUnbound || p.Status != binding.PortDown {
			t.Errorf("port: host %s, vif_type %s, status %s", p.HostID, p.VIFType, p.Status)
		}
	})

	t.Run("AfterNovasDeleteItAnswers500", func(t *testing.T) {
		id := migrate(t)
		// Nova rolls back: it deletes the destination's row, and does not look
		// whether that one has become the ACTIVE row meanwhile.
		must(t, binding.Delete(t.Context(), client, id, dest).ExtractErr())
		// Now no row of the port is ACTIVE, and activate finds nothing that it
		// could deactivate first.
		_, err := binding.Activate(t.Context(), client, id, source).Extract()
		var fault *binding.Error
		if !errors.As(err, &fault) || fault.Status != http.StatusInternalServerError {
			t.Fatalf("activate(source): %v", err)
		}
		// And so it remains: the port belongs to no host.
		rows, err := binding.List(t.Context(), client, id).Extract()
		must(t, err)
		if len(rows) != 1 || rows[0].Host != source || rows[0].Active() {
			t.Errorf("rows: %+v", rows)
		}
	})
}

func TestNeutronPermissions(t *testing.T) {
	l := theLab(t)
	t.Run("EarlybindMayWriteRows", func(t *testing.T) {
		must(t, binding.ProbePermission(t.Context(), asEarlybind(t)))
	})
	t.Run("AdminWithoutRoleServiceMayNot", func(t *testing.T) {
		err := binding.ProbePermission(t.Context(), l.Neutron)
		if l.Release == "zed" { // there an admin may do everything
			must(t, err)
		} else if !errors.Is(err, binding.ErrForbidden) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("ConcurrentActivate", func(t *testing.T) {
		safe, err := binding.ConcurrentActivateSafe(t.Context(), asEarlybind(t))
		must(t, err)
		if want := l.Release != "zed"; safe != want {
			t.Errorf("two activates at once are taken to be safe: %v", safe)
		}
	})
}

// migration is a port in a migration from source to dest that goes nowhere.
type migration struct {
	*testing.T
	id      string
	client  *gophercloud.ServiceClient
	neutron consumer.Neutron
	to      string // the destination as a restore knows it
	notes   *rollbacktest.Journal
	profile string // of the source's row, without migrating_to
}

// migrating makes a port as it is when the guest is about to stop: Nova's
// conductor has made the row on the destination, Nova has announced it in the
// profile of the ACTIVE row.
func migrating(t *testing.T, net network) *migration {
	t.Helper()
	client := asEarlybind(t)
	m := &migration{T: t, id: net.port(t, source), client: client, neutron: consumer.NewNeutron(client), to: dest, notes: &rollbacktest.Journal{}, profile: profile}
	m.announce(dest)
	m.post(dest, object(t, profile))
	return m
}

// announce writes migrating_to into the profile of the ACTIVE row.
func (m *migration) announce(to string) {
	m.Helper()
	with := object(m, m.profile)
	with[port.MigratingTo] = to
	p, err := binding.GetPort(m.Context(), m.client, m.id)
	must(m.T, err)
	_, err = binding.UpdateProfile(m.Context(), m.client, m.id, with, p.RevisionNumber)
	must(m.T, err)
}

func (m *migration) post(host string, profile map[string]any) {
	m.Helper()
	must(m.T, binding.Create(m.Context(), m.client, m.id, binding.CreateOpts{Host: host, Profile: profile}).Err)
}

func (m *migration) activate(host string) {
	m.Helper()
	must(m.T, binding.Activate(m.Context(), m.client, m.id, host).Err)
}

func (m *migration) del(host string) {
	m.Helper()
	must(m.T, binding.Delete(m.Context(), m.client, m.id, host).ExtractErr())
}

func (m *migration) read() port.Port {
	m.Helper()
	p, err := m.neutron.Read(m.Context(), m.id)
	must(m.T, err)
	return p
}

// wantRestored: ACTIVE and bound on the source, with what its row held.
func (m *migration) wantRestored() {
	m.Helper()
	p := m.read()
	if right, why := p.RightOn(source); !right {
		m.Fatalf("%s: %+v", why, p)
	}
	row, _ := p.Row(source)
	if row.VNICType != "normal" {
		m.Errorf("vnic_type %q", row.VNICType)
	}
	got, err := json.Marshal(row.Profile)
	must(m.T, err)
	if !reflect.DeepEqual(object(m, string(got)), object(m, m.profile)) {
		m.Errorf("profile %s\nwant    %s", got, m.profile)
	}
}

func object(t testing.TB, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	var o map[string]any
	must(t, d.Decode(&o))
	return o
}
