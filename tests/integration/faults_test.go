//go:build integration

package integration

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/nettest"
)

// through gives the same migration as it is seen by a client.
func (m *migration) through(client *gophercloud.ServiceClient) *migration {
	seen := *m
	seen.client, seen.neutron = client, consumer.NewNeutron(client)
	return &seen
}

// tryActivate is the commit's call.
func (m *migration) tryActivate(ctx context.Context, host string) error {
	return binding.Activate(ctx, m.client, m.id, host).Err
}

// wantActive checks on which host the ACTIVE row is, and that it is bound.
func (m *migration) wantActive(host string) {
	m.Helper()
	p := m.read()
	if row, ok := p.Active(); !ok || row.Host != host || !row.Bound() {
		m.Errorf("the ACTIVE row is not on %s: %+v", host, p.Rows)
	}
}

// wantFault checks what a caller decides on.
func wantFault(t testing.TB, err, target error, unknown, later bool) {
	t.Helper()
	if !errors.Is(err, target) || binding.OutcomeUnknown(err) != unknown || binding.MayStillHappen(err) != later {
		t.Errorf("%v: unknown %v, may still happen %v; want %v", err, binding.OutcomeUnknown(err), binding.MayStillHappen(err), target)
	}
	var e *binding.Error
	if target != binding.ErrNoAnswer && (!errors.As(err, &e) || e.RequestID == "") {
		t.Errorf("without Neutron's request id, by which its answers are known: %v", err)
	}
}

// ownClient is a client of Neutron that shares its token with no other.
func ownClient(t *testing.T) *gophercloud.ServiceClient {
	t.Helper()
	provider, err := theLab(t).Provider(t.Context(), "earlybind")
	must(t, err)
	client, err := openstack.NewNetworkV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
	must(t, err)
	return client
}

// 401: the token is renewed once, and the call that was refused is sent again.
func TestNeutronFaultUnauthorized(t *testing.T) {
	net := newNetwork(t)
	t.Run("RenewedOnce", func(t *testing.T) {
		client := ownClient(t)
		proxy := bindingtest.NewProxy(t, client)
		renewed, renew := 0, client.ReauthFunc
		client.ReauthFunc = func(ctx context.Context) error { renewed++; return renew(ctx) }
		m := migrating(t, net).through(proxy.Client())

		client.SetToken("earlybind-no-such-token")
		must(t, m.tryActivate(t.Context(), dest))
		m.wantActive(dest)
		writes := proxy.Writes()
		if renewed != 1 || len(writes) != 2 || writes[0].Status != http.StatusUnauthorized || writes[1].Status != http.StatusOK {
			t.Errorf("renewed %d times: %+v", renewed, writes)
		}

		proxy.Inject(bindingtest.Fault{Op: binding.OpUpdateProfile, Arrived: func() { client.SetToken("earlybind-no-such-token") }})
		client.SetToken("earlybind-no-such-token")
		_, err := m.restore(novaIsDone, noCut)
		must(t, err)
		m.wantRestored()
	})
	t.Run("NotToBeRenewed", func(t *testing.T) {
		const password = "earlybind-no-such-password"
		client := ownClient(t)
		m := migrating(t, net).through(client)
		client.ReauthFunc = func(ctx context.Context) error {
			twin, err := openstack.NewClient(client.IdentityEndpoint)
			if err != nil {
				return err
			}
			twin.HTTPClient = client.HTTPClient
			return openstack.Authenticate(ctx, twin, gophercloud.AuthOptions{
				IdentityEndpoint: client.IdentityEndpoint, Username: "earlybind", Password: password, DomainName: "Default",
			})
		}
		client.SetToken("earlybind-no-such-token")
		err := m.tryActivate(t.Context(), dest)
		if !errors.Is(err, binding.ErrUnauthorized) || binding.OutcomeUnknown(err) || binding.IsTransient(err) {
			t.Errorf("got %v", err)
		}
		if text := err.Error(); !strings.Contains(text, "keystone answered 401") || strings.Contains(text, password) || strings.Contains(text, "no-such-token") {
			t.Errorf("text %q", text)
		}
		m.through(asEarlybind(t)).wantActive(source)
	})
}

