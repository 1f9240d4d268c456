package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

// What was given up is left to whoever acts, once.
func TestAPortThatWasGivenUpIsLeftInTheJournal(t *testing.T) {
	for name, c := range map[string]struct {
		repair handover.Repair
		kind   handover.GoalKind
		left   bool
	}{
		"a restore":                   {handover.RepairOwn, handover.GoalRestore, true},
		"a look":                      {handover.RepairOwn, handover.GoalVerify, false},
		"a look, all are to be right": {handover.RepairAll, handover.GoalVerify, true},
	} {
		for _, known := range []bool{false, true} {
			work(t, committed("p1"), func(t *testing.T, d *desk) {
				d.tools.settings.Repair = c.repair
				d.neutron.answer = on("activate", func(context.Context) (bool, error) { return false, internal })
				if known {
					d.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1"}, 0, func() {}, func() {})
				}
				d.aim(c.kind, src, true)
				if got, _ := d.wait(); got.Right {
					t.Errorf("%s: %+v", name, got)
				}
				d.last(t, audit.HandoverAlarm)
				if got := len(d.pages.doubts); got != 0 != (c.left && !known) {
					t.Errorf("%s, in the journal already %t: left %+v", name, known, d.pages.doubts)
				}
			})
		}
	}
}

// Of a row that a restore is not done with nothing is settled by a replica that
// only reads.
func TestARowThatCarriesTheMarkOfARestoreIsNotRight(t *testing.T) {
	owed := prepared("p1")
	owed.Rows = owed.Rows[:1]
	owed.Rows[0].Profile = map[string]any{rollback.MadeHere: src, "a": "b"}
	work(t, owed, func(t *testing.T, d *desk) {
		settled := 0
		d.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1", Host: src, Profile: map[string]any{"a": "b"}}, 0, func() { settled++ }, func() {})
		d.aim(handover.GoalVerify, src, true)
		if got, _ := d.wait(); got.Right || settled != 0 {
			t.Errorf("%+v, settled %d", got, settled)
		}
		if l := d.last(t, audit.HandoverAlarm); !strings.Contains(l.Decided, `{"port":{"binding:profile":{"a":"b"}}}`) {
			t.Errorf("%+v", l)
		}
		d.wantWrites(t)
	})
}

func TestTheJournalIsReviewed(t *testing.T) {
	review := func(t *testing.T, p *port.Port, states func(*stage), check func(s *stage, settled int)) {
		act(t, newNeutron(p), func(t *testing.T, s *stage) {
			settled := 0
			s.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1"}, 0, func() { settled++ }, func() {})
			states(s)
			s.r.review(s.tools.journal)
			synctest.Wait()
			select {
			case f := <-s.r.leftOvers:
				t.Errorf("at the first look: %+v", f)
			default:
			}
			pass(reviewEvery)
			s.r.review(s.tools.journal)
			synctest.Wait()
			check(s, settled)
		})
	}
	right := prepared("p1")
	right.Rows[0].Profile = nil
	onSource := func(s *stage) { s.states(src, true, runs) }
	review(t, right, onSource, func(s *stage, settled int) {
		if settled != 1 {
			t.Error("a port that is right was not settled")
		}
	})
	owed := prepared("p1")
	owed.Rows[0].Profile = map[string]any{rollback.MadeHere: src}
	for name, p := range map[string]*port.Port{"committed": committed("p1"), "owed": owed, "a row is left": forgotten()} {
		review(t, p, onSource, func(s *stage, settled int) {
			select {
			case f := <-s.r.leftOvers:
				if f.instance != guest || f.input.Host != src || f.input.Other != dst || settled != 0 {
					t.Errorf("%s: %+v, settled %d", name, f, settled)
				}
				if l := s.last(t, audit.PortVerified); !strings.HasPrefix(l.Outcome, "rows wrong: ") {
					t.Errorf("%s: said to be %q", name, l.Outcome)
				}
			default:
				t.Errorf("%s: not found wrong", name)
			}
		})
	}
	review(t, committed("p1"), func(s *stage) { s.states(src, true, runs); s.states(dst, true, runs) }, func(s *stage, settled int) {
		if settled != 0 || len(s.r.leftOvers) != 0 {
			t.Error("of a guest on two hosts")
		}
	})
	review(t, committed("p1"), func(s *stage) {}, func(s *stage, settled int) {
		if settled != 0 || len(s.r.leftOvers) != 0 {
			t.Error("of a guest that nobody has listed")
		}
		if l := s.last(t, audit.PortVerified); !strings.Contains(l.Outcome, "not known to run on one host alone") {
			t.Errorf("%+v", l)
		}
	})
	review(t, prepared("p1"), onSource, func(s *stage, settled int) {
		if settled != 0 || len(s.r.leftOvers) != 0 {
			t.Error("of a guest whose rows show a migration")
		}
	})
}

