package consumer

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/wire"
)

// acknowledger notes how messages are settled.
type acknowledger struct {
	mu   sync.Mutex
	said []string
}

var _ amqp.Acknowledger = (*acknowledger)(nil)

func (a *acknowledger) say(format string, args ...any) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.said = append(a.said, fmt.Sprintf(format, args...))
	return nil
}

func (a *acknowledger) Ack(tag uint64, _ bool) error { return a.say("ack %d", tag) }
func (a *acknowledger) Nack(tag uint64, _, requeue bool) error {
	return a.say("nack %d %t", tag, requeue)
}
func (a *acknowledger) Reject(tag uint64, requeue bool) error {
	return a.say("reject %d %t", tag, requeue)
}

func (a *acknowledger) take() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	said := a.said
	a.said = nil
	slices.Sort(said)
	return said
}

func TestShelfGivesBackWhatIsNotSettled(t *testing.T) {
	broker, s := &acknowledger{}, newShelf(maxShelf)
	hold := func(instance string, tag uint64) func() {
		return s.hold(instance, amqp.Delivery{Acknowledger: broker, DeliveryTag: tag}, func() { _ = broker.Ack(tag, false) })
	}
	settleFirst, settleLast := hold("a", 1), hold("b", 4)
	hold("a", 2)
	hold("a", 3)
	settleFirst()
	if got := broker.take(); !slices.Equal(got, []string{"ack 1"}) {
		t.Errorf("settled: %q", got)
	}
	s.giveBack("a")
	s.giveBack("a")
	if got := broker.take(); !slices.Equal(got, []string{"nack 2 true", "nack 3 true"}) {
		t.Errorf("given back: %q", got)
	}
	settleLast()
	s.giveBack("b")
	if got := broker.take(); !slices.Equal(got, []string{"ack 4"}) || len(s.held) != 0 {
		t.Errorf("settled: %q, still held: %v", got, s.held)
	}
}

func TestRestoresLeaveRoomInTheDrainForTheLastAnswers(t *testing.T) {
	for drain, want := range map[time.Duration]time.Duration{25 * time.Second: 5 * time.Second, time.Minute: 40 * time.Second, 10 * time.Second: 0} {
		if got := finishRestores(drain); got != want {
			t.Errorf("of %s: %s, want %s", drain, got, want)
		}
	}
}

func TestARestoreIsUnderWayUntilItsPortsAreRight(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		want := func(restoring bool, when string) {
			t.Helper()
			if s.r.restoring() != restoring {
				t.Errorf("%s: restoring %t", when, !restoring)
			}
		}
		want(false, "at first")
		s.toThePause()
		pass(200 * time.Millisecond)
		want(false, "while the guest is on its way")
		s.host(src, wire.Resumed, wire.Migrated)
		want(true, "while Nova is waited for")
		pass(2 * novaPatience)
		want(false, "at the end")
		if len(s.settled()) == 0 {
			t.Error("the handover has not ended")
		}
	})
}

// At the end of a session an instance is given up when the answers to its writes
// have come, at once where there is none under way.
func TestAnInstanceIsGivenUpWhenItsWritesAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNeutron(prepared("p1"))
		n.answer = on("activate", func(context.Context) (bool, error) {
			time.Sleep(10 * time.Second)
			return true, nil
		})
		s := &stage{kit: newKit(n)}
		ctx, cancel := context.WithCancel(t.Context())
		s.r = newRegistry(ctx, s.tools)
		var given []string
		began := time.Now()
		s.r.ended = func(instance string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			given = append(given, fmt.Sprintf("%s after %s", instance, time.Since(began)))
		}
		s.r.nova(wire.NovaEvent{Instance: "other", RequestID: "req2", Step: wire.NovaPre, PublisherHost: dst, PayloadHost: src}, false, s.settle("other"))
		s.toThePause()
		began = time.Now()
		cancel()
		s.r.wait()
		if want := []string{"other after 0s", guest + " after 10s"}; !slices.Equal(given, want) {
			t.Errorf("given up: %q, want %q", given, want)
		}
		if len(s.settled()) != 0 {
			t.Errorf("acknowledged: %q", s.settled())
		}
		// Whoever acts by then is told of the write.
		if len(s.pages.doubts) != 1 || s.pages.doubts[0].Port != "p1" {
			t.Errorf("doubts: %+v", s.pages.doubts)
		}
	})
}

