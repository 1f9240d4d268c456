//go:build integration

package integration

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/wire"
)

// The publisher's own integration tests, in a compute host's container, where
// libvirt is: libvirt's test driver, the library and RabbitMQ are real.
func TestLibvirtPublisher(t *testing.T) {
	program := builtTests(t, "publisher")
	t.Parallel() // it waits half a minute for a queue that another has
	l, b := theLab(t), newBroker(t)
	runInside(t, l, source, program, "^TestReal",
		"EARLYBIND_TEST_LIBVIRT_URI=test:///default",
		"EARLYBIND_TEST_AMQP_URL=amqp://admin:"+b.password+"@rabbitmq:5672/"+b.vhost)
}

// libvirtd is started anew under a guest that runs: its publisher comes back by
// itself and says what is there now, since events may have been missed.
func TestLibvirtRestart(t *testing.T) {
	l := theLab(t)
	server, err := l.Server(t.Context())
	must(t, err)
	if server.Status != "ACTIVE" || server.TaskState != "" {
		t.Fatalf("the guest is %s, task %q", server.Status, server.TaskState)
	}
	states := statesOf(t, l, server.Host)
	last := states.next(false)

	began := time.Now()
	_, err = l.Exec(t.Context(), server.Host, "pkill", "-TERM", "-x", "libvirtd") // the lab starts it again
	must(t, err)
	after := states.next(true)
	t.Logf("%s: states %.1f s after libvirtd was told to end", server.Host, time.Since(began).Seconds())

	if !last.Order.Before(after.Order) {
		t.Errorf("order %+v after %+v", after.Order, last.Order)
	}
	if after.Epoch != last.Epoch {
		t.Error("the publisher itself was started again")
	}
	running := false
	for _, d := range after.Domains {
		running = running || d.Instance == server.ID && d.State == "running" && !d.Incoming
	}
	if !running {
		t.Errorf("the guest %s is not listed as running: %+v", server.ID, after.Domains)
	}
	eventually(t, "the publisher's log to tell of both", func() (bool, error) {
		lines, err := l.Lines(t.Context(), began, lab.PublisherOf(server.Host))
		away, back := false, false
		for _, line := range lines {
			away = away || line.Text("message") == "libvirt is away"
			back = back || line.Text("message") == "host states published" && line.Fields["reconnected"] == true
		}
		return away && back, err
	})

	// The lab is as it was: the host takes instances, the guest runs and answers.
	healthy, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	must(t, lab.Until(healthy, "the compute host to be ready again", func() (bool, error) {
		_, err := l.Exec(healthy, server.Host, "test", "-e", "/run/lab/ready")
		return err == nil, healthy.Err()
	}))
	must(t, lab.Until(healthy, "Nova to take the host into service again", func() (bool, error) {
		return inService(healthy, l, server.Host)
	}))
	if now, err := l.Server(healthy); err != nil || now != server {
		t.Errorf("the guest was %+v and is %+v, %v", server, now, err)
	}
	if n := l.Reachable(healthy); n != len(lab.Addresses) {
		t.Errorf("the guest answers on %d of %d addresses", n, len(lab.Addresses))
	}
}

// inService tells whether Nova's compute service of a host is up and enabled.
func inService(ctx context.Context, l *lab.Lab, host string) (bool, error) {
	var body struct {
		Services []struct{ State, Status string }
	}
	_, err := l.Nova.Get(ctx, l.Nova.ServiceURL("os-services")+"?binary=nova-compute&host="+host, &body, nil)
	if err != nil || len(body.Services) != 1 {
		return false, err
	}
	return body.Services[0].State == "up" && body.Services[0].Status == "enabled", nil
}

// hostStates listens beside the lab's consumers to what one host's publisher
// says of all its domains.
type hostStates struct {
	t          *testing.T
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
}

func statesOf(t *testing.T, l *lab.Lab, host string) hostStates {
	t.Helper()
	password, err := l.Password()
	must(t, err)
	ch := dial(t, "amqp://"+l.Address("rabbitmq")+":5672/", "admin", password)
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	must(t, err)
	must(t, ch.QueueBind(q.Name, "libvirt."+host+".states", wire.ExchangeEvents, false, nil))
	deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	must(t, err)
	return hostStates{t, ch, deliveries}
}

// forcedEnd is how long libvirtd may take to end when it is told to: then it ends by force
// (libvirt 11.3.0: "virNetDaemonRun: Make forcefull daemon shutdown" 30.0 s after SIGTERM, seen
// once).
const forcedEnd = 30 * time.Second

// next gives the next states, after asking for them unless they are to come by
// themselves because libvirt was away.
func (s hostStates) next(reconnected bool) wire.HostStates {
	s.t.Helper()
	if !reconnected {
		n, err := wire.NewNotification("earlybind-consumer:test", wire.EventStatesRequest,
			wire.StatesRequest{Schema: wire.SchemaVersion, Reason: "test"}, newUUID(), time.Now())
		must(s.t, err)
		body, err := n.Encode()
		must(s.t, err)
		publish(s.t, s.ch, wire.ExchangeRequests, "states", amqp.Publishing{Body: body})
	}
	limit := patience
	if reconnected {
		limit += forcedEnd
	}
	for {
		select {
		case d := <-s.deliveries:
			n, err := wire.Decode(d.Body)
			must(s.t, err)
			states, err := wire.ParseHostStates(n)
			must(s.t, err)
			if states.Reconnected == reconnected {
				return states
			}
		case <-time.After(limit):
			s.t.Fatalf("no states (reconnected: %v)", reconnected)
		}
	}
}
