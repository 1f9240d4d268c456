package check

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
)

func TestNeutronTellsWhatItAllows(t *testing.T) {
	client, fake := bindingtest.Client(t)
	n := NewNeutron(client)
	look := func(what string, ask func() (bool, error), want bool) {
		t.Helper()
		if got, err := ask(); got != want || err != nil {
			t.Errorf("%s: %t, %v", what, got, err)
		}
	}
	extended := func() (bool, error) { return n.Extended(t.Context()) }
	safe := func() (bool, error) { return n.Safe(t.Context()) }
	mayWrite := func() (bool, error) { return n.MayWrite(t.Context()) }
	look("extended", extended, true)
	look("safe", safe, true)
	look("may write", mayWrite, true)
	fake.Forbid(true)
	look("may write, forbidden", mayWrite, false)
	fake.Forbid(false)
	fake.MakeOld()
	look("safe, on Zed", safe, false)
	look("may write, on Zed", mayWrite, true)

	fake.Inject(bindingtest.Fault{Op: binding.OpCreate, Status: http.StatusServiceUnavailable, Gateway: true})
	if got, err := mayWrite(); got || err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("may write, and Neutron is away: %t, %v", got, err)
	}
	// Neutron is there, and its database is not.
	down := bindingtest.Fault{Status: http.StatusInternalServerError, Type: "HTTPInternalServerError"}
	for _, down.Op = range []string{binding.OpCreate, binding.OpGetPort} {
		fake.Inject(down)
	}
	if got, err := mayWrite(); got || err == nil || !strings.Contains(err.Error(), "get port") {
		t.Errorf("may write, and Neutron's database is away: %t, %v", got, err)
	}
	fake.Inject(bindingtest.Fault{Op: binding.OpExtensions, Status: http.StatusServiceUnavailable})
	if got, err := safe(); got || err == nil {
		t.Errorf("safe, and Neutron is away: %t, %v", got, err)
	}
	if _, err := NewAgents(client).Agents(t.Context()); err == nil || !strings.Contains(err.Error(), "/agents: 404") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a Neutron without agents: %v", err)
	}
	for _, r := range fake.Requests() {
		if r.Method != http.MethodGet && r.Op != binding.OpCreate {
			t.Errorf("it was sent %s %s", r.Method, r.Path)
		}
	}
}

func TestPortsOfAHost(t *testing.T) {
	client, fake := bindingtest.Client(t)
	n := NewNeutron(client)
	add := func(instance, owner, on string, drivers map[string]any) string {
		id := fake.AddPort(bindingtest.PortOpts{DeviceID: instance, DeviceOwner: owner, Host: on})
		fake.PutRow(id, binding.Binding{Host: on, Status: binding.StatusActive, VIFType: "ovs", VIFDetails: map[string]any{"bound_drivers": drivers}})
		return id
	}
	mine := add(guest, "compute:nova", here, map[string]any{"0": "openvswitch"})
	add("router", "network:router_gateway", here, nil)
	coming := add(other, "compute:az2", there, nil)
	fake.PutRow(coming, binding.Binding{Host: here, Status: binding.StatusInactive, VIFType: "ovs"})

	ports, err := n.OnHost(t.Context(), here)
	if err != nil || len(ports) != 2 {
		t.Fatalf("%+v %v", ports, err)
	}
	i := slices.IndexFunc(ports, func(p Port) bool { return p.ID == mine })
	if p := ports[i]; p.Driver != "openvswitch" || !p.Active || p.Instance != guest || p.Owner != "compute:nova" {
		t.Errorf("%+v", p)
	}
	if p := ports[1-i]; p.Active || p.Instance != other {
		t.Errorf("%+v", p)
	}
	if read, err := n.ReadsRows(t.Context(), mine); !read || err != nil {
		t.Errorf("%t %v", read, err)
	}
	// A user who may not see it is told that there is no port.
	fake.Inject(bindingtest.Fault{Op: binding.OpList, Status: http.StatusNotFound, Type: "PortNotFound"})
	if read, err := n.ReadsRows(t.Context(), mine); read || err != nil {
		t.Errorf("%t %v", read, err)
	}
	// So is everybody when there is none.
	if read, err := n.ReadsRows(t.Context(), "gone"); read || !errors.Is(err, binding.ErrPortNotFound) {
		t.Errorf("%t %v", read, err)
	}
	fake.Inject(bindingtest.Fault{Op: binding.OpList, Body: map[string]any{"bindings": []any{}}})
	if read, err := n.ReadsRows(t.Context(), "gone"); read || !errors.Is(err, binding.ErrPortNotFound) {
		t.Errorf("no rows of a port that is deleted: %t %v", read, err)
	}
	fake.Inject(bindingtest.Fault{Op: binding.OpList, Status: http.StatusInternalServerError, Type: "PolicyCheckError"})
	if read, err := n.ReadsRows(t.Context(), mine); read || err != nil {
		t.Errorf("%t %v", read, err)
	}
	fake.Inject(bindingtest.Fault{Op: binding.OpList, Status: http.StatusBadGateway, Gateway: true})
	if read, err := n.ReadsRows(t.Context(), mine); read || err == nil {
		t.Errorf("%t %v", read, err)
	}
	if rows := fake.Rows(mine); len(rows) != 1 || len(fake.Rows(coming)) != 2 {
		t.Errorf("rows have changed: %+v", rows)
	}
}

