package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/simulated/nova"
)

// captured are notifications of Nova 26.2.2 (Zed) about other things than a live
// migration, as they came off RabbitMQ, without tokens.
//
//go:embed testdata/notifications.jsonl
var capturedNotifications string

// notification is one message for the exchange nova.
type notification struct {
	RoutingKey string `json:"routing_key"`
	Body       string
}

// migrationEvery is how many notifications there are for one live migration, which
// has 12 of them: 1 in 167 is about one.
const migrationEvery = 2000

// Queues that get the same messages as the consumer's own of Nova's notifications.
const (
	ourQueue  = "earlybind.notifications"
	bareQueue = "bench-bare"
	osloTopic = "bench-oslo"
)

// firehose measures how fast each of three consumers takes in a queue full of
// notifications: earlybind, a bare one that decodes nothing, and oslo.messaging's
// listener. All get the same messages, in a queue of the same type each, round by
// round.
type firehose struct {
	rabbit   *rabbit
	sink     *sink
	ch       *amqp.Channel
	confirms chan amqp.Confirmation
	corpus   []notification
	next     int // number of the next instance
	sent     int
}

func filter(ctx context.Context, r *rabbit, o options, rep *report) error {
	s, err := newSink()
	if err != nil {
		return err
	}
	defer s.close()
	ch, closeAll, err := r.channel(ctx, "admin")
	if err != nil {
		return err
	}
	defer closeAll()
	f := &firehose{rabbit: r, sink: s, ch: ch, next: 1 << 20}
	if err := f.prepare(ctx); err != nil {
		return err
	}
	var ours, bare, oslo []used
	for round := range o.rounds {
		withOslo := round < o.oslo
		if err := f.fill(ctx, o.messages, withOslo); err != nil {
			return fmt.Errorf("fill the queues: %w", err)
		}
		say("firehose: round %d of %d is in the queues", round+1, o.rounds)
		order := []func() error{
			func() error { return keep(&ours)(f.ours(ctx)) },
			func() error { return keep(&bare)(f.bare(ctx, o.messages)) },
		}
		if round%2 == 1 {
			order[0], order[1] = order[1], order[0]
		}
		if withOslo {
			order = append(order, func() error { return keep(&oslo)(f.oslo(ctx, o.messages)) })
		}
		for _, take := range order {
			if err := take(); err != nil {
				return err
			}
		}
	}
	rates := func(name string, all []used) (perSecond, perCPU []float64) {
		for _, u := range all {
			perSecond = append(perSecond, float64(o.messages)/u.Seconds)
			perCPU = append(perCPU, float64(o.messages)/u.CPU)
		}
		rep.series("firehose", name, "messages/s", perSecond)
		rep.series("firehose", name, "messages/CPU s", perCPU)
		return perSecond, perCPU
	}
	oursWall, oursCPU := rates("earlybind", ours)
	bareWall, bareCPU := rates("bare amqp091-go", bare)
	osloWall, osloCPU := rates("oslo.messaging listener", oslo)
	rep.judge("firehose", "filtered", "messages/s", median(oursWall), median(bareWall), atLeast(0.8, "bare"))
	rep.judge("firehose", "filtered", "messages/CPU s", median(oursCPU), median(bareCPU), atLeast(0.8, "bare"))
	rep.judge("firehose", "filtered", "messages/s", median(oursWall), median(osloWall), atLeast(25, "oslo"))
	rep.judge("firehose", "filtered", "messages/CPU s", median(oursCPU), median(osloCPU), atLeast(25, "oslo"))
	return nil
}

// keep appends a measurement, or hands the error on.
func keep(to *[]used) func(used, error) error {
	return func(u used, err error) error {
		*to = append(*to, u)
		return err
	}
}

// prepare makes the queues and binds them as Nova's notifications come.
func (f *firehose) prepare(ctx context.Context) error {
	for line := range strings.Lines(capturedNotifications) {
		var n notification
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			return err
		}
		f.corpus = append(f.corpus, n)
	}
	if err := declareNova(f.ch); err != nil {
		return err
	}
	if _, err := f.ch.QueueDeclare(bareQueue, true, false, false, false, queueLikeOurs); err != nil {
		return err
	}
	// oslo.messaging declares its own, and earlybind too.
	if _, err := f.listen(ctx, 0); err != nil {
		return err
	}
	p, err := f.consumer(ctx)
	if err != nil {
		return err
	}
	if _, err := p.await(patience, `"consumer.active"`); err != nil {
		return err
	}
	if _, err := p.end(); err != nil {
		return err
	}
	for _, queue := range []string{ourQueue, bareQueue} {
		for _, key := range []string{"notifications.info", "versioned_notifications.info"} {
			if err := f.ch.QueueBind(queue, key, "nova", false, nil); err != nil {
				return err
			}
		}
	}
	f.confirms = f.ch.NotifyPublish(make(chan amqp.Confirmation, prefetch))
	return f.ch.Confirm(false)
}

