//go:build integration

package integration

import (
	"net/http"
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

func newCell(t *testing.T, c cloud) cell {
	t.Helper()
	b := newBroker(t)
	return cell{broker: b, name: broking.Cluster{b.url()}.String(), nova: b.nova(false), guest: c.guest(t)}
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

// One set of consumers for several cells: each cell has one active replica, which
// need not be the same, and does not wait for another cell's broker. A cell's
// broker is nothing but where its notifications go to: another virtual host here.
func TestRabbitMQCells(t *testing.T) {
	t.Parallel()
	cloud := newFakeCloud(t)
	one, two := newCell(t, cloud), newCell(t, cloud)
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

	// The first cell's broker lets nobody in any more; the second goes on.
	one.api(http.MethodDelete, "permissions/"+one.vhost+"/earlybind", nil, nil)
	for _, r := range []*replica{b, a} { // who stands by first: it would take over, and be refused
		one.closeNamed(one.connection("earlybind-consumer " + r.name))
	}
	b.await("consumer.lost", "broker", one.name)
	two.guest = cloud.guest(t)
	two.migrates(b)
	wantRight(t, cloud, two.guest, dest)
}
