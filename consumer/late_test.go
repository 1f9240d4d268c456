package consumer

import (
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// Found by chaos: Nova's messages of a migration came five minutes late, when the guest had come
// back. Its port was right all the time, and an operator was told that it was not. No host had
// been asked.
func TestNovasMessagesOfAnEarlierMigrationRaiseNoAlarm(t *testing.T) {
	here := prepared("p1")
	here.Rows, here.Rows[0].Profile = here.Rows[:1], nil
	act(t, newNeutron(here), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaPre, false)
		s.nova("req", wire.NovaPost, false)
		s.nova("req", wire.NovaPostDest, true)
		pass(2 * mendAfter)
		if n := s.asked.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		s.states(src, false, runs)
		s.states(dst, false)
		pass(5 * time.Minute)
		if alarms := s.of(audit.HandoverAlarm); len(alarms) != 0 {
			t.Errorf("%+v", alarms)
		}
		if end := s.last(t, audit.HandoverEnded); end.Outcome != "superseded" {
			t.Errorf("%+v", end)
		}
		if writes := s.neutron.writes(); len(writes) != 0 {
			t.Errorf("writes %q", writes)
		}
		s.wantAllSettledOnce(t, 3)
	})
}

// Where Nova tells the truth and its rows are late, the hosts' answer changes nothing.
func TestAGuestThatHasLeftByNovasWordAloneIsWaitedFor(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaPre, false)
		s.nova("req", wire.NovaPost, false)
		s.nova("req", wire.NovaPostDest, true)
		pass(2 * mendAfter)
		s.states(src, false)
		s.states(dst, false, runs)
		s.neutron.change("p1", func(p *port.Port) { *p = *committed("p1") })
		pass(time.Minute)
		if end := s.last(t, audit.HandoverEnded); end.Outcome != "migrated" || len(s.of(audit.HandoverAlarm)) != 0 {
			t.Errorf("%+v", end)
		}
	})
}

// Found by chaos: what Nova said of a migration whose handover had ended was held for the next one,
// and went with its messages to another replica. That one gave the next handover the earlier one's
// request, and did not take what Nova said of its own.
func TestWhatNovaSaysOfAMigrationThatIsOverIsNotHeldForTheNext(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req-1", wire.NovaPre, false)
		s.host(dst, wire.Started, wire.Migrated)
		s.host(dst, wire.Started, wire.Migrated) // of a further attempt
		before := len(s.settled())
		if h := s.r.actors[guest].core.Current(); before != 2 || h.RequestID != "" {
			t.Fatalf("settled %q, request %q", s.settled(), h.RequestID)
		}
		s.nova("req-1", wire.NovaRollback, true)
		if done := s.settled()[before:]; len(done) != 1 || done[0] != "req-1 rollback true" {
			t.Errorf("settled %q", done)
		}
		s.nova("req-2", wire.NovaPost, false)
		if h := s.r.actors[guest].core.Current(); h.RequestID != "req-2" || len(s.settled()) != before+1 {
			t.Errorf("request %q, settled %q", h.RequestID, s.settled())
		}
	})
}
