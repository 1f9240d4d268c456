package consumer

import (
	"io"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/consumer/metrics"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/prom"
	"github.com/earlybind/earlybind/wire"
)

// scraped gives the samples that are not 0 and whose name begins so.
func scraped(r *prometheus.Registry, names ...string) []string {
	answer := httptest.NewRecorder()
	prom.Handler(r).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	var out []string
	for line := range strings.Lines(answer.Body.String()) {
		wanted := slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(line, "earlybind_"+name) })
		if line = strings.TrimSpace(line); wanted && !strings.HasSuffix(line, " 0") {
			out = append(out, strings.TrimPrefix(line, "earlybind_"))
		}
	}
	return out
}

func TestEveryCallOfNeutronIsCounted(t *testing.T) {
	r := prometheus.NewRegistry()
	n := measured{newNeutron(prepared("p1")), metrics.NewConsumer(r, nil)}
	ctx := t.Context()
	_, _ = n.Ports(ctx, guest)
	_, _ = n.WrongOn(ctx, src)
	_, _ = n.Read(ctx, "p1")
	_ = n.Activate(ctx, "p1", dst)
	_ = n.Activate(ctx, "p1", dst)
	_ = n.SetProfile(ctx, "p1", nil, 99)
	_ = n.Rebind(ctx, "p1")
	_ = n.Create(ctx, "p1", "compute3", "normal", nil)
	_ = n.Delete(ctx, "p1", "compute3")
	want := []string{
		`neutron_requests_total{action="activate",result="already_active"} 1`,
		`neutron_requests_total{action="activate",result="ok"} 1`,
		`neutron_requests_total{action="create",result="ok"} 1`,
		`neutron_requests_total{action="delete",result="ok"} 1`,
		`neutron_requests_total{action="list_host",result="ok"} 1`,
		`neutron_requests_total{action="list_ports",result="ok"} 1`,
		`neutron_requests_total{action="read_port",result="ok"} 1`,
		`neutron_requests_total{action="rebind",result="ok"} 1`,
		`neutron_requests_total{action="update_profile",result="4xx"} 1`,
	}
	if got := scraped(r, "neutron_requests_total"); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// A whole handover, as its lines are counted.
func TestAMigrationAsItsMetricsTellIt(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		r := prometheus.NewRegistry()
		m := metrics.NewConsumer(r, handover.Drivers(nil))
		m.Cell("", "", func() metrics.Standing { return metrics.Standing{} })
		s.tools.audit = audit.New(io.Discard, 0, "r").Counted(m.Count).Record
		s.tools.neutron = measured{s.neutron, m}
		s.toThePause()
		if got := scraped(r, "handovers_under_way"); !slices.Equal(got, []string{`handovers_under_way{cell="",share=""} 1`}) {
			t.Errorf("%q", got)
		}
		pass(200 * time.Millisecond)
		s.host(dst, wire.Resumed, wire.Migrated)
		s.host(src, wire.Stopped, wire.Migrated)
		pass(300 * time.Millisecond)
		s.nova("req", wire.NovaPost, false)
		s.nova("req", wire.NovaPostDest, true)
		pass(time.Second)
		want := []string{
			`handovers_total{cell="",outcome="migrated"} 1`,
			`lead_seconds_sum{driver="openvswitch"} 0.5`,
			`lead_seconds_count{driver="openvswitch"} 1`,
			`pause_to_active_seconds_count{driver="openvswitch"} 1`,
			`ports_decided_total{cell="",goal="commit"} 1`,
			`ports_decided_total{cell="",goal="verify"} 2`,
			`ports_verified_total{cell="",goal="verify",outcome="right"} 1`,
			"reaction_seconds_count 1",
		}
		got := scraped(r, "handovers", "lead_seconds_sum", "lead_seconds_count", "pause_to_active_seconds_count", "ports_", "reaction_seconds_count", "alarms")
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

func TestMessagesAreCountedAndEveryRefusedOne(t *testing.T) {
	rollOut(t, handover.PolicyObserve, func(t *testing.T, s *site) {
		r := prometheus.NewRegistry()
		s.session.metrics = metrics.NewConsumer(r, nil).Cell("", "", func() metrics.Standing { return metrics.Standing{} })
		event := hostEvent()
		body := encoded(t, wire.PublisherID(src), event.EventType(), event)
		s.deliver(t, wire.ExchangeEvents, "earlybind-"+src, body)
		for range 3 { // said once
			s.deliver(t, wire.ExchangeEvents, "earlybind-"+dst, body)
		}
		event.Schema = 2
		s.deliver(t, wire.ExchangeEvents, "earlybind-"+src, encoded(t, wire.PublisherID(src), event.EventType(), event))
		want := []string{
			`messages_refused_total{cell="",kind="identity"} 3`, `messages_refused_total{cell="",kind="schema"} 1`,
			`messages_total{cell="",kind="event"} 1`, `messages_total{cell="",kind="other"} 4`,
		}
		if got := scraped(r, "messages_refused", "messages_total"); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

func TestHowAReplicaStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := defaults()
		settings.BreakerFailures, settings.BreakerPause = 1, time.Hour
		c := New(settings, Replica{ConcurrentActivateSafe: true, Log: audit.New(io.Discard, 0, "r"), Name: "r"})
		want := func(want metrics.Standing) {
			t.Helper()
			if got := c.standing(); got != want {
				t.Errorf("%+v, want %+v", got, want)
			}
		}
		want(metrics.Standing{})
		c.halts.doubt("not read yet")
		want(metrics.Standing{PausedAll: true})
		c.halts.take(wire.Halt{Revision: 1, Hosts: []string{src, dst}})
		want(metrics.Standing{PausedHosts: 2})
		c.halts.take(wire.Halt{Revision: 2, All: true})
		want(metrics.Standing{PausedAll: true})
		c.halts.take(wire.Halt{Revision: 3})
		c.breaker.judge(handover.Verdict{Circuit: handover.Circuit{Driver: "ovn"}, Result: handover.Bad})
		c.breaker.judge(handover.Verdict{Circuit: handover.Circuit{Source: src, Destination: dst}, Result: handover.Bad})
		want(metrics.Standing{StoppedPairs: 1, StoppedDrivers: 1})

		s := &session{Consumer: c, lease: &lease{clock: c.clock}, shelf: newShelf(maxShelf), journal: newJournal(nil)}
		c.serving.Store(s)
		want(metrics.Standing{StoppedPairs: 1, StoppedDrivers: 1})
		time.Sleep(time.Hour)
		s.lease.renew(c.clock())
		settle := s.shelf.hold(guest, amqp.Delivery{Acknowledger: &acknowledger{}, DeliveryTag: 1}, func() {})
		s.shelf.hold("another", amqp.Delivery{DeliveryTag: 2}, func() {})
		s.journal.add(wire.JournalEntry{ID: "1", At: time.Now().Add(-time.Minute)}, 0, nil, nil)
		s.journal.add(wire.JournalEntry{ID: "2", At: time.Now().Add(-time.Hour)}, 0, nil, nil)
		s.journal.add(wire.JournalEntry{ID: "3"}, 0, nil, nil)
		is := metrics.Standing{Active: true, Held: 2, Journal: 3, JournalAge: time.Hour, StoppedPairs: 1, StoppedDrivers: 1}
		want(is)
		s.journal.complete()
		is.JournalRead = true
		want(is)
		settle()
		time.Sleep(leaseFor)
		is.Active, is.Held, is.JournalAge = false, 1, time.Hour+leaseFor
		want(is)
		c.serving.Store(nil)
		want(metrics.Standing{StoppedPairs: 1, StoppedDrivers: 1})
	})
}
