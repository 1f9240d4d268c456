//go:build integration

package integration

import (
	"testing"
	"time"

	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/wire"
)

// awayFor is how long the broker is away: oslo.messaging's users were seen to die for good after 26 s.
const awayFor = 40 * time.Second

// The broker is away for longer than others outlast: both programs live on, are ready again by themselves when it
// has come back, the consumer goes on with what it held, an event of meanwhile comes with its age, and the next
// migration is acted on.
func TestRabbitMQIsAwayForLong(t *testing.T) {
	consumers := built(t, "earlybind-consumer")
	built(t, "earlybind-publisher")
	t.Parallel() // it mostly waits
	b, cloud, health := newOwnBroker(t), newFakeCloud(t), nettest.FreeAddress(t)
	c := startProcess(b.broker, consumers, append(cloud.credentials(t),
		"EARLYBIND_AMQP_URLS="+b.url(), "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD="+b.password,
		"EARLYBIND_POLICY=suspended", "EARLYBIND_HEALTH="+health))
	c.await("journal.read")
	p := b.publisher(inDaemon)
	p.await("host states published")
	held := cloud.guest(t)
	p.boots(held.id)
	p.await(held.id)
	events := b.channel("admin")
	_, err := events.QueueDeclare("events", true, false, false, false, nil)
	must(t, err)
	must(t, events.QueueBind("events", "libvirt."+source+".#", wire.ExchangeEvents, false, nil))
	b.nova(true).prepares(held)
	b.host(dest).says(held.id, wire.Started, wire.Migrated)
	c.await("handover.armed", "instance", held.id)

	b.stop()
	gone := time.Now()
	p.virsh("", "suspend", held.id)
	suspended := time.Now()
	p.wantHealth(patience, false, "broker: ")
	wantHealth(t, patience, "http://"+health, false, "broker: ")
	<-time.After(time.Until(gone.Add(awayFor)))
	back := time.Now()
	b.start()
	t.Logf("RabbitMQ was away for %.0f s", time.Since(gone).Seconds())
	p.wantHealth(comesBack, true, "broker: connected\n")
	wantHealth(t, comesBack, "http://"+health, true, "")
	t.Logf("both are ready %.0f s after RabbitMQ was started", time.Since(back).Seconds())

	n, err := wire.Decode(get(t, b.channel("admin"), "events").Body)
	must(t, err)
	e, err := wire.ParseHostEvent(n)
	must(t, err)
	age := time.Duration(e.AgeMS) * time.Millisecond
	if e.Instance != held.id || e.Event != wire.Suspended || e.Detail != wire.Paused || age < back.Sub(suspended) || age > time.Since(suspended)+time.Second {
		t.Errorf("%+v; it was suspended %s before RabbitMQ was started, and %s ago", e, back.Sub(suspended), time.Since(suspended))
	}
	c.await("evidence.seen", "instance", held.id, "saw", "libvirt: suspended/paused")

	next := cloud.guest(t)
	from, to := b.host(source), b.host(dest)
	from.Epoch, to.Epoch = e.Epoch+1, 2 // as if both publishers were started anew
	b.nova(true).prepares(next)
	to.says(next.id, wire.Started, wire.Migrated)
	c.await("handover.armed", "instance", next.id)
	from.says(next.id, wire.Suspended, wire.Migrated)
	for _, id := range next.ports {
		c.await("port.written", "port", id, "outcome", "activated")
	}
}