// 403: nothing is changed, and whoever has the right finishes.
func TestNeutronFaultForbidden(t *testing.T) {
	l := theLab(t)
	m := migrating(t, newNetwork(t))
	admin := m.through(l.Neutron)
	if l.Release == "zed" { // there an admin may do everything
		must(t, admin.tryActivate(t.Context(), dest))
	} else {
		wantFault(t, admin.tryActivate(t.Context(), dest), binding.ErrForbidden, false, false)
		m.wantActive(source)
		m.activate(dest)
		wantFault(t, admin.tryActivate(t.Context(), source), binding.ErrForbidden, false, false)
		wantFault(t, binding.Delete(t.Context(), l.Neutron, m.id, dest).ExtractErr(), binding.ErrForbidden, false, false)
		wantFault(t, binding.Create(t.Context(), l.Neutron, m.id, binding.CreateOpts{Host: "earlybind-elsewhere"}).Err, binding.ErrForbidden, false, false)
		_, err := binding.UpdateProfile(t.Context(), l.Neutron, m.id, map[string]any{"a": "b"}, m.read().Revision)
		wantFault(t, err, binding.ErrForbidden, false, false)
		m.wantActive(dest)
	}
	_, err := m.restore(novaIsDone, noCut)
	must(t, err)
	m.wantRestored()
}

// 404: the row is gone, or the whole port.
func TestNeutronFaultNotFound(t *testing.T) {
	net := newNetwork(t)
	t.Run("Row", func(t *testing.T) {
		m := migrating(t, net)
		m.del(dest) // Nova has rolled back
		wantFault(t, m.tryActivate(t.Context(), dest), binding.ErrBindingNotFound, false, false)
		m.wantActive(source)
		_, err := m.restore(novaIsDone, noCut)
		must(t, err)
		m.wantRestored()
	})
	t.Run("Port", func(t *testing.T) {
		client := asEarlybind(t)
		id, err := net.NewPort(t.Context(), newUUID(), source, nil)
		must(t, err)
		m := &migration{T: t, id: id, client: client, neutron: consumer.NewNeutron(client)}
		m.post(dest, nil)
		must(t, net.RemovePort(t.Context(), id))
		wantFault(t, m.tryActivate(t.Context(), dest), binding.ErrPortNotFound, false, false)
		_, err = m.neutron.Read(t.Context(), id)
		if !errors.Is(err, binding.ErrPortNotFound) {
			t.Errorf("read: %v", err)
		}
	})
}

// 409 and 412: someone was first.
func TestNeutronFaultConflict(t *testing.T) {
	m := migrating(t, newNetwork(t))
	wantFault(t, m.tryActivate(t.Context(), source), binding.ErrAlreadyActive, false, false)
	wantFault(t, binding.Create(t.Context(), m.client, m.id, binding.CreateOpts{Host: dest}).Err, binding.ErrAlreadyExists, false, false)
	old := m.read().Revision
	m.activate(dest)
	wantFault(t, m.tryActivate(t.Context(), dest), binding.ErrAlreadyActive, false, false)
	_, err := binding.UpdateProfile(t.Context(), m.client, m.id, map[string]any{"a": "b"}, old)
	wantFault(t, err, binding.ErrChanged, false, false)
	m.wantActive(dest)
	_, err = m.restore(novaIsDone, noCut)
	must(t, err)
	m.wantRestored()
}

// 500: it may have taken effect, and what Neutron has answered is over.
func TestNeutronFaultInternal(t *testing.T) {
	m := migrating(t, newNetwork(t))
	m.activate(dest)
	m.del(dest)
	wantFault(t, m.tryActivate(t.Context(), source), binding.ErrInternal, true, false)
	err := binding.Create(t.Context(), m.client, m.id, binding.CreateOpts{Host: "earlybind-no-such-host", Profile: map[string]any{"a": "b"}}).Err
	wantFault(t, err, binding.ErrNotBindable, true, false)
	m.activate(source) // from the row that was made all the same
	m.del("earlybind-no-such-host")
	_, err = m.restore(novaIsDone, noCut)
	must(t, err)
	m.wantRestored()
}

// Between the client and Neutron connections are refused, broken and held up, and a
// load balancer answers in Neutron's place. A commit and the restore after it.
func TestNeutronFaultOnTheWay(t *testing.T) {
	net := newNetwork(t)
	onTheWay(t, func(t *testing.T) *migration { return migrating(t, net) })
}

