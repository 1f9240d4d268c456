//go:build integration

package integration

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// Nova's exchange is Nova's: the consumers wait for it, and leave it as it is.
func TestRabbitMQTopology(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		queueType string
		durable   bool // Nova's exchange, when it appears
	}{
		{"QuorumQueueTransientNova", "quorum", false},
		{"ClassicQueueDurableNova", "classic", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, cloud := newBroker(t), newFakeCloud(t)
			start := func() *replica {
				return startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.QueueType = c.queueType })
			}
			first := start()
			first.await("consumer.started", "outcome", "exchange nova does not exist yet: waiting for Nova to send its first notification")
			first.await("consumer.active")

			nova := b.nova(c.durable)
			first.await("consumer.started", "outcome", "bound")
			keys := map[string]bool{
				"notifications.info": true, "notifications.error": true,
				"versioned_notifications.info": true, "versioned_notifications.error": true,
			}
			if got := b.bindings("nova", "earlybind.notifications"); !reflect.DeepEqual(got, keys) {
				t.Errorf("the queue is bound to nova by %v", got)
			}
			if b.durable("nova") != c.durable {
				t.Error("Nova's exchange is another than Nova has declared")
			}
			guest := cloud.guest(t)
			nova.prepares(guest)
			first.await("handover.begun", "instance", guest.id)

			// A second replica finds everything there, and Nova's next service
			// declares its exchange as ever.
			start().await("consumer.started", "outcome", "bound")
			b.nova(c.durable)
		})
	}

	t.Run("ActiveReplicaAsksTheHosts", func(t *testing.T) {
		t.Parallel()
		b := newBroker(t)
		r := startReplica(b, newFakeCloud(t).neutron, nil)
		r.await("consumer.active")
		// What a publisher does at the start of its session, with its rights.
		ch := b.channel("earlybind-compute1")
		must(t, ch.ExchangeDeclarePassive("earlybind", amqp.ExchangeTopic, true, false, false, false, nil))
		const queue = "earlybind-publisher.compute1"
		_, err := ch.QueueDeclare(queue, true, true, false, false, nil)
		must(t, err)
		must(t, ch.QueueBind(queue, "#", "earlybind.requests", false, nil))
		// A second replica becomes active only now, and asks.
		second := startReplica(b, newFakeCloud(t).neutron, nil)
		second.await("consumer.started")
		r.stop()
		second.await("consumer.active")
		n, err := wire.Decode(get(t, ch, queue).Body)
		must(t, err)
		_, err = wire.ParseStatesRequest(n)
		must(t, err)
		if n.EventType != wire.EventStatesRequest {
			t.Errorf("got %s", n.EventType)
		}
	})
}

// What cannot be understood is kept as it came, and holds nothing up.
func TestRabbitMQParking(t *testing.T) {
	t.Parallel()
	for _, queueType := range []string{"quorum", "classic"} {
		t.Run(queueType, func(t *testing.T) {
			t.Parallel()
			b, cloud := newBroker(t), newFakeCloud(t)
			nova := b.nova(false)
			r := startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.QueueType = queueType })
			r.await("consumer.started", "outcome", "bound")

			before, after := cloud.guest(t), cloud.guest(t)
			broken := []struct{ reason, body string }{
				{"not an oslo.messaging notification: broken JSON at byte 1", "\x00\xff binary"},
				{"not an oslo.messaging notification: inner message: broken JSON at byte 11", `{"oslo.version": "2.0", "oslo.message": "{\"token\": hunter2"}`},
				{"payload of compute.instance.live_migration.pre.end names no instance", `{"event_type": "compute.instance.live_migration.pre.end", "publisher_id": "compute.x", "payload": {}}`},
			}
			nova.prepares(before)
			for _, m := range broken {
				nova.send("notifications.info", []byte(m.body))
			}
			nova.prepares(after)
			r.await("handover.begun", "instance", before.id)
			r.await("handover.begun", "instance", after.id)

			ch := b.channel("earlybind")
			for _, m := range broken {
				d := get(t, ch, "earlybind.parked")
				if !bytes.Equal(d.Body, []byte(m.body)) {
					t.Errorf("parked %q, sent %q", d.Body, m.body)
				}
				if d.Headers["earlybind-exchange"] != "nova" || d.Headers["earlybind-routing-key"] != "notifications.info" || d.DeliveryMode != amqp.Persistent {
					t.Errorf("properties: mode %d, %v", d.DeliveryMode, d.Headers)
				}
				reason, _ := d.Headers["earlybind-reason"].(string)
				if reason != m.reason {
					t.Errorf("reason %q, want %q", reason, m.reason)
				}
				r.await("message.parked", "why", reason)
			}
			if bytes.Contains([]byte(r.text()), []byte("hunter2")) {
				t.Error("the log shows content")
			}
			r.stop()
			for _, m := range b.left("") {
				for _, one := range broken {
					if bytes.Contains([]byte(m), []byte(one.body)) {
						t.Errorf("%q was not acknowledged", one.body)
					}
				}
			}
		})
	}
}

