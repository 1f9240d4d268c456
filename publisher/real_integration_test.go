//go:build integration

package publisher

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
	"libvirt.org/go/libvirt"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/wire"
)

// These tests need a real libvirt and a real RabbitMQ, and fail without:
//
//	EARLYBIND_TEST_LIBVIRT_URI  where domains may be defined, e.g. test:///default
//	EARLYBIND_TEST_AMQP_URL     amqp://user:password@host:port/ of a user with all rights

func init() {
	// libvirt's event loop has no end.
	leaks = append(leaks, goleak.IgnoreAnyFunction("github.com/earlybind/earlybind/publisher.runEventLoop"))
}

// patience is how long a real server may take for what usually takes
// milliseconds.
const patience = 30 * time.Second

func need(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	if value == "" {
		t.Fatalf("%s is not set", name)
	}
	return value
}

// operator is a connection to libvirt that may define domains and pause them.
func operator(t *testing.T) *libvirt.Connect {
	t.Helper()
	if err := eventLoop(); err != nil {
		t.Fatal(err)
	}
	conn, err := libvirt.NewConnect(need(t, "EARLYBIND_TEST_LIBVIRT_URI"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = conn.Close() })
	return conn
}

// boot defines a domain and starts it; it is removed with the test.
func boot(t *testing.T, conn *libvirt.Connect, metadata string) (*libvirt.Domain, string) {
	t.Helper()
	id := newUUID()
	d, err := conn.DomainDefineXML(`<domain type="test"><name>earlybind-` + id + `</name><uuid>` + id + `</uuid><memory>1024</memory>
		<os><type>hvm</type></os>` + metadata + `</domain>`)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = d.Destroy()
		_ = d.Undefine()
		_ = d.Free()
	})
	if err := d.Create(); err != nil {
		t.Fatal(err)
	}
	return d, id
}

func novaMetadata(version string) string {
	return `<metadata><nova:instance xmlns:nova="http://openstack.org/xmlns/libvirt/nova/` + version + `"><nova:name>guest</nova:name></nova:instance></metadata>`
}

func TestRealLibvirt(t *testing.T) {
	op := operator(t)
	guest, id := boot(t, op, novaMetadata("1.1"))
	_, old := boot(t, op, novaMetadata("1.0"))
	_, other := boot(t, op, "")

	log := &logBuffer{}
	d, err := newDaemon(need(t, "EARLYBIND_TEST_LIBVIRT_URI"), zerolog.New(log))
	if err != nil {
		t.Fatal(err)
	}
	box := newInbox(100)
	conn, err := d.connect(box.put)
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	shut := func() {
		if !closed {
			closed = true
			conn.close()
		}
	}
	defer shut()

	all, err := conn.read(nil)
	if err != nil {
		t.Fatal(err)
	}
	for instance, want := range map[string]ownership{id: ownedByNova, old: ownedByNova, other: foreign} {
		i := slices.IndexFunc(all, func(r reading) bool { return r.instance == instance })
		if i < 0 {
			t.Fatalf("%s is not listed", instance)
		}
		if r := all[i]; r.owner != want || r.condition.state != "running" || !r.persistent {
			t.Errorf("got %+v", r)
		}
		if got, err := conn.owner(instance); got != want || err != nil {
			t.Errorf("owner %v, %v", got, err)
		}
	}
	if got, err := conn.owner(newUUID()); got != ownerUnknown || err == nil {
		t.Errorf("owner of nothing: %v, %v", got, err)
	}

	if err := guest.Suspend(); err != nil {
		t.Fatal(err)
	}
	if err := guest.Resume(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"suspended/paused", "resumed/unpaused"} {
		select {
		case e := <-box.events:
			if got := string(e.event) + "/" + string(e.detail); got != want || e.instance != id || time.Since(e.at) > patience {
				t.Errorf("got %s of %s at %s, want %s", got, e.instance, e.at, want)
			}
		case <-time.After(patience):
			t.Fatalf("no %s", want)
		}
	}

	shut()
	for range 20 {
		conn, err := d.connect(box.put)
		if err != nil {
			t.Fatal(err)
		}
		conn.close()
	}
	if lines := log.lines(t, "libvirt connection is not freed"); len(lines) != 0 {
		t.Errorf("%d connections are not freed: %v", len(lines), lines[0])
	}
}

