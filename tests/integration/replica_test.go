//go:build integration

package integration

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	broking "github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/wire"
)

// replica is a consumer in this process, on a real broker, with the broker user
// earlybind.
type replica struct {
	*broker
	name  string
	board *health.Board
	stop  func() // ends it in order; may be called again

	mu    sync.Mutex
	lines []map[string]any // of its audit log
}

func startReplica(b *broker, neutron consumer.Neutron, change func(*consumer.Settings)) *replica {
	b.Helper()
	settings := consumer.Settings{
		Settings:     broking.Settings{AMQPUrls: []string{b.url()}, AMQPUser: "earlybind", AMQPPassword: config.Secret(b.password)},
		Policy:       handover.PolicyAuto,
		Repair:       handover.RepairOwn,
		NovaExchange: "nova", NotificationTopics: []string{"notifications", "versioned_notifications"},
		Queue: "earlybind", QueueType: "quorum", HostUserPrefix: "earlybind-", CommitWindow: 5 * time.Second,
		NeutronConcurrentActivate: "detect", Shares: 1, LogLevel: "info", UpWithin: 5 * time.Second, HoldMessages: 10 * time.Minute,
	}
	if change != nil {
		change(&settings)
	}
	must(b, settings.Validate())
	r := &replica{broker: b, board: health.NewBoard(), name: "replica-" + newUUID()[:8]}
	reader, writer := io.Pipe()
	log := audit.New(writer, zerolog.InfoLevel, r.name)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		_ = consumer.Replica{Name: r.name, Neutron: neutron, ConcurrentActivateSafe: true, Log: log, Board: r.board}.Run(ctx, 25*time.Second, settings)
		_ = writer.Close()
	})
	running.Go(func() { r.collect(reader) })
	r.stop = func() {
		cancel()
		running.Wait()
	}
	b.Cleanup(func() {
		r.stop()
		if b.Failed() {
			b.Logf("%s wrote:\n%s", r.name, r.text())
		}
	})
	return r
}

func (r *replica) collect(reader io.Reader) {
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := map[string]any{}
		if json.Unmarshal(lines.Bytes(), &line) == nil {
			r.mu.Lock()
			r.lines = append(r.lines, line)
			r.mu.Unlock()
		}
	}
}

func (r *replica) text() string {
	var text strings.Builder
	for _, line := range r.all() {
		raw, _ := json.Marshal(line)
		text.Write(append(raw, '\n'))
	}
	return text.String()
}

// all gives the lines that have all of the given pairs of field and value.
func (r *replica) all(pairs ...string) []map[string]any {
	r.mu.Lock()
	defer r.mu.Unlock()
	var found []map[string]any
next:
	for _, line := range r.lines {
		for i := 0; i < len(pairs); i += 2 {
			if line[pairs[i]] != pairs[i+1] {
				continue next
			}
		}
		found = append(found, line)
	}
	return found
}

// await waits for a line with that event and the pairs of field and value.
func (r *replica) await(event string, pairs ...string) map[string]any {
	r.Helper()
	return r.awaitFor(patience, event, pairs...)
}

// awaitFor is await for what takes longer.
func (r *replica) awaitFor(limit time.Duration, event string, pairs ...string) map[string]any {
	r.Helper()
	pairs = append([]string{"event", event}, pairs...)
	var found []map[string]any
	within(r, limit, r.name+" to write "+strings.Join(pairs, " "), func() (bool, error) {
		found = r.all(pairs...)
		return len(found) > 0, nil
	})
	return found[0]
}

// guest is an instance with two ports that is about to migrate.
type guest struct {
	id, request string // its UUID, and Nova's id of the migration
	ports       []string
}

// cloud is a Neutron in memory.
type cloud struct {
	fake    *bindingtest.Neutron
	neutron consumer.Neutron
}

func newFakeCloud(t testing.TB) cloud {
	fake := bindingtest.New(t, source, dest)
	fake.AutoWire(true)
	return cloud{fake, consumer.NewNeutron(fake.Client())}
}

// guest adds an instance as Nova has prepared it for its migration.
func (c cloud) guest(t testing.TB) guest {
	t.Helper()
	g := guest{id: newUUID(), request: "req-" + newUUID()}
	for range 2 {
		id := c.fake.AddPort(bindingtest.PortOpts{
			Host: source, DeviceID: g.id, Status: binding.PortActive,
			Profile: map[string]any{"os_vif_delegation": true, "migrating_to": dest},
		})
		must(t, binding.Create(t.Context(), c.fake.Client(), id, binding.CreateOpts{Host: dest}).Err)
		g.ports = append(g.ports, id)
	}
	return g
}

// activates gives the requests to activate the row of a host.
func (c cloud) activates(host string) []bindingtest.Request {
	var found []bindingtest.Request
	for _, r := range c.fake.Requests() {
		if r.Op == binding.OpActivate && r.Host == host {
			found = append(found, r)
		}
	}
	return found
}

// host publishes what a compute host's publisher would, under the host's own
// broker user.
type host struct {
	t    testing.TB
	ch   *amqp.Channel
	name string
	user string // in the property user_id
	wire.Order
}

