package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/consumer"
	consumermetrics "github.com/earlybind/earlybind/consumer/metrics"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/publisher"
	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

// rig is earlybind from end to end in this process: two publishers, fed at
// libvirt's callback, and the consumer, whose activates go to the sink.
type rig struct {
	source, destination publisher.Feed
	sink                *sink
	said                *said
	nova                *amqp.Channel
	pausedAt            time.Time // the last one
	stop                func()
}

// patience is how long anything may take that takes milliseconds.
const patience = 30 * time.Second

// newRig starts it, with so many requests to the sink under way at most.
func newRig(ctx context.Context, r *rabbit, s *sink, directory string, requests int) (_ *rig, err error) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	rig := &rig{sink: s}
	rig.stop = func() { cancel(); running.Wait() }
	defer func() {
		if err != nil {
			rig.stop()
		}
	}()
	ch, closeNova, err := r.channel(ctx, "openstack")
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, closeNova)
	rig.nova = ch
	if err := declareNova(ch); err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(directory, "reaction.log"))
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { running.Wait(); _ = log.Close() })
	rig.said = newSaid(log)

	client, err := s.client(ctx)
	if err != nil {
		return nil, err
	}
	settings := consumer.Settings{
		Settings: r.settings("earlybind"), Policy: handover.PolicySuspended, Repair: handover.RepairOwn,
		NovaExchange: "nova", NotificationTopics: []string{"notifications", "versioned_notifications"},
		Queue: "earlybind", QueueType: "quorum", HostUserPrefix: "earlybind-", CommitWindow: 5 * time.Second, UpWithin: time.Second, HoldMessages: 10 * time.Minute, NeutronAtOnce: requests,
	}
	counted := consumermetrics.NewConsumer(prometheus.NewRegistry(), nil)
	running.Go(func() {
		_ = consumer.Replica{
			Name: "bench", Neutron: settings.Neutron(client), ConcurrentActivateSafe: true,
			Log: audit.New(rig.said, zerolog.InfoLevel, "bench").Counted(counted.Count), Board: health.NewBoard(), Metrics: counted,
		}.Run(ctx, time.Second, settings)
	})
	if err := rig.said.await(ctx, "consumer.active", ""); err != nil {
		return nil, err
	}
	for host, feed := range map[string]*publisher.Feed{source: &rig.source, destination: &rig.destination} {
		state := filepath.Join(directory, host)
		if err := os.MkdirAll(state, 0o700); err != nil {
			return nil, err
		}
		settings := publisher.Settings{
			Settings: r.settings("earlybind-" + host), Host: host, LibvirtURI: "fed:///", EventBuffer: 10_000, EventExpiry: 10 * time.Minute, StateDir: state,
		}
		running.Go(func() {
			_ = publisher.RunFed(ctx, settings, feed, time.Second, health.NewBoard(), metrics.NewPublisher(prometheus.NewRegistry()), zerolog.New(log).Level(zerolog.InfoLevel))
		})
	}
	// The first handover shows that all is connected.
	warm := newInstance(0, 1)
	for err = errNotConnected; errors.Is(err, errNotConnected); {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
			err = rig.arm(ctx, warm)
		}
	}
	if err == nil {
		_, err = rig.pause(ctx, warm)
	}
	if err == nil {
		rig.finish(ctx, warm)
		err = rig.said.await(ctx, "handover.ended", warm)
	}
	return rig, err
}

// declareNova makes Nova's exchange, as a Nova does that uses quorum queues.
func declareNova(ch *amqp.Channel) error {
	return ch.ExchangeDeclare("nova", amqp.ExchangeTopic, true, false, false, false, nil)
}

var errNotConnected = errors.New("a publisher is not connected")

// arm has a live migration begin and returns when the consumer has its rows.
func (r *rig) arm(ctx context.Context, instance string) error {
	if err := r.announce(ctx, instance); err != nil {
		return err
	}
	return r.said.await(ctx, armed, instance)
}

// announce has a live migration begin.
func (r *rig) announce(ctx context.Context, instance string) error {
	if _, ok := r.destination.Call(instance, wire.Started, wire.Migrated); !ok {
		return errNotConnected
	}
	return r.tell(ctx, instance, nova.Pre, false)
}

// pause stops the guest on the source, and gives how long each activate took to
// arrive from then.
func (r *rig) pause(ctx context.Context, instance string) ([]time.Duration, error) {
	at, ok := r.source.Call(instance, wire.Suspended, wire.Migrated)
	if !ok {
		return nil, errNotConnected
	}
	r.pausedAt = at
	return r.sink.collectOne(ctx, instance, at)
}

