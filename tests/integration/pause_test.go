//go:build integration

package integration

import (
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	broking "github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/wire"
)

// operator runs the program earlybind against a broker.
type operator struct {
	*broker
	program   string
	user      string
	queueType string
}

func newOperator(b *broker, queueType string) operator {
	b.Helper()
	return operator{b, built(b, "earlybind"), "earlybind", queueType}
}

// says gives an order and wants its exit code, and a text in what it answers.
func (o operator) says(code int, want string, args ...string) string {
	o.Helper()
	return o.with(o.password, code, want, args...)
}

func (o operator) with(password string, code int, want string, args ...string) string {
	o.Helper()
	cmd := exec.CommandContext(o.Context(), o.program, args...)
	cmd.Env = []string{
		"EARLYBIND_AMQP_URLS=" + o.url(), "EARLYBIND_AMQP_USER=" + o.user, "EARLYBIND_AMQP_PASSWORD=" + password, "EARLYBIND_QUEUE_TYPE=" + o.queueType,
	}
	out, err := cmd.CombinedOutput()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		o.Fatal(err)
	}
	if cmd.ProcessState.ExitCode() != code || !strings.Contains(string(out), want) || strings.Contains(string(out), o.password) {
		o.Fatalf("earlybind %s: exit code %d, want %d and %q\n%s", strings.Join(args, " "), cmd.ProcessState.ExitCode(), code, want, out)
	}
	o.Logf("earlybind %s:\n%s", strings.Join(args, " "), out)
	return string(out)
}

// settings are those of the consumers.
func (o operator) settings() consumer.Settings {
	return consumer.Settings{
		Settings: broking.Settings{AMQPUrls: []string{o.url()}, AMQPUser: "earlybind", AMQPPassword: config.Secret(o.password)},
		Queue:    "earlybind", QueueType: o.queueType, Shares: 1,
	}
}

// after tells how long after a moment the last line of an event was written.
func (r *replica) after(began time.Time, event string) time.Duration {
	r.Helper()
	lines := r.all("event", event)
	text, _ := lines[len(lines)-1]["time"].(string)
	written, err := time.Parse(time.RFC3339Nano, text)
	must(r, err)
	return written.Sub(began)
}

// An order reaches the active replica and the one that stands by within a second. That is
// timed: nothing runs beside it.
func TestRabbitMQPauseWithinASecond(t *testing.T) {
	for _, queueType := range []string{"quorum", "classic"} {
		t.Run(queueType, func(t *testing.T) {
			b, cloud := newBroker(t), newFakeCloud(t)
			o := newOperator(b, queueType)
			b.nova(true)
			start := func() *replica {
				return startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.QueueType = queueType })
			}
			acts := start()
			acts.await("consumer.active")
			standsBy := start()
			standsBy.await("consumer.started", "outcome", "bound")

			o.says(0, "nothing is paused\n", "pause", "-show") // so that the program is in memory
			began := time.Now()
			o.says(0, "nothing is committed\n", "pause")
			for _, r := range []*replica{acts, standsBy} {
				r.await("consumer.paused", "decided", "nothing is committed")
				took := r.after(began, "consumer.paused")
				t.Logf("%s obeys %d ms after the program's start", r.name, took.Milliseconds())
				if took > time.Second {
					t.Errorf("%s obeys after %s", r.name, took)
				}
			}
		})
	}
}

// An order outlives the active replica and the one that stands by, and is obeyed from nobody
// else; what was committed before is restored. Answers to orders are waited for two seconds:
// no test runs beside it but that of the other kind of queue.
func TestRabbitMQPause(t *testing.T) {
	for _, queueType := range []string{"quorum", "classic"} {
		t.Run(queueType, func(t *testing.T) {
			t.Parallel()
			testPause(t, queueType)
		})
	}
}