// fill puts count messages into every queue, and for oslo too if asked.
func (f *firehose) fill(ctx context.Context, count int, forOslo bool) error {
	queue := osloTopic + ".info"
	for _, one := range []string{ourQueue, bareQueue, queue} {
		if _, err := f.ch.QueuePurge(one, false); err != nil {
			return err
		}
	}
	for _, key := range []string{"notifications.info", "versioned_notifications.info"} {
		change := f.ch.QueueUnbind
		if forOslo {
			change = func(name, key, exchange string, args amqp.Table) error {
				return f.ch.QueueBind(name, key, exchange, false, args)
			}
		}
		if err := change(queue, key, "nova", nil); err != nil {
			return err
		}
	}
	outstanding := 0
	var about []nova.Notification // the rest of a live migration's
	for i := range count {
		n := f.corpus[i%len(f.corpus)]
		if i%migrationEvery == 0 && count-i > migrationEvery {
			about = f.migration()
		}
		if len(about) > 0 && i%100 == 0 {
			n, about = notification{about[0].RoutingKey, string(about[0].Body)}, about[1:]
		}
		err := f.ch.PublishWithContext(ctx, "nova", n.RoutingKey, false, false, amqp.Publishing{
			ContentType: "application/json", DeliveryMode: amqp.Persistent, Body: f.unique(n.Body),
		})
		if err != nil {
			return err
		}
		for outstanding++; outstanding >= prefetch/2 || i == count-1 && outstanding > 0; outstanding-- {
			select {
			case c, ok := <-f.confirms:
				if !ok || !c.Ack {
					return errors.New("the broker has refused a message")
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}
	return f.mark(ctx)
}

// mark puts a message behind all in the consumer's queue that it cannot but park, and
// says so.
func (f *firehose) mark(ctx context.Context) error {
	if err := f.ch.PublishWithContext(ctx, "", ourQueue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("the last")}); err != nil {
		return err
	}
	select {
	case c, ok := <-f.confirms:
		if !ok || !c.Ack {
			return errors.New("the broker has refused a message")
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unique gives a notification an id of its own: oslo.messaging drops one that it has
// seen.
func (f *firehose) unique(body string) []byte {
	const key, length = `\"_unique_id\": \"`, 32
	own := []byte(body)
	if at := strings.Index(body, key); at >= 0 {
		f.sent++
		copy(own[at+len(key):], fmt.Sprintf("%0*x", length, f.sent))
	}
	return own
}

// migration gives all notifications of a live migration that has gone well.
func (f *firehose) migration() []nova.Notification {
	f.next++
	instance := newInstance(f.next, 1)
	for _, port := range portsOf(instance) {
		f.sink.ports.Store(port, moved)
	}
	m := nova.Migration{Instance: instance, RequestID: "req-" + instance, Source: source, Destination: destination}
	var all []nova.Notification
	for _, step := range []nova.Step{nova.Pre, nova.Post, nova.PostDest} {
		all = append(all, m.Notifications(step, false)...)
		all = append(all, m.Notifications(step, true)...)
	}
	return all
}

// consumer starts the real program, as it is shipped: it observes.
func (f *firehose) consumer(ctx context.Context) (*process, error) {
	return start(ctx, append(f.rabbit.environment("earlybind"), f.sink.environment()...), "bin/earlybind-consumer")
}

// ours is the time from when it begins to read the notifications until it has parked
// the last message of that queue.
func (f *firehose) ours(ctx context.Context) (used, error) {
	p, err := f.consumer(ctx)
	if err != nil {
		return used{}, err
	}
	defer func() { _, _ = p.end() }()
	if _, err := p.await(patience, `"consumer.active"`); err != nil {
		return used{}, err
	}
	began := time.Now()
	if _, err := p.await(5*time.Minute, `"message.parked"`); err != nil {
		return used{}, err
	}
	u := used{Seconds: time.Since(began).Seconds()}
	cpu, err := p.end()
	u.CPU = cpu.Seconds()
	return u, err
}

// bare is this program in a process of its own.
func (f *firehose) bare(ctx context.Context, count int) (used, error) {
	p, err := startBare(ctx, f.rabbit, count)
	if err != nil {
		return used{}, err
	}
	defer func() { _, _ = p.end() }()
	line, err := p.await(5*time.Minute, "seconds")
	if err != nil {
		return used{}, err
	}
	var u used
	if err := json.Unmarshal([]byte(line), &u); err != nil {
		return used{}, err
	}
	cpu, err := p.end()
	u.CPU = cpu.Seconds()
	return u, err
}

func startBare(ctx context.Context, r *rabbit, count int) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(ctx, r.environment("admin"), self, "-bare", strconv.Itoa(count))
}

func (f *firehose) oslo(ctx context.Context, count int) (used, error) { return f.listen(ctx, count) }

// listen runs oslo.messaging's listener in a container of its own.
func (f *firehose) listen(ctx context.Context, count int) (used, error) {
	program, err := filepath.Abs("bench/testdata/listener.py")
	if err != nil {
		return used{}, err
	}
	out, err := docker(ctx, "run", "--rm", "--name", listenerName, "--volume", program+":/listener.py:ro", "earlybind-lab/openstack:"+release,
		"python3", "/listener.py", "rabbit://openstack:"+f.rabbit.password+"@"+f.rabbit.address+":5672/", "nova", osloTopic, strconv.Itoa(count))
	if err != nil {
		return used{}, err
	}
	var u used
	return u, json.Unmarshal([]byte(out), &u)
}