// forgotten is a port whose restore was cut off before its last step.
func forgotten() *port.Port {
	p := prepared("p1")
	p.Rows[0].Profile, p.Rows[1].Profile = nil, map[string]any{rollback.MadeHere: dst}
	return p
}

// Found by chaos: the guest had died on the source, and an hour-old notification cut off
// the restore before its last step. Nobody lists a guest that is dead.
func TestWhatARestoreHasForgottenIsDeletedAlsoOfAGuestThatIsDead(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*stage)
		want   []string
	}{
		"the guest is dead":        {func(*stage) {}, []string{"delete p1 compute2"}},
		"it may not":               {func(s *stage) { s.tools.settings.Policy = handover.PolicyObserve }, nil},
		"the lease is lost":        {func(s *stage) { s.tools.may = func() bool { return false } }, nil},
		"not bound on the source":  {func(s *stage) { s.neutron.ports["p1"].Rows[0].VIFType = "unbound" }, nil},
		"a migration is announced": {func(s *stage) { s.neutron.ports["p1"].Rows[0].Profile = map[string]any{port.MigratingTo: dst} }, nil},
		"Nova's row":               {func(s *stage) { s.neutron.ports["p1"].Rows[1].Profile = nil }, nil},
		"a copy of Nova's":         {func(s *stage) { s.neutron.ports["p1"].Rows[1].Profile = map[string]any{rollback.MadeHere: src} }, nil},
	} {
		act(t, newNeutron(forgotten()), func(t *testing.T, s *stage) {
			s.tools.settings.Repair = handover.RepairOwn
			c.change(s)
			s.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1"}, 0, func() {}, func() {})
			s.r.review(s.tools.journal)
			synctest.Wait()
			if got := s.neutron.writes(); len(got) != 0 {
				t.Errorf("%s: %q at the first look", name, got)
			}
			pass(reviewEvery)
			s.r.review(s.tools.journal)
			synctest.Wait()
			if got := s.neutron.writes(); !slices.Equal(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		})
	}
}

// Found by chaos: the guest had died on the source, Nova had deleted the ACTIVE row, and an hour-old
// notification cut off the restore before it was done. Nova cannot bind what is left.
func TestAPortOfADeadGuestIsNotLeftWithoutAnActiveRow(t *testing.T) {
	stranded := func() *port.Port {
		p := committed("p1")
		p.Rows = p.Rows[:1]
		return p
	}
	// By chaos too: cut off one step later.
	halfWay := func() *port.Port {
		p := committed("p1")
		p.Rows[1].Profile = map[string]any{rollback.MadeHere: dst}
		return p
	}
	activated := func(other map[string]any) *port.Port {
		p := prepared("p1")
		p.Rows[0].VIFType, p.Rows[1].Profile = "unbound", other
		return p
	}
	paused := wire.DomainState{Instance: guest, State: "paused"}
	off := wire.DomainState{Instance: guest, State: "shutoff"}
	both := func(s *stage) { s.states(src, false); s.states(dst, false) }
	ofJournal := map[string]string{"the journal knows where to": src, "not to there": dst, "nor to there": "compute3", "one more step later": src}
	for name, c := range map[string]struct {
		p     *port.Port
		lists func(*stage)
		mends bool
	}{
		"the journal knows where to": {committed("p1"), both, true},
		"not to there":               {committed("p1"), both, false},
		"nor to there":               {committed("p1"), both, false},
		"one more step later":        {activated(nil), both, true},
		"by a row that it has made":  {activated(map[string]any{rollback.MadeHere: dst}), both, true},
		"it is on neither":           {stranded(), both, true},
		"it is shut off":             {stranded(), func(s *stage) { s.states(src, false, off); s.states(dst, false) }, true},
		"nobody has listed":          {stranded(), func(*stage) {}, false},
		"the source is silent":       {stranded(), func(s *stage) { s.states(dst, false) }, false},
		"the destination is silent":  {stranded(), func(s *stage) { s.states(src, false) }, false},
		"it is paused somewhere":     {stranded(), func(s *stage) { both(s); s.states("compute3", false, paused) }, false},
		"it may not":                 {stranded(), func(s *stage) { both(s); s.tools.settings.Policy = handover.PolicyObserve }, false},
		"a row is ACTIVE":            {committed("p1"), both, false},
		"the restore's is ACTIVE":    {halfWay(), both, true},
		"and it is silent there":     {halfWay(), func(s *stage) { s.states(src, false) }, false},
		"and not at home":            {halfWay(), func(s *stage) { s.states(dst, false) }, false},
		"and may not":                {halfWay(), func(s *stage) { both(s); s.tools.settings.Policy = handover.PolicyObserve }, false},
		"a copy of Nova's": {func() *port.Port {
			p := halfWay()
			p.Rows[1].Profile = map[string]any{rollback.MadeHere: "compute3"}
			return p
		}(), both, false},
		"another host's migration": {func() *port.Port {
			p := halfWay()
			p.Rows[0].Profile = map[string]any{port.MigratingTo: "compute3"}
			return p
		}(), both, false},
		"Nova's row is left": {func() *port.Port { p := committed("p1"); p.Rows[1].Active = false; return p }(), both, false},
	} {
		act(t, newNeutron(c.p), func(t *testing.T, s *stage) {
			s.tools.settings.Repair = handover.RepairOwn
			s.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1", Home: ofJournal[name]}, 0, func() {}, func() {})
			p := s.lookedAtTwice(t, name, c.lists)
			if right, why := p.RightOn(src); right != c.mends {
				t.Errorf("%s: %t, %s: %s", name, right, why, p.Describe())
			}
			if !c.mends && len(s.neutron.writes()) != 0 {
				t.Errorf("%s: %q", name, s.neutron.writes())
			}
		})
	}
}

