package consumer

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

// slip is an entry whose settling can be counted.
func slip(settled *[]string, id, port, host string, replaces ...string) (wire.JournalEntry, time.Duration, func(), func()) {
	e := wire.JournalEntry{ID: id, Instance: guest, Port: port, Host: host, VNICType: "direct", Profile: map[string]any{"of": id}, Replaces: replaces}
	return e, 0, func() { *settled = append(*settled, id) }, func() {}
}

func TestAJournalHoldsWhatWasDeliveredUntilItsPortIsSettled(t *testing.T) {
	var settled []string
	j := newJournal(nil)
	if _, read := j.of(guest).Held("p1", src); read {
		t.Error("read before it was")
	}
	j.add(slip(&settled, "1", "p1", src))
	j.add(slip(&settled, "2", "p2", src))
	j.complete()
	held, read := j.of(guest).Held("p1", src)
	if !read || held == nil || held.VNICType != "direct" || held.Profile["of"] != "1" {
		t.Errorf("%+v %t", held, read)
	}
	if held, read := j.of(guest).Held("p1", dst); held != nil || !read {
		t.Errorf("of the other host: %+v", held)
	}
	j.settler("p1", 0)()
	if held, _ := j.of(guest).Held("p1", src); held != nil || !slices.Equal(settled, []string{"1"}) || !j.holds("p2") {
		t.Errorf("%+v, settled %v", held, settled)
	}
}

func TestANewerEntryOfARowReplacesTheOlder(t *testing.T) {
	for _, order := range [][]string{{"old", "new"}, {"new", "old"}} {
		var settled []string
		j := newJournal(nil)
		for _, id := range order {
			if id == "old" {
				j.add(slip(&settled, "old", "p1", src))
			} else {
				j.add(slip(&settled, "new", "p1", src, "old"))
			}
		}
		j.complete()
		if held, _ := j.of(guest).Held("p1", src); held == nil || held.Profile["of"] != "new" || !slices.Equal(settled, []string{"old"}) {
			t.Errorf("%v: %+v, settled %v", order, held, settled)
		}
	}
}

func TestWhatIsWrittenDownIsHeldAtOnceAndSettledWhenItComesBack(t *testing.T) {
	var kept []wire.JournalEntry
	var settled []string
	j := newJournal(func(_ context.Context, e wire.JournalEntry) error { kept = append(kept, e); return nil })
	mine := j.of(guest)
	for _, vnic := range []string{"direct", "macvtap"} {
		if err := mine.WriteDown(t.Context(), "p1", src, rollback.Held{VNICType: vnic}); err != nil {
			t.Fatal(err)
		}
	}
	if held, _ := mine.Held("p1", src); held == nil || held.VNICType != "macvtap" {
		t.Errorf("%+v", held)
	}
	if len(kept) != 2 || kept[0].ID == kept[1].ID || !slices.Equal(kept[1].Replaces, []string{kept[0].ID}) || kept[0].Instance != guest {
		t.Fatalf("%+v", kept)
	}
	j.settler("p1", 0)() // before the broker has delivered either
	for _, e := range kept {
		j.add(e, 0, func() { settled = append(settled, e.ID) }, func() {})
	}
	if len(settled) != 2 || j.holds("p1") || len(j.settled) != 0 {
		t.Errorf("settled %v, left %+v", settled, j.entries)
	}
}

// A write that timed out and was kept all the same is written again.
func TestAnEntryThatComesTwiceIsHeldOnce(t *testing.T) {
	var settled []string
	j := newJournal(nil)
	e, now, settle, back := slip(&settled, "1", "p1", src)
	j.add(e, now, settle, back)
	j.add(e, now, func() { settled = append(settled, "twin") }, back)
	if !slices.Equal(settled, []string{"twin"}) {
		t.Errorf("settled %v", settled)
	}
	j.settler("p1", 0)()
	if !slices.Equal(settled, []string{"twin", "1"}) || j.holds("p1") {
		t.Errorf("settled %v", settled)
	}
}

func TestWhatTheBrokerDoesNotKeepIsNotHeld(t *testing.T) {
	j := newJournal(func(context.Context, wire.JournalEntry) error { return errTest })
	if err := j.of(guest).WriteDown(t.Context(), "p1", src, rollback.Held{}); !errors.Is(err, errTest) {
		t.Error(err)
	}
	j.complete()
	if held, _ := j.of(guest).Held("p1", src); held != nil {
		t.Errorf("%+v", held)
	}
}

