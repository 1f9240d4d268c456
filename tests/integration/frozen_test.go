//go:build integration

package integration

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

// frozenFor is how long a process stands still.
const frozenFor = 30 * time.Second

// gate is an HTTP proxy before the cloud that holds the first request of a kind:
// to the servers, and to another process, it is as if the one that has sent it had
// stopped after its decision and before its send.
type gate struct {
	*httptest.Server
	arrived chan struct{}
	open    func()
	over    chan struct{} // closed when the request that was held has been answered
}

func newGate(t *testing.T, cloud http.RoundTripper, held func(*http.Request) bool) *gate {
	t.Helper()
	opened := make(chan struct{})
	g := &gate{arrived: make(chan struct{}), over: make(chan struct{}), open: sync.OnceFunc(func() { close(opened) })}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL, r.Out.Host = r.In.URL, r.In.Host },
		Transport: cloud,
	}
	var first sync.Once
	g.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if held(r) {
			first.Do(func() {
				defer close(g.over)
				close(g.arrived)
				<-opened
				forward.ServeHTTP(w, r)
			})
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(g.Close)
	t.Cleanup(g.open)
	return g
}

// A process is stopped (SIGSTOP) for 30 s between a decision and its send, at each
// kind of write: the next process finishes what the first has begun, and what the
// first sends when it thaws, which Neutron then carries out, ends right all the same.
func TestNeutronProcessIsFrozen(t *testing.T) {
	program := built(t, "earlybind-consumer")
	t.Parallel() // it waits two minutes
	net := newNetwork(t)
	var all sync.WaitGroup
	for _, c := range []struct {
		name, method, path string
		succeeds           bool
	}{
		{name: "CommitOfAMigrationThatFails", method: http.MethodPut, path: "/bindings/" + dest + "/activate"},
		{name: "CommitOfAMigrationThatSucceeds", method: http.MethodPut, path: "/bindings/" + dest + "/activate", succeeds: true},
		{name: "RestoreActivates", method: http.MethodPut, path: "/bindings/" + source + "/activate"},
		{name: "RestoreRebinds", method: http.MethodPut, path: ""},
	} {
		// All at once, and not by t.Parallel, with which each would stand behind all tests that wait for
		// their turn: none takes longer.
		all.Go(func() {
			t.Run(c.name, func(t *testing.T) { freezeAt(t, net, program, c.method, c.path, c.succeeds) })
		})
	}
	all.Wait()
}

func freezeAt(t *testing.T, net network, program, method, path string, succeeds bool) {
	b, m := newBroker(t), migrating(t, net)
	nova := b.nova(true)
	environment := func(proxy string) []string {
		return []string{
			"OS_CLIENT_CONFIG_FILE=" + theLab(t).CloudsFile(), "OS_CLOUD=earlybind", "HTTP_PROXY=" + proxy,
			"EARLYBIND_AMQP_URLS=" + b.url(), "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD=" + b.password,
			"EARLYBIND_POLICY=suspended", "EARLYBIND_UP_WITHIN=1s", // nothing plugs these ports in
			"EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE=safe",
		}
	}
	held := newGate(t, theLab(t).Transport(), func(r *http.Request) bool {
		return r.Method == method && strings.HasSuffix(r.URL.Path, "/ports/"+m.id+path)
	})
	free := newGate(t, theLab(t).Transport(), func(*http.Request) bool { return false })
	first := startProcess(b, program, environment(held.URL))
	first.await("journal.read")
	second := startProcess(b, program, environment(free.URL))

	g := guest{id: m.read().Device, request: "req-" + newUUID(), ports: []string{m.id}}
	from, to := b.host(source), b.host(dest)
	nova.prepares(g)
	to.says(g.id, wire.Started, wire.Migrated)
	first.await("handover.armed", "instance", g.id)
	from.says(g.id, wire.Suspended, wire.Migrated)
	if !strings.Contains(path, dest) {
		first.await("port.written", "port", m.id, "outcome", "activated")
		from.says(g.id, wire.Resumed, wire.Unpaused)
		nova.rollsBack(g)
	}
	<-held.arrived
	first.signal(syscall.SIGSTOP)
	frozen := time.Now()
	home, commit := source, strings.Contains(path, dest)
	rolledBack := func() {
		m.del(dest)
		nova.hasRolledBack(g)
	}
	switch {
	case succeeds:
		home = dest
		to.says(g.id, wire.Resumed, wire.Migrated)
		from.says(g.id, wire.Stopped, wire.Migrated)
		m.activate(dest) // Nova's own
		nova.takesOver(g)
		m.del(source)
	case commit: // and Nova is slow, so that the late write finds what it activates
		from.says(g.id, wire.Resumed, wire.Unpaused)
		nova.rollsBack(g)
	default:
		rolledBack()
	}
	second.await("consumer.active")
	right := func(what string) {
		t.Helper()
		within(t, aMinuteMore, what, func() (bool, error) {
			p := m.read()
			right, _ := p.RightOn(home)
			row, _ := p.Row(home)
			return right && row.Profile[rollback.MadeHere] == nil, nil
		})
	}
	if !commit || succeeds {
		right("the second process to bring the port right")
	}

	time.Sleep(time.Until(frozen.Add(frozenFor)))
	held.open() // Neutron gets it now
	<-held.over
	if commit && !succeeds {
		if row, _ := m.read().Active(); row.Host != dest {
			t.Errorf("the late write has not taken effect: %+v", m.read())
		}
		rolledBack()
	}
	first.signal(syscall.SIGCONT)
	first.await("consumer.lost")
	right("the port to be right after the thaw")
	// What was written late is looked at once more; nothing else is done to the port.
	second.awaitFor(2*aMinuteMore, "handover.ended", "instance", g.id)
	right("the port to be right in the end")
	if !succeeds {
		m.wantRestored()
	}
}