// lookedAtTwice gives the journal's port after two reviews, each after the hosts' lists; at the first nothing is written.
func (s *stage) lookedAtTwice(t *testing.T, name string, lists func(*stage)) port.Port {
	t.Helper()
	for look := range 2 {
		lists(s)
		s.r.review(s.tools.journal)
		synctest.Wait()
		select {
		case f := <-s.r.leftOvers:
			s.r.leftOver(f)
		default:
		}
		if got := s.neutron.writes(); look == 0 && len(got) != 0 {
			t.Errorf("%s: %q at the first look", name, got)
		}
		pass(reviewEvery)
	}
	pass(time.Minute)
	p, err := s.neutron.Read(t.Context(), "p1")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Found by make rolling: Neutron was stopping as the guest arrived, and answered our activates with 500. Nova gave up
// without a word, and the rows announced for ever the migration that was over.
func TestAGuestThatHasArrivedIsActivatedWhereNovaHasGivenUp(t *testing.T) {
	running := wire.DomainState{Instance: guest, State: "running"}
	incoming := wire.DomainState{Instance: guest, State: "running", Incoming: true}
	here := func(s *stage) { s.states(src, false); s.states(dst, false, running) }
	elsewhere := prepared("p1")
	elsewhere.Rows[0].Profile = map[string]any{port.MigratingTo: "compute3"}
	for name, c := range map[string]struct {
		p      *port.Port
		change func(*handover.Settings)
		lists  func(*stage)
		mends  bool
	}{
		"it runs there":                     {prepared("p1"), nil, here, true},
		"a migration to another host":       {elsewhere, nil, here, false},
		"two activates at once are no good": {prepared("p1"), func(s *handover.Settings) { s.ConcurrentActivateSafe = false }, here, false},
		"all is observed":                   {prepared("p1"), func(s *handover.Settings) { s.Policy = handover.PolicyObserve }, here, false},
		"it still comes in":                 {prepared("p1"), nil, func(s *stage) { s.states(src, false); s.states(dst, false, incoming) }, false},
		"the source has it too":             {prepared("p1"), nil, func(s *stage) { s.states(src, false, running); s.states(dst, false, running) }, false},
		"it is on the source":               {prepared("p1"), nil, func(s *stage) { s.states(src, false, running); s.states(dst, false) }, false},
	} {
		act(t, newNeutron(c.p), func(t *testing.T, s *stage) {
			s.tools.settings.Repair = handover.RepairOwn
			if c.change != nil {
				c.change(&s.tools.settings)
			}
			s.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1"}, 0, func() {}, func() {})
			p := s.lookedAtTwice(t, name, c.lists)
			if active, _ := p.Active(); (active.Host == dst) != c.mends {
				t.Errorf("%s: %s", name, p.Describe())
			}
			if !c.mends && len(s.neutron.writes()) != 0 {
				t.Errorf("%s: %q", name, s.neutron.writes())
			}
		})
	}
}

// Found by chaos: a restore was cut off, the next session began with an old notification and
// knew nothing of it.
func TestAPortThatIsArmedInTheMiddleOfARestoreIsLookedAtUntilItIsRight(t *testing.T) {
	with := func(change func(*port.Port)) *port.Port {
		p := prepared("p1")
		change(p)
		return p
	}
	for name, c := range map[string]struct {
		p    *port.Port
		want int
	}{
		"a row is left":         {forgotten(), 1},
		"as Nova has it":        {prepared("p1"), 0},
		"no ACTIVE row":         {with(func(p *port.Port) { p.Rows[0].Active = false }), 1},
		"the ACTIVE is unbound": {with(func(p *port.Port) { p.Rows[0].VIFType = binding.VIFTypeUnbound }), 1},
		"could not be bound":    {with(func(p *port.Port) { p.Rows[0].VIFType = "binding_failed" }), 0},
		"activated":             {committed("p1"), 0},
	} {
		act(t, newNeutron(c.p), func(t *testing.T, s *stage) {
			s.nova("old", wire.NovaPre, false)
			synctest.Wait()
			if got := s.pages.doubts; len(got) != c.want || c.want > 0 && got[0].Port != "p1" {
				t.Errorf("%s: %+v", name, got)
			}
		})
	}
}

// What cut the restore off may tell of no failure, and its guest be dead.
func TestTheJournalSaysWhereARestoreThatIsCutOffWasToLead(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("new", wire.NovaPre, false)
		s.host(dst, wire.Started, wire.Migrated)
		s.host(src, wire.Suspended, wire.Migrated)
		s.host(src, wire.Stopped, "failed")
		s.nova("old", wire.NovaPre, false)
		synctest.Wait()
		if got := s.pages.doubts; len(got) != 1 || got[0].Home != src {
			t.Errorf("%+v", got)
		}
	})
}

