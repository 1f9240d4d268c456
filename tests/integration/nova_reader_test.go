//go:build integration

package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"

	"github.com/earlybind/earlybind/check"
	"github.com/earlybind/earlybind/doctor"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/tests/lab"
)

// policyLines are those that docs/doctor.md gives Nova's API, for a role of another name.
func policyLines(t testing.TB, l *lab.Lab, role string) []string {
	t.Helper()
	page, err := os.ReadFile(l.Path("docs/doctor.md"))
	must(t, err)
	lines := regexp.MustCompile(`(?m)^    ("os_compute_api:.*role:migration_reader")$`).FindAllSubmatch(page, -1)
	if len(lines) != 8 {
		t.Fatalf("docs/doctor.md has %d lines of a policy", len(lines))
	}
	var all []string
	for _, line := range lines {
		all = append(all, strings.ReplaceAll(string(line[1]), "role:migration_reader", "role:"+role))
	}
	return all
}

// newReader makes a user of project service that has one role, a new one, and gives its client.
func newReader(t testing.TB, l *lab.Lab) (provider *gophercloud.ProviderClient, role string) {
	t.Helper()
	admin, err := l.Provider(t.Context(), "admin")
	must(t, err)
	keystone, err := openstack.NewIdentityV3(admin, gophercloud.EndpointOpts{Region: "RegionOne"})
	must(t, err)
	later := context.WithoutCancel(t.Context())
	role = "migration_reader-" + newUUID()[:8]
	r, err := roles.Create(t.Context(), keystone, roles.CreateOpts{Name: role}).Extract()
	must(t, err)
	t.Cleanup(func() { must(t, roles.Delete(later, keystone, r.ID).ExtractErr()) })
	pages, err := projects.List(keystone, projects.ListOpts{Name: "service"}).AllPages(t.Context())
	must(t, err)
	service, err := projects.ExtractProjects(pages)
	must(t, err)
	name, password := "nova-reader-"+newUUID()[:8], newUUID()
	u, err := users.Create(t.Context(), keystone, users.CreateOpts{Name: name, Password: password, DomainID: "default"}).Extract()
	must(t, err)
	t.Cleanup(func() { must(t, users.Delete(later, keystone, u.ID).ExtractErr()) })
	must(t, roles.Assign(t.Context(), keystone, r.ID, roles.AssignOpts{UserID: u.ID, ProjectID: service[0].ID}).ExtractErr())

	provider, err = openstack.NewClient(admin.IdentityEndpoint)
	must(t, err)
	provider.HTTPClient = http.Client{Transport: l.Transport()}
	must(t, openstack.Authenticate(t.Context(), provider, gophercloud.AuthOptions{
		IdentityEndpoint: admin.IdentityEndpoint, Username: name, Password: password, DomainID: "default", TenantID: service[0].ID,
	}))
	return provider, role
}

// secondNovaAPI runs one beside the lab's own, on another port, with a policy that it gives the means to change.
func secondNovaAPI(t testing.TB, l *lab.Lab) (endpoint string, policy func(lines []string)) {
	t.Helper()
	inside := "/tmp/" + newUUID()
	later := context.WithoutCancel(t.Context())
	run := func(command string) {
		t.Helper()
		_, err := l.Exec(later, "controller", "sh", "-c", command)
		must(t, err)
	}
	file := filepath.Join(t.TempDir(), "policy.yaml")
	policy = func(lines []string) {
		t.Helper()
		must(t, os.WriteFile(file, []byte(strings.Join(append(lines, ""), "\n")), 0o644))
		must(t, l.Copy(t.Context(), file, "controller", inside+"/new"))
		run("cp " + inside + "/new " + inside + "/policy.yaml") // read anew for its time, of which docker keeps whole seconds
	}
	run("mkdir " + inside)
	t.Cleanup(func() { run("kill $(cat " + inside + "/pid); rm -rf " + inside) })
	policy(nil)
	run("printf '[DEFAULT]\\nosapi_compute_listen_port = 8784\\nosapi_compute_workers = 1\\n[oslo_policy]\\npolicy_file = " + inside + "/policy.yaml\\n' >" + inside + "/nova.conf; " +
		"nova-api --config-file /etc/nova/nova.conf --config-file " + inside + "/nova.conf >" + inside + "/log 2>&1 & echo $! >" + inside + "/pid")
	endpoint = "http://controller:8784/"
	client := http.Client{Transport: l.Transport()}
	eventually(t, "the second nova-api to answer", func() (bool, error) {
		answer, err := client.Get(endpoint)
		if err == nil {
			_ = answer.Body.Close()
		}
		return err == nil, nil
	})
	client.CloseIdleConnections()
	return endpoint + "v2.1/", policy
}

// What docs/doctor.md has Nova's API allow a user without role admin is enough for a doctor, each line of it is needed, and it
// allows no more than to read.
func TestNovaReaderHasRightsEnough(t *testing.T) {
	l := theLab(t)
	guest, err := l.Server(t.Context())
	must(t, err)
	ours, err := l.NeutronAs(t.Context(), "earlybind")
	must(t, err)
	provider, role := newReader(t, l)
	endpoint, policy := secondNovaAPI(t, l)
	nova := &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: endpoint, Type: "compute"}
	cloud := doctor.Cloud{Neutron: neutron.New(ours), Nova: doctor.NewNova(nova), Clock: clock.Real()}
	// reads is all that a doctor reads of Nova, of a guest that may have nothing wrong, and a check.
	reads := func() error {
		if _, err := cloud.Nova.Migrations(t.Context(), guest.ID); err != nil {
			return err
		}
		s, err := cloud.Nova.Server(t.Context(), guest.ID)
		if err != nil {
			return err
		}
		r, err := cloud.Examine(t.Context())
		if err != nil {
			return err
		}
		hosts, err := check.NewNova(nova).Hosts(t.Context())
		if s.Host != guest.Host || s.Status != guest.Status || r.Ports < 3 || r.Gap != "" || !slices.Contains(r.Hosts, guest.Host) || len(hosts) != len(lab.Computes) {
			t.Errorf("%+v, %+v, %+v", s, r, hosts)
		}
		return err
	}

	lines := policyLines(t, l, role)
	if err := reads(); !strings.Contains(fmt.Sprint(err), "403") {
		t.Errorf("without any line: %v", err)
	}
	policy(lines)
	must(t, reads())
	for name, err := range map[string]error{
		"delete": servers.Delete(t.Context(), nova, guest.ID).ExtractErr(),
		"stop":   servers.Stop(t.Context(), nova, guest.ID).ExtractErr(),
	} {
		if !gophercloud.ResponseCodeIs(err, http.StatusForbidden) && !gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			t.Fatalf("it may %s an instance: %v", name, err)
		}
	}
	for i, line := range lines {
		policy(slices.Delete(slices.Clone(lines), i, i+1))
		err := reads()
		rule := strings.Split(line, `"`)[1]
		later := i >= len(lines)-2 // rules of Nova 32
		if (err == nil) != later || err != nil && !strings.Contains(err.Error(), strings.TrimPrefix(rule, "os_compute_api:")) {
			t.Errorf("without %s: %v", rule, err)
		}
	}
}
