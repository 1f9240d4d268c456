//go:build integration

package integration

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// aMinuteMore is how long a handover takes at most that a second process ends: for
// a minute a write of the first might still take effect.
const aMinuteMore = time.Minute + patience

// site is a cluster of three with two processes of the consumer on it, and a
// Neutron in memory.
type site struct {
	*testing.T
	*lab.Cluster
	cloud       cloud
	program     string
	environment []string
	consumers   [2]*process // the first is active at first
}

func newSite(t *testing.T) *site {
	t.Helper()
	l, err := lab.Find()
	must(t, err)
	c, err := l.StartCluster(t.Context())
	must(t, err)
	t.Cleanup(func() { must(t, c.Remove(context.WithoutCancel(t.Context()))) })
	s := &site{T: t, Cluster: c, cloud: newFakeCloud(t), program: built(t, "earlybind-consumer")}
	var urls []string
	for i := range c.Nodes {
		urls = append(urls, s.through(i).url())
	}
	s.environment = append(s.cloud.credentials(t),
		"EARLYBIND_AMQP_URLS="+strings.Join(urls, ","), "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD="+c.Password,
		"EARLYBIND_POLICY=suspended", "EARLYBIND_UP_WITHIN=5s")
	s.through(0).nova(true)
	for i := range s.consumers {
		s.consumers[i] = startProcess(s.through(0), s.program, s.environment)
		s.consumers[0].await("consumer.active") // the first, before there is a second
	}
	s.awaitConsumers()
	return s
}

// through is the cluster as seen through one of its nodes.
func (s *site) through(node int) *broker {
	return &broker{TB: s.T, vhost: "%2F", address: s.Nodes[node].Address, password: s.Password}
}

// awaitConsumers waits until both processes consume the queue.
func (s *site) awaitConsumers() {
	s.Helper()
	eventually(s, "both processes to consume the queue", func() (bool, error) {
		var all []struct{ Queue struct{ Name string } }
		s.through(0).api(http.MethodGet, "consumers/%2F", nil, &all)
		n := 0
		for _, one := range all {
			if one.Queue.Name == "earlybind" {
				n++
			}
		}
		return n == 2, nil
	})
}

// leader gives the index of the node that leads the consumers' queue.
func (s *site) leader() int {
	s.Helper()
	var q struct{ Leader string }
	s.through(0).api(http.MethodGet, "queues/%2F/earlybind", nil, &q)
	return slices.IndexFunc(s.Nodes, func(n *lab.Node) bool { return n.Name == q.Leader })
}

// nodeOf gives the index of the node that a process gets its messages through.
func (s *site) nodeOf(p *process) int {
	s.Helper()
	node := ""
	eventually(s, "the management to show the connection of "+p.name, func() (bool, error) {
		var all []struct {
			Node      string
			GivenName string `json:"user_provided_name"`
		}
		s.through(0).api(http.MethodGet, "vhosts/%2F/connections", nil, &all)
		for _, c := range all {
			if c.GivenName == "earlybind-consumer "+p.name {
				node = c.Node
			}
		}
		return node != "", nil
	})
	return slices.IndexFunc(s.Nodes, func(n *lab.Node) bool { return n.Name == node })
}

// How long a take-over may take: the longest that was seen (docs/brokers.md), twice or more, for a machine that is busy.
const (
	afterADeath = 30 * time.Second // both consumers may have been connected to the node
	afterFreeze = 40 * time.Second // RabbitMQ waits for heartbeats
	afterACut   = 2 * time.Minute  // and for its nodes' ticks
)

// takenOver waits until a process has begun to act since then, no longer than bound, and tells which,
// and how long it took.
func (s *site) takenOver(since time.Time, bound time.Duration) (by *process) {
	s.Helper()
	within(s, bound, "a process to take over", func() (bool, error) {
		for _, p := range s.consumers {
			for _, line := range p.all("event", "consumer.active") {
				said, _ := line["time"].(string)
				at, err := time.Parse(time.RFC3339Nano, said)
				if err != nil {
					return false, err
				}
				if at.After(since) {
					by = p
					if took := at.Sub(since); took > bound {
						s.Errorf("taken over after %s, the bound is %s", took, bound)
					} else {
						s.Logf("taken over within %.1f s", took.Seconds())
					}
				}
			}
		}
		return by != nil, nil
	})
	return by
}

// flood sends notifications of as many instances that begin to migrate, each when
// the broker has confirmed the one before, and calls halfway after the half of them.
func (s *site) flood(through *broker, n int, halfway func()) (guests []guest) {
	s.Helper()
	nova := through.nova(true)
	for i := range n {
		if i == n/2 {
			halfway()
		}
		g := guest{id: newUUID(), request: "req-" + newUUID()}
		nova.says(g, "compute.instance.live_migration.pre.start", "instance.live_migration_pre.start")
		guests = append(guests, g)
	}
	return guests
}

// switchover is a migration whose ports the active process has activated while the
// guest stands still.
type switchover struct {
	guest
	nova     *nova
	from, to *host
}