// Of a guest that was deleted, or is stopped, no host tells any more.
func TestAnEntryOfAPortThatIsAnothersIsSettled(t *testing.T) {
	p := prepared("p1")
	p.Device = "another guest"
	act(t, newNeutron(p), func(t *testing.T, s *stage) {
		settled := 0
		s.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1"}, 0, func() { settled++ }, func() {})
		s.r.review(s.tools.journal)
		synctest.Wait()
		if l := s.last(t, audit.PortVerified); settled != 1 || l.Outcome != "gone" {
			t.Errorf("settled %d, %+v", settled, l)
		}
	})
}

func TestAnEntryOfAPortThatWasDeletedIsSettled(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		settled := 0
		s.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1"}, 0, func() { settled++ }, func() {})
		s.states(src, true, runs)
		s.neutron.answer = on("read", func(context.Context) (bool, error) {
			return false, errors.Join(port.ErrGone, &binding.Error{Op: binding.OpGetPort, Status: 404})
		})
		s.r.review(s.tools.journal)
		synctest.Wait()
		if settled != 1 {
			t.Error("not settled")
		}
	})
}

// What follows was found by a review (2026-11-25); each went wrong before.

func TestAStatusThatNobodyCouldReadIsAlarmed(t *testing.T) {
	for kind, left := range map[handover.GoalKind]int{handover.GoalVerify: 0, handover.GoalRestore: 1} {
		p := prepared("p1")
		p.Rows, p.Status = p.Rows[:1], "DOWN"
		p.Rows[0].Profile = map[string]any{}
		work(t, p, func(t *testing.T, d *desk) {
			reads := 0
			d.neutron.answer = on("read", func(context.Context) (bool, error) {
				if reads++; reads == 1 {
					return true, nil
				}
				return false, &binding.Error{Op: binding.OpGetPort, Status: 503, Err: errTest}
			})
			d.aim(kind, src, true)
			d.wait()
			if l := d.last(t, audit.HandoverAlarm); !strings.Contains(l.Why, "could not be read") || len(d.pages.doubts) != left {
				t.Errorf("%s: %+v, left %+v", kind, l, d.pages.doubts)
			}
		})
	}
}

