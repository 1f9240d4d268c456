//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// neighbour is another service on the same broker: Debian's oslo.messaging, in the
// lab's controller.
type neighbour struct {
	*broker
	lab     *lab.Lab
	program string // in the container
	style   string // how it declares what it uses
}

func newNeighbour(b *broker, style string) *neighbour {
	b.Helper()
	l, err := lab.Find()
	must(b, err)
	n := &neighbour{broker: b, lab: l, program: "/tmp/neighbour-" + newUUID() + ".py", style: style}
	must(b, l.Copy(b.Context(), "testdata/neighbour.py", "controller", n.program))
	b.Cleanup(func() {
		_, _ = l.Exec(context.WithoutCancel(b.Context()), "controller", "rm", "-f", n.program)
	})
	return n
}

// does runs the program as the given user and reads what it prints.
func (n *neighbour) does(into any, user string, arguments ...string) error {
	ctx, cancel := context.WithTimeout(n.Context(), 90*time.Second)
	defer cancel()
	url := "rabbit://" + user + ":" + n.password + "@rabbitmq:5672/" + n.vhost
	out, err := n.lab.Exec(ctx, "controller", append([]string{"python3", n.program, url, n.style}, arguments...)...)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(out), into)
}

// read is a notification as oslo.messaging gave it to a listener.
type read struct {
	PublisherID string          `json:"publisher_id"`
	EventType   string          `json:"event_type"`
	MessageID   string          `json:"message_id"`
	Payload     json.RawMessage `json:"payload"`
}

// instances gives the sorted instances of Nova's notifications.
func instances(t *testing.T, notifications []read) []string {
	t.Helper()
	found := []string{}
	for _, n := range notifications {
		var payload struct {
			Instance string `json:"instance_id"`
		}
		must(t, json.Unmarshal(n.Payload, &payload))
		found = append(found, payload.Instance)
	}
	slices.Sort(found)
	return found
}

// However a cloud declares Nova's exchange: a listener of oslo.messaging on Nova's
// own queue, one with a pool, and the consumer beside them get every notification.
func TestRabbitMQNeighbourLosesNothing(t *testing.T) {
	t.Parallel()
	const count = 100
	for _, style := range []string{"transient", "durable", "quorum"} {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			b := newBroker(t)
			n := newNeighbour(b, style)
			r := startReplica(b, newFakeCloud(t).neutron, nil)
			r.await("consumer.active")

			// The first makes the exchange and Nova's own queue, as a cloud's first
			// notification does.
			var first, sent []string
			must(t, n.does(&first, "openstack", "notify", "nova", "1"))
			r.await("consumer.started", "outcome", "bound")
			if b.durable("nova") != (style != "transient") {
				t.Error("Nova's exchange is another than Nova has declared")
			}
			var own, pooled []read
			must(t, n.does(&pooled, "openstack", "listen", "nova", "notifications", "0", "ceilometer"))

			listened := make(chan error, 1)
			go func() {
				listened <- n.does(&own, "openstack", "listen", "nova", "notifications", strconv.Itoa(count+1))
			}()
			must(t, n.does(&sent, "openstack", "notify", "nova", strconv.Itoa(count)))
			must(t, <-listened)
			must(t, n.does(&pooled, "openstack", "listen", "nova", "notifications", strconv.Itoa(count), "ceilometer"))

			slices.Sort(sent)
			all := slices.Sorted(slices.Values(append(first, sent...)))
			if got := instances(t, own); !slices.Equal(got, all) {
				t.Errorf("the listener on Nova's queue got %d of %d: %v", len(got), len(all), got)
			}
			if got := instances(t, pooled); !slices.Equal(got, sent) {
				t.Errorf("the listener with a pool got %d of %d: %v", len(got), len(sent), got)
			}
			for _, instance := range sent {
				r.await("handover.begun", "instance", instance)
			}
			if lines := r.all("event", "message.parked"); len(lines) > 0 {
				t.Errorf("parked: %v", lines)
			}
		})
	}
}

// What earlybind puts on the bus is read by any listener of oslo.messaging whose
// queue is bound to it.
func TestRabbitMQNeighbourReadsHostEvents(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	startReplica(b, newFakeCloud(t).neutron, nil).await("consumer.active")
	n := newNeighbour(b, "durable") // as the exchange earlybind is
	var got []read
	must(t, n.does(&got, "admin", "listen", "earlybind", "audit", "0", "audit"))
	must(t, b.channel("admin").QueueBind("audit", "libvirt.#", wire.ExchangeEvents, false, nil))

	sender, instance := b.host(source), newUUID()
	at := sender.says(instance, wire.Suspended, wire.Migrated)
	list := wire.HostStates{Schema: wire.SchemaVersion, Host: source, Order: wire.Order{Epoch: 1, Sequence: 2},
		Domains: []wire.DomainState{{Instance: instance, State: "paused", Reason: "migration"}}}
	sender.send(wire.EventStates, list.RoutingKey(), list)

	must(t, n.does(&got, "admin", "listen", "earlybind", "audit", "2", "audit"))
	if got[0].EventType != "libvirt.domain.suspended" || got[1].EventType != wire.EventStates {
		t.Errorf("got %+v", got)
	}
	for _, one := range got {
		if one.PublisherID != "earlybind-publisher:"+source || one.MessageID == "" {
			t.Errorf("got %+v", one)
		}
	}
	var event wire.HostEvent
	var states wire.HostStates
	must(t, json.Unmarshal(got[0].Payload, &event))
	must(t, json.Unmarshal(got[1].Payload, &states))
	if !event.At.Equal(at) || event.Instance != instance || event.Detail != wire.Migrated || event.Host != source || event.Sequence != 1 {
		t.Errorf("the event is %+v", event)
	}
	if !reflect.DeepEqual(states, list) {
		t.Errorf("the list is %+v", states)
	}
}
