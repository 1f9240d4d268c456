//go:build integration

package integration

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/endpoints"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/regions"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/services"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/check"
	"github.com/earlybind/earlybind/internal/tlstest"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// tlsFront stands before a service of the lab as haproxy does before kolla's: TLS ends here, and
// those alone are let in who show a certificate. It gives its URL, whose host the certificate is not for.
func tlsFront(t testing.TB, ours *tlstest.Authority, service string) string {
	t.Helper()
	to, err := url.Parse(service)
	must(t, err)
	front := httptest.NewUnstartedServer(&httputil.ReverseProxy{
		Transport: theLab(t).Transport(),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
	})
	front.TLS = &tls.Config{
		Certificates: []tls.Certificate{ours.Issue(t, tlsName).Certificate},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool(t),
	}
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of those it does not let in
	front.StartTLS()
	t.Cleanup(front.Close)
	return front.URL
}

// newRegion makes one in the lab's Keystone whose Neutron is at a URL. The lab's own services name their
// region.
func newRegion(t testing.TB, neutron string) (region string) {
	t.Helper()
	provider, err := theLab(t).Provider(t.Context(), "admin")
	must(t, err)
	keystone, err := openstack.NewIdentityV3(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
	must(t, err)
	pages, err := services.List(keystone, services.ListOpts{ServiceType: "network"}).AllPages(t.Context())
	must(t, err)
	networks, err := services.ExtractServices(pages)
	must(t, err)
	later := context.WithoutCancel(t.Context())
	region = "earlybind-" + newUUID()[:8]
	must(t, regions.Create(t.Context(), keystone, regions.CreateOpts{ID: region}).Err)
	t.Cleanup(func() { must(t, regions.Delete(later, keystone, region).ExtractErr()) })
	e, err := endpoints.Create(t.Context(), keystone, endpoints.CreateOpts{
		Availability: gophercloud.AvailabilityPublic, Region: region, URL: neutron, ServiceID: networks[0].ID, Name: "neutron",
	}).Extract()
	must(t, err)
	t.Cleanup(func() { must(t, endpoints.Delete(later, keystone, e.ID).ExtractErr()) })
	return region
}

// tlsCloud is the lab's Keystone and Neutron behind TLS, and a broker.
type tlsCloud struct {
	*broker
	keystone, region string
}

func (c tlsCloud) environment(more ...string) []string {
	return append([]string{
		"EARLYBIND_AMQP_URLS=" + c.url(), "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD=" + c.password,
		"EARLYBIND_POLICY=suspended", "EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE=safe", "EARLYBIND_UP_WITHIN=5s",
	}, more...)
}

// variables are those of an openrc file.
func (c tlsCloud) variables(ca string, shows tlstest.Pair) []string {
	return c.environment("OS_AUTH_URL="+c.keystone+"/v3", "OS_USERNAME=earlybind", "OS_PASSWORD="+c.password, "OS_PROJECT_NAME=service",
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME="+c.region,
		"OS_CACERT="+ca, "OS_CERT="+shows.CertFile, "OS_KEY="+shows.KeyFile)
}

// file is the same in a clouds.yaml.
func (c tlsCloud) file(ca string, shows tlstest.Pair) []string {
	file := filepath.Join(c.TempDir(), "clouds.yaml")
	must(c, os.WriteFile(file, fmt.Appendf(nil, `clouds:
  lab:
    auth: {auth_url: "%s/v3", username: earlybind, password: "%s", project_name: service, user_domain_name: Default, project_domain_name: Default}
    region_name: %s
    cacert: %s
    cert: %s
    key: %s
`, c.keystone, c.password, c.region, ca, shows.CertFile, shows.KeyFile), 0o600))
	return c.environment("OS_CLIENT_CONFIG_FILE="+file, "OS_CLOUD=lab")
}

// firstLine starts a consumer and gives the first line of its log.
func firstLine(t testing.TB, program string, environment []string) (line map[string]any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program)
	cmd.Env = environment
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	lines := bufio.NewScanner(out)
	lines.Scan()
	raw := lines.Bytes()
	cancel()
	_ = cmd.Wait() // killed
	must(t, json.Unmarshal(raw, &line))
	return line
}

