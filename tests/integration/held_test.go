//go:build integration

package integration

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/wire"
)

// RabbitMQ closes the channel of a consumer that keeps a message for longer than consumer_timeout, here of 100 s. A
// consumer that holds for a third of it goes on while a handover and an entry of its journal stand; one that holds
// for longer loses its session, and each handover its messages.
func TestRabbitMQConsumerTimeout(t *testing.T) {
	t.Parallel() // it mostly waits
	const timeout = 100 * time.Second
	b := newOwnBroker(t)
	docker(t, "exec", b.container, "rabbitmqctl", "eval",
		"application:set_env(rabbit, consumer_timeout, 100000), application:set_env(rabbit, channel_tick_interval, 5000).")
	nova, to := b.nova(true), b.host(dest)
	began := time.Now()
	start := func(queue string, hold time.Duration) *replica {
		cloud := newFakeCloud(t)
		r := startReplica(b.broker, cloud.neutron, func(s *consumer.Settings) { s.Queue, s.HoldMessages = queue, hold })
		r.await("consumer.active")
		r.await("consumer.started", "outcome", "bound")
		r.await("journal.read", "outcome", "read")
		g := cloud.guest(t)
		nova.prepares(g)
		to.says(g.id, wire.Started, wire.Migrated)
		r.await("handover.armed", "instance", g.id)
		return r
	}
	short, long := start("earlybind", timeout/3), start("earlybind-long", 3*timeout)
	// Of a user that a consumer does not believe: it keeps it for whom it may concern.
	publish(t, b.channel("admin"), "earlybind.journal", "kept", amqp.Publishing{
		DeliveryMode: amqp.Persistent, Body: []byte(`{"oslo.version": "2.0", "oslo.message": "{\"event_type\": \"earlybind.journal\", \"payload\": {}}"}`),
	})
	short.await("journal.read", "outcome", "an entry is left where it is")

	lost := long.awaitFor(2*timeout, "consumer.lost")
	said, _ := lost["error"].(string)
	t.Logf("after %.0f s: %s", time.Since(began).Seconds(), said)
	if !strings.Contains(said, "delivery acknowledgement on channel") {
		t.Errorf("it says %q", said)
	}
	<-time.After(time.Until(began.Add(2 * timeout))) // the entry stands, and was given back twice
	if lost := short.all("event", "consumer.lost"); len(lost) > 0 {
		t.Errorf("a session was lost: %v", lost)
	}
}