// served is a client of a service that answers so.
func served(t *testing.T, path string, status int, body string) *gophercloud.ServiceClient {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != path {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.Close()
	})
	return &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{TokenID: "t", HTTPClient: http.Client{Transport: transport}},
		Endpoint:       server.URL + "/",
	}
}

func TestAgents(t *testing.T) {
	list := `{"agents": [
		{"host": "compute1", "agent_type": "Open vSwitch agent", "alive": true, "heartbeat_timestamp": "2026-11-28 12:00:00"},
		{"host": "compute2", "agent_type": "OVN Controller agent", "alive": false, "heartbeat_timestamp": "2026-11-28 12:00:00"}]}`
	found, err := NewAgents(served(t, "/agents", http.StatusOK, list)).Agents(t.Context())
	if err != nil || !slices.Equal(found, []Agent{{here, "Open vSwitch agent", true}, {there, "OVN Controller agent", false}}) {
		t.Errorf("%+v %v", found, err)
	}
}

func TestNova(t *testing.T) {
	const versions = `{"versions": [{"id": "v2.0", "version": ""}, {"id": "v2.1", "version": "2.100", "min_version": "2.1"}]}`
	if v, err := NewNova(served(t, "/", http.StatusMultipleChoices, versions)).Version(t.Context()); v != "2.100" || err != nil {
		t.Errorf("%q %v", v, err)
	}
	if v, err := NewNova(served(t, "/", http.StatusOK, `{"versions": []}`)).Version(t.Context()); v != "" || err == nil {
		t.Errorf("%q %v", v, err)
	}
	const list = `{"services": [{"id": "a", "host": "compute1", "binary": "nova-compute", "state": "up", "status": "enabled"},
		{"id": "b", "host": "compute2", "binary": "nova-compute", "state": "down", "status": "enabled"}]}`
	hosts, err := NewNova(served(t, "/os-services", http.StatusOK, list)).Hosts(t.Context())
	if err != nil || !slices.Equal(hosts, []ComputeHost{{here, true}, {there, false}}) {
		t.Errorf("%+v %v", hosts, err)
	}
	_, err = NewNova(served(t, "/os-services", http.StatusForbidden, "a page\nof two lines")).Hosts(t.Context())
	if err == nil || !strings.Contains(err.Error(), "/os-services?binary=nova-compute: 403 Forbidden") || strings.Contains(err.Error(), "page") {
		t.Errorf("%v", err)
	}
}

// What Keystone says of a user, as gophercloud has it from a real answer's form.
func TestAccount(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", "t")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"token": {"expires_at": "2126-11-23T06:00:00.000000Z", "issued_at": "2026-11-23T05:00:00.000000Z", "catalog": [],
			"user": {"id": "1", "name": "earlybind", "domain": {"id": "default", "name": "Default"}},
			"project": {"id": "2", "name": "service", "domain": {"id": "default", "name": "Default"}},
			"roles": [{"id": "3", "name": "service"}, {"id": "4", "name": "reader"}]}}`))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	provider, err := openstack.NewClient(server.URL + "/v3")
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	provider.HTTPClient = http.Client{Transport: transport}
	err = openstack.Authenticate(t.Context(), provider, gophercloud.AuthOptions{
		IdentityEndpoint: server.URL + "/v3", Username: "earlybind", Password: "p", DomainName: "Default", TenantName: "service",
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewNeutron(&gophercloud.ServiceClient{ProviderClient: provider}).Account()
	if err != nil || a.User != "earlybind" || a.Project != "service" || !slices.Equal(a.Roles, []string{"service", "reader"}) {
		t.Errorf("%+v %v", a, err)
	}
	if _, err := NewNeutron(&gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}}).Account(); err == nil {
		t.Error("a client without a token tells a user")
	}
}