func TestTheBoardSaysHowTheSessionStands(t *testing.T) {
	now := time.Hour
	board := health.NewBoard()
	s := &session{
		Consumer: &Consumer{settings: defaults(), health: board}, sender: &sender{}, lease: &lease{clock: func() time.Duration { return now }},
	}
	want := func(ready bool, says string) {
		t.Helper()
		s.sayHow()
		if v := board.Verdict(); v.Ready() != ready || v.String() != says {
			t.Errorf("ready %t: %q, want %q", v.Ready(), v, says)
		}
	}
	want(true, "ready: broker: connected; this replica stands by, the queue earlybind delivers to another")
	s.lease.renew(now)
	want(true, "ready: broker: connected; this replica acts")
	now += leaseFor
	want(false, "not ready: broker: connected, but the queue earlybind has not delivered for 5s: nothing is written")
	s.lease.renew(now)
	s.sender.blocked.Store(true)
	want(false, "not ready: broker: connected, but it blocks publishers, for want of memory or disk: nothing is written")
}

// What a stop leaves undone is told: nobody else knows of it.
func TestAStopTellsOfPortsThatAreNotInTheJournal(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		lost bool
	}{
		"before it had begun": {context.Canceled, false}, "in order": {nil, false}, "the broker went away": {errTest, true},
	} {
		var out bytes.Buffer
		consumer := &Consumer{log: audit.New(&out, zerolog.InfoLevel, "r")}
		consumer.doubts.add(wire.JournalEntry{Instance: guest, Port: "p1", Why: "a write was answered late"})
		consumer.giveUp(c.err)
		said := out.String()
		if strings.Contains(said, string(audit.ConsumerLost)) != c.lost {
			t.Errorf("%s: %s", name, said)
		}
		if !strings.Contains(said, string(audit.HandoverAlarm)) || !strings.Contains(said, `"port":"p1"`) || !strings.Contains(said, "answered late") {
			t.Errorf("%s: %s", name, said)
		}
		if left := consumer.doubts.take(); len(left) != 0 {
			t.Errorf("%s: left %+v", name, left)
		}
	}
}

// So it does when the stop comes while no broker is to be had.
func TestAStopWithoutABrokerTellsOfThemToo(t *testing.T) {
	var out bytes.Buffer
	settings := defaults()
	settings.AMQPUrls = []string{"amqp://127.0.0.1:1/"}
	consumer := New(settings, Replica{Neutron: newNeutron(), ConcurrentActivateSafe: true, Log: audit.New(&out, zerolog.InfoLevel, "r"), Board: health.NewBoard(), Name: "r"})
	consumer.doubts.add(wire.JournalEntry{Instance: guest, Port: "p1", Why: "a write was answered late"})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := consumer.Run(ctx, time.Second); err != nil {
		t.Error(err)
	}
	if said := out.String(); strings.Count(said, string(audit.HandoverAlarm)) != 1 || strings.Count(said, string(audit.ConsumerLost)) != 1 {
		t.Error(said)
	}
}

func TestAFullShelfAcknowledgesTheOldestOnce(t *testing.T) {
	shelf, broker := newShelf(2), &acknowledger{}
	var settle []func()
	for i, instance := range []string{guest, "other", guest, "other"} {
		settle = append(settle, shelf.hold(instance, amqp.Delivery{Acknowledger: broker, DeliveryTag: uint64(i + 1)}, func() { _ = broker.Ack(uint64(i+1), false) }))
	}
	if want := []string{"ack 1", "ack 2"}; !slices.Equal(broker.take(), want) {
		t.Errorf("not the oldest: %q", broker.said)
	}
	settle[0]()
	settle[3]()
	shelf.giveBack(guest)
	shelf.giveBack("other")
	if want := []string{"ack 4", "nack 3 true"}; !slices.Equal(broker.said, want) {
		t.Errorf("%q", broker.said)
	}
	if len(shelf.held) != 0 || shelf.all.Len() != 0 {
		t.Errorf("the shelf still holds %v", shelf.held)
	}
}

func TestWhatAnInstanceLeavesGoesBackOldestFirst(t *testing.T) {
	shelf, broker := newShelf(maxShelf), &acknowledger{}
	var want []string
	for _, tag := range []uint64{1, 2, 1, 2, 3, 3, 4, 5, 4} { // of two channels, each with tags of its own
		shelf.hold(guest, amqp.Delivery{Acknowledger: broker, DeliveryTag: tag}, nil)
		want = append(want, fmt.Sprintf("nack %d true", tag))
	}
	shelf.giveBack(guest)
	if !slices.Equal(broker.said, want) {
		t.Errorf("%q", broker.said)
	}
}