func TestAPortThatStaysWrongIsReviewedMoreAndMoreSeldom(t *testing.T) {
	var settled []string
	j := newJournal(nil)
	j.add(slip(&settled, "1", "p1", src))
	j.add(slip(&settled, "2", "p1", ""))
	var times []time.Duration
	for now := time.Duration(0); now < 5*time.Hour; now += reviewEvery {
		switch due := j.due(now); len(due) {
		case 0:
		case 1:
			times = append(times, now)
		default:
			t.Fatalf("one port, %d entries", len(due))
		}
	}
	for i := 2; i < len(times); i++ {
		if gap, before := times[i]-times[i-1], times[i-1]-times[i-2]; gap < before || gap > reviewMax {
			t.Errorf("reviewed at %v", times)
		}
	}
	if len(times) < 8 || len(times) > 16 {
		t.Errorf("reviewed at %v", times)
	}
}

// Another entry of the same port tells less, and is not to stand before it.
func TestOfAPortsEntriesTheOneThatTellsWhereARestoreWasToLeadIsLookedAt(t *testing.T) {
	for range 50 { // a map's order
		j := newJournal(nil)
		for _, e := range []wire.JournalEntry{{ID: "1", Port: "p1"}, {ID: "2", Port: "p1", Home: src}, {ID: "3", Port: "p1"}} {
			j.add(e, 0, func() {}, func() {})
		}
		if due := j.due(0); len(due) != 1 || due[0].Home != src {
			t.Fatalf("%+v", due)
		}
	}
}

// RabbitMQ closes a channel that keeps a message for half an hour.
func TestWhatIsHeldForLongIsGivenBackAndKnownAllTheWhile(t *testing.T) {
	var settled []string
	given := 0
	j := newJournal(nil)
	deliver := func(now time.Duration) {
		e, _, settle, _ := slip(&settled, "1", "p1", src)
		j.add(e, now, settle, func() { given++ })
	}
	deliver(0)
	j.complete()
	j.renew(holdFor-1, holdFor)
	if given != 0 {
		t.Error("given back early")
	}
	j.renew(holdFor, holdFor)
	j.renew(2*holdFor, holdFor)
	if held, _ := j.of(guest).Held("p1", src); given != 1 || held == nil {
		t.Errorf("given back %d times, held %+v", given, held)
	}
	deliver(2 * holdFor)
	j.settler("p1", 0)()
	if len(settled) != 1 || j.holds("p1") {
		t.Errorf("settled %v", settled)
	}
}

func TestDoubtsWaitForABrokerThatIsAway(t *testing.T) {
	var d doubts
	d.add(wire.JournalEntry{Port: "p1"})
	d.add(wire.JournalEntry{Port: "p2"})
	var written []string
	write := func(e wire.JournalEntry) error {
		if e.ID == "" || e.Schema != wire.SchemaVersion {
			t.Errorf("%+v", e)
		}
		if e.Port == "p2" && len(written) == 1 {
			written = append(written, "refused")
			return errTest
		}
		written = append(written, e.Port)
		return nil
	}
	if err := d.flush(write); !errors.Is(err, errTest) {
		t.Error(err)
	}
	if err := d.flush(write); err != nil {
		t.Error(err)
	}
	if err := d.flush(write); err != nil || !slices.Equal(written, []string{"p1", "refused", "p2"}) {
		t.Errorf("%v, written %v", err, written)
	}
}

// An instance that is armed again and again is doubted each time.
func TestADoubtThatWaitsIsNotAddedAgain(t *testing.T) {
	var d doubts
	entries := []wire.JournalEntry{{Instance: guest, Port: "p1"}, {Instance: "other", Port: "p1"}, {Instance: guest, Port: "p2"}, {Instance: guest, Port: "p1", Host: src}, {Instance: guest, Port: "p1", Late: true}, {Instance: guest, Port: "p1", Home: src}}
	for range 3 {
		for _, e := range entries {
			e.Why = rand.Text()
			d.add(e)
		}
	}
	written := 0
	write := func(e wire.JournalEntry) error {
		if written == 0 {
			d.add(e) // it still waits
		}
		written++
		return nil
	}
	if err := d.flush(write); err != nil || written != len(entries) {
		t.Errorf("%d written, want %d; %v", written, len(entries), err)
	}
	d.add(entries[0])
	if left := d.take(); len(left) != 1 {
		t.Errorf("after it was written: %+v", left)
	}
}