// What sessions that end have given back again and again is parked before the broker drops it.
func TestRabbitMQMessageThatComesBackTooOftenIsParked(t *testing.T) {
	t.Parallel()
	b, cloud := newBroker(t), newFakeCloud(t)
	nova := b.nova(false)
	r := startReplica(b, cloud.neutron, nil)
	r.await("consumer.started", "outcome", "bound")
	r.stop()
	body := []byte(`{"event_type": "compute.instance.live_migration.pre.start", "publisher_id": "compute.` + dest +
		`", "payload": {"instance_id": "` + newUUID() + `", "host": "` + source + `"}}`)
	nova.send("notifications.info", body)
	ch := b.channel("earlybind")
	must(t, ch.Qos(1, 0, false))
	deliveries, err := ch.Consume("earlybind.notifications", "", false, false, false, false, nil)
	must(t, err)
	for range 900 {
		select {
		case d := <-deliveries:
			must(t, d.Nack(false, true))
		case <-time.After(patience):
			t.Fatal("it does not come back")
		}
	}
	must(t, ch.Close())

	r = startReplica(b, cloud.neutron, nil)
	r.await("message.parked", "kind", "returned")
	if d := get(t, b.channel("earlybind"), "earlybind.parked"); !bytes.Equal(d.Body, body) {
		t.Errorf("parked %q", d.Body)
	}
	if begun := r.all("event", "handover.begun"); len(begun) != 0 {
		t.Errorf("it was taken in, too: %v", begun)
	}
}

// A host's word counts only under the broker user of that host.
func TestRabbitMQHostIdentity(t *testing.T) {
	t.Parallel()
	b, cloud := newBroker(t), newFakeCloud(t)
	r := startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.Policy = handover.PolicySuspended })
	r.await("consumer.active")
	victim, other := cloud.guest(t), cloud.guest(t)

	unsigned := b.host(dest)
	unsigned.user = ""
	unsigned.says(victim.id, wire.Started, wire.Migrated)
	r.await("host.refused", "why", `refused: a message for host "compute2" came from user "", not "earlybind-compute2"`)

	forged := b.host(source) // a host that says: the guest of compute1 starts on compute2
	forged.name = dest
	forged.says(victim.id, wire.Started, wire.Migrated)
	r.await("host.refused", "why", `refused: a message for host "compute2" came from user "earlybind-compute1", not "earlybind-compute2"`)

	b.host(dest).says(other.id, wire.Started, wire.Migrated) // stands behind them in the queue
	r.await("handover.begun", "instance", other.id)
	if lines := r.all("instance", victim.id); len(lines) != 0 {
		t.Errorf("a handover was begun: %v", lines)
	}
	if n := len(r.all("event", "host.refused")); n != 2 {
		t.Errorf("%d lines", n)
	}
	r.stop()
	for _, m := range b.left("") {
		if bytes.Contains([]byte(m), []byte(victim.id)) {
			t.Errorf("not acknowledged: %s", m)
		}
	}
}

// What a sender writes is quoted in log lines, AMQP headers and memory by its beginning only:
// a header that does not fit into a frame (128 KiB) would end the session, and the message
// would come again and end the next.
func TestRabbitMQLongNamesEndNoSession(t *testing.T) {
	t.Parallel()
	b, cloud := newBroker(t), newFakeCloud(t)
	r := startReplica(b, cloud.neutron, nil)
	r.await("consumer.active")
	long := strings.Repeat("x", 200_000)

	b.host(source).send("libvirt.domain."+long, "libvirt.compute1.suspended.x", wire.HostEvent{Schema: wire.SchemaVersion})
	r.await("message.parked", "why", "not an oslo.messaging notification: event_type of 200015 bytes")
	b.host(source).send("libvirt.host.states", "libvirt.compute1.states", wire.HostStates{Schema: wire.SchemaVersion, Host: long})
	line := r.await("host.refused")
	if why, _ := line["why"].(string); len(why) > 2000 || !strings.HasPrefix(why, `refused: a message for host "xxx`) {
		t.Errorf("%d bytes: %.80s", len(why), why)
	}
	if lost := r.all("event", "consumer.lost"); len(lost) != 0 {
		t.Errorf("%v", lost)
	}
}

