package bindingtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
)

// Env is a Neutron, fake or real, on which [Conformance] runs.
type Env interface {
	// Client has the rights that earlybind needs: role service, or admin before
	// Neutron 2024.1.
	Client() *gophercloud.ServiceClient

	// Hosts are two hosts with live agents.
	Hosts() (source, dest string)

	// NewPort makes a port with device_owner compute:nova and a device_id, bound on
	// the host, with an empty profile and not plugged in anywhere. It is removed
	// when the test ends.
	NewPort(t testing.TB, host string) (portID string)
}

// StatusSetter is an Env that can play an agent which reports a port.
type StatusSetter interface {
	SetPortStatus(portID, status string)
}

// NewEnv makes the fake an Env.
func NewEnv(t *testing.T) Env { return fakeEnv{New(t)} }

type fakeEnv struct{ *Neutron }

func (e fakeEnv) Hosts() (source, dest string) { return "compute1", "compute2" }

func (e fakeEnv) NewPort(_ testing.TB, host string) string {
	return e.AddPort(PortOpts{Host: host, DeviceID: "27f0f4cb-ce7b-4388-a98a-120ddf252e6e"})
}

// Conformance holds a Neutron to what package binding and all that stands on it
// rely on. Every subtest has an Env and a port of its own. Nothing waits.
func Conformance(t *testing.T, newEnv func(t *testing.T) Env) {
	for _, c := range []struct {
		name string
		test func(*suite)
	}{
		{"Extensions", (*suite).extensions},
		{"PermissionProbe", (*suite).permissionProbe},
		{"Create", (*suite).create},
		{"Activate", (*suite).activate},
		{"NotFound", (*suite).notFound},
		{"ActivateSourceAloneLeavesItUnbound", (*suite).activateSourceAlone},
		{"DeletedActiveRow", (*suite).deletedActiveRow},
		{"RestoreByPostDestination", (*suite).restoreByPostDestination},
		{"RestoreByPostSource", (*suite).restoreByPostSource},
		{"PostBecomesActiveIfNoneIs", (*suite).postBecomesActive},
		{"FailedPostWithoutActiveRow", (*suite).failedPostWithoutActiveRow},
		{"ProfileRoundTrip", (*suite).profileRoundTrip},
		{"IfMatch", (*suite).ifMatch},
		{"UpdateThatOnlyBinds", (*suite).updateThatOnlyBinds},
		{"PortStatusProvesNothing", (*suite).portStatus},
	} {
		t.Run(c.name, func(t *testing.T) {
			env := newEnv(t)
			source, dest := env.Hosts()
			c.test(&suite{
				T: t, env: env, client: env.Client(), source: source, dest: dest,
				port: env.NewPort(t, source),
			})
		})
	}
}

// noHost has no agent anywhere.
const noHost = "earlybind-no-such-host"

// noPort is no port's id.
const noPort = "00000000-dead-4000-8000-000000000000"

type suite struct {
	*testing.T
	env          Env
	client       *gophercloud.ServiceClient
	source, dest string
	port         string
}

func (s *suite) extensions() {
	has, err := binding.HasBindingExtended(s.Context(), s.client)
	s.must(err)
	if !has {
		s.Error("no extension binding-extended")
	}
	_, err = binding.ConcurrentActivateSafe(s.Context(), s.client)
	s.must(err)
}

func (s *suite) permissionProbe() {
	s.must(binding.ProbePermission(s.Context(), s.client))
}

func (s *suite) create() {
	row := s.post(s.dest, map[string]any{"migrating_to": s.dest})
	s.wantRow(row, s.dest, "INACTIVE", true)
	if row.MigratingTo() != s.dest || row.VNICType != "normal" {
		s.Errorf("created row: %+v", row)
	}
	s.wantRows(want{s.source, "ACTIVE", true}, want{s.dest, "INACTIVE", true})

	got, err := binding.Get(s.Context(), s.client, s.port, s.dest).Extract()
	s.must(err)
	if !reflect.DeepEqual(got, &row) {
		s.Errorf("get: %+v, create: %+v", got, row)
	}

	s.wantErr(s.tryPost(s.dest), binding.ErrAlreadyExists)
	s.wantErr(s.tryPost(noHost), binding.ErrNotBindable)
	s.wantRows(want{s.source, "ACTIVE", true}, want{s.dest, "INACTIVE", true})

	s.del(s.dest)
	s.wantRows(want{s.source, "ACTIVE", true})
}

