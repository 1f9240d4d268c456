package bindingtest

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/simulated/neutron"
)

// Token is the only token that the fake accepts.
const Token = neutron.Token

// What is asked of the fake, and told of it.
type (
	PortOpts = neutron.PortOpts
	Fault    = neutron.Fault
	Request  = neutron.Request
)

// Neutron is a Neutron in memory behind HTTP.
type Neutron struct {
	*neutron.Neutron
	server *httptest.Server
	client *gophercloud.ServiceClient
}

// New starts a fake Neutron that ends with the test. Hosts are those with a live
// agent; compute1 and compute2 if none are given.
func New(t testing.TB, hosts ...string) *Neutron {
	t.Helper()
	n := &Neutron{Neutron: neutron.New(hosts...)}
	n.server = httptest.NewServer(n.Handler())
	transport := &http.Transport{MaxIdleConnsPerHost: 32}
	n.client = neutron.NewClient(n.server.URL, transport)
	t.Cleanup(func() {
		n.Close()
		transport.CloseIdleConnections()
		n.server.CloseClientConnections()
		n.server.Close()
	})
	return n
}

// Client starts a fake Neutron and returns a client of it.
func Client(t testing.TB, hosts ...string) (*gophercloud.ServiceClient, *Neutron) {
	t.Helper()
	n := New(t, hosts...)
	return n.Client(), n
}

// Client is a client of the fake, with all rights.
func (n *Neutron) Client() *gophercloud.ServiceClient { return n.client }

// URL is where the fake listens, without a path.
func (n *Neutron) URL() string { return n.server.URL }

// Proxy stands between a client and a Neutron.
type Proxy struct {
	*neutron.Proxy
	client *gophercloud.ServiceClient
}

// NewProxy starts a proxy before the Neutron of a client; it ends with the test.
func NewProxy(t testing.TB, client *gophercloud.ServiceClient) *Proxy {
	t.Helper()
	p := &Proxy{Proxy: neutron.NewProxy(client)}
	server := httptest.NewServer(p.Handler())
	twin := *client
	twin.Endpoint, twin.ResourceBase = server.URL+"/", server.URL+"/v2.0/"
	p.client = &twin
	t.Cleanup(func() {
		p.Close()
		client.HTTPClient.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	return p
}

// Client is the client's twin that goes through the proxy. They share their token.
func (p *Proxy) Client() *gophercloud.ServiceClient { return p.client }
