//go:build integration

package integration

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

// A publisher may be started before its broker, and before the consumers, who declare the exchanges.
func TestRabbitMQPublisherStartsBeforeItsBroker(t *testing.T) {
	built(t, "earlybind-publisher")
	t.Parallel()
	b := absentBroker(t)
	p := b.publisher(inDaemon)
	p.wantHealth(patience, false, "broker: no node of RabbitMQ could be used; 127.0.0.1:5672: connection refused\n")
	b.start()
	p.wantHealth(comesBack, false, `broker: exchange earlybind (the consumer declares it): Exception (404) Reason: "NOT_FOUND`)
	leave(b.broker, "quorum")
	p.wantHealth(comesBack, true, "broker: connected\n")
	p.await("host states published")
	wantRequestsBounded(b)
}

// wantRequestsBounded wants the queue of a publisher's requests to be bounded, and to go when nobody has read it
// for an hour.
func wantRequestsBounded(b *ownBroker) {
	b.Helper()
	var queue struct{ Arguments map[string]any }
	b.api(http.MethodGet, b.path("queues")+"/earlybind-publisher."+source, nil, &queue)
	delete(queue.Arguments, "x-queue-type") // the virtual host's own, which RabbitMQ 4 adds
	if want := map[string]any{"x-max-length": 16.0, "x-message-ttl": 60e3, "x-expires": 3600e3}; !reflect.DeepEqual(queue.Arguments, want) {
		b.Errorf("the queue of requests has %v, want %v", queue.Arguments, want)
	}
}

// A publisher that is told to stop has ended within EARLYBIND_DRAIN, whatever its broker does; told twice, at
// once.
func TestRabbitMQPublisherStops(t *testing.T) {
	built(t, "earlybind-publisher")
	t.Parallel()
	const drain = 6 * time.Second
	b := newOwnBroker(t)
	leave(b.broker, "quorum")
	for _, c := range []struct {
		name       string
		broker     string // what docker does to it, before an event
		back       func() // undoes that
		again      bool   // a second signal, while it stops
		code       int
		from, till time.Duration
		says       string
	}{
		{"BrokerIsThere", "", nil, false, 0, 0, drain / 2, `"message":"publisher stopped"`},
		{"BrokerHangs", "pause", func() { docker(t, "unpause", b.container) }, false, 0, drain / 2, drain, `"dropped":1,`},
		{"BrokerIsAway", "stop", b.start, false, 0, drain / 2, drain, `"dropped":1,`},
		{"ToldTwice", "stop", b.start, true, 3, 0, drain / 2, "earlybind-publisher: terminated again: ends at once, without having finished"},
	} {
		t.Run(c.name, func(t *testing.T) {
			mine := *b
			mine.broker = &broker{t, b.vhost, b.address, b.password}
			p := mine.publisher(inDaemon, "EARLYBIND_DRAIN="+drain.String())
			p.await("host states published")
			instance := newUUID()
			p.boots(instance)
			p.await(instance) // that it has started
			if c.broker != "" {
				docker(t, c.broker, b.container)
				defer c.back()
			}
			p.virsh("", "suspend", instance)
			began := time.Now()
			p.signal("TERM")
			if c.again {
				p.wantHealth(patience, false, "program: is stopping\n")
				began = time.Now()
				p.signal("TERM")
			}
			code, at := p.ended()
			took := at.Sub(began)
			t.Logf("ended with %d after %.1f s", code, took.Seconds())
			if code != c.code || took < c.from || took > c.till || !strings.Contains(p.log(), c.says) {
				t.Errorf("ended with %d after %s, want %d and %q", code, took, c.code, c.says)
			}
		})
	}
}
