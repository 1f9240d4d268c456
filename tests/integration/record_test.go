//go:build integration

package integration

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/recording/live"
	"github.com/earlybind/earlybind/wire"
)

// The recorder has the consumer's rights, reads beside another queue, and leaves nothing.
func TestRabbitMQIsRecordedBesideOtherQueues(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	nova := b.nova(false)
	own := b.channel("earlybind")
	must(t, own.ExchangeDeclare(wire.ExchangeEvents, amqp.ExchangeTopic, true, false, false, false, nil))
	must(t, own.ExchangeDeclare(wire.ExchangeRequests, amqp.ExchangeTopic, true, false, false, false, nil))
	const asked = "earlybind.asked"
	_, err := own.QueueDeclare(asked, false, false, false, false, nil)
	must(t, err)
	must(t, own.QueueBind(asked, "#", wire.ExchangeRequests, false, nil))
	const beside = "earlybind"
	_, err = own.QueueDeclare(beside, false, false, false, false, nil)
	must(t, err)
	must(t, own.QueueBind(beside, "notifications.info", "nova", false, nil))

	settings := consumer.Settings{
		NovaExchange: "nova", NotificationTopics: []string{"notifications", "versioned_notifications"}, Queue: beside, HostUserPrefix: "earlybind-",
	}
	settings.AMQPUrls, settings.AMQPUser, settings.AMQPPassword = []string{b.url()}, "earlybind", config.Secret(b.password)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var file bytes.Buffer
	ended := make(chan error, 1)
	written := 0
	go func() {
		var err error
		written, err = live.Record(ctx, settings, recording.Recorder{}, recording.Header{MadeBy: "test"}, &file)
		ended <- err
	}()
	recorders := func() (names []string) {
		var queues []struct{ Name string }
		b.api("GET", b.path("queues"), nil, &queues)
		for _, q := range queues {
			if strings.HasPrefix(q.Name, beside+".record.") {
				names = append(names, q.Name)
			}
		}
		return names
	}
	eventually(t, "the recorder's queue to be bound", func() (bool, error) {
		var bindings []struct{ Source, Destination string }
		b.api("GET", b.path("bindings"), nil, &bindings)
		bound := 0
		for _, binding := range bindings {
			if binding.Source != "" && strings.HasPrefix(binding.Destination, beside+".record.") {
				bound++
			}
		}
		return bound == 5, nil
	})
	request := get(t, own, asked) // the hosts are asked for their domains
	if n, err := wire.Decode(request.Body); err != nil || n.EventType != wire.EventStatesRequest || request.UserId != "earlybind" {
		t.Errorf("asked by %s: %s, %v", request.UserId, request.Body, err)
	}
	g := guest{id: newUUID(), request: "req-" + newUUID()}
	nova.says(g, "compute.instance.live_migration.pre.start", "instance.live_migration_pre.start")
	event := wire.HostEvent{Schema: wire.SchemaVersion, Host: "compute1", Order: wire.Order{Epoch: 1, Sequence: 1}, Instance: g.id, Event: wire.Suspended, Detail: wire.Migrated}
	n, err := wire.NewNotification(wire.PublisherID("compute1"), event.EventType(), event, newUUID(), time.Now())
	must(t, err)
	body, err := n.Encode()
	must(t, err)
	publish(t, b.channel("earlybind-compute1"), wire.ExchangeEvents, event.RoutingKey(), amqp.Publishing{UserId: "earlybind-compute1", Body: body})
	get(t, own, beside) // the other queue has got its own
	eventually(t, "the recorder to have read all", func() (bool, error) {
		names := recorders()
		if len(names) != 1 {
			return false, fmt.Errorf("%d recorders", len(names))
		}
		var queue struct {
			Stats struct {
				Delivered int `json:"deliver_no_ack"`
			} `json:"message_stats"`
		}
		b.api("GET", "queues/"+b.vhost+"/"+names[0], nil, &queue)
		return queue.Stats.Delivered == 3, nil
	})
	stop()
	must(t, <-ended)
	eventually(t, "the recorder's queue to go away", func() (bool, error) { return len(recorders()) == 0, nil })
	_, messages, err := recording.Read(&file)
	must(t, err)
	if written != 3 || len(messages) != 3 {
		t.Fatalf("%d written, %d read", written, len(messages))
	}
	for _, m := range messages {
		if m.Unreadable != nil || m.Exchange == wire.ExchangeEvents && m.User != "earlybind-compute1" {
			t.Errorf("%+v", m)
		}
	}
}
