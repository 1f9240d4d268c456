package consumer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/wire"
)

const (
	ownTick = "consumer.tick.earlybind"
	poison  = "poison"
)

// says publishes an event of the guest, as its host's publisher does.
func (r *rabbit) says(t *testing.T, host string, sequence uint64, event wire.Event) {
	t.Helper()
	e := wire.HostEvent{
		Schema: wire.SchemaVersion, Host: host, Order: wire.Order{Epoch: 1, Sequence: sequence}, Instance: guest,
		Event: event, Detail: wire.Migrated, At: time.Now(),
	}
	r.publish(wire.ExchangeEvents, e.RoutingKey(), "earlybind-"+host, encoded(t, wire.PublisherID(host), e.EventType(), e))
}

// Each question is answered by every host of the cloud.
func TestHostsAreAskedOnceASecondAtMost(t *testing.T) {
	onRabbit(t, newNeutron(), func(t *testing.T, r *rabbit, acts *replicaOn) {
		asked := func() int { return r.published(wire.ExchangeRequests, wire.KeyStatesRequest) }
		askAll := func() {
			for range 50 {
				acts.serving.Load().registry.tools.ask("a handover fails")
			}
			synctest.Wait()
		}
		if asked() != 1 {
			t.Fatalf("asked %d times at first", asked())
		}
		askAll()
		if asked() != 2 {
			t.Errorf("the first of many made it %d, want 2", asked())
		}
		pass(10 * time.Second)
		if asked() != 3 {
			t.Errorf("all of them %d, want 3", asked())
		}

		r.block(true)
		askAll()
		pass(3 * time.Second) // the lease lasts: when it has lapsed, they are asked for that too
		if asked() != 3 {
			t.Errorf("a broker that reads nothing was asked: %d", asked())
		}
		r.block(false)
		pass(10 * time.Second)
		if asked() != 4 {
			t.Errorf("what was asked for meanwhile made it %d, want 4", asked())
		}
	})
}

// What could not be parked during an alarm does not hold up the ticks after it.
func TestWhatIsParkedLateHoldsUpNoTick(t *testing.T) {
	const messages = 200
	onRabbit(t, newNeutron(), func(t *testing.T, r *rabbit, acts *replicaOn) {
		r.block(true)
		for range messages {
			r.publish(wire.ExchangeEvents, "libvirt.x.states", "x", []byte(poison))
		}
		pass(time.Minute)
		if got := acts.of(audit.MessageParked); len(got) > 0 {
			t.Errorf("parked in a broker that reads nothing: %q", got)
		}
		r.confirms = func(exchange string) time.Duration {
			if exchange == "earlybind.parked" {
				return 100 * time.Millisecond
			}
			return 0
		}
		r.block(false)
		pass(3 * time.Second)
		for range 2 * messages / 10 {
			if pass(time.Second); !acts.serving.Load().lease.held() {
				t.Fatalf("the lease has lapsed after %d were parked", len(acts.of(audit.MessageParked)))
			}
		}
		if got := len(acts.of(audit.MessageParked)); got != messages || r.holds("earlybind.parked") != messages {
			t.Errorf("parked %d of %d", got, messages)
		}
	})
}

// A session that ends while an answer of Neutron is waited for keeps neither the queues nor the
// journal: whoever acts next makes no restore before it has read that.
func TestASessionThatIsBrokenByItsSenderGivesTheJournalAwayAtOnce(t *testing.T) {
	n := newNeutron(prepared("p1"))
	onRabbit(t, n, func(t *testing.T, r *rabbit, acts *replicaOn) {
		answer := make(chan struct{})
		n.answer = on("activate", func(context.Context) (bool, error) { <-answer; return true, nil })
		standsBy := r.start(t, "second", n)
		pass(time.Second)
		r.says(t, dst, 1, wire.Started)
		pass(time.Second)
		r.says(t, src, 1, wire.Suspended)
		pass(time.Second)
		if len(n.writes()) != 1 {
			t.Fatalf("writes %q:\n%s", n.writes(), &acts.text)
		}
		r.cut("earlybind-consumer first sender")
		pass(10 * time.Second)
		if len(standsBy.of(audit.JournalRead, `"outcome":"read"`)) != 1 {
			t.Errorf("the next one has not read the journal:\n%s", &standsBy.text)
		}
		if lost := acts.of(audit.ConsumerLost); len(lost) > 0 {
			t.Errorf("its session had ended before: %q", lost)
		}
		close(answer)
		pass(time.Second)
		if len(acts.of(audit.ConsumerLost)) == 0 {
			t.Error("its session has not ended")
		}
	})
}