func (s *suite) activate() {
	s.putProfile(map[string]any{"os_vif_delegation": true})
	s.post(s.dest, map[string]any{"migrating_to": s.dest})

	row, err := s.tryActivate(s.dest)
	s.must(err)
	s.wantRow(*row, s.dest, "ACTIVE", true)

	rows := s.wantRows(want{s.source, "INACTIVE", false}, want{s.dest, "ACTIVE", true})
	left, _ := binding.RowOn(rows, s.source)
	if left.VIFType != binding.VIFTypeUnbound || len(left.VIFDetails) != 0 {
		s.Errorf("the row that was ACTIVE is not unbound: %+v", left)
	}
	if left.VNICType != "normal" || !reflect.DeepEqual(left.Profile, map[string]any{"os_vif_delegation": true}) {
		s.Errorf("the row that was ACTIVE lost its vnic_type or profile: %+v", left)
	}

	p := s.getPort()
	if p.HostID != s.dest || !p.Bound() || p.Status != binding.PortDown || p.MigratingTo() != s.dest {
		s.Errorf("port: %+v", p)
	}
	if len(p.BoundDrivers()) == 0 {
		s.Errorf("port tells no bound_drivers: %v", p.VIFDetails)
	}

	_, err = s.tryActivate(s.dest)
	s.wantErr(err, binding.ErrAlreadyActive)
	s.wantRows(want{s.source, "INACTIVE", false}, want{s.dest, "ACTIVE", true})
}

func (s *suite) notFound() {
	_, err := s.tryActivate(noHost)
	s.wantErr(err, binding.ErrBindingNotFound)
	_, err = binding.Get(s.Context(), s.client, s.port, noHost).Extract()
	s.wantErr(err, binding.ErrBindingNotFound)
	s.wantErr(binding.Delete(s.Context(), s.client, s.port, noHost).ExtractErr(), binding.ErrBindingNotFound)

	_, err = binding.List(s.Context(), s.client, noPort).Extract()
	s.wantErr(err, binding.ErrPortNotFound)
	_, err = binding.Activate(s.Context(), s.client, noPort, s.source).Extract()
	s.wantErr(err, binding.ErrPortNotFound)
	s.wantErr(binding.Delete(s.Context(), s.client, noPort, s.source).ExtractErr(), binding.ErrPortNotFound)
	_, err = binding.GetPort(s.Context(), s.client, noPort)
	s.wantErr(err, binding.ErrPortNotFound)
	_, err = binding.UpdateProfile(s.Context(), s.client, noPort, nil, 1)
	s.wantErr(err, binding.ErrPortNotFound)

	list, err := binding.ListPorts(s.Context(), s.client, noPort)
	s.must(err)
	if len(list) != 0 {
		s.Errorf("ports of an instance that is not there: %v", list)
	}
}

// activateSourceAlone: activate(source) is not a rollback.
func (s *suite) activateSourceAlone() {
	s.putProfile(map[string]any{"migrating_to": s.dest, "os_vif_delegation": true})
	s.post(s.dest, nil)
	s.mustActivate(s.dest)

	row := s.mustActivate(s.source)
	s.wantRow(row, s.source, "ACTIVE", false)
	s.wantRows(want{s.source, "ACTIVE", false}, want{s.dest, "INACTIVE", false})
	p := s.getPort()
	if p.HostID != s.source || p.VIFType != binding.VIFTypeUnbound || p.Status != binding.PortDown {
		s.Errorf("port after activate(source) alone: %+v", p)
	}

	p = s.putProfile(binding.WithoutMigratingTo(p.Profile))
	if p.HostID != s.source || !p.Bound() || p.MigratingTo() != "" {
		s.Errorf("port after the update of its profile: %+v", p)
	}
	if !reflect.DeepEqual(p.Profile, map[string]any{"os_vif_delegation": true}) {
		s.Errorf("profile: %v", p.Profile)
	}
	s.wantRows(want{s.source, "ACTIVE", true}, want{s.dest, "INACTIVE", false})
}

// breakPort makes what Nova's rollback leaves of a port that was activated early.
func (s *suite) breakPort(profile map[string]any) {
	s.putProfile(profile)
	s.post(s.dest, map[string]any{"migrating_to": s.dest})
	s.mustActivate(s.dest)
	s.del(s.dest)
	s.wantRows(want{s.source, "INACTIVE", false})
}