func (b *broker) host(name string) *host {
	user := "earlybind-" + name
	return &host{t: b, ch: b.channel(user), name: name, user: user, Order: wire.Order{Epoch: 1}}
}

// says publishes an event of a domain and gives the time before it did.
func (h *host) says(instance string, event wire.Event, detail wire.Detail) time.Time {
	h.t.Helper()
	now := time.Now()
	h.Sequence++
	e := wire.HostEvent{
		Schema: wire.SchemaVersion, Host: h.name, Order: h.Order, Instance: instance, Event: event, Detail: detail, At: now,
	}
	h.send(e.EventType(), e.RoutingKey(), e)
	return now
}

func (h *host) send(eventType, key string, payload any) {
	h.t.Helper()
	n, err := wire.NewNotification(wire.PublisherID(h.name), eventType, payload, newUUID(), time.Now())
	must(h.t, err)
	body, err := n.Encode()
	must(h.t, err)
	publish(h.t, h.ch, wire.ExchangeEvents, key, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, MessageId: n.MessageID, Type: eventType[:min(len(eventType), 255)], UserId: h.user, Body: body,
	})
}

// nova publishes notifications that a real Nova sent, legacy and versioned.
type nova struct {
	t        testing.TB
	ch       *amqp.Channel
	captured []captured
}

// captured is a notification of Nova 26.2.2 (Zed). In those about a migration from
// compute1 to compute2 the two ids were made replaceable.
type captured struct {
	EventType  string `json:"event_type"`
	RoutingKey string `json:"routing_key"`
	Body       string `json:"body"`
}

// nova declares the exchange as oslo.messaging does: not durable, unless told to.
func (b *broker) nova(durable bool) *nova {
	b.Helper()
	n := &nova{t: b, ch: b.channel("openstack")}
	must(b, n.ch.ExchangeDeclare("nova", amqp.ExchangeTopic, durable, false, false, false, nil))
	n.captured = readCaptured(b, "testdata/nova-zed.jsonl")
	return n
}

func readCaptured(t testing.TB, file string) (all []captured) {
	t.Helper()
	text, err := os.ReadFile(file)
	must(t, err)
	for line := range strings.Lines(string(text)) {
		var c captured
		must(t, json.Unmarshal([]byte(line), &c))
		all = append(all, c)
	}
	return all
}

// says publishes the notifications of one step in both formats.
func (n *nova) says(g guest, legacy, versioned string) {
	n.t.Helper()
	sent := 0
	for _, c := range n.captured {
		if c.EventType == legacy || c.EventType == versioned {
			body := strings.NewReplacer("@INSTANCE@", g.id, "@REQUEST@", g.request).Replace(c.Body)
			n.send(c.RoutingKey, []byte(body))
			sent++
		}
	}
	if sent != 2 {
		n.t.Fatalf("%d notifications captured of %s and %s", sent, legacy, versioned)
	}
}

func (n *nova) send(key string, body []byte) {
	n.t.Helper()
	publish(n.t, n.ch, "nova", key, amqp.Publishing{
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Body: body,
	})
}

func (n *nova) prepares(g guest) {
	n.t.Helper()
	n.says(g, "compute.instance.live_migration.pre.start", "instance.live_migration_pre.start")
	n.says(g, "compute.instance.live_migration.pre.end", "instance.live_migration_pre.end")
}

func (n *nova) takesOver(g guest) {
	n.t.Helper()
	n.says(g, "compute.instance.live_migration._post.start", "instance.live_migration_post.start")
	n.says(g, "compute.instance.live_migration.post.dest.end", "instance.live_migration_post_dest.end")
}

func (n *nova) rollsBack(g guest) {
	n.t.Helper()
	n.says(g, "compute.instance.live_migration._rollback.start", "instance.live_migration_rollback.start")
}

func (n *nova) hasRolledBack(g guest) {
	n.t.Helper()
	n.says(g, "compute.instance.live_migration._rollback.end", "instance.live_migration_rollback.end")
}

// left gives what is in the consumers' queues once none of them runs any more:
// what was not acknowledged has come back. Their ticks to themselves are left
// out, and so is the notification with that event_type: a handover ends with the
// first of the last step's two notifications, and its twin may be on its way.
func (b *broker) left(twin string) (found []string) {
	b.Helper()
	for _, queue := range []string{"earlybind", "earlybind.notifications"} {
		publish(b, b.channel("openstack"), "", queue, amqp.Publishing{Type: "last"})
		deliveries, err := b.channel("earlybind").Consume(queue, "", true, false, false, false, nil)
		must(b, err)
		found = append(found, leftIn(b, deliveries, twin)...)
	}
	return found
}

func leftIn(b *broker, deliveries <-chan amqp.Delivery, twin string) (found []string) {
	b.Helper()
	for {
		select {
		case d := <-deliveries:
			n, _ := wire.Decode(d.Body)
			switch {
			case d.Type == "last":
				return found
			case n.EventType != wire.EventTick && n.EventType != twin:
				found = append(found, d.RoutingKey+" "+string(d.Body))
			}
		case <-time.After(patience):
			b.Fatal("the queue does not deliver")
		}
	}
}