// Each session that ends at once counts against the delivery limit of what it has held.
func TestSessionsThatEndAtOnceAreOpenedMoreAndMoreSeldom(t *testing.T) {
	onRabbit(t, newNeutron(), func(t *testing.T, r *rabbit, acts *replicaOn) {
		delay := func() (ms int64) {
			lost := acts.of(audit.ConsumerLost)
			var line struct {
				Delay int64 `json:"delay_ms"`
			}
			if err := json.Unmarshal([]byte(lost[len(lost)-1]), &line); err != nil {
				t.Fatal(err)
			}
			return line.Delay
		}
		for range 6000 {
			pass(100 * time.Millisecond)
			r.cut("earlybind-consumer first sender")
		}
		if lost := len(acts.of(audit.ConsumerLost)); lost < 20 || lost > 60 {
			t.Errorf("%d sessions in ten minutes", lost)
		}
		pass(time.Minute + settledSession) // of them the longest delay
		r.cut("earlybind-consumer first sender")
		pass(time.Second)
		if got := delay(); got < 250 || got > 750 {
			t.Errorf("after a session that has lasted %d ms", got)
		}
	})
}

// The lease does not wait until all is written that is doubted.
func TestTicksAreSentWhileDoubtsAreWritten(t *testing.T) {
	n := newNeutron()
	n.answer = on("read", func(context.Context) (bool, error) { return false, errTest })
	onRabbit(t, n, func(t *testing.T, r *rabbit, acts *replicaOn) {
		r.confirms = func(exchange string) time.Duration {
			if exchange == "earlybind.journal" {
				return 3 * time.Second
			}
			return 0
		}
		const ports = 100
		for range ports {
			acts.doubts.add(wire.JournalEntry{Instance: guest, Port: rand.Text()})
		}
		for second := range 60 {
			before := r.published(wire.ExchangeEvents, ownTick)
			if pass(time.Second); r.published(wire.ExchangeEvents, ownTick) != before+1 || !acts.serving.Load().lease.held() {
				t.Fatalf("no tick in second %d", second)
			}
		}
		pass(3 * ports * time.Second)
		if got := r.holds("earlybind.journal"); got != ports || !acts.board.Verdict().Live() {
			t.Errorf("%d of %d are in the journal; %s", got, ports, acts.board.Verdict())
		}
	})
}

// One message at a time is kept. That others are kept first, by a broker that takes long, is no
// loop that is stuck, and nothing that a session ends for.
func TestDoubtsThatWaitForTheirTurnAreNotStuck(t *testing.T) {
	n := newNeutron()
	n.answer = on("read", func(context.Context) (bool, error) { return false, errTest })
	onRabbit(t, n, func(t *testing.T, r *rabbit, acts *replicaOn) {
		r.confirms = func(exchange string) time.Duration {
			if exchange == "earlybind.journal" {
				return 8 * time.Second
			}
			return 0
		}
		const restores = 8
		kept := make(chan error, restores)
		for range restores {
			go func() {
				kept <- acts.serving.Load().sender.journal(t.Context(), wire.JournalEntry{Schema: wire.SchemaVersion, ID: rand.Text(), Instance: guest, Port: rand.Text()})
			}()
		}
		synctest.Wait()
		acts.doubts.add(wire.JournalEntry{Instance: guest, Port: "p1"})
		for second := range 70 {
			if pass(time.Second); !acts.board.Verdict().Live() {
				t.Fatalf("in second %d: %s", second, acts.board.Verdict())
			}
		}
		if left := acts.doubts.take(); len(left) != 0 || r.holds("earlybind.journal") == 0 || len(acts.of(audit.ConsumerLost)) != 0 {
			t.Errorf("%d doubts are left, %d in the journal:\n%s", len(left), r.holds("earlybind.journal"), &acts.text)
		}
		late := 0
		for range restores {
			if err := <-kept; errors.Is(err, errNoTurn) {
				late++
			} else if err != nil {
				t.Error(err)
			}
		}
		if late != 2 { // five are kept within turnWithin, and the sixth is under way
			t.Errorf("%d had no turn", late)
		}
	})
}