func (s *suite) deletedActiveRow() {
	s.breakPort(map[string]any{"os_vif_delegation": true})

	_, err := s.tryActivate(s.source)
	s.wantErr(err, binding.ErrInternal)
	if !binding.OutcomeUnknown(err) {
		s.Error("a 500 of activate is an unknown outcome")
	}
	_, err = s.tryActivate(s.dest)
	s.wantErr(err, binding.ErrBindingNotFound)
	s.wantErr(s.tryPost(s.source), binding.ErrAlreadyExists)

	p := s.getPort()
	if p.HasActiveRow || p.HostID != "" || p.Bound() {
		s.Errorf("port without an ACTIVE row: %+v", p)
	}
	_, err = binding.UpdateProfile(s.Context(), s.client, s.port, nil, p.RevisionNumber)
	s.wantErr(err, binding.ErrPortNotFound)

	list, err := binding.ListPorts(s.Context(), s.client, p.DeviceID)
	s.must(err)
	found := false
	for _, listed := range list {
		if listed.ID == s.port {
			found = true
			if listed.HasActiveRow {
				s.Errorf("listed port without an ACTIVE row: %+v", listed)
			}
		}
	}
	if !found {
		s.Errorf("the port is not among those of its instance: %v", list)
	}
	s.wantRows(want{s.source, "INACTIVE", false})
}

// restoreByPostDestination keeps the source's row and its profile.
func (s *suite) restoreByPostDestination() {
	s.breakPort(map[string]any{"os_vif_delegation": true, "migrating_to": s.dest})

	s.wantRow(s.post(s.dest, nil), s.dest, "ACTIVE", true)
	s.wantRow(s.mustActivate(s.source), s.source, "ACTIVE", false)
	s.del(s.dest)
	p := s.putProfile(binding.WithoutMigratingTo(s.getPort().Profile))
	s.wantRestored(p)
}

// restoreByPostSource needs the profile to have been written down.
func (s *suite) restoreByPostSource() {
	s.breakPort(map[string]any{"os_vif_delegation": true, "migrating_to": s.dest})

	row, err := binding.Get(s.Context(), s.client, s.port, s.source).Extract()
	s.must(err)
	s.del(s.source)
	if rows := s.wantRows(); len(rows) != 0 {
		s.Errorf("rows: %v", rows)
	}
	s.wantRow(s.post(s.source, nil), s.source, "ACTIVE", true)
	s.wantRestored(s.putProfile(binding.WithoutMigratingTo(row.Profile)))
}

func (s *suite) wantRestored(p *binding.Port) {
	s.Helper()
	if p.HostID != s.source || !p.Bound() || !p.HasActiveRow {
		s.Errorf("port: %+v", p)
	}
	if !reflect.DeepEqual(p.Profile, map[string]any{"os_vif_delegation": true}) {
		s.Errorf("profile: %v", p.Profile)
	}
	s.wantRows(want{s.source, "ACTIVE", true})
}

// postBecomesActive: the next migration takes the port away from its guest.
func (s *suite) postBecomesActive() {
	s.breakPort(nil)
	s.wantRow(s.post(s.dest, nil), s.dest, "ACTIVE", true)
	s.wantRows(want{s.source, "INACTIVE", false}, want{s.dest, "ACTIVE", true})
	if p := s.getPort(); p.HostID != s.dest {
		s.Errorf("port: %+v", p)
	}
}

// failedPostWithoutActiveRow: a create that fails leaves an ACTIVE row behind, from
// which activate(source) still leads back. Without a profile it even answers 201:
// Neutron compares the profile that it was given (None) with the one that it has
// stored (""), takes the difference for someone else's change and does not store
// that the binding has failed (neutron/plugins/ml2/plugin.py, _commit_port_binding;
// "Failed to commit binding results ... after 10 tries" in its log).
func (s *suite) failedPostWithoutActiveRow() {
	s.breakPort(nil)
	err := binding.Create(s.Context(), s.client, s.port, binding.CreateOpts{
		Host: noHost, Profile: map[string]any{"os_vif_delegation": true},
	}).Err
	s.wantErr(err, binding.ErrNotBindable)
	if !binding.OutcomeUnknown(err) {
		s.Error("a 500 of create is an unknown outcome")
	}
	rows := s.wantRows(want{s.source, "INACTIVE", false}, want{noHost, "ACTIVE", false})
	if row, _ := binding.RowOn(rows, noHost); row.VIFType != binding.VIFTypeBindingFailed {
		s.Errorf("row: %+v", row)
	}
	s.mustActivate(s.source)
	s.wantRows(want{s.source, "ACTIVE", false}, want{noHost, "INACTIVE", false})
	s.del(noHost)

	s.del(s.source)
	row := s.post(noHost, nil)
	s.wantRow(row, noHost, "ACTIVE", false)
	if row.VIFType != binding.VIFTypeUnbound {
		s.Errorf("created row: %+v", row)
	}
	s.wantRows(want{noHost, "ACTIVE", false})
}

