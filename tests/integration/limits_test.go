//go:build integration

package integration

import (
	"context"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
)

// bounds are the arguments of the queues that the broker keeps while nobody runs, as docs/brokers.md tells them.
func bounds(queueType string) map[string]map[string]any {
	const hour, bytes = 3600e3, 268435456.0
	shared := map[string]any{"x-message-ttl": hour, "x-max-length-bytes": bytes, "x-single-active-consumer": true}
	all := map[string]map[string]any{
		"earlybind":               maps.Clone(shared),
		"earlybind.notifications": maps.Clone(shared),
		"earlybind.parked":        {"x-message-ttl": 7 * 24 * hour, "x-max-length": 10_000.0, "x-max-length-bytes": bytes},
		"earlybind.journal":       {"x-max-length": 10_000.0, "x-overflow": "reject-publish", "x-single-active-consumer": true},
		"earlybind.paused":        {"x-max-length": 16.0},
		"earlybind.layout":        {"x-max-length": 1.0}, // which is no bound: nobody sends to it
	}
	for name, arguments := range all {
		arguments["x-queue-type"] = queueType
		if queueType == "quorum" && name != "earlybind.layout" { // how often a message may come back
			arguments["x-delivery-limit"] = 1e6
		}
	}
	if queueType == "quorum" {
		all["earlybind"]["x-delivery-limit"], all["earlybind.notifications"]["x-delivery-limit"] = 1000.0, 1000.0
	}
	return all
}

// fill sends numbered messages and then waits for the word on each; it gives how many were refused.
func fill(t testing.TB, ch *amqp.Channel, exchange, key string, from, till int) (refused int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var words []*amqp.DeferredConfirmation
	for i := from; i < till; i++ {
		word, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, MessageId: strconv.Itoa(i), Body: []byte("x"),
		})
		must(t, err)
		words = append(words, word)
	}
	for _, word := range words {
		taken, err := word.WaitContext(ctx)
		must(t, err)
		if !taken {
			refused++
		}
	}
	return refused
}

// What nobody fetches is bounded, in every queue: by the oldest that go, and in the journal, of which nothing may
// go, by what is refused.
func TestRabbitMQQueuesAreBounded(t *testing.T) {
	t.Parallel()
	for _, queueType := range []string{"quorum", "classic"} {
		t.Run(queueType, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			leave(b, queueType)
			s := newOperator(b, queueType).settings()
			for _, told := range consumer.Give(t.Context(), s, consumer.Order{By: "test"}) {
				must(t, told.Err)
			}
			var queues []struct {
				Name      string
				Arguments map[string]any
			}
			b.api(http.MethodGet, b.path("queues"), nil, &queues)
			want := bounds(queueType)
			for _, q := range queues {
				if !reflect.DeepEqual(q.Arguments, want[q.Name]) {
					t.Errorf("the queue %s has %v\nwant %v", q.Name, q.Arguments, want[q.Name])
				}
				delete(want, q.Name)
			}
			if len(want) > 0 {
				t.Errorf("not there: %v", slices.Sorted(maps.Keys(want)))
			}

			ch := b.channel("earlybind")
			for _, c := range []struct {
				queue, key string
				max        int
				oldest     bool // goes
			}{
				{"earlybind.parked", "x", 10_000, true},
				{"earlybind.paused", "kept", 16, true},
				{"earlybind.journal", "kept", 10_000, false},
			} {
				_, err := ch.QueuePurge(c.queue, false)
				must(t, err)
				sent, refused := c.max, fill(t, ch, c.queue, c.key, 0, c.max)
				for ; sent < c.max+50; sent++ {
					refused += fill(t, ch, c.queue, c.key, sent, sent+1)
				}
				// A quorum queue takes one or a few more before it refuses.
				eventually(t, c.queue+" to keep to its limit", func() (bool, error) { return ready(t, ch, c.queue) <= c.max+10, nil })
				kept, first := ready(t, ch, c.queue), oldest(b, c.queue).MessageId
				t.Logf("%s: of %d messages %d were refused and %d are kept, the oldest is number %s", c.queue, sent, refused, kept, first)
				dropped := c.oldest && refused == 0 && kept == c.max && first == strconv.Itoa(sent-c.max)
				declined := !c.oldest && refused > 0 && kept == sent-refused && kept >= c.max && first == "0"
				if !dropped && !declined {
					t.Errorf("%s: of %d messages %d were refused and %d are kept, the oldest is number %s", c.queue, sent, refused, kept, first)
				}
			}
		})
	}
}

// Nova's notifications do not fill the broker while no consumer reads them: the oldest go. Not in parallel: these
// are 320 MiB on the disk that all queues are on.
func TestRabbitMQNotificationsThatNobodyReadsAreBounded(t *testing.T) {
	const size, limit, sent = 4 << 20, 256 << 20, 80
	b := newBroker(t)
	nova := b.nova(true)
	r := startReplica(b, newFakeCloud(t).neutron, nil)
	r.await("consumer.started", "outcome", "bound")
	r.stop()
	body := make([]byte, size)
	for i := range sent {
		publish(t, nova.ch, "nova", "versioned_notifications.info", amqp.Publishing{MessageId: strconv.Itoa(i), Body: body})
	}
	ch := b.channel("earlybind")
	eventually(t, "the queue to keep to its limit", func() (bool, error) { return ready(t, ch, "earlybind.notifications") <= limit/size, nil })
	kept := ready(t, ch, "earlybind.notifications")
	if first := oldest(b, "earlybind.notifications"); first.MessageId != strconv.Itoa(sent-kept) || kept < limit/size-1 {
		t.Errorf("%d of %d messages are left, the oldest is number %s", kept, sent, first.MessageId)
	}
}
