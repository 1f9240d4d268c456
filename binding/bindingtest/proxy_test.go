package bindingtest_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
)

// proxied is a Neutron seen through a proxy.
type proxied struct {
	bindingtest.Env
	proxy *bindingtest.Proxy
}

func (p proxied) Client() *gophercloud.ServiceClient { return p.proxy.Client() }

// A proxy without faults changes nothing.
func TestProxyConformance(t *testing.T) {
	bindingtest.Conformance(t, func(t *testing.T) bindingtest.Env {
		env := bindingtest.NewEnv(t)
		return proxied{env, bindingtest.NewProxy(t, env.Client())}
	})
}

func TestProxyFaults(t *testing.T) {
	for name, c := range map[string]struct {
		fault    bindingtest.Fault
		is       error
		applied  bool
		finished bool // Neutron's answer has come to the caller
	}{
		"none":       {bindingtest.Fault{}, nil, true, true},
		"cut before": {bindingtest.Fault{Drop: true}, binding.ErrNoAnswer, false, false},
		"cut after":  {bindingtest.Fault{Drop: true, Apply: true}, binding.ErrNoAnswer, true, false},
		"half":       {bindingtest.Fault{Half: true, Apply: true}, binding.ErrNoAnswer, true, false},
		"503":        {bindingtest.Fault{Status: http.StatusServiceUnavailable, Gateway: true}, nil, false, false},
		"504 after":  {bindingtest.Fault{Status: http.StatusGatewayTimeout, Gateway: true, Apply: true}, nil, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			n, port := prepared(t)
			before := len(n.Writes())
			proxy := bindingtest.NewProxy(t, n.Client())
			c.fault.Op = binding.OpActivate
			proxy.Inject(c.fault)
			err := binding.Activate(t.Context(), proxy.Client(), port, "compute2").Err
			if c.is != nil && !errors.Is(err, c.is) || (err == nil) != c.finished {
				t.Errorf("error: %v", err)
			}
			if err != nil && !binding.MayStillHappen(err) {
				t.Errorf("what a proxy answers is not the end: %v", err)
			}
			row, _ := binding.RowOn(n.Rows(port), "compute2")
			if row.Active() != c.applied {
				t.Errorf("rows: %+v", n.Rows(port))
			}
			if got := len(n.Writes()) - before; len(proxy.Writes()) != 1 || got == 1 != c.applied {
				t.Errorf("%d writes came to the proxy, %d to Neutron", len(proxy.Writes()), got)
			}
		})
	}
}

// A request that has come to the proxy is passed on when its client has gone away.
func TestProxyPassesOnWhatWasGivenUp(t *testing.T) {
	n, port := prepared(t)
	proxy := bindingtest.NewProxy(t, n.Client())
	release, over := make(chan struct{}), make(chan struct{})
	ctx, giveUp := context.WithCancel(t.Context())
	proxy.Inject(bindingtest.Fault{Op: binding.OpActivate, Arrived: giveUp, Until: release, After: func() { close(over) }})
	err := binding.Activate(ctx, proxy.Client(), port, "compute2").Err
	if !errors.Is(err, binding.ErrNoAnswer) || !binding.MayStillHappen(err) {
		t.Errorf("error: %v", err)
	}
	wantRows(t, n, port, "compute1 ACTIVE ovs, compute2 INACTIVE ovs")
	close(release)
	<-over
	wantRows(t, n, port, "compute1 INACTIVE unbound, compute2 ACTIVE ovs")
}
