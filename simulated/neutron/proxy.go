package neutron

import (
	"bytes"
	"io"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
)

// Proxy stands between a client and a Neutron, mostly a real one, and lets calls
// run into faults on their way: before they reach it, after they took effect there,
// or half-way through the answer. Neutron finishes what has reached it, also when
// the client has gone away.
type Proxy struct {
	Calls

	neutron *gophercloud.ServiceClient
}

// NewProxy makes a proxy before the Neutron of a client.
func NewProxy(neutron *gophercloud.ServiceClient) *Proxy {
	return &Proxy{Calls: Calls{done: make(chan struct{})}, neutron: neutron}
}

// Handler serves what it passes on.
func (p *Proxy) Handler() http.Handler { return p.handler(p.carry) }

// carry passes a call on, unless its fault forbids, and picks the answer.
func (p *Proxy) carry(_ string, req request, fault Fault) reply {
	a := reply{status: http.StatusBadGateway}
	if !fault.replaces() || fault.Apply {
		a = p.pass(req)
	}
	return fault.answer(a, "")
}

// pass waits for the answer also when the client has gone away.
func (p *Proxy) pass(req request) reply {
	lost := reply{status: http.StatusBadGateway}
	// The client's base is Endpoint + "v2.0/".
	url := p.neutron.Endpoint + req.URL.RequestURI()[1:]
	out, err := http.NewRequest(req.Method, url, bytes.NewReader(req.raw))
	if err != nil {
		return lost
	}
	out.Header = req.Header.Clone()
	out.Header.Del("Accept-Encoding") // the answer is passed on as it is
	resp, err := p.neutron.HTTPClient.Do(out)
	if err != nil {
		return lost
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return lost
	}
	header := resp.Header.Clone()
	for _, name := range []string{"Connection", "Content-Length", "Transfer-Encoding"} {
		header.Del(name)
	}
	return reply{resp.StatusCode, header, body}
}