func (s *suite) profileRoundTrip() {
	const text = `{"big": 9007199254740993, "negative": -1, "ratio": 0.25, "text": "<&>é",
		"nested": {"list": [1, "two", null, true], "empty": {}}}`
	var profile map[string]any
	s.must(decode([]byte(text), &profile))

	p := s.putProfile(profile)
	s.wantJSON("answer of the update", p.Profile, text)
	p = s.getPort()
	s.wantJSON("port", p.Profile, text)

	s.wantJSON("created row", s.post(s.dest, p.Profile).Profile, text)
	rows := s.wantRows(want{s.source, "ACTIVE", true}, want{s.dest, "INACTIVE", true})
	for _, row := range rows {
		s.wantJSON("row of "+row.Host, row.Profile, text)
	}
	s.wantJSON("activated row", s.mustActivate(s.dest).Profile, text)

	if p := s.putProfile(nil); len(p.Profile) != 0 {
		s.Errorf("profile after it was cleared: %v", p.Profile)
	}
}

func (s *suite) ifMatch() {
	p := s.getPort()
	after, err := binding.UpdateProfile(s.Context(), s.client, s.port, map[string]any{"a": "1"}, p.RevisionNumber)
	s.must(err)
	if after.RevisionNumber <= p.RevisionNumber {
		s.Errorf("revision %d after %d", after.RevisionNumber, p.RevisionNumber)
	}
	_, err = binding.UpdateProfile(s.Context(), s.client, s.port, map[string]any{"a": "2"}, p.RevisionNumber)
	s.wantErr(err, binding.ErrChanged)
	if got := s.getPort(); got.Profile["a"] != "1" || !got.Bound() {
		s.Errorf("port after an update that was refused: %+v", got)
	}

	before := s.getPort().RevisionNumber
	s.post(s.dest, nil)
	s.mustActivate(s.dest)
	if got := s.getPort().RevisionNumber; got <= before {
		s.Errorf("revision %d after activate, %d before", got, before)
	}
	_, err = binding.UpdateProfile(s.Context(), s.client, s.port, map[string]any{"a": "3"}, before)
	s.wantErr(err, binding.ErrChanged)
}

// updateThatOnlyBinds: an unbound ACTIVE row whose profile stays. An update with
// that profile is refused for ever before 23.0.0; one of nothing binds.
func (s *suite) updateThatOnlyBinds() {
	safe, err := binding.ConcurrentActivateSafe(s.Context(), s.client)
	s.must(err)
	profile := s.putProfile(map[string]any{"os_vif_delegation": true}).Profile
	s.post(s.dest, nil)
	s.mustActivate(s.dest)
	s.mustActivate(s.source)
	if !safe {
		for range 3 {
			_, err := binding.UpdateProfile(s.Context(), s.client, s.port, profile, s.getPort().RevisionNumber)
			s.wantErr(err, binding.ErrChanged)
		}
		s.wantRows(want{s.source, "ACTIVE", false}, want{s.dest, "INACTIVE", false})
	}
	for range 2 {
		p, err := binding.Rebind(s.Context(), s.client, s.port)
		s.must(err)
		if p.HostID != s.source || !p.Bound() || !reflect.DeepEqual(p.Profile, profile) {
			s.Errorf("port after an update of nothing: %+v", p)
		}
	}
	s.wantRows(want{s.source, "ACTIVE", true}, want{s.dest, "INACTIVE", false})
	if safe {
		s.mustActivate(s.dest)
		s.mustActivate(s.source)
		if p := s.putProfile(profile); !p.Bound() {
			s.Errorf("port after an update with the profile that it has: %+v", p)
		}
	}

	// As Nova at the end of a live migration (_update_port_binding_for_instance).
	s.mustActivate(s.dest)
	body := map[string]any{"port": map[string]any{"binding:host_id": s.dest, "device_owner": "compute:nova"}}
	_, err = s.client.Put(s.Context(), s.client.ServiceURL("ports", s.port), body, nil, &gophercloud.RequestOpts{OkCodes: []int{200}})
	s.must(err)
	s.wantRows(want{s.source, "INACTIVE", false}, want{s.dest, "ACTIVE", true})
	s.del(s.dest)
	_, err = binding.Rebind(s.Context(), s.client, s.port)
	s.wantErr(err, binding.ErrPortNotFound)
}

