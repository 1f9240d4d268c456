//go:build integration

package integration

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/check"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// alarm makes RabbitMQ short of memory until lift is called, or the test ends.
func alarm(t *testing.T) (lift func()) {
	t.Helper()
	l, err := lab.Find()
	must(t, err)
	ctl := func(command ...string) string {
		out, err := l.Exec(context.WithoutCancel(t.Context()), "rabbitmq", append([]string{"rabbitmqctl", "-q"}, command...)...)
		must(t, err)
		return strings.TrimSpace(out)
	}
	usual := ctl("eval", "vm_memory_monitor:get_vm_memory_high_watermark().")
	lift = func() { ctl("set_vm_memory_high_watermark", usual) }
	t.Cleanup(lift)
	ctl("set_vm_memory_high_watermark", "0.00001")
	return lift
}

// A broker that is short of memory blocks all that publish. A consumer that starts then
// waits for its own tick, and so reads no notification and writes nothing; when the
// broker reads again, all goes on in the same sessions, with what it has held. Not in parallel:
// the alarm is the whole broker's.
func TestRabbitMQMemoryAlarm(t *testing.T) {
	const backlog = 500
	b, cloud := newBroker(t), newFakeCloud(t)
	guest, nova := cloud.guest(t), b.nova(false)
	r := startReplica(b, cloud.neutron, nil)
	r.await("consumer.started", "outcome", "bound")
	r.stop()
	for range backlog {
		nova.send("notifications.info", []byte(`{"event_type": "compute.instance.exists"}`))
	}
	nova.prepares(guest)
	from, to := b.host(source), b.host(dest)
	publish(t, b.channel("admin"), wire.ExchangeEvents, "libvirt.x.states", amqp.Publishing{Body: []byte("poison")})
	other := newBroker(t) // of the same RabbitMQ: the publisher's lists are not those of the hosts here
	leave(other, "quorum")
	states := other.channel("admin")
	_, err := states.QueueDeclare("states", true, false, false, false, nil)
	must(t, err)
	must(t, states.QueueBind("states", "libvirt.#.states", wire.ExchangeEvents, false, nil))

	lift := alarm(t)
	r = startReplica(b, cloud.neutron, nil)
	longer := time.After(12 * time.Second) // than the broker's word on a parked message is waited for
	publisher := startPublisher(other)
	r.await("consumer.blocked", "outcome", "blocked")
	publisher.await("broker blocks publishing")
	if lines := r.all("event", "consumer.active"); len(lines) > 0 {
		t.Errorf("a tick came back: %v", lines)
	}
	began := time.Now()
	checkBroker(b, "earlybind", time.Minute, nil, nil).wants("rabbitmq.alarm", check.Blocker, "low on memory")
	if took := time.Since(began); took > patience {
		t.Errorf("a check of a broker that answers nothing took %s", took)
	}

	<-longer
	if lines := r.all("event", "message.parked"); len(lines) > 0 {
		t.Errorf("parked in a broker that reads nothing: %v", lines)
	}
	lift()
	r.await("consumer.blocked", "outcome", "unblocked")
	r.await("message.parked")
	r.await("consumer.active")
	wantBoard(t, r.board, "this replica acts") // by a tick that was sent after the alarm
	r.await("handover.armed", "instance", guest.id)
	eventually(t, "all to be acknowledged but what the handover holds", func() (bool, error) {
		var q struct{ Messages int }
		b.api(http.MethodGet, b.path("queues")+"/earlybind.notifications", nil, &q)
		return q.Messages == 4, nil // pre.start and pre.end, legacy and versioned
	})
	if d := get(t, states, "states"); d.UserId != "earlybind-"+source {
		t.Errorf("states of %q", d.UserId)
	}
	publisher.await("broker unblocked")
	publisher.await("host states published")
	to.says(guest.id, wire.Started, wire.Migrated)
	from.says(guest.id, wire.Suspended, wire.Migrated)
	to.says(guest.id, wire.Resumed, wire.Migrated)
	for _, id := range guest.ports {
		r.await("port.written", "port", id, "outcome", "activated")
	}
	from.says(guest.id, wire.Stopped, wire.Migrated)
	nova.takesOver(guest)
	r.await("handover.ended", "outcome", "migrated")
	wantRight(t, cloud, guest, dest)
	if lines := r.all("event", "consumer.lost"); len(lines) > 0 {
		t.Errorf("the session was lost: %v", lines)
	}
	if strings.Contains(publisher.log(), "broker is away") {
		t.Errorf("the publisher lost its session:\n%s", publisher.log())
	}
}
