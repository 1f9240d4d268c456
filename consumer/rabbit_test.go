package consumer

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/health"
)

// rabbit is a RabbitMQ in memory, for synctest's bubbles, where no network is: it knows just
// enough AMQP for sessions, with queues of one active consumer, a prefetch and confirms. What
// the real one does stands in tests/integration.
type rabbit struct {
	mu     sync.Mutex
	queues map[string]*rabbitQueue
	links  []*rabbitLink
	sent   map[string]int // by exchange and routing key: what was published
	// confirms is asked how long the broker's word takes; may be nil.
	confirms func(exchange string) time.Duration
}

type rabbitQueue struct {
	bound     [][2]string // exchange and routing key, where "#" stands for all that follows
	ready     []rabbitMessage
	consumers []*rabbitConsumer // the first one is served
}

type rabbitMessage struct {
	exchange, key string
	properties    []byte // as they are on the wire
	body          []byte
	again         bool
}

type rabbitConsumer struct {
	channel *rabbitChannel
	tag     string
}

// rabbitLink is a connection.
type rabbitLink struct {
	name     string
	conn     net.Conn
	out      chan []byte
	channels map[uint16]*rabbitChannel
}

type rabbitChannel struct {
	link      *rabbitLink
	number    uint16
	prefetch  int
	published uint64
	coming    rabbitMessage // whose body is yet to come
	size      uint64
	delivered uint64
	unsettled map[uint64]rabbitUnsettled
}

type rabbitUnsettled struct {
	queue string
	rabbitMessage
}

func newRabbit() *rabbit { return &rabbit{queues: map[string]*rabbitQueue{}, sent: map[string]int{}} }