// Who waits for a turn goes by its context.
func TestATurnIsWaitedForNoLongerThanTheContextLasts(t *testing.T) {
	n := newNeutron()
	n.answer = on("read", func(context.Context) (bool, error) { return false, errTest })
	onRabbit(t, n, func(t *testing.T, r *rabbit, acts *replicaOn) {
		r.confirms = func(string) time.Duration { return 9 * time.Second }
		send := acts.serving.Load().sender
		e := wire.JournalEntry{Schema: wire.SchemaVersion, ID: "first", Instance: guest, Port: "p1"}
		go func() { _ = send.journal(t.Context(), e) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began, written := time.Now(), r.published("earlybind.journal", keyKept)
		if err := send.journal(ctx, e); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 2*time.Second || r.published("earlybind.journal", keyKept) != written {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		pass(10 * time.Second)
		if err := send.journal(t.Context(), e); err != nil {
			t.Errorf("when the first is kept: %v", err)
		}
	})
}

// Where others are kept first and the broker takes long, a message that is to be parked waits aside, and an
// entry that is to be moved stays where it is: the session goes on.
func TestWithoutATurnNothingIsLostAndTheSessionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := defaults()
		s := &session{
			Consumer: New(settings, Replica{ConcurrentActivateSafe: true, Log: audit.New(io.Discard, 0, "r"), Name: "r"}),
			sender:   &sender{keeping: make(chan struct{}, 1)}, journal: newJournal(nil),
		}
		s.sender.keeping <- struct{}{} // another's, for good
		broker := &acknowledger{}
		d := amqp.Delivery{Acknowledger: broker, DeliveryTag: 1, Body: []byte(poison)}
		if err := s.park(t.Context(), d, errTest); err != nil || len(s.aside) != 1 {
			t.Errorf("parked: %v, %d aside", err, len(s.aside))
		}
		if err := s.moveEntry(t.Context(), d, share{}, func() { t.Error("settled") }, func() {}); err != nil {
			t.Errorf("moved: %v", err)
		}
		if said := broker.take(); len(said) != 0 {
			t.Errorf("settled by %q", said)
		}
	})
}

// The broker counts only what it has not delivered, so that the session has to keep the bound;
// the mark comes behind all of them.
func TestAFullJournalIsReadAndTakesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRabbit()
		journal := r.queue("earlybind.journal")
		for range journalMax {
			m, err := notification("x", "u", wire.EventJournal, wire.JournalEntry{Schema: wire.SchemaVersion, ID: rand.Text(), Instance: guest, Port: "p1"})
			if err != nil {
				t.Fatal(err)
			}
			journal.ready = append(journal.ready, rabbitMessage{properties: append([]byte{0, 0x10}, short("u")...), body: m.Body})
		}
		n := newNeutron()
		n.answer = on("read", func(context.Context) (bool, error) { return false, errTest })
		full := r.start(t, "first", n)
		pass(10 * time.Second)
		if got := full.of(audit.JournalRead, `"outcome":"read"`, `"entries":10000`); len(got) != 1 {
			t.Fatalf("the journal was not read:\n%s", &full.text)
		}
		written := r.published("earlybind.journal", keyKept)
		full.doubts.add(wire.JournalEntry{Instance: guest, Port: "p2"})
		pass(10 * time.Second)
		if got := full.of(audit.HandoverAlarm, `"kind":"journal"`); len(got) != 1 || r.published("earlybind.journal", keyKept) != written {
			t.Errorf("it has taken more, or that was not told: %q", got)
		}
		if left := full.doubts.take(); len(left) != 1 {
			t.Errorf("%+v waits", left)
		}
	})
}

