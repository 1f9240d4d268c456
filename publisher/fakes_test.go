package publisher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/prom"
	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/wire"
)

const (
	hostName = "compute1"
	one      = "11111111-1111-4111-8111-111111111111"
	two      = "22222222-2222-4222-8222-222222222222"
	three    = "33333333-3333-4333-8333-333333333333"
)

// fakeLibvirt is a daemon that can be away, be asked slowly, and call back.
type fakeLibvirt struct {
	mu       sync.Mutex
	away     bool
	answer   []reading
	owners   map[string]ownership
	hold     chan struct{}         // a reading waits for it to be closed
	onOpen   func(func(lifecycle)) // calls back before connect returns
	conn     *fakeConn             // the last one
	opened   int
	readings int
	asked    []string // owner()
}

type fakeConn struct {
	f       *fakeLibvirt
	deliver func(lifecycle)
	gone    chan error
	closed  bool
}

func (f *fakeLibvirt) connect(deliver func(lifecycle)) (connection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return nil, errors.New("no socket")
	}
	f.opened++
	f.conn = &fakeConn{f: f, deliver: deliver, gone: make(chan error, 1)}
	if f.onOpen != nil {
		f.onOpen(deliver)
		f.onOpen = nil
	}
	return f.conn, nil
}

func (c *fakeConn) read(ofNova map[string]bool) ([]reading, error) {
	c.f.mu.Lock()
	hold, all := c.f.hold, append([]reading(nil), c.f.answer...)
	c.f.readings++
	c.f.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return all, nil
}

func (c *fakeConn) owner(instance string) (ownership, error) {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.f.asked = append(c.f.asked, instance)
	return c.f.owners[instance], nil
}

func (c *fakeConn) lost() <-chan error { return c.gone }

func (c *fakeConn) close() {
	c.f.mu.Lock()
	defer c.f.mu.Unlock()
	c.closed = true
}

func (f *fakeLibvirt) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// call has the daemon call back with an event of now.
func (f *fakeLibvirt) call(instance string, event wire.Event, detail wire.Detail) {
	f.conn.deliver(lifecycle{instance: instance, event: event, detail: detail, at: time.Now()})
}

// fakeBroker takes messages and confirms them, unless told otherwise.
type fakeBroker struct {
	mu         sync.Mutex
	away       bool
	silent     bool // takes, but does not confirm
	stalled    bool // does not read: a send waits
	unroutable bool
	link       *fakeLink
	opened     int
	got        []got // of all sessions
}

// got is one send.
type got struct {
	session int
	parcel
	event  *wire.HostEvent
	states *wire.HostStates
}

type fakeLink struct {
	b       *fakeBroker
	session int
	tag     uint64
	settled uint64
	out     chan any
	closed  bool
	gone    chan struct{}
}

func (b *fakeBroker) dial(context.Context) (link, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.away {
		return nil, errors.New("connection refused")
	}
	b.opened++
	b.link = &fakeLink{b: b, session: b.opened, out: make(chan any, 100_000), gone: make(chan struct{})}
	return b.link, nil
}

func (l *fakeLink) send(p parcel) (uint64, error) {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if l.b.stalled {
		l.b.mu.Unlock()
		<-l.gone
		l.b.mu.Lock()
		return 0, errors.New("closed")
	}
	g := got{session: l.session, parcel: p}
	n, err := wire.Decode(p.body)
	if err != nil {
		return 0, err
	}
	if n.EventType == wire.EventStates {
		s, err := wire.ParseHostStates(n)
		if err != nil {
			return 0, err
		}
		g.states = &s
	} else {
		e, err := wire.ParseHostEvent(n)
		if err != nil {
			return 0, err
		}
		g.event = &e
	}
	l.b.got = append(l.b.got, g)
	l.tag++
	if l.b.unroutable {
		l.out <- returned{p.id, "NO_ROUTE"}
	}
	if !l.b.silent {
		l.settle()
	}
	return l.tag, nil
}

func (l *fakeLink) settle() {
	for l.settled < l.tag {
		l.settled++
		l.out <- settled{l.settled, true}
	}
}

func (l *fakeLink) news() <-chan any { return l.out }

func (l *fakeLink) close() {
	l.b.mu.Lock()
	defer l.b.mu.Unlock()
	if !l.closed {
		l.closed = true
		close(l.gone)
	}
}