// A migration that succeeds, with every message that the two hosts and Nova
// send.
func TestRabbitMQMigrationSucceeds(t *testing.T) {
	t.Parallel()
	b, cloud := newBroker(t), newFakeCloud(t)
	guest, nova := cloud.guest(t), b.nova(false)
	r := startReplica(b, cloud.neutron, nil)
	r.await("consumer.started", "outcome", "bound")
	r.await("consumer.active")
	from, to := b.host(source), b.host(dest)

	nova.prepares(guest)
	to.says(guest.id, wire.Started, wire.Migrated)
	r.await("handover.armed", "instance", guest.id)
	from.says(guest.id, wire.Suspended, wire.Migrated)
	r.await("evidence.seen", "saw", "libvirt: suspended/migrated")
	if n := len(cloud.activates(dest)); n != 0 {
		t.Fatalf("%d ports were activated before the guest had arrived", n)
	}
	arrived := to.says(guest.id, wire.Resumed, wire.Migrated)
	eventually(t, "the ports to be activated", func() (bool, error) { return len(cloud.activates(dest)) >= len(guest.ports), nil })
	from.says(guest.id, wire.Stopped, wire.Migrated)
	nova.takesOver(guest)
	r.await("handover.ended", "outcome", "migrated")

	activated := map[string]int{}
	for _, a := range cloud.activates(dest) {
		activated[a.PortID]++
		t.Logf("port %s: %s from the publish of RESUMED to the request at Neutron", a.PortID, a.Began.Sub(arrived))
	}
	for _, id := range guest.ports {
		if activated[id] != 1 {
			t.Errorf("port %s was activated %d times", id, activated[id])
		}
	}
	if n := len(cloud.fake.Writes()); n != 2*len(guest.ports) { // the test's own creates, and the activates
		t.Errorf("%d writes: %+v", n, cloud.fake.Writes())
	}
	wantRight(t, cloud, guest, dest)
	r.stop()
	if left := b.left("instance.live_migration_post_dest.end"); len(left) != 0 {
		t.Errorf("not acknowledged: %v", left)
	}
}

// A migration that fails after its ports were activated early, while the replica
// that has activated them loses the broker.
func TestRabbitMQSecondReplicaRestores(t *testing.T) {
	t.Parallel() // it waits a minute: a write of the first replica might still take effect
	b, cloud := newBroker(t), newFakeCloud(t)
	guest, nova := cloud.guest(t), b.nova(false)
	start := func() *replica {
		return startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.Policy = handover.PolicySuspended })
	}
	first := start()
	first.await("consumer.active")
	first.await("consumer.started", "outcome", "bound")
	second := start()
	second.await("consumer.started", "outcome", "bound")
	connection := b.connection("earlybind-consumer " + first.name)
	from, to := b.host(source), b.host(dest)

	nova.prepares(guest)
	to.says(guest.id, wire.Started, wire.Migrated)
	first.await("handover.armed", "instance", guest.id)
	paused := from.says(guest.id, wire.Suspended, wire.Migrated)
	for _, id := range guest.ports {
		first.await("port.written", "port", id, "outcome", "activated")
	}
	for _, a := range cloud.activates(dest) {
		t.Logf("port %s: %s from the publish of SUSPENDED to the request at Neutron", a.PortID, a.Began.Sub(paused))
	}
	if lines := second.all("event", "consumer.active"); len(lines) != 0 {
		t.Fatal("both replicas act")
	}

	b.closeNamed(connection)
	if lost := first.await("consumer.lost"); !strings.Contains(lost["error"].(string), "CONNECTION_FORCED") {
		t.Errorf("the log does not tell why: %v", lost["error"])
	}
	second.await("consumer.active")
	second.await("handover.armed", "instance", guest.id) // from the messages that come again
	if n := len(cloud.activates(dest)); n != len(guest.ports) {
		t.Errorf("an old pause was acted on again: %d activates", n)
	}

	from.says(guest.id, wire.Resumed, wire.Unpaused)
	nova.rollsBack(guest)
	for _, id := range guest.ports {
		second.await("port.written", "port", id, "decided", "activate", "host", source)
		second.await("port.written", "port", id, "decided", "rebind", "outcome", "answered")
		cloud.fake.DeleteRow(id, dest) // Nova
	}
	nova.hasRolledBack(guest)
	second.awaitFor(2*time.Minute, "handover.ended", "outcome", "restored")
	wantRight(t, cloud, guest, source)

	first.stop()
	second.stop()
	if left := b.left("instance.live_migration_rollback.end"); len(left) != 0 {
		t.Errorf("not acknowledged: %v", left)
	}
}

// wantRight: one ACTIVE row per port, on the guest's host, bound.
func wantRight(t *testing.T, c cloud, g guest, host string) {
	t.Helper()
	ports, err := c.neutron.Ports(t.Context(), g.id)
	must(t, err)
	if len(ports) != len(g.ports) {
		t.Fatalf("%d ports", len(ports))
	}
	for _, p := range ports {
		if right, why := p.RightOn(host); !right {
			t.Errorf("port %s: %s", p.ID, why)
		}
	}
}