func testPause(t *testing.T, queueType string) {
	b, cloud := newBroker(t), newFakeCloud(t)
	o := newOperator(b, queueType)
	o.says(1, "no consumer has ever run here", "pause")
	o.with("wrong", 1, "username or password not allowed", "pause")

	start := func() *replica {
		return startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.QueueType = queueType })
	}
	nova, from, to := b.nova(true), b.host(source), b.host(dest)
	// begin takes a migration to where the guest has arrived; commits are due by then.
	begin := func(by *replica) guest {
		t.Helper()
		g := cloud.guest(t)
		nova.prepares(g)
		to.says(g.id, wire.Started, wire.Migrated)
		by.await("handover.armed", "instance", g.id)
		from.says(g.id, wire.Suspended, wire.Migrated)
		to.says(g.id, wire.Resumed, wire.Migrated)
		return g
	}
	committed := func(by *replica) guest {
		t.Helper()
		g := begin(by)
		for _, id := range g.ports {
			by.await("port.written", "port", id, "outcome", "activated")
		}
		return g
	}
	observed := func(by *replica, why string) {
		t.Helper()
		g := begin(by)
		for _, id := range g.ports {
			line := by.await("port.observed", "port", id)
			if text, _ := line["why"].(string); !strings.Contains(text, why) {
				t.Errorf("observed because %q, want %q", text, why)
			}
		}
		for _, id := range g.ports {
			if lines := by.all("event", "port.written", "port", id); len(lines) > 0 {
				t.Errorf("written: %v", lines)
			}
		}
	}

	a := start()
	a.await("consumer.active")
	standby := start()
	standby.await("consumer.started", "outcome", "bound")
	fails := committed(a)
	o.says(0, "nothing is paused\n", "pause", "-show") // nothing was ever paused

	out := o.says(0, "nothing is committed\n", "pause", "-why", "an upgrade")
	for _, r := range []*replica{a, standby} {
		r.await("consumer.paused", "decided", "nothing is committed")
		if !strings.Contains(out, r.name+" obeys") {
			t.Errorf("%s is not said to obey:\n%s", r.name, out)
		}
	}
	for range 2 { // it changes nothing
		if out := o.says(0, "nothing is committed\n  the last order to pause: by ", "pause", "-show"); !strings.Contains(out, ": an upgrade\n") {
			t.Errorf("%s", out)
		}
	}
	from.says(fails.id, wire.Resumed, wire.Migrated)
	nova.rollsBack(fails)
	to.says(fails.id, wire.Stopped, wire.Failed)
	nova.hasRolledBack(fails)
	a.await("handover.ended", "instance", fails.id, "outcome", "restored")
	wantRight(t, cloud, fails, source)
	observed(a, "commits are paused: by ")
	observed(a, ": an upgrade")

	// The one that stands by takes over: it has known all the time.
	a.stop()
	standby.await("consumer.active")
	observed(standby, "commits are paused: by ")
	standby.stop()
	o.says(0, "no consumer runs; who starts obeys", "pause", "-host", "compute9")
	c := start()
	c.await("consumer.paused", "decided", "nothing is committed; by name paused: compute9")
	c.await("consumer.active")
	observed(c, "commits are paused: by ")
	d := start()
	d.await("consumer.paused", "decided", "nothing is committed; by name paused: compute9")

	t.Run("Forged", func(t *testing.T) {
		n, err := wire.NewNotification("earlybind-order:x", wire.EventPaused, wire.Halt{Schema: wire.SchemaVersion, Revision: 1 << 60}, newUUID(), time.Now())
		must(t, err)
		body, err := n.Encode()
		must(t, err)
		ch := b.channel("earlybind-compute1")
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		must(t, ch.Publish("earlybind.paused", "kept", false, false, amqp.Publishing{UserId: "earlybind-compute1", Body: body}))
		if err := refusal(t, closed); err.Code != amqp.AccessRefused {
			t.Errorf("got %v", err)
		}
		// An administrator has all rights, but not earlybind's name.
		publish(t, b.channel("admin"), "earlybind.paused", "kept", amqp.Publishing{UserId: "admin", Body: body})
		publish(t, b.channel("admin"), "earlybind.paused", "kept", amqp.Publishing{Body: body})
		for _, r := range []*replica{c, d} {
			for _, user := range []string{"admin", ""} {
				r.await("host.refused", "kind", "identity", "why", fmt.Sprintf("refused: an order to pause came from user %q, not %q", user, "earlybind"))
			}
			if lines := r.all("event", "consumer.resumed"); len(lines) > 0 {
				t.Errorf("%v", lines)
			}
		}
		observed(c, "commits are paused: by ")
		late := start() // which finds them in what the broker keeps
		late.await("host.refused", "kind", "identity")
		late.await("consumer.paused", "decided", "nothing is committed; by name paused: compute9")
		late.stop()
	})

	o.says(0, "nothing is committed from or to compute9", "resume")
	c.await("consumer.paused", "decided", "nothing is committed from or to compute9")
	committed(c)
	o.says(0, "nothing is committed from or to compute2, compute9", "pause", "-host", dest)
	observed(c, "commits from and to "+dest+" are paused: by ")
	o.says(0, "nothing is paused", "resume", "-host", dest, "-host", "compute9")
	for _, r := range []*replica{c, d} {
		r.await("consumer.resumed")
	}
	committed(c)

	t.Run("OrdersAtOnce", func(t *testing.T) {
		const n = 8
		var giving sync.WaitGroup
		for i := range n {
			giving.Go(func() {
				for _, told := range consumer.Give(t.Context(), o.settings(), consumer.Order{Hosts: []string{fmt.Sprintf("h%d", i)}, By: "test"}) {
					if told.Err != nil || told.Missing != 0 {
						t.Errorf("%+v", told)
					}
				}
			})
		}
		giving.Wait()
		all := "nothing is committed from or to h0, h1, h2, h3, h4, h5, h6, h7"
		late := start()
		for _, r := range []*replica{c, d, late} {
			r.await("consumer.paused", "decided", all)
		}
		late.stop()
		eventually(t, "one message to be kept", func() (bool, error) { return ready(t, b.channel("earlybind"), "earlybind.paused") == 1, nil })
	})

	t.Run("ReadMoreOftenThanAQuorumQueueDelivers", func(t *testing.T) {
		ch := b.channel("earlybind")
		for range 1001 {
			m, ok, err := ch.Get("earlybind.paused", false)
			must(t, err)
			if ok {
				must(t, m.Nack(false, true))
			}
		}
		eventually(t, "the queue to have counted", func() (bool, error) {
			m, ok, err := ch.Get("earlybind.paused", false)
			if err != nil || !ok {
				return false, err
			}
			count, counts := m.Headers["x-delivery-count"].(int64)
			return counts == (queueType == "quorum") && (!counts || count > 1000), m.Nack(false, true)
		})
		late := start()
		late.await("consumer.paused", "decided", "nothing is committed from or to h0, h1, h2, h3, h4, h5, h6, h7")
		late.stop()
		eventually(t, "the message to be kept anew", func() (bool, error) {
			m, ok, err := ch.Get("earlybind.paused", false)
			if err != nil || !ok {
				return false, err
			}
			count, _ := m.Headers["x-delivery-count"].(int64)
			return count < 100, m.Nack(false, true)
		})
	})

	t.Run("Lost", func(t *testing.T) {
		eventually(t, "the message to be back", func() (bool, error) { return ready(t, b.channel("earlybind"), "earlybind.paused") == 1, nil })
		_, err := b.channel("earlybind").QueuePurge("earlybind.paused", false)
		must(t, err)
		late := start()
		late.await("consumer.paused", "decided", "nothing is committed until it is known what is paused")
		o.says(1, "the broker has lost what was paused", "pause", "-show")
		o.says(1, "the broker has lost what was paused", "pause", "-host", "h1")
		o.says(0, "nothing is paused", "resume")
		late.await("consumer.resumed")
		late.stop()
	})

	t.Run("OfAnotherVersion", func(t *testing.T) {
		n, err := wire.NewNotification("earlybind-order:x", wire.EventPaused, wire.Halt{Schema: wire.SchemaVersion + 1, Revision: 1 << 60}, newUUID(), time.Now())
		must(t, err)
		body, err := n.Encode()
		must(t, err)
		publish(t, b.channel("earlybind"), "earlybind.paused", "kept", amqp.Publishing{UserId: "earlybind", Body: body})
		for _, r := range []*replica{c, d} {
			r.await("consumer.paused", "decided", "nothing is committed until it is known what is paused")
		}
		o.says(1, "what was paused is not understood", "pause", "-host", "h1")
		o.says(0, "nothing is paused", "resume")
		committed(c)
	})

	t.Run("OneDoesNotAnswer", func(t *testing.T) {
		// A consumer of a version that knows of no pause reads the layout all the same.
		ch := b.channel("earlybind")
		_, err := ch.Consume("earlybind.layout", "old", false, false, false, false, nil)
		must(t, err)
		o.says(1, "1 of 3 that run have not answered", "pause")
		must(t, ch.Cancel("old", false))
		o.says(0, "nothing is paused", "resume")
	})

	// A connection that is lost: the session that follows knows, and says, nothing else.
	o.says(0, "nothing is committed\n", "pause")
	c.closeNamed(c.connection("earlybind-consumer " + c.name))
	c.await("consumer.lost")
	d.await("consumer.active")
	observed(d, "commits are paused: by ")
	b.api(http.MethodDelete, "permissions/"+b.vhost+"/earlybind", nil, nil)
	o.says(1, "access to vhost", "resume")
}