func TestAFullJournalTakesWhatReplacesAnEntryAlone(t *testing.T) {
	kept := 0
	j := newJournal(func(context.Context, wire.JournalEntry) error { kept++; return nil })
	var settled []string
	for i := range journalMax {
		j.add(slip(&settled, strconv.Itoa(i), "p"+strconv.Itoa(i), src))
	}
	if err := j.of(guest).WriteDown(t.Context(), "p", src, rollback.Held{}); !errors.Is(err, errNotKept) || kept != 0 {
		t.Errorf("%v, %d kept", err, kept)
	}
	if err := j.of(guest).WriteDown(t.Context(), "p1", src, rollback.Held{}); err != nil || kept != 1 {
		t.Errorf("what replaces one: %v, %d kept", err, kept)
	}
	j.settler("p2", 0)()
	if err := j.of(guest).WriteDown(t.Context(), "p", src, rollback.Held{}); err != nil {
		t.Errorf("when there is room: %v", err)
	}
}

// withDevice is a port with a device of its host after Nova's roll-back has
// deleted the ACTIVE row.
func withDevice(id string) *port.Port {
	p := committed(id)
	p.Rows = p.Rows[:1]
	p.Rows[0].VNICType = "direct"
	p.Rows[0].Profile["pci_slot"] = "0000:81:00.1"
	return p
}

func wantDevice(t *testing.T, p *port.Port) {
	t.Helper()
	row, _ := p.Row(src)
	if right, why := p.RightOn(src); !right || row.VNICType != "direct" || len(row.Profile) != 1 || row.Profile["pci_slot"] != "0000:81:00.1" {
		t.Errorf("%s: %+v", why, p)
	}
}

func TestADevicesRowIsWrittenDownBeforeItIsMadeAnew(t *testing.T) {
	work(t, withDevice("p1"), func(t *testing.T, d *desk) {
		d.neutron.answer = on("delete", func(context.Context) (bool, error) {
			if len(d.pages.kept) != 1 {
				t.Errorf("written down: %+v", d.pages.kept)
			}
			return true, nil
		})
		d.aim(handover.GoalRestore, src, true)
		if got, _ := d.wait(); !got.Right || !got.Up {
			t.Errorf("%+v", got)
		}
		d.wantWrites(t, "delete p1 compute1", "create p1 compute1", "profile p1")
		wantDevice(t, d.neutron.ports["p1"])
		if d.tools.journal.holds("p1") {
			t.Error("the journal still holds it")
		}
	})
}

func TestAnotherReplicaFinishesWhatWasDeleted(t *testing.T) {
	gone := withDevice("p1")
	gone.Rows = nil
	work(t, gone, func(t *testing.T, d *desk) {
		fresh := newJournal(d.pages.keep) // nothing of it was read yet
		d.tools.journal = fresh
		d.aim(handover.GoalRestore, src, true)
		d.pass(20 * time.Second)
		d.wantWrites(t)
		d.wantQuiet(t)
		settled := 0
		fresh.add(wire.JournalEntry{ID: "1", Instance: guest, Port: "p1", Host: src, VNICType: "direct", Profile: map[string]any{"pci_slot": "0000:81:00.1"}}, 0, func() { settled++ }, func() {})
		fresh.complete()
		if got, _ := d.wait(); !got.Right {
			t.Errorf("%+v", got)
		}
		d.wantWrites(t, "create p1 compute1", "profile p1")
		wantDevice(t, d.neutron.ports["p1"])
		if settled != 1 {
			t.Errorf("settled %d times", settled)
		}
	})
}

func TestWithoutAnEntryWhatIsGoneIsAnAlarmAndNotInvented(t *testing.T) {
	gone := withDevice("p1")
	gone.Rows = nil
	work(t, gone, func(t *testing.T, d *desk) {
		d.aim(handover.GoalRestore, src, true)
		if got, _ := d.wait(); got.Right {
			t.Errorf("%+v", got)
		}
		d.wantWrites(t)
		if l := d.last(t, audit.HandoverAlarm); !strings.Contains(l.Why, "was not written down") {
			t.Errorf("%+v", l)
		}
	})
}

func TestAWriteThatIsAnsweredLateIsLeftToWhoeverActs(t *testing.T) {
	for name, hold := range map[string]time.Duration{"frozen": leaseFor + time.Second, "lost": 0} {
		work(t, prepared("p1"), func(t *testing.T, d *desk) {
			d.neutron.answer = on("activate", func(context.Context) (bool, error) {
				time.Sleep(hold)
				d.barred.Store(hold == 0)
				return true, nil
			})
			d.aim(handover.GoalCommit, dst, false)
			d.pass(time.Minute)
			if len(d.pages.doubts) != 1 || d.pages.doubts[0].Port != "p1" || d.pages.doubts[0].Instance != guest {
				t.Errorf("%s: %+v", name, d.pages.doubts)
			}
		})
	}
}

