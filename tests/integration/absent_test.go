//go:build integration

package integration

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/wire"
)

// leave has a consumer make its queues, and stops it.
func leave(b *broker, queueType string) {
	b.Helper()
	r := startReplica(b, newFakeCloud(b).neutron, func(s *consumer.Settings) { s.QueueType = queueType })
	r.await("consumer.active")
	r.await("journal.read", "outcome", "read")
	r.stop()
}

// ready tells how many messages of a queue could be delivered.
func ready(t testing.TB, ch *amqp.Channel, queue string) int {
	t.Helper()
	q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	must(t, err)
	return q.Messages
}

// oldest looks at the message that a queue delivers next.
func oldest(b *broker, queue string) amqp.Delivery {
	b.Helper()
	ch := b.channel("earlybind")
	must(b, ch.Qos(1, 0, false))
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	must(b, err)
	select {
	case d := <-deliveries:
		return d
	case <-time.After(patience):
		b.Fatal("the queue does not deliver")
		return amqp.Delivery{}
	}
}

// A consumer that is away does not fill the broker: the oldest messages go. Not in parallel:
// these are 320 MiB, twice, on the disk that all queues are on.
func TestRabbitMQAbsentConsumerFillsNothing(t *testing.T) {
	const size, limit, sent = 4 << 20, 256 << 20, 80
	for _, queueType := range []string{"quorum", "classic"} {
		t.Run(queueType, func(t *testing.T) {
			b := newBroker(t)
			leave(b, queueType)
			ch := b.channel("earlybind")
			_, err := ch.QueuePurge("earlybind", false)
			must(t, err)
			body := make([]byte, size)
			for i := range sent {
				publish(t, ch, wire.ExchangeEvents, "libvirt.fill", amqp.Publishing{MessageId: strconv.Itoa(i), Body: body})
			}
			eventually(t, "the queue to keep to its limit", func() (bool, error) {
				return ready(t, ch, "earlybind") <= limit/size, nil
			})
			kept := ready(t, ch, "earlybind")
			if first := oldest(b, "earlybind"); first.MessageId != strconv.Itoa(sent-kept) || kept < limit/size-1 {
				t.Errorf("%d of %d messages are left, the oldest is number %s", kept, sent, first.MessageId)
			}

			var q struct{ Arguments map[string]any }
			b.api(http.MethodGet, b.path("queues")+"/earlybind", nil, &q)
			if q.Arguments["x-message-ttl"] != 3600e3 || q.Arguments["x-queue-type"] != queueType {
				t.Errorf("the queue has %v", q.Arguments)
			}
		})
	}
}

// Some clouds give the messages of every queue a short life by a policy. That of
// docs/brokers.md takes its place for earlybind's queues.
func TestRabbitMQPolicyOfAShortLife(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	leave(b, "quorum")
	ch := b.channel("earlybind")
	_, err := ch.QueuePurge("earlybind.journal", false)
	must(t, err)
	// policy sets one and waits until it is the journal's.
	policy := func(name, pattern string, priority int, definition map[string]any) {
		b.api(http.MethodPut, b.path("policies")+"/"+name, map[string]any{
			"pattern": pattern, "apply-to": "queues", "priority": priority, "definition": definition,
		}, nil)
		eventually(t, "the policy "+name+" to be the journal's", func() (bool, error) {
			var q struct{ Policy string }
			b.api(http.MethodGet, b.path("queues")+"/earlybind.journal", nil, &q)
			return q.Policy == name, nil
		})
	}
	keep := func() { publish(t, ch, "earlybind.journal", "kept", amqp.Publishing{DeliveryMode: amqp.Persistent}) }

	policy("short-life", ".*", 0, map[string]any{"message-ttl": 1})
	keep()
	eventually(t, "the policy to take the journal's entry", func() (bool, error) { return ready(t, ch, "earlybind.journal") == 0, nil })

	policy("earlybind", "^earlybind", 100, map[string]any{"max-length-bytes": 268435456})
	keep()
	other := b.channel("openstack") // another queue shows that the first policy goes on
	_, err = other.QueueDeclare("other", true, false, false, false, nil)
	must(t, err)
	publish(t, other, "", "other", amqp.Publishing{})
	eventually(t, "the policy to take another queue's message", func() (bool, error) { return ready(t, other, "other") == 0, nil })
	if n := ready(t, ch, "earlybind.journal"); n != 1 {
		t.Errorf("the journal holds %d entries", n)
	}
}