// cut is a TCP proxy in front of the broker whose connections can be cut.
type cut struct {
	listener net.Listener
	target   string
	mu       sync.Mutex
	open     []net.Conn
	refuse   bool
	all      sync.WaitGroup
}

func newCut(t *testing.T, target string) *cut {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cut{listener: l, target: target}
	c.all.Go(c.accept)
	t.Cleanup(func() {
		_ = l.Close()
		c.set(true)
		c.all.Wait()
	})
	return c
}

func (c *cut) accept() {
	for {
		in, err := c.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", c.target)
		c.mu.Lock()
		if err != nil || c.refuse {
			_ = in.Close()
			if out != nil {
				_ = out.Close()
			}
			c.mu.Unlock()
			continue
		}
		c.open = append(c.open, in, out)
		c.mu.Unlock()
		for _, pair := range [][2]net.Conn{{in, out}, {out, in}} {
			c.all.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_ = pair[0].Close()
				_ = pair[1].Close()
			})
		}
	}
}

// set cuts every connection if refuse, and refuses new ones until set again.
func (c *cut) set(refuse bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refuse = refuse
	if !refuse {
		return
	}
	for _, conn := range c.open {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // reset, not a polite end
		}
		_ = conn.Close()
	}
	c.open = nil
}

// rabbit is the consumer's side of a real broker.
type rabbit struct {
	ch       *amqp.Channel
	settings Settings
	proxy    *cut
	queue    string
	arrivals <-chan amqp.Delivery
}