func (b *fakeBroker) set(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// take gives what was sent since the last take.
func (b *fakeBroker) take() []got {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.got
	b.got = nil
	return all
}

// fakePlugs can put back the ports that it is told, and notes what it hears.
type fakePlugs struct {
	mu    sync.Mutex
	ports []string
	heard []string // "event/detail instance's first digit", or the states that were read
}

func (f *fakePlugs) Heard(instance string, event wire.Event, detail wire.Detail) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, string(event)+"/"+string(detail)+" "+instance[:1])
	if event == wire.Suspended && detail == wire.Migrated {
		return f.ports
	}
	return nil
}

func (f *fakePlugs) Read(states []wire.DomainState) {
	f.mu.Lock()
	defer f.mu.Unlock()
	said := "read"
	for _, s := range states {
		said += " " + s.State + " " + s.Instance[:1]
	}
	f.heard = append(f.heard, said)
}

func (f *fakePlugs) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	said := strings.Join(f.heard, ", ")
	f.heard = nil
	return said
}

// logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// lines gives the lines with the message.
func (l *logBuffer) lines(t *testing.T, message string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(l.b.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatalf("not a JSON line: %q", line)
		}
		if fields["message"] == message {
			found = append(found, fields)
		}
	}
	return found
}

// bench is a publisher between a fake libvirt and a fake broker, inside a
// synctest bubble: time is virtual, and settle waits until nothing moves.
type bench struct {
	*publisher
	libvirt *fakeLibvirt
	broker  *fakeBroker
	board   *health.Board
	metrics *prometheus.Registry
	log     *logBuffer
	cancel  context.CancelFunc
	done    chan struct{}
}

// wantMetrics looks for samples, a line each, in what a scrape would give.
func (b *bench) wantMetrics(t *testing.T, lines string) {
	t.Helper()
	answer := httptest.NewRecorder()
	prom.Handler(b.metrics).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		if want := "\n" + strings.TrimSpace(line) + "\n"; !strings.Contains(answer.Body.String(), want) {
			t.Errorf("no %s in %s", want, answer.Body)
		}
	}
}

const (
	testEpoch = 1000
	testDrain = 5 * time.Second
)

// inBubble runs a test with a publisher that set may still change, and stops it
// at the end.
func inBubble(t *testing.T, set func(*bench), test func(*testing.T, *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{libvirt: &fakeLibvirt{owners: map[string]ownership{}}, broker: &fakeBroker{}, log: &logBuffer{}, done: make(chan struct{})}
		settings := Settings{Host: hostName, EventBuffer: 100, EventExpiry: time.Minute}
		b.board, b.metrics = health.NewBoard(), prometheus.NewRegistry()
		b.publisher = newPublisher(settings, testEpoch, b.libvirt, b.broker.dial, b.board, metrics.NewPublisher(b.metrics), zerolog.New(b.log).Level(zerolog.InfoLevel))
		b.drain = testDrain
		if set != nil {
			set(b)
		}
		var ctx context.Context
		ctx, b.cancel = context.WithCancel(t.Context())
		go func() {
			defer close(b.done)
			b.run(ctx)
		}()
		synctest.Wait()
		test(t, b)
		b.cancel()
		<-b.done
	})
}

// events lists the events among sends, as "event/detail instance's first digit".
func events(all []got) string {
	var list []string
	for _, g := range all {
		if g.event != nil {
			list = append(list, string(g.event.Event)+"/"+string(g.event.Detail)+" "+g.event.Instance[:1])
		} else {
			list = append(list, "states")
		}
	}
	return strings.Join(list, ", ")
}

// lastStates gives the last states among sends.
func lastStates(t *testing.T, all []got) wire.HostStates {
	t.Helper()
	for i := len(all) - 1; i >= 0; i-- {
		if all[i].states != nil {
			return *all[i].states
		}
	}
	t.Fatal("no states were sent")
	return wire.HostStates{}
}

// statesAfterGap gives the states among sends that say that events may be
// missing.
func statesAfterGap(t *testing.T, all []got) wire.HostStates {
	t.Helper()
	for _, g := range all {
		if g.states != nil && g.states.Reconnected {
			return *g.states
		}
	}
	t.Fatalf("no states after a gap were sent: %s", events(all))
	return wire.HostStates{}
}

func runningOn(instance string) reading {
	return reading{instance: instance, condition: condition{"running", "booted"}, persistent: true, owner: ownedByNova}
}