func onTheWay(t *testing.T, migrating func(*testing.T) *migration) {
	for _, c := range []struct {
		name  string
		fault bindingtest.Fault
	}{
		{"CutBefore", bindingtest.Fault{Drop: true}},
		{"CutAfter", bindingtest.Fault{Drop: true, Apply: true}},
		{"CutHalfWay", bindingtest.Fault{Half: true, Apply: true}},
		{"502After", bindingtest.Fault{Status: http.StatusBadGateway, Gateway: true, Apply: true}},
		{"503Before", bindingtest.Fault{Status: http.StatusServiceUnavailable, Gateway: true}},
		{"504After", bindingtest.Fault{Status: http.StatusGatewayTimeout, Gateway: true, Apply: true}},
	} {
		t.Run("Commit/"+c.name, func(t *testing.T) {
			besideOthers(t)
			m := migrating(t)
			proxy := bindingtest.NewProxy(t, m.client)
			seen := m.through(proxy.Client())
			c.fault.Op = binding.OpActivate
			proxy.Inject(c.fault)
			err := seen.tryActivate(t.Context(), dest)
			if !binding.IsTransient(err) || !binding.OutcomeUnknown(err) || !binding.MayStillHappen(err) {
				t.Errorf("got %v", err)
			}
			if got := len(proxy.Writes()); got != 1 {
				t.Errorf("%d writes", got)
			}
			if c.fault.Apply {
				m.wantActive(dest)
			} else {
				m.wantActive(source)
			}
			_, err = seen.restore(novaIsDone, noCut)
			must(t, err)
			seen.wantRestored()
		})
	}

	t.Run("Commit/Refused", func(t *testing.T) {
		besideOthers(t)
		m := migrating(t)
		err := m.through(refused(t, m.client)).tryActivate(t.Context(), dest)
		if !errors.Is(err, binding.ErrNoAnswer) || !binding.IsTransient(err) || binding.OutcomeUnknown(err) {
			t.Errorf("got %v", err)
		}
		m.wantActive(source)
	})

	// The caller gives up on a commit, and all is restored. Then it takes effect.
	t.Run("Commit/TimeoutBefore", func(t *testing.T) {
		besideOthers(t)
		m := migrating(t)
		proxy := bindingtest.NewProxy(t, m.client)
		seen := m.through(proxy.Client())
		release, over := make(chan struct{}), make(chan struct{})
		ctx, giveUp := context.WithCancel(t.Context())
		proxy.Inject(bindingtest.Fault{Op: binding.OpActivate, Arrived: giveUp, Until: release, After: func() { close(over) }})
		wantFault(t, seen.tryActivate(ctx, dest), binding.ErrNoAnswer, true, true)
		_, err := seen.restore(novaIsDone, noCut)
		must(t, err)
		seen.wantRestored()

		close(release)
		<-over
		m.wantActive(dest)
		_, err = seen.restore(novaIsDone, noCut)
		must(t, err)
		seen.wantRestored()
	})

	// It has taken effect, and the answer does not come.
	t.Run("Commit/TimeoutAfter", func(t *testing.T) {
		besideOthers(t)
		m := migrating(t)
		proxy := bindingtest.NewProxy(t, m.client)
		seen := m.through(proxy.Client())
		ctx, giveUp := context.WithCancel(t.Context())
		hung := make(chan struct{})
		defer close(hung)
		proxy.Inject(bindingtest.Fault{Op: binding.OpActivate, After: func() { giveUp(); <-hung }})
		wantFault(t, seen.tryActivate(ctx, dest), binding.ErrNoAnswer, true, true)
		m.wantActive(dest)
		_, err := seen.restore(novaIsDone, noCut)
		must(t, err)
		seen.wantRestored()
	})

	// Every second or third call of a restore goes wrong, each in another way.
	for _, s := range situations {
		if s.name != "DestinationActive" && s.name != "NoneActive" {
			continue
		}
		t.Run("Restore/"+s.name, func(t *testing.T) {
			besideOthers(t)
			m := migrating(t)
			s.make(m)
			proxy := bindingtest.NewProxy(t, m.client)
			for i, f := range []bindingtest.Fault{
				{Drop: true},
				{Half: true, Apply: true},
				{Status: http.StatusTooManyRequests, Gateway: true, Header: http.Header{"Retry-After": {"1"}}},
				{Drop: true, Apply: true},
				{Status: http.StatusServiceUnavailable, Gateway: true},
				{Status: http.StatusGatewayTimeout, Gateway: true, Apply: true},
			} {
				// The port is read, and its rows: what comes then is mostly a write.
				proxy.Inject(bindingtest.Fault{Times: 2 - i%2})
				proxy.Inject(f)
			}
			seen := m.through(proxy.Client())
			_, err := seen.restore(novaIsDone, noCut)
			must(t, err)
			proxy.ClearFaults()
			seen.wantRestored()
		})
	}
}

// refused is a client of a server that is down.
func refused(t *testing.T, client *gophercloud.ServiceClient) *gophercloud.ServiceClient {
	t.Helper()
	down := *client
	down.Endpoint = "http://" + nettest.FreeAddress(t) + "/"
	down.ResourceBase = down.Endpoint + "v2.0/"
	return &down
}