// newRabbit declares what the consumer declares, and a queue for one host.
func newRabbit(t *testing.T) *rabbit {
	t.Helper()
	u, err := url.Parse(need(t, "EARLYBIND_TEST_AMQP_URL"))
	if err != nil {
		t.Fatal("EARLYBIND_TEST_AMQP_URL is not a URL")
	}
	conn, err := amqp.Dial(u.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(conn) })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	for _, exchange := range []string{wire.ExchangeEvents, wire.ExchangeRequests} {
		if err := ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
	r := &rabbit{ch: ch, proxy: newCut(t, u.Host)}
	host := "it-" + newUUID()[:8]
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.queue = q.Name
	if err := ch.QueueBind(q.Name, "libvirt."+host+".#", wire.ExchangeEvents, false, nil); err != nil {
		t.Fatal(err)
	}
	if r.arrivals, err = ch.Consume(q.Name, "", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	r.settings = Settings{
		Settings: broker.Settings{
			AMQPUrls:     []string{"amqp://" + r.proxy.listener.Addr().String() + u.EscapedPath()},
			AMQPUser:     u.User.Username(),
			AMQPPassword: config.Secret(password),
		},
		Host: host, EventBuffer: 1000, EventExpiry: time.Minute,
	}
	return r
}

// arrival waits for the next message and decodes it.
func (r *rabbit) arrival(t *testing.T) (amqp.Delivery, got) {
	t.Helper()
	select {
	case d := <-r.arrivals:
		n, err := wire.Decode(d.Body)
		if err != nil {
			t.Fatal(err)
		}
		if n.EventType == wire.EventStates {
			s, err := wire.ParseHostStates(n)
			if err != nil {
				t.Fatal(err)
			}
			return d, got{states: &s}
		}
		e, err := wire.ParseHostEvent(n)
		if err != nil {
			t.Fatal(err)
		}
		return d, got{event: &e}
	case <-time.After(patience):
		t.Fatal("nothing arrived")
		return amqp.Delivery{}, got{}
	}
}

// start runs a publisher between the real libvirt and the real broker.
func (r *rabbit) start(t *testing.T, log io.Writer) (stop func()) {
	t.Helper()
	logger := zerolog.New(log)
	d, err := newDaemon(need(t, "EARLYBIND_TEST_LIBVIRT_URI"), logger)
	if err != nil {
		t.Fatal(err)
	}
	p := newPublisher(r.settings, time.Now().Unix(), d, dialAMQP(r.settings), nil, nil, logger)
	p.drain = 5 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestRealEventsReachARealQueueWhoseConnectionIsCut(t *testing.T) {
	guest, id := boot(t, operator(t), novaMetadata("1.1"))
	_, other := boot(t, operator(t), "")
	r := newRabbit(t)
	log := &logBuffer{}
	stop := r.start(t, log)
	defer stop()

	// States first, after a gap: the publisher has just started.
	_, first := r.arrival(t)
	if first.states == nil || !first.states.Reconnected || !slices.ContainsFunc(first.states.Domains, func(d wire.DomainState) bool { return d.Instance == id }) ||
		slices.ContainsFunc(first.states.Domains, func(d wire.DomainState) bool { return d.Instance == other }) {
		t.Fatalf("got %+v", first.states)
	}

	// next gives the next event, and counts those that came again.
	var last wire.Order
	seen, repeated, oldest := 0, 0, int64(0)
	next := func() {
		for {
			d, g := r.arrival(t)
			if d.UserId != r.settings.AMQPUser || d.DeliveryMode != amqp.Persistent || d.Expiration != "60000" || d.ContentType != "application/json" || d.MessageId == "" {
				t.Fatalf("properties: user_id %q, mode %d, expiration %q, type %q, id %q", d.UserId, d.DeliveryMode, d.Expiration, d.ContentType, d.MessageId)
			}
			if g.states != nil {
				continue
			}
			if !last.Before(g.event.Order) {
				repeated++ // sent, but its confirmation was cut off
				continue
			}
			last = g.event.Order
			want := wire.Suspended
			if seen%2 == 1 {
				want = wire.Resumed
			}
			if g.event.Event != want || g.event.Instance != id || d.Type != g.event.EventType() || d.RoutingKey != g.event.RoutingKey() {
				t.Fatalf("event %d: %+v", seen, g.event)
			}
			oldest = max(oldest, g.event.AgeMS)
			seen++
			return
		}
	}

	const rounds = 100
	toggle := func() {
		if err := guest.Suspend(); err != nil {
			t.Error(err)
		}
		if err := guest.Resume(); err != nil {
			t.Error(err)
		}
	}
	for range rounds {
		toggle()
	}
	for range rounds {
		next()
	}
	r.proxy.set(true) // the other half of the first round is under way
	for range rounds {
		toggle() // into the buffer
	}
	r.proxy.set(false)
	for range rounds {
		toggle()
	}
	for seen < 6*rounds {
		next()
	}
	stop()
	if n := len(log.lines(t, "broker connected")); n != 2 {
		t.Errorf("%d sessions", n)
	}
	var took []float64
	for _, line := range log.lines(t, "host event published") {
		if ms, ok := line["confirmed_ms"].(float64); ok {
			took = append(took, ms)
		}
	}
	slices.Sort(took)
	t.Logf("%d events, %d repeated, oldest sent at %d ms; callback to confirmation p50 %.2f ms, best %.2f ms", seen, repeated, oldest, took[len(took)/2], took[0])
}

// One event at a time, as a host has them: each is confirmed, and the log tells of each how long
// that took. The times are those of the machine.
func TestRealEventsAreConfirmedOneByOne(t *testing.T) {
	guest, _ := boot(t, operator(t), novaMetadata("1.1"))
	r := newRabbit(t)
	log := &logBuffer{}
	stop := r.start(t, log)
	defer stop()
	for {
		if _, g := r.arrival(t); g.states != nil && g.states.Reconnected {
			break
		}
	}
	var arrived []time.Duration
	for range 200 {
		for _, act := range []func() error{guest.Suspend, guest.Resume} {
			if err := act(); err != nil {
				t.Fatal(err)
			}
			for {
				if _, g := r.arrival(t); g.event != nil {
					arrived = append(arrived, time.Since(g.event.At))
					break
				}
			}
		}
	}
	stop()
	var confirmed []float64
	for _, line := range log.lines(t, "host event published") {
		if ms, ok := line["confirmed_ms"].(float64); ok {
			confirmed = append(confirmed, ms)
		}
	}
	slices.Sort(arrived)
	slices.Sort(confirmed)
	n := len(arrived)
	if len(confirmed) < n {
		t.Fatalf("%d events came, and of %d the log says that they were confirmed", n, len(confirmed))
	}
	t.Logf("callback to consumer p50 %s p95 %s max %s; to confirmation p50 %.2f ms p95 %.2f ms max %.2f ms",
		arrived[n/2], arrived[n*95/100], arrived[n-1], confirmed[n/2], confirmed[n*95/100], confirmed[n-1])
}

func TestRealRequestIsAnsweredWithStates(t *testing.T) {
	_, id := boot(t, operator(t), novaMetadata("1.1"))
	r := newRabbit(t)
	log := &logBuffer{}
	stop := r.start(t, log)
	defer stop()
	_, first := r.arrival(t)
	last := first.states.Order
	publish := func(body string) {
		if err := r.ch.Publish(wire.ExchangeRequests, "states", false, false, amqp.Publishing{Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	publish("hunter2")
	for range 5 { // the first answer may be the states that a session starts with
		publish(request(t))
		_, g := r.arrival(t)
		if g.states == nil || !last.Before(g.states.Order) || g.states.Reconnected || !slices.ContainsFunc(g.states.Domains, func(d wire.DomainState) bool { return d.Instance == id }) {
			t.Errorf("got %+v", g)
		}
		last = g.states.Order
	}
	stop()
	if n := len(log.lines(t, "request dropped: not understood")); n != 1 {
		t.Errorf("%d lines", n)
	}
	if strings.Contains(log.b.String(), "hunter2") {
		t.Error("the log shows content")
	}
}

func request(t *testing.T) string {
	t.Helper()
	n, err := wire.NewNotification("earlybind-consumer:test", wire.EventStatesRequest, wire.StatesRequest{Schema: wire.SchemaVersion, Reason: "test"}, newUUID(), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// expectNews waits for news of one kind.
func expectNews[T any](t *testing.T, l link) T {
	t.Helper()
	for {
		select {
		case n := <-l.news():
			if wanted, ok := n.(T); ok {
				return wanted
			}
		case <-time.After(patience):
			t.Fatalf("no %T", *new(T))
		}
	}
}

func openLink(t *testing.T, s Settings) *amqpLink {
	t.Helper()
	l, err := dialAMQP(s)(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l.(*amqpLink)
}

func TestRealBrokerRefusesAnotherUsersID(t *testing.T) {
	l := openLink(t, newRabbit(t).settings)
	l.user = "somebody-else"
	if _, err := l.send(parcel{id: newUUID(), routingKey: "libvirt.x.states", body: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if err := expectNews[lost](t, l).err; !strings.Contains(err.Error(), "406") || !strings.Contains(err.Error(), "user_id") {
		t.Errorf("got %v", err)
	}
}

func TestRealUnroutableMessageIsReturnedBeforeItIsConfirmed(t *testing.T) {
	l := openLink(t, newRabbit(t).settings)
	for range 50 {
		id := newUUID()
		tag, err := l.send(parcel{id: id, routingKey: "nobody." + strconv.Itoa(1), body: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		first := <-l.news()
		if back, ok := first.(returned); !ok || back.id != id || back.why != "NO_ROUTE" {
			t.Fatalf("got %#v", first)
		}
		if s := expectNews[settled](t, l); s.tag != tag || !s.taken {
			t.Fatalf("got %+v", s)
		}
	}
}

// newUUID is as Nova makes them for instances.
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
