//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// neighbour is another service on the same broker: Debian's oslo.messaging.
type neighbour struct {
	*broker
	container string
	program   string // in the container
	address   string // of the broker, there
	style     string // how it declares what it uses
}

// newNeighbour gives one in the lab's controller.
func newNeighbour(b *broker, style string) *neighbour {
	b.Helper()
	l, err := lab.Find()
	must(b, err)
	n := &neighbour{broker: b, container: l.Container("controller"), program: "/tmp/neighbour-" + newUUID() + ".py", address: "rabbitmq", style: style}
	must(b, l.Copy(b.Context(), "testdata/neighbour.py", "controller", n.program))
	b.Cleanup(func() {
		_, _ = l.Exec(context.WithoutCancel(b.Context()), "controller", "rm", "-f", n.program)
	})
	return n
}

// neighbour gives one in a container of its own.
func (b *ownBroker) neighbour(style string) *neighbour {
	b.Helper()
	const program = "/tmp/neighbour.py"
	return &neighbour{broker: b.broker, program: program, address: "127.0.0.1", style: style, container: b.python(map[string]string{program: "testdata/neighbour.py"})}
}

// python starts a container beside the broker that has oslo.messaging, and these files.
func (b *ownBroker) python(files map[string]string) (container string) {
	b.Helper()
	return startContainer(b, files, "--network", b.network, "--entrypoint", "sleep", "earlybind-lab/controller:"+b.lab.Release, "infinity")
}

// does runs the program as the given user and reads what it prints.
func (n *neighbour) does(into any, user string, arguments ...string) error {
	url := "rabbit://" + user + ":" + n.password + "@" + n.address + ":5672/" + n.vhost
	return runPython(n, into, n.container, append([]string{n.program, url, n.style}, arguments...)...)
}

// runPython runs a program in a container and reads what it prints, JSON.
func runPython(t testing.TB, into any, container string, arguments ...string) error {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", append([]string{"exec", container, "python3"}, arguments...)...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return fmt.Errorf("%w: %s", err, failed.Stderr)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(out, into)
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

// The same for what the publisher's program itself sends, of a libvirtd and its guest.
func TestRabbitMQNeighbourReadsThePublisher(t *testing.T) {
	built(t, "earlybind-publisher")
	t.Parallel()
	b := newOwnBroker(t)
	leave(b.broker, "quorum")
	n := b.neighbour("durable")
	var got []read
	must(t, n.does(&got, "admin", "listen", "earlybind", "audit", "0", "audit"))
	ch := b.channel("admin")
	must(t, ch.QueueBind("audit", "libvirt.*.states", wire.ExchangeEvents, false, nil))

	began := time.Now()
	p := b.publisher(inDaemon)
	p.await("host states published")
	must(t, n.does(&got, "admin", "listen", "earlybind", "audit", "1", "audit"))
	lists := got[:1]
	// There may be more lists, as there are more sessions.
	must(t, ch.QueueUnbind("audit", "libvirt.*.states", wire.ExchangeEvents, nil))
	_, err := ch.QueuePurge("audit", false)
	must(t, err)
	must(t, ch.QueueBind("audit", "libvirt.*.*.*", wire.ExchangeEvents, false, nil))
	instance := newUUID()
	p.boots(instance)
	p.virsh("", "suspend", instance)
	p.virsh("", "resume", instance)
	var events []read
	must(t, n.does(&events, "admin", "listen", "earlybind", "audit", "4", "audit"))
	got = append(lists, events...)

	var last wire.Order
	for i, want := range []string{wire.EventStates, "libvirt.domain.defined", "libvirt.domain.started", "libvirt.domain.suspended", "libvirt.domain.resumed"} {
		one := got[i]
		if one.EventType != want || one.PublisherID != "earlybind-publisher:"+source || one.MessageID == "" {
			t.Errorf("message %d is %+v, want %s", i, one, want)
		}
		raw, err := json.Marshal(one.Payload)
		must(t, err)
		var is struct {
			wire.Order
			Schema   int
			Host     string
			Instance string
			Detail   wire.Detail
			At       time.Time
		}
		must(t, json.Unmarshal(raw, &is))
		if is.Schema != wire.SchemaVersion || is.Host != source || !last.Before(is.Order) {
			t.Errorf("message %d holds %s", i, raw)
		}
		last = is.Order
		if want != wire.EventStates && (is.Instance != instance || is.Detail == "" || is.At.Before(began) || is.At.After(time.Now())) {
			t.Errorf("message %d holds %s", i, raw)
		}
	}
}