func TestWhatAnotherSessionHasBegunIsWatchedForAMinute(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		for i, e := range []wire.HostEvent{
			{Host: dst, Event: wire.Started, Detail: wire.Migrated}, {Host: src, Event: wire.Suspended, Detail: wire.Migrated}, {Host: src, Event: wire.Resumed, Detail: wire.Unpaused},
		} {
			e.Instance, e.Order = guest, wire.Order{Epoch: 1, Sequence: uint64(i + 1)}
			s.r.event(e, 0, true, s.settle("again"))
		}
		s.nova("req", wire.NovaRollback, false)
		s.nova("req", wire.NovaRollback, true)
		s.neutron.change("p1", func(p *port.Port) { p.Rows, p.Rows[0].Profile = p.Rows[:1], nil })
		pass(30 * time.Second)
		// The write of the replica before takes effect only now.
		s.neutron.change("p1", func(p *port.Port) { *p = *committed("p1") })
		pass(unknownWatch)
		if l := s.last(t, audit.HandoverEnded); l.Outcome != "restored" {
			t.Errorf("%+v", l)
		}
		p := clone(s.neutron.ports["p1"])
		if right, why := p.RightOn(src); !right {
			t.Error(why)
		}
	})
}

// An entry that is written while its port is read may tell of a write that the
// read has not seen.
func TestWhatIsWrittenAfterTheReadIsNotSettledByIt(t *testing.T) {
	var settled []string
	j := newJournal(nil)
	j.add(slip(&settled, "1", "p1", ""))
	settle := j.settler("p1", 0)
	j.add(slip(&settled, "2", "p1", ""))
	settle()
	if !slices.Equal(settled, []string{"1"}) || !j.holds("p1") {
		t.Errorf("settled %v", settled)
	}
}

func TestAnEntryOfALateWriteIsKeptUntilThatCanNotTakeEffectAnyMore(t *testing.T) {
	var settled []string
	j := newJournal(nil)
	e, _, settle, back := slip(&settled, "1", "p1", "")
	e.Late = true
	const began = time.Hour
	j.add(e, began, settle, back)
	before := began + unknownWatch - 1
	if j.waits(before) || len(j.due(before)) != 0 {
		t.Error("reviewed at once")
	}
	if j.settler("p1", before)(); len(settled) != 0 {
		t.Error("settled at once")
	}
	if !j.waits(before+1) || len(j.due(before+1)) != 1 {
		t.Error("not reviewed in time")
	}
	if j.settler("p1", before+1)(); len(settled) != 1 {
		t.Error("not settled in time")
	}
}

// An entry of a newer version holds what that version needs.
func TestAnEntryThatIsNotForThisReplicaIsLeftInTheQueue(t *testing.T) {
	j, given := newJournal(nil), 0
	settle, back := func() { t.Error("settled") }, func() { given++ }
	if !j.leave("x", 0, settle, back) {
		t.Error("not told")
	}
	if j.waits(time.Hour) || len(j.due(time.Hour)) != 0 {
		t.Error("reviewed")
	}
	j.renew(holdFor, holdFor)
	if given != 1 {
		t.Errorf("given back %d times", given)
	}
	if j.leave("x", holdFor, settle, back) {
		t.Error("told twice")
	}
}

// Of an entry that is there twice one is kept: what is held and not renewed would end the
// session after half an hour, again and again.
func TestAnEntryThatIsLeftTwiceIsKeptOnce(t *testing.T) {
	j, said := newJournal(nil), []string{}
	say := func(what string) func() { return func() { said = append(said, what) } }
	j.leave("x", 0, say("first settled"), say("first back"))
	j.leave("x", time.Minute, say("second settled"), say("second back"))
	j.renew(time.Minute+holdFor, holdFor)
	if !slices.Equal(said, []string{"first settled", "second back"}) {
		t.Errorf("%q", said)
	}
}

func TestAJournalThatTakesNothingIsToldOnceUntilItTakesSomethingAgain(t *testing.T) {
	var out bytes.Buffer
	c := New(defaults(), Replica{ConcurrentActivateSafe: true, Log: audit.New(&out, 0, "r"), Name: "r"})
	for _, err := range []error{errNotKept, errNotKept, errors.New("closed"), errNotKept, nil, nil, errNotKept, errNotKept} {
		c.hearJournal(err)
	}
	if told := strings.Count(out.String(), "the journal is full"); told != 2 || strings.Contains(out.String(), "closed") {
		t.Errorf("told %d times, want once before it took something and once after:\n%s", told, &out)
	}
}