// dial is a [Consumer]'s.
func (r *rabbit) dial(_ context.Context, s broker.Settings, names ...string) (conns []*amqp.Connection, err error) {
	for _, name := range names {
		conn, err := r.link(s, name)
		if err != nil {
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

func (r *rabbit) link(s broker.Settings, name string) (*amqp.Connection, error) {
	here, there := net.Pipe()
	link := &rabbitLink{name: name, conn: there, out: make(chan []byte, 1<<16), channels: map[uint16]*rabbitChannel{}}
	r.mu.Lock()
	r.links = append(r.links, link)
	r.mu.Unlock()
	go func() {
		for b := range link.out {
			_, _ = there.Write(b)
		}
		_ = there.Close()
	}()
	go r.serve(link)
	return amqp.Open(here, amqp.Config{SASL: []amqp.Authentication{&amqp.PlainAuth{Username: s.AMQPUser}}})
}

// cut ends the connection of that name, as the network does.
func (r *rabbit) cut(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		if l.name == name {
			_ = l.conn.Close()
		}
	}
}

// block tells every connection that nothing is read that is published, or that it is again.
// What is published meanwhile is counted and taken all the same.
func (r *rabbit) block(active bool) {
	defer synctest.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.links {
		if active {
			l.method(0, 10, 60, short("low on memory"))
		} else {
			l.method(0, 10, 61, nil)
		}
	}
}

// publish is by another program, of that user.
func (r *rabbit) publish(exchange, key, user string, body []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.route(rabbitMessage{exchange: exchange, key: key, properties: append([]byte{0, 0x10}, short(user)...), body: body})
}

// published tells how many messages were, by sessions.
func (r *rabbit) published(exchange, key string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent[exchange+" "+key]
}

// holds tells how many messages a queue holds.
func (r *rabbit) holds(queue string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := len(r.queue(queue).ready)
	for _, l := range r.links {
		for _, ch := range l.channels {
			for _, m := range ch.unsettled {
				if m.queue == queue {
					count++
				}
			}
		}
	}
	return count
}

func (r *rabbit) queue(name string) *rabbitQueue {
	q, known := r.queues[name]
	if !known {
		q = &rabbitQueue{}
		r.queues[name] = q
	}
	return q
}

func (r *rabbit) route(m rabbitMessage) {
	for name, q := range r.queues {
		if slices.ContainsFunc(q.bound, func(b [2]string) bool {
			prefix, all := strings.CutSuffix(b[1], "#")
			return b[0] == m.exchange && (b[1] == m.key || all && strings.HasPrefix(m.key, prefix))
		}) {
			q.ready = append(q.ready, m)
			r.deliver(name)
		}
	}
}

func (r *rabbit) deliver(name string) {
	q := r.queue(name)
	for len(q.ready) > 0 && len(q.consumers) > 0 {
		to := q.consumers[0]
		ch := to.channel
		if len(ch.unsettled) >= ch.prefetch {
			return
		}
		m := q.ready[0]
		q.ready = q.ready[1:]
		ch.delivered++
		ch.unsettled[ch.delivered] = rabbitUnsettled{name, m}
		again := byte(0)
		if m.again {
			again = 1
		}
		args := slices.Concat(short(to.tag), number(ch.delivered), []byte{again}, short(m.exchange), short(m.key))
		header := slices.Concat([]byte{0, 60, 0, 0}, number(uint64(len(m.body))), m.properties)
		ch.link.method(ch.number, 60, 60, args)
		ch.link.frame(2, ch.number, header)
		ch.link.frame(3, ch.number, m.body)
	}
}

// settle ends what a channel holds of these tags; back: it is ready again.
func (r *rabbit) settle(ch *rabbitChannel, back bool, tags ...uint64) {
	returned := map[string][]rabbitMessage{}
	for _, tag := range tags {
		m, held := ch.unsettled[tag]
		if !held {
			continue
		}
		delete(ch.unsettled, tag)
		if returned[m.queue] = returned[m.queue][:]; back {
			m.again = true
			returned[m.queue] = append(returned[m.queue], m.rabbitMessage)
		}
	}
	for name, messages := range returned {
		q := r.queue(name)
		q.ready = append(messages, q.ready...)
		r.deliver(name)
	}
}

// leave ends a channel.
func (r *rabbit) leave(ch *rabbitChannel) {
	delete(ch.link.channels, ch.number)
	for _, q := range r.queues {
		q.consumers = slices.DeleteFunc(q.consumers, func(c *rabbitConsumer) bool { return c.channel == ch })
	}
	r.settle(ch, true, slices.Sorted(maps.Keys(ch.unsettled))...)
	for name := range r.queues {
		r.deliver(name)
	}
}

func (r *rabbit) serve(l *rabbitLink) {
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, ch := range l.channels {
			r.leave(ch)
		}
		r.links = slices.DeleteFunc(r.links, func(one *rabbitLink) bool { return one == l })
		close(l.out)
		l.out = nil
	}()
	if _, err := io.CopyN(io.Discard, l.conn, 8); err != nil { // "AMQP" and the version
		return
	}
	r.mu.Lock()
	l.method(0, 10, 10, slices.Concat([]byte{0, 9, 0, 0, 0, 0}, long("PLAIN"), long("en_US")))
	r.mu.Unlock()
	for {
		var head [7]byte
		if _, err := io.ReadFull(l.conn, head[:]); err != nil {
			return
		}
		payload := make([]byte, binary.BigEndian.Uint32(head[3:])+1)
		if _, err := io.ReadFull(l.conn, payload); err != nil {
			return
		}
		r.mu.Lock()
		r.take(l, head[0], binary.BigEndian.Uint16(head[1:]), fields{payload[:len(payload)-1]})
		r.mu.Unlock()
	}
}

// take takes one frame.
func (r *rabbit) take(l *rabbitLink, kind byte, channel uint16, f fields) {
	ch := l.channels[channel]
	switch kind {
	case 2:
		f.take(4)
		ch.size = binary.BigEndian.Uint64(f.take(8))
		ch.coming.properties, ch.coming.body = f.rest, nil
		if ch.size == 0 {
			r.taken(ch)
		}
		return
	case 3:
		if ch.coming.body = append(ch.coming.body, f.rest...); uint64(len(ch.coming.body)) == ch.size {
			r.taken(ch)
		}
		return
	case 8:
		return
	}
	class, method := f.id(), f.id()
	answer := func(args []byte) { l.method(channel, class, method+1, args) }
	switch [2]uint16{class, method} {
	case [2]uint16{10, 11}: // start-ok
		l.method(0, 10, 30, make([]byte, 8)) // tune
	case [2]uint16{10, 31}: // tune-ok
	case [2]uint16{10, 40}: // open
		answer(short(""))
	case [2]uint16{10, 50}, [2]uint16{40, 10}, [2]uint16{50, 50}, [2]uint16{85, 10}: // close, exchange.declare, queue.unbind, confirm.select
		answer(nil)
	case [2]uint16{20, 10}: // channel.open
		l.channels[channel] = &rabbitChannel{link: l, number: channel, unsettled: map[uint64]rabbitUnsettled{}}
		answer(long(""))
	case [2]uint16{20, 40}: // channel.close
		r.leave(ch)
		answer(nil)
	case [2]uint16{20, 41}: // channel.close-ok
	case [2]uint16{50, 10}: // queue.declare
		f.take(2)
		name := f.short()
		if passive := f.take(1)[0]&1 == 1; passive && r.queues[name] == nil {
			r.leave(ch)
			l.method(channel, 20, 40, slices.Concat([]byte{1, 148}, short("NOT_FOUND - no queue"), make([]byte, 4)))
			return
		}
		r.queue(name)
		answer(slices.Concat(short(name), make([]byte, 8)))
	case [2]uint16{50, 20}: // queue.bind
		f.take(2)
		q := r.queue(f.short())
		q.bound = append(q.bound, [2]string{f.short(), f.short()})
		answer(nil)
	case [2]uint16{60, 10}: // qos
		f.take(4)
		ch.prefetch = int(f.id())
		answer(nil)
	case [2]uint16{60, 20}: // consume
		f.take(2)
		name, tag := f.short(), f.short()
		answer(short(tag))
		r.queue(name).consumers = append(r.queue(name).consumers, &rabbitConsumer{ch, tag})
		r.deliver(name)
	case [2]uint16{60, 30}: // cancel
		tag := f.short()
		answer(short(tag))
		for name, q := range r.queues {
			q.consumers = slices.DeleteFunc(q.consumers, func(c *rabbitConsumer) bool { return c.channel == ch && c.tag == tag })
			r.deliver(name)
		}
	case [2]uint16{60, 40}: // publish
		f.take(2)
		ch.coming = rabbitMessage{exchange: f.short(), key: f.short()}
	case [2]uint16{60, 80}, [2]uint16{60, 120}: // ack, nack
		last, multiple := binary.BigEndian.Uint64(f.take(8)), f.take(1)[0]&1 == 1
		r.settle(ch, method == 120, slices.DeleteFunc(slices.Sorted(maps.Keys(ch.unsettled)), func(tag uint64) bool {
			return tag > last || tag < last && !multiple
		})...)
	default:
		panic(fmt.Sprintf("method %d.%d is not known here", class, method))
	}
}

// taken takes a message that a channel has published.
func (r *rabbit) taken(ch *rabbitChannel) {
	r.sent[ch.coming.exchange+" "+ch.coming.key]++
	r.route(ch.coming)
	ch.published++
	tag, takes := ch.published, time.Duration(0)
	if r.confirms != nil {
		takes = r.confirms(ch.coming.exchange)
	}
	confirm := func() { ch.link.method(ch.number, 60, 80, append(number(tag), 0)) }
	if takes == 0 {
		confirm()
		return
	}
	time.AfterFunc(takes, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		confirm()
	})
}