// What sessions that end have held again and again is not lost.
func TestWhatTheBrokerWouldSoonDropIsParked(t *testing.T) {
	rollOut(t, 0, func(t *testing.T, s *site) {
		s.session.sender = &sender{}
		s.session.sender.blocked.Store(true) // so that it is put aside
		body := encoded(t, wire.PublisherID(dst), "libvirt.domain.started", wire.HostEvent{
			Schema: 1, Host: dst, Order: wire.Order{Epoch: 1, Sequence: 1}, Instance: guest, Event: wire.Started, Detail: wire.Migrated,
		})
		nova := encoded(t, "compute."+dst, "compute.instance.live_migration.pre.start", map[string]string{"instance_id": guest, "host": src})
		deliver := func(count int64) {
			t.Helper()
			for _, d := range []amqp.Delivery{{Exchange: wire.ExchangeEvents, UserId: "earlybind-" + dst, Body: body}, {Exchange: "nova", Body: nova}} {
				d.Acknowledger, d.Redelivered, d.Headers = s, true, amqp.Table{"x-delivery-count": count}
				if err := s.session.deliver(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
		}
		deliver(deliveryLimit - 101)
		if len(s.session.aside) != 0 || len(s.of(audit.HandoverBegun)) != 1 {
			t.Fatalf("aside too soon: %+v", s.session.aside)
		}
		deliver(deliveryLimit - 100)
		if len(s.session.aside) != 2 || kindOf(s.session.aside[1].reason) != audit.FaultReturned {
			t.Errorf("aside: %+v", s.session.aside)
		}
		s.ofShare(false)
		deliver(deliveryLimit - 100)
		if len(s.session.aside) != 2 || s.settles != 2 {
			t.Errorf("of another share's: %d aside, %d acknowledged", len(s.session.aside), s.settles)
		}
	})
}

// A tick of another share tells nothing of this one's queue, which an earlier version may have
// bound to all.
func TestATickOfAnotherShareRenewsNoLease(t *testing.T) {
	onRabbit(t, newNeutron(), func(t *testing.T, r *rabbit, acts *replicaOn) {
		r.mu.Lock()
		r.queue("earlybind").bound = append(r.queue("earlybind").bound, [2]string{wire.ExchangeEvents, "#"})
		r.mu.Unlock()
		r.block(true) // so that its own do not come
		for range 10 {
			pass(time.Second)
			tick := wire.Tick{Schema: wire.SchemaVersion, Replica: "first", SentNS: int64(acts.clock())}
			r.publish(wire.ExchangeEvents, wire.TickKey("earlybind.2"), "u", encoded(t, "earlybind-consumer:first", wire.EventTick, tick))
		}
		if acts.serving.Load().lease.held() {
			t.Error("the lease is held by ticks that came through another queue")
		}
	})
}

// A session that hangs, here for its log, is named, so that a supervisor starts it anew.
func TestASessionThatDoesNotComeRoundIsStuck(t *testing.T) {
	onRabbit(t, newNeutron(), func(t *testing.T, r *rabbit, acts *replicaOn) {
		stuck := make(chan struct{})
		acts.lines.mu.Lock()
		acts.lines.stuck = stuck
		acts.lines.mu.Unlock()
		r.publish(wire.ExchangeEvents, "libvirt.x.states", "x", encoded(t, wire.PublisherID(src), wire.EventStates, wire.HostStates{Schema: 1, Host: src}))
		pass(roundWithin - time.Second)
		if v := acts.board.Verdict(); !v.Live() {
			t.Errorf("within the bound: %s", v)
		}
		pass(2 * time.Second)
		if v := acts.board.Verdict(); v.Live() || !strings.Contains(v.String(), "session: stuck") {
			t.Errorf("%s:\n%s", v, &acts.text)
		}
		close(stuck)
		pass(time.Second)
		if v := acts.board.Verdict(); !v.Live() {
			t.Errorf("when it has come round: %s", v)
		}
	})
}
