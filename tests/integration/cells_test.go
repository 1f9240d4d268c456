//go:build integration

package integration

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/consumer"
	broking "github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/wire"
)

// cell is one of the brokers of a set of consumers.
type cell struct {
	*broker
	name  string // in the log
	nova  *nova
	guest guest
}

func newCell(b *broker, c cloud) cell {
	b.Helper()
	return cell{broker: b, name: broking.Cluster{b.url()}.String(), nova: b.nova(true), guest: c.guest(b)}
}

// migrates plays a migration that succeeds, through the cell's broker alone, and
// waits until the replica has handed it over.
func (c cell) migrates(by *replica) {
	c.Helper()
	from, to := c.host(source), c.host(dest)
	c.nova.prepares(c.guest)
	to.says(c.guest.id, wire.Started, wire.Migrated)
	by.await("handover.armed", "instance", c.guest.id)
	from.says(c.guest.id, wire.Suspended, wire.Migrated)
	to.says(c.guest.id, wire.Resumed, wire.Migrated)
	for _, id := range c.guest.ports {
		by.await("port.written", "port", id, "outcome", "activated")
	}
	from.says(c.guest.id, wire.Stopped, wire.Migrated)
	c.nova.takesOver(c.guest)
	by.await("handover.ended", "instance", c.guest.id, "outcome", "migrated")
}

// One set of consumers for several cells: each cell has one active replica, which need not be the same, and does
// not wait for another cell's broker. The cells' brokers are two servers here.
func TestRabbitMQCells(t *testing.T) {
	t.Parallel()
	cloud := newFakeCloud(t)
	own := newOwnBroker(t)
	one, two := newCell(newBroker(t), cloud), newCell(own.broker, cloud)
	start := func() *replica {
		return startReplica(one.broker, cloud.neutron, func(s *consumer.Settings) {
			s.OtherCells = consumer.Cells{{two.url()}}
		})
	}
	a := start()
	a.await("consumer.active", "broker", one.name)
	a.await("consumer.active", "broker", two.name)
	b := start()
	for _, c := range []cell{one, two} {
		b.await("consumer.started", "broker", c.name, "outcome", "bound")
	}

	// The second cell's queue moves to the other replica; the first cell's stays.
	two.closeNamed(two.connection("earlybind-consumer " + a.name))
	a.await("consumer.lost", "broker", two.name)
	b.await("consumer.active", "broker", two.name)
	one.migrates(a)
	two.migrates(b)
	wantRight(t, cloud, one.guest, dest)
	wantRight(t, cloud, two.guest, dest)
	if lines := append(a.all("instance", two.guest.id), b.all("instance", one.guest.id)...); len(lines) > 0 {
		t.Errorf("two replicas know of one instance: %v", lines)
	}

	// The second cell's broker is away, as it were for good; the first cell goes on.
	own.stop()
	b.await("consumer.lost", "broker", two.name)
	one.guest = cloud.guest(t)
	one.migrates(a)
	wantRight(t, cloud, one.guest, dest)
	if lines := a.all("event", "consumer.lost", "broker", one.name); len(lines) > 0 {
		t.Errorf("the first cell's session ended: %v", lines)
	}
	// It comes back, and one of the two replicas acts for its cell.
	began := func(r *replica) int { return len(r.all("event", "consumer.active", "broker", two.name)) }
	before := map[*replica]int{a: began(a), b: began(b)}
	own.start()
	back := newCell(own.broker, cloud)
	var acts *replica
	within(t, comesBack, "a replica to act for the second cell again", func() (bool, error) {
		for r, n := range before {
			if began(r) > n {
				acts = r
			}
		}
		return acts != nil, nil
	})
	back.migrates(acts)
	wantRight(t, cloud, back.guest, dest)

	// The first cell's broker lets nobody in any more; the second goes on.
	one.api(http.MethodDelete, "permissions/"+one.vhost+"/earlybind", nil, nil)
	for _, r := range []*replica{b, a} { // who stands by first: it would take over, and be refused
		one.closeNamed(one.connection("earlybind-consumer " + r.name))
	}
	b.await("consumer.lost", "broker", one.name)
	back.guest = cloud.guest(t)
	back.migrates(acts)
	wantRight(t, cloud, back.guest, dest)
}

// A service of oslo.messaging sends its notifications where [oslo_messaging_notifications] transport_url says, and
// to [DEFAULT] transport_url where it says nothing. A consumer there, on a cluster for notifications alone, begins
// the handovers, and needs nothing of that for RPC.
func TestRabbitMQCellsWithNotificationsOfTheirOwn(t *testing.T) {
	t.Parallel()
	const count = 20
	rpc, notifications, cloud := absentBroker(t), absentBroker(t), newFakeCloud(t)
	rpc.start()
	notifications.start()
	const program = "/tmp/service.py"
	container := notifications.python(map[string]string{program: "testdata/service.py"})
	service := func(urls ...string) (sent []string) {
		t.Helper()
		must(t, runPython(t, &sent, container, append([]string{program, strconv.Itoa(count)}, urls...)...))
		return sent
	}
	at := func(address string) string { return "rabbit://openstack:" + rpc.password + "@" + address + ":5672//" }
	nova := notifications.nova(false) // as oslo.messaging declares the exchange
	r := startReplica(notifications.broker, cloud.neutron, nil)
	r.await("consumer.started", "outcome", "bound")
	r.await("consumer.active")
	begun := func(sent []string) (n int) {
		for _, instance := range sent {
			n += len(r.all("event", "handover.begun", "instance", instance))
		}
		return n
	}
	apart := service(at(rpc.address), at("127.0.0.1"))
	eventually(t, "a handover for each notification", func() (bool, error) { return begun(apart) == count, nil })
	if slices.Contains(rpc.queues(), "notifications.info") || slices.Contains(notifications.queues(), "compute") {
		t.Errorf("RPC's cluster has the queues %v, that of notifications %v", rpc.queues(), notifications.queues())
	}

	together := service(at(rpc.address))
	if got := ready(t, rpc.channel("admin"), "notifications.info"); got != count {
		t.Errorf("%d of %d notifications are at [DEFAULT] transport_url", got, count)
	}
	last := cell{broker: notifications.broker, nova: nova, guest: cloud.guest(t)}
	last.migrates(r)
	if begun(together) > 0 {
		t.Error("what went to RPC's cluster was heard of")
	}
	var all []struct{ User string }
	rpc.api(http.MethodGet, "connections", nil, &all)
	for _, c := range all {
		if strings.HasPrefix(c.User, "earlybind") {
			t.Errorf("%s is connected to RPC's cluster", c.User)
		}
	}
}