// Neutron is started again while the port's status is waited for: nobody is told of it.
func TestAStatusIsReadAgainWhenNeutronIsBack(t *testing.T) {
	for name, c := range map[string]struct {
		then    error
		outcome string
	}{
		"up again":             {nil, "rows right"},
		"deleted in the while": {errors.Join(port.ErrGone, &binding.Error{Op: binding.OpGetPort, Status: 404}), "gone"},
	} {
		p := prepared("p1")
		p.Rows, p.Status = p.Rows[:1], "DOWN"
		p.Rows[0].Profile = map[string]any{}
		work(t, p, func(t *testing.T, d *desk) {
			d.tools.upWithin = 5 * time.Second
			reads := 0
			d.neutron.answer = on("read", func(context.Context) (bool, error) {
				switch reads++; {
				case reads == 1:
					return true, nil
				case time.Since(d.began) < d.tools.upWithin+12*time.Second:
					return false, &binding.Error{Op: binding.OpGetPort, Err: errTest}
				}
				d.neutron.change("p1", func(p *port.Port) { p.Status = binding.PortActive })
				return c.then == nil, c.then
			})
			d.aim(handover.GoalVerify, src, true)
			got, took := d.wait()
			if l := d.last(t, audit.PortVerified); took > 20*time.Second || !got.Right || !got.Up || l.Outcome != c.outcome || len(d.of(audit.HandoverAlarm)) != 0 {
				t.Errorf("%s: %+v, %+v, alarms %+v", name, got, l, d.of(audit.HandoverAlarm))
			}
		})
	}
}

func TestNovaIsGivenItsTimeWhenItSaysLateThatItIsDone(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalVerify, src, false)
		d.pass(90 * time.Second)
		d.aim(handover.GoalVerify, src, true)
		d.pass(300 * time.Millisecond)
		d.neutron.change("p1", func(p *port.Port) { p.Rows = p.Rows[:1]; p.Rows[0].Profile = map[string]any{} })
		if got, _ := d.wait(); !got.Right || len(d.of(audit.HandoverAlarm)) != 0 {
			t.Errorf("%+v, alarms %+v", got, d.of(audit.HandoverAlarm))
		}
	})
}

// The host that is said to run the guest is dead, and the guest was evacuated.
func TestAHostThatDoesNotAnswerIsNotBelievedToRunItsGuests(t *testing.T) {
	p := prepared("p1")
	p.Rows = []port.Row{{Host: dst, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{}}}
	act(t, newNeutron(p), func(t *testing.T, s *stage) {
		s.tools.journal.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1", Host: src, VNICType: "normal"}, 0, func() {}, func() {})
		s.states(src, true, runs)
		for range 3 {
			pass(time.Hour)
			s.r.review(s.tools.journal)
			synctest.Wait()
			select {
			case f := <-s.r.leftOvers:
				t.Fatalf("%+v", f)
			default:
			}
		}
	})
}

func TestAGuestThatHasLeftIsNotOnItsHostsListAnyMore(t *testing.T) {
	for _, detail := range []wire.Detail{wire.Migrated, wire.Failed} {
		act(t, newNeutron(committed("p1")), func(t *testing.T, s *stage) {
			s.states(src, true, runs)
			if host, alone := s.r.runsOn(guest); !alone || host != src {
				t.Fatalf("runs on %q", host)
			}
			s.host(src, wire.Stopped, detail)
			if host, alone := s.r.runsOn(guest); alone {
				t.Errorf("runs on %s, which has said STOPPED/%s", host, detail)
			}
		})
	}
}

// A replica that stops gives back what it holds when its last write was answered. What
// the hosts said meanwhile came to this one first, which knew of no handover.
func TestHostsAreAskedWhatWasMissedWhenAHandoverIsTakenOver(t *testing.T) {
	act(t, newNeutron(committed("p1")), func(t *testing.T, s *stage) {
		s.sent = 2
		s.host(src, wire.Resumed, wire.Unpaused)
		event := func(host string, sequence uint64, e wire.Event) {
			s.r.event(wire.HostEvent{Schema: wire.SchemaVersion, Host: host, Order: wire.Order{Epoch: 1, Sequence: sequence}, Instance: guest, Event: e, Detail: wire.Migrated}, 0, true, func() {})
			synctest.Wait()
		}
		event(dst, 1, wire.Started)
		event(src, 2, wire.Suspended)
		if s.phase() != "paused" || s.asked.Load() != 0 {
			t.Fatalf("phase %s, asked %d times", s.phase(), s.asked.Load())
		}
		pass(settleIn)
		if s.asked.Load() != 1 {
			t.Fatalf("asked %d times", s.asked.Load())
		}
		s.states(src, false, runs)
		if s.phase() != "failed" {
			t.Errorf("phase %s", s.phase())
		}
	})
}