func (l *rabbitLink) method(channel, class, method uint16, args []byte) {
	l.frame(1, channel, slices.Concat(binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, class), method), args))
}

func (l *rabbitLink) frame(kind byte, channel uint16, payload []byte) {
	if l.out == nil {
		return // it has ended
	}
	head := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16([]byte{kind}, channel), uint32(len(payload)))
	l.out <- slices.Concat(head, payload, []byte{0xCE})
}

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
func short(s string) []byte  { return append([]byte{byte(len(s))}, s...) }
func long(s string) []byte   { return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...) }

// fields are the arguments of a method, read one after the other.
type fields struct{ rest []byte }

func (f *fields) take(n int) []byte {
	taken := f.rest[:n]
	f.rest = f.rest[n:]
	return taken
}

func (f *fields) id() uint16    { return binary.BigEndian.Uint16(f.take(2)) }
func (f *fields) short() string { return string(f.take(int(f.take(1)[0]))) }

// lines are what a replica has logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	// stuck: nothing can be written, for good.
	stuck chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	stuck := l.stuck
	l.text.Write(b)
	l.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	return len(b), nil
}

// of gives the lines of an event that have all of these in them.
func (l *lines) of(e audit.Event, parts ...string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, `"event":"`+string(e)+`"`) && !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
			found = append(found, line)
		}
	}
	return found
}

// replicaOn is a consumer that runs on a rabbit.
type replicaOn struct {
	*Consumer
	*lines
	board *health.Board
	stop  func()
}

// start runs a replica until it is stopped, or the test ends.
func (r *rabbit) start(t *testing.T, name string, n Neutron) *replicaOn {
	t.Helper()
	settings := defaults()
	settings.Policy = handover.PolicySuspended
	one := &replicaOn{lines: &lines{}, board: health.NewBoard()}
	one.Consumer = New(settings, Replica{Neutron: n, ConcurrentActivateSafe: true, Log: audit.New(one.lines, zerolog.InfoLevel, name), Board: one.board, Name: name})
	one.dial = r.dial
	pass(time.Second) // its clock stands at 0, which is no time
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := one.Run(ctx, 25*time.Second); err != nil {
			t.Error(err)
		}
	})
	one.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(one.stop)
	return one
}

// onRabbit tests with one replica that acts.
func onRabbit(t *testing.T, n *neutron, test func(*testing.T, *rabbit, *replicaOn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRabbit()
		acts := r.start(t, "first", n)
		pass(3 * time.Second)
		if len(acts.of(audit.JournalRead, `"outcome":"read"`)) != 1 {
			t.Fatalf("it does not act:\n%s", &acts.text)
		}
		test(t, r, acts)
	})
}