// finish has the migration succeed; its end is not waited for.
func (r *rig) finish(ctx context.Context, instance string) {
	r.destination.Call(instance, wire.Resumed, wire.Migrated)
	r.source.Call(instance, wire.Stopped, wire.Migrated)
	_ = r.tell(ctx, instance, nova.PostDest, true) // the broker's end shows in the next step
}

// tell sends Nova's notification of a step's start or end, the legacy one.
func (r *rig) tell(ctx context.Context, instance string, step nova.Step, ended bool) error {
	return notify(ctx, r.nova, instance, step, ended)
}

func notify(ctx context.Context, ch *amqp.Channel, instance string, step nova.Step, ended bool) error {
	m := nova.Migration{Instance: instance, RequestID: "req-" + instance, Source: source, Destination: destination}
	n := m.Notifications(step, ended)[0]
	return ch.PublishWithContext(ctx, "nova", n.RoutingKey, false, false, amqp.Publishing{
		ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: n.Body,
	})
}

// quiet is after how long without an activate none is expected any more: the
// consumer sends none later than its commit window of 5 s.
const quiet = 8 * time.Second

// collect waits for every activate of instances, and gives how long after its
// instance's moment each arrived, in their order.
func (s *sink) collect(ctx context.Context, since map[string]time.Time) (map[string][]time.Duration, error) {
	missing := 0
	for instance := range since {
		missing += len(portsOf(instance))
	}
	took := map[string][]time.Duration{}
	late := time.NewTimer(quiet)
	defer late.Stop()
wait:
	for missing > 0 {
		select {
		case a := <-s.arrived:
			late.Reset(quiet)
			instance := instanceOf(a.port)
			if at, ours := since[instance]; ours {
				took[instance] = append(took[instance], a.at.Sub(at))
				missing--
			}
		case <-late.C:
			break wait
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return took, nil
}

func (s *sink) collectOne(ctx context.Context, instance string, at time.Time) ([]time.Duration, error) {
	arrived, err := s.collect(ctx, map[string]time.Time{instance: at})
	if err == nil && len(arrived[instance]) < len(portsOf(instance)) {
		err = fmt.Errorf("the activates of %s have not arrived within %s", instance, quiet)
	}
	return arrived[instance], err
}

// armed is what is awaited before a guest is paused: the rows are known, and the
// destination has spoken.
const armed = "armed"

// said is the consumer's audit log, kept in a file and watched for lines.
type said struct {
	to *os.File

	mu     sync.Mutex
	heard  map[[2]string]int       // event and instance
	at     map[[2]string]time.Time // when some of that was first said
	change chan struct{}           // closed and replaced with each line that counts
}

func newSaid(to *os.File) *said {
	return &said{to: to, heard: map[[2]string]int{}, at: map[[2]string]time.Time{}, change: make(chan struct{})}
}

// Write takes one line. It runs in the consumer's own goroutines, so that it must
// cost no more than writing does.
func (s *said) Write(line []byte) (int, error) {
	event := field(line, "event")
	switch event {
	case "handover.armed":
		if field(line, "outcome") == "armed" {
			s.hear(armed, field(line, "instance"))
		}
	case "evidence.seen":
		switch field(line, "saw") {
		case "libvirt: started/migrated":
			s.hear(armed, field(line, "instance"))
		case "libvirt: suspended/migrated":
			s.note(event, field(line, "instance"))
		}
	case "handover.ended", "consumer.active":
		s.hear(event, field(line, "instance"))
	}
	return s.to.Write(line)
}

func (s *said) hear(event, instance string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard[[2]string{event, instance}]++
	close(s.change)
	s.change = make(chan struct{})
}

// note keeps when something was said first.
func (s *said) note(event, instance string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if key := [2]string{event, instance}; s.at[key].IsZero() {
		s.at[key] = now
	}
}

// when tells when something was said first.
func (s *said) when(event, instance string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at[[2]string{event, instance}]
}

// await returns when a line has been written.
func (s *said) await(ctx context.Context, event, instance string) error {
	want := 1
	if event == armed {
		want = 2 // the rows, and the destination's word
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		s.mu.Lock()
		heard, change := s.heard[[2]string{event, instance}], s.change
		s.mu.Unlock()
		if heard >= want {
			return nil
		}
		select {
		case <-change:
		case <-late.C:
			return fmt.Errorf("the consumer has not said %s of instance %q within %s; see %s", event, instance, patience, s.to.Name())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// field reads one text field of a line of JSON that our own logger has written.
func field(line []byte, name string) string {
	_, rest, _ := bytes.Cut(line, []byte(`"`+name+`":"`))
	value, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(value)
}