// portStatus: a port can be ACTIVE and unbound. A real Neutron needs a real agent
// for that.
func (s *suite) portStatus() {
	env, ok := s.env.(StatusSetter)
	if !ok {
		return
	}
	s.post(s.dest, nil)
	s.mustActivate(s.dest)
	s.mustActivate(s.source)
	env.SetPortStatus(s.port, binding.PortActive)
	if p := s.getPort(); p.Status != binding.PortActive || p.HostID != s.source || p.Bound() {
		s.Errorf("port: %+v", p)
	}
}

func (s *suite) post(host string, profile map[string]any) binding.Binding {
	s.Helper()
	row, err := binding.Create(s.Context(), s.client, s.port, binding.CreateOpts{Host: host, Profile: profile}).Extract()
	s.must(err)
	return *row
}

func (s *suite) tryPost(host string) error {
	return binding.Create(s.Context(), s.client, s.port, binding.CreateOpts{Host: host}).Err
}

func (s *suite) tryActivate(host string) (*binding.Binding, error) {
	return binding.Activate(s.Context(), s.client, s.port, host).Extract()
}

func (s *suite) mustActivate(host string) binding.Binding {
	s.Helper()
	row, err := s.tryActivate(host)
	s.must(err)
	return *row
}

func (s *suite) del(host string) {
	s.Helper()
	s.must(binding.Delete(s.Context(), s.client, s.port, host).ExtractErr())
}

func (s *suite) getPort() *binding.Port {
	s.Helper()
	p, err := binding.GetPort(s.Context(), s.client, s.port)
	s.must(err)
	return p
}

// putProfile reads again when the port has changed: a live agent may have reported
// it.
func (s *suite) putProfile(profile map[string]any) *binding.Port {
	s.Helper()
	for range 5 {
		p, err := binding.UpdateProfile(s.Context(), s.client, s.port, profile, s.getPort().RevisionNumber)
		if errors.Is(err, binding.ErrChanged) {
			continue
		}
		s.must(err)
		return p
	}
	s.Fatal("the port does not stop changing")
	return nil
}

type want struct {
	host, status string
	bound        bool
}

func (s *suite) wantRows(wants ...want) []binding.Binding {
	s.Helper()
	rows, err := binding.List(s.Context(), s.client, s.port).Extract()
	s.must(err)
	got := map[want]bool{}
	for _, row := range rows {
		got[want{row.Host, row.Status, row.Bound()}] = true
	}
	ok := len(rows) == len(wants)
	for _, w := range wants {
		ok = ok && got[w]
	}
	if !ok {
		s.Fatalf("rows: %+v\nwant: %+v", rows, wants)
	}
	return rows
}

func (s *suite) wantRow(row binding.Binding, host, status string, bound bool) {
	s.Helper()
	if row.Host != host || row.Status != status || row.Bound() != bound {
		s.Fatalf("row: %+v, want host %s, status %s, bound %v", row, host, status, bound)
	}
}

func (s *suite) wantErr(err, target error) {
	s.Helper()
	if !errors.Is(err, target) {
		s.Fatalf("error: %v, want: %v", err, target)
	}
	var e *binding.Error
	if !errors.As(err, &e) || e.RequestID == "" {
		s.Errorf("error without Neutron's request id: %v", err)
	}
}

func (s *suite) wantJSON(what string, got map[string]any, text string) {
	s.Helper()
	data, err := json.Marshal(got)
	s.must(err)
	var a, b any
	s.must(decode(data, &a))
	s.must(decode([]byte(text), &b))
	if !reflect.DeepEqual(a, b) {
		s.Errorf("%s: %s, want %s", what, fmt.Sprint(a), fmt.Sprint(b))
	}
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func decode(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(to)
}
