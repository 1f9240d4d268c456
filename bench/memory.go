package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

// remember measures what the programs need: the consumer with nothing to do and
// with many armed handovers, the publisher with nothing to do.
func remember(ctx context.Context, r *rabbit, o options, rep *report) error {
	if err := idleConsumer(ctx, r, o, rep); err != nil {
		return fmt.Errorf("consumer: %w", err)
	}
	if err := idlePublisher(ctx, r, o, rep); err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	return nil
}

func idleConsumer(ctx context.Context, r *rabbit, o options, rep *report) error {
	s, err := newSink()
	if err != nil {
		return err
	}
	defer s.close()
	p, err := start(ctx, append(append(r.environment("earlybind"), s.environment()...), "EARLYBIND_POLICY=suspended", "EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE=safe"), "bin/earlybind-consumer")
	if err != nil {
		return err
	}
	defer func() { _, _ = p.end() }()
	if _, err := p.await(patience, `"consumer.active"`); err != nil {
		return err
	}
	p.fatal = `"consumer.lost"` // with its session all that it holds is gone
	pause(ctx, o.idle)
	idle, err := resident(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	rep.judge("memory", "consumer, idle", "MiB", idle/1024, 0, atMost(30, ""))
	if err := armMany(ctx, r, p, o.armed, o.armedAtOnce); err != nil {
		return err
	}
	pause(ctx, o.idle)
	full, err := resident(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	rep.note("memory", fmt.Sprintf("consumer, %d armed handovers", o.armed), "MiB", full/1024)
	rep.judge("memory", "consumer, each armed handover", "KiB", (full-idle)/float64(o.armed), 0, atMost(2, ""))
	return nil
}

// armMany has many live migrations begin: Nova says so, and the destination's publisher
// that a domain comes in. The consumer holds these messages until the handovers end. They
// come in steps, so that Neutron is not asked about all at once.
func armMany(ctx context.Context, r *rabbit, p *process, count, step int) error {
	host, closeHost, err := r.channel(ctx, "earlybind-"+destination)
	if err != nil {
		return err
	}
	defer closeHost()
	cloud, closeCloud, err := r.channel(ctx, "openstack")
	if err != nil {
		return err
	}
	defer closeCloud()
	if err := declareNova(cloud); err != nil {
		return err
	}
	order := wire.Order{Epoch: time.Now().UnixNano()}
	isArmed := map[string]bool{}
	for begun := 0; begun < count; {
		more := min(step, count-begun)
		for range more {
			begun++
			order.Sequence++
			instance := newInstance(1<<24+begun, 1)
			if err := notify(ctx, cloud, instance, nova.Pre, false); err != nil {
				return err
			}
			if err := announceStarted(ctx, host, instance, order); err != nil {
				return err
			}
		}
		for len(isArmed) < begun { // some are read twice
			line, err := p.await(2*time.Minute, `"handover.armed"`, `"outcome":"armed"`)
			if err != nil {
				return fmt.Errorf("%d handovers are to be armed, and %d are: %w", begun, len(isArmed), err)
			}
			isArmed[field([]byte(line), "instance")] = true
		}
		if begun%(10*step) == 0 {
			say("memory: %d handovers are armed", begun)
		}
	}
	return nil
}

// announceStarted has the destination's publisher say that its domain comes in.
func announceStarted(ctx context.Context, ch *amqp.Channel, instance string, order wire.Order) error {
	event := wire.HostEvent{
		Schema: wire.SchemaVersion, Host: destination, Order: order, Instance: instance,
		Event: wire.Started, Detail: wire.Migrated, At: time.Now(),
	}
	n, err := wire.NewNotification(wire.PublisherID(destination), event.EventType(), event, rand.Text(), time.Now())
	if err != nil {
		return err
	}
	body, err := n.Encode()
	if err != nil {
		return err
	}
	return ch.PublishWithContext(ctx, wire.ExchangeEvents, event.RoutingKey(), true, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, UserId: "earlybind-" + destination, Body: body,
	})
}

// idlePublisher runs one in a container, where libvirt's library is, with libvirt's
// own test driver, which has one domain that nothing happens to. What a bare
// connection costs with the same heartbeats is measured beside it. It runs as nobody, as in
// docker-compose.yml: /var/lib/earlybind of the image is that user's.
func idlePublisher(ctx context.Context, r *rabbit, o options, rep *report) error {
	program, err := filepath.Abs("bin/earlybind-publisher")
	if err != nil {
		return err
	}
	args := []string{"run", "--detach", "--init", "--user", "65534:65534", "--name", publisherName, "--volume", program + ":/usr/local/bin/earlybind-publisher:ro",
		"--env", "EARLYBIND_HOST=" + source, "--env", "EARLYBIND_LIBVIRT_URI=test:///default"}
	// By name alone, so that the password is not on a command line.
	for _, pair := range r.environment("earlybind-" + source) {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.Setenv(name, value); err != nil {
			return err
		}
		defer os.Unsetenv(name)
		args = append(args, "--env", name)
	}
	if _, err := docker(ctx, append(args, "earlybind-lab/earlybind:"+release, "earlybind-publisher")...); err != nil {
		return err
	}
	defer func() { _, _ = docker(context.WithoutCancel(ctx), "rm", "--force", publisherName) }()
	bare, err := startBare(ctx, r, 0)
	if err != nil {
		return err
	}
	defer func() { _, _ = bare.end() }()
	if _, err := bare.await(patience, "connected"); err != nil {
		return err
	}
	pid, err := publisherPID(ctx)
	if err != nil {
		return err
	}
	pause(ctx, o.idle)
	rss, err := resident(pid)
	if err != nil {
		return err
	}
	rep.judge("memory", "publisher, idle", "MiB", rss/1024, 0, atMost(25, ""))
	pids := []int{pid, bare.cmd.Process.Pid}
	var before [2]map[string]float64
	var perSecond [2]float64
	for i, p := range pids {
		if before[i], err = wakeUps(p); err != nil {
			return err
		}
	}
	began := time.Now()
	pause(ctx, o.watch)
	for i, p := range pids {
		now, err := wakeUps(p)
		if err != nil {
			return err
		}
		perSecond[i] = between(before[i], now) / time.Since(began).Seconds()
	}
	rep.judge("memory", "publisher, idle, wake-ups of its threads", "1/s", perSecond[0], perSecond[1], atMost(1.1, "heartbeats of a bare connection"))
	return nil
}

// publisherPID finds the program below the container's init, once it has connected.
func publisherPID(ctx context.Context) (int, error) {
	for limit := time.Now().Add(patience); time.Now().Before(limit); pause(ctx, 200*time.Millisecond) {
		logs, err := docker(ctx, "logs", publisherName)
		if err != nil {
			return 0, err
		}
		if !strings.Contains(logs, "broker connected") || !strings.Contains(logs, "host states published") {
			continue
		}
		init, err := docker(ctx, "inspect", "--format", "{{.State.Pid}}", publisherName)
		if err != nil {
			return 0, err
		}
		children, err := os.ReadFile("/proc/" + init + "/task/" + init + "/children")
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(string(children)))
	}
	return 0, errors.New("it has not connected within " + patience.String())
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