func (s *site) switchover(through *broker, active *process) switchover {
	s.Helper()
	m := switchover{guest: s.cloud.guest(s), nova: through.nova(true), from: through.host(source), to: through.host(dest)}
	m.nova.prepares(m.guest)
	m.to.says(m.id, wire.Started, wire.Migrated)
	active.await("handover.armed", "instance", m.id)
	m.from.says(m.id, wire.Suspended, wire.Migrated)
	for _, id := range m.ports {
		active.await("port.written", "port", id, "outcome", "activated")
	}
	return m
}

// fails has the guest run on the source again, and Nova roll back.
func (m switchover) fails() {
	m.from.says(m.id, wire.Resumed, wire.Unpaused)
	m.nova.rollsBack(m.guest)
}

// restoredBy waits until a process has restored the ports, while Nova deletes the
// destination's rows, and checks that nothing was done twice.
func (s *site) restoredBy(p *process, m switchover) {
	s.Helper()
	for _, id := range m.ports {
		p.await("port.written", "port", id, "decided", "rebind", "outcome", "answered")
		s.cloud.fake.DeleteRow(id, dest)
	}
	m.nova.hasRolledBack(m.guest)
	p.awaitFor(aMinuteMore, "handover.ended", "instance", m.id, "outcome", "restored")
	s.wantOnce(m, source)
}

// wantOnce: the ports are right on a host, and were activated on the destination
// once.
func (s *site) wantOnce(m switchover, host string) {
	s.Helper()
	wantRight(s.T, s.cloud, m.guest, host)
	activated := map[string]int{}
	for _, a := range s.cloud.activates(dest) {
		activated[a.PortID]++
	}
	for _, id := range m.ports {
		if activated[id] != 1 {
			s.Errorf("port %s was activated %d times", id, activated[id])
		}
	}
}

// The node that leads the queue and serves the active process goes away in the
// middle of a switchover that then fails.
func TestClusterLosesTheLeader(t *testing.T) {
	s := newSite(t)
	active, other := s.consumers[0], s.consumers[1]
	victim := s.leader()
	if at := s.nodeOf(active); at != victim {
		t.Fatalf("the active process is connected to node %d and not to the leader, %d", at, victim)
	}
	survivor := s.through((victim + 1) % 3)
	m := s.switchover(survivor, active)

	var began time.Time
	flood := s.flood(survivor, 200, func() {
		began = time.Now()
		must(t, s.Kill(t.Context(), s.Nodes[victim]))
	})
	t.Logf("100 notifications more were confirmed within %.1f s", time.Since(began).Seconds())
	m.fails()
	s.restoredBy(s.takenOver(began, afterADeath), m) // by either: the other may have lost its node too
	for _, g := range flood {
		if len(active.all("event", "handover.begun", "instance", g.id))+len(other.all("event", "handover.begun", "instance", g.id)) == 0 {
			t.Errorf("a notification that was confirmed was lost: %s", g.id)
		}
	}
	must(t, s.Start(t.Context(), s.Nodes[victim]))
	s.awaitConsumers()
}

// The same node is cut off the network, and goes on believing that it leads, and
// that the active process is there.
func TestClusterLeaderIsCutOff(t *testing.T) {
	s := newSite(t)
	active := s.consumers[0]
	victim := s.leader()
	if at := s.nodeOf(active); at != victim {
		t.Fatalf("the active process is connected to node %d and not to the leader, %d", at, victim)
	}
	m := s.switchover(s.through((victim+1)%3), active)
	began := time.Now()
	must(t, s.Cut(t.Context(), s.Nodes[victim]))
	m.fails()
	s.restoredBy(s.takenOver(began, afterACut), m)
	must(t, s.Join(t.Context(), s.Nodes[victim]))
	s.awaitConsumers()
	s.wantOnce(m, source)
}

// The active process freezes in the middle of a switchover that then fails, and
// thaws when the other has restored.
func TestClusterConsumerIsFrozen(t *testing.T) {
	s := newSite(t)
	active := s.consumers[0]
	m := s.switchover(s.through(0), active)
	began := time.Now()
	active.signal(syscall.SIGSTOP)
	m.fails()
	s.restoredBy(s.takenOver(began, afterFreeze), m)

	writes := len(s.cloud.fake.Writes())
	active.signal(syscall.SIGCONT)
	active.await("consumer.lost")
	s.awaitConsumers()
	if n := len(s.cloud.fake.Writes()); n != writes {
		t.Errorf("%d writes after it had thawed", n-writes)
	}
	s.wantOnce(m, source)
}

// The active process is killed in the middle of a switchover that then succeeds.
func TestClusterConsumerIsKilled(t *testing.T) {
	s := newSite(t)
	active := s.consumers[0]
	m := s.switchover(s.through(0), active)
	began := time.Now()
	active.signal(syscall.SIGKILL)
	other := s.takenOver(began, afterADeath)
	m.to.says(m.id, wire.Resumed, wire.Migrated)
	m.from.says(m.id, wire.Stopped, wire.Migrated)
	m.nova.takesOver(m.guest)
	other.awaitFor(aMinuteMore, "handover.ended", "instance", m.id, "outcome", "migrated")
	s.wantOnce(m, dest)
}