// Keystone and Neutron behind TLS that asks for the client's certificate, reached by another name than
// they have: the consumer acts there, by the OS_* variables, and check reads, by clouds.yaml.
func TestNeutronOverTLS(t *testing.T) {
	consumers, tools := built(t, "earlybind-consumer"), built(t, "earlybind")
	t.Parallel()
	ours, others := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	own, name := ours.Issue(t, "consumer.example"), "EARLYBIND_OS_SERVER_NAME="+tlsName
	c := tlsCloud{broker: newBroker(t), keystone: tlsFront(t, ours, "http://controller:5000")}
	neutron := tlsFront(t, ours, "http://controller:9696")
	c.region = newRegion(t, neutron)

	t.Run("Consumer", func(t *testing.T) {
		g := guest{id: newUUID(), request: "req-" + newUUID()}
		id, err := newNetwork(t).NewPort(t.Context(), g.id, source, map[string]any{port.MigratingTo: dest})
		must(t, err)
		must(t, binding.Create(t.Context(), asEarlybind(t), id, binding.CreateOpts{Host: dest}).Err)
		b := *c.broker
		b.TB = t
		nova := b.nova(false)
		r := startProcess(&b, consumers, append(c.variables(ours.File, own), name))
		if saw, _ := r.await("consumer.started")["saw"].(string); !strings.Contains(saw, "Neutron at "+neutron+"/") {
			t.Errorf("%q, and Neutron is at %s", saw, neutron)
		}
		r.await("consumer.active")
		from, to := b.host(source), b.host(dest)
		nova.prepares(g)
		to.says(g.id, wire.Started, wire.Migrated)
		r.await("handover.armed", "instance", g.id)
		from.says(g.id, wire.Suspended, wire.Migrated)
		r.await("port.written", "port", id, "outcome", "activated")
		rows, err := binding.List(t.Context(), asEarlybind(t), id).Extract()
		must(t, err)
		if row, _ := binding.ActiveRow(rows); row.Host != dest {
			t.Errorf("rows: %+v", rows)
		}
		wantNoSecret(t, c.password, r.text())
	})

	t.Run("Check", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), tools, "check", "-json", "-listen", "1s")
		cmd.Env = append(c.file(ours.File, own), name)
		out, _ := cmd.Output() // its status tells of Nova, which the region does not have, and of Zed
		var got struct{ Findings []check.Finding }
		must(t, json.Unmarshal(out, &got))
		found := checked{t, got.Findings}
		found.wants("keystone", check.Fit, "user earlybind of project service")
		found.wants("neutron.role", check.Fit, "may write port bindings")
	})

	for what, missing := range map[string]struct {
		environment []string
		want        string
	}{
		"Certificate":     {append(c.variables(ours.File, tlstest.Pair{}), name), "remote error: tls: certificate required"},
		"Authority":       {append(c.variables(others.File, own), name), "x509: certificate signed by unknown authority"},
		"AuthorityInFile": {append(c.file(others.File, own), name), "x509: certificate signed by unknown authority"},
		"ServerName":      {c.variables(ours.File, own), "x509: cannot validate certificate for 127.0.0.1"},
	} {
		t.Run("Without"+what, func(t *testing.T) {
			line := firstLine(t, consumers, missing.environment)
			said, _ := line["error"].(string)
			t.Log(said)
			if line["event"] != "consumer.started" || line["outcome"] != "Neutron is away" ||
				!strings.Contains(said, c.keystone) || !strings.Contains(said, missing.want) || strings.Contains(said, "\n") {
				t.Errorf("it says %v, want %q", line, missing.want)
			}
			wantNoSecret(t, c.password, said)
		})
	}
}
