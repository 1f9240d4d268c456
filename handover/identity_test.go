package handover

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// back is the same migration the other way round, at later places of the
// hosts' streams.
func back(in Input, by uint64, request string) Input {
	other := map[string]string{src: dst, dst: src}
	switch in := in.(type) {
	case HostSign:
		in.Host, in.Order.Sequence = other[in.Host], in.Order.Sequence+by
		return in
	case NovaSign:
		in.RequestID = request
		for _, host := range []*string{&in.PublisherHost, &in.PayloadHost} {
			if to, ok := other[*host]; ok {
				*host = to
			}
		}
		return in
	}
	return in
}

func again(in Input, by uint64, request string) Input { return back(back(in, 0, request), by, request) }

func readyBack(id string) port.Port {
	p := ready(id)
	p.Rows[0].Host, p.Rows[1].Host = dst, src
	p.Rows[0].Profile = map[string]any{port.MigratingTo: src}
	return p
}

func success() []Input {
	return append(toThePause(), at(dst, 2, SignResumed), at(src, 2, SignLeft), start("req", wire.NovaPost), ended("req", wire.NovaPostDest))
}

func failure() []Input {
	return append(toThePause(), at(dst, 2, SignStopped), at(src, 2, SignResumed), start("req", wire.NovaRollback), ended("req", wire.NovaRollback))
}

func wantHosts(t *testing.T, d *drive, request, source, destination string) {
	t.Helper()
	h := d.Current()
	if h == nil || h.RequestID != request || h.Source != source || h.Destination != destination {
		t.Fatalf("the handover is %+v, want request %q from %s to %s", h, request, source, destination)
	}
}

func TestThereBackAndThereAgain(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	for trip := range 3 {
		d.log = nil
		request := []string{"req", "req-2", "req-3"}[trip]
		direction, source, destination := again, src, dst
		d.ports = []port.Port{ready("p1")}
		if trip == 1 {
			direction, source, destination = back, dst, src
			d.ports = []port.Port{readyBack("p1")}
		}
		for _, in := range success() {
			d.tell(direction(in, uint64(10*trip), request))
		}
		wantHosts(t, d, request, source, destination)
		wantPhase(t, d, Left)
		if got := aimed(d.log, GoalCommit); len(got) != 1 || got[0].Goal.Host != destination {
			t.Errorf("trip %d: commits %+v", trip, got)
		}
		if got := endsIn(d.finish(true)); !slices.Equal(got, []Outcome{OutcomeMigrated}) {
			t.Errorf("trip %d ends %v", trip, got)
		}
	}
}

func TestBackWithoutAnyNotification(t *testing.T) {
	hosts := func(inputs []Input) []Input {
		return slices.DeleteFunc(inputs, func(in Input) bool { _, ok := in.(NovaSign); return ok })
	}
	d := newDrive(suspended, ready("p1"))
	d.tell(hosts(success())...)
	wantHosts(t, d, "", src, dst)
	wantPhase(t, d, Left)
	// Before the first has been verified, the second begins.
	d.ports = []port.Port{readyBack("p1")}
	for _, in := range hosts(failure()) {
		d.tell(back(in, 10, ""))
	}
	wantHosts(t, d, "", dst, src)
	wantPhase(t, d, Failed)
	if got := endsIn(d.log); !slices.Equal(got, []Outcome{OutcomeSuperseded}) {
		t.Errorf("ends %v", got)
	}
	if got := endsIn(d.finish(true)); !slices.Equal(got, []Outcome{OutcomeRestored}) {
		t.Errorf("ends %v", got)
	}
}

func TestLateMessagesOfTheFirstMigrationDoNotTouchTheSecond(t *testing.T) {
	for _, finished := range []bool{true, false} {
		d := newDrive(suspended, ready("p1"))
		d.tell(failure()...)
		wantPhase(t, d, Failed)
		if finished {
			d.finish(true)
		}
		d.log = nil
		for _, in := range toThePause() {
			d.tell(again(in, 10, "req-2"))
		}
		wantHosts(t, d, "req-2", src, dst)
		wantPhase(t, d, Paused)
		for _, late := range append(failure(), ended("req", wire.NovaRollbackDest), start("req", wire.NovaPreFailed)) {
			if got := d.tell(late); len(got) != 0 {
				t.Errorf("%s of the first decides %+v", say(late), got)
			}
			wantHosts(t, d, "req-2", src, dst)
			wantPhase(t, d, Paused)
		}
		if got := aimed(d.log, GoalCommit); len(got) != 1 {
			t.Errorf("commits of the second: %+v", got)
		}
	}
}

// A replica that has just taken over knows nothing of the migration before.
// Found by make chaos: the old RESUMED restored the source of
// a migration that went well.
func TestARESUMEDOlderThanTheSourcesListIsNotThisMigrations(t *testing.T) {
	for _, ins := range [][]Input{
		{start("req-2", wire.NovaPre), listed(src, 100, SignRunning), at(src, 50, SignResumed)},
		{start("req-2", wire.NovaPre), at(src, 50, SignResumed), listed(src, 100, SignRunning)},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(ins...)
		wantPhase(t, d, Watching)
		d.tell(at(dst, 1, SignStarted), at(src, 101, SignPaused))
		wantPhase(t, d, Paused)
		d.tell(at(src, 102, SignResumed))
		wantPhase(t, d, Failed)
	}
}

func TestAnotherRequestSupersedes(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(toThePause()...)
	got := d.tell(start("req-2", wire.NovaPre))
	if len(alarmsIn(got)) != 1 {
		t.Fatalf("a committed port is left behind without a word: %+v", got)
	}
	got = got[1:]
	if len(got) < 3 || got[0] != (End{OutcomeSuperseded}) {
		t.Fatalf("decides %+v", got)
	}
	if _, ok := got[1].(Begin); !ok {
		t.Errorf("then %+v", got[1])
	}
	wantHosts(t, d, "req-2", src, dst)
	wantPhase(t, d, Watching)
}

func TestOnlyThePreOfAnotherRequestSupersedes(t *testing.T) {
	for step := wire.NovaPre + 1; step <= wire.NovaRefused; step++ {
		d := newDrive(suspended, ready("p1"))
		d.tell(toThePause()...)
		if got := d.tell(start("req-2", step), ended("req-2", step)); len(got) != 0 {
			t.Errorf("%s of another request decides %+v", step, got)
		}
		wantHosts(t, d, "req", src, dst)
		wantPhase(t, d, Paused)
	}
}

func TestARequestIDThatComesLaterIsAdopted(t *testing.T) {
	for _, n := range []Input{
		ended("req", wire.NovaPre), start("req", wire.NovaPost), start("req", wire.NovaPostDest), ended("req", wire.NovaPostDest),
		start("req", wire.NovaRollback), start("req", wire.NovaRollbackDest), start("req", wire.NovaPreFailed),
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(at(dst, 1, SignStarted), at(src, 1, SignPaused))
		wantHosts(t, d, "", src, dst)
		d.tell(n)
		wantHosts(t, d, "req", src, dst)
		if len(endsIn(d.log)) != 0 {
			t.Errorf("%s: %+v", say(n), d.log)
		}
	}
}

// By the end of post_dest the instance is on the destination, and its payload says so: where neither
// the hosts nor Nova have named the source, that is not it. The port would be verified against two
// hosts that are one.
func TestTheEndOfPostDestDoesNotNameTheSource(t *testing.T) {
	for _, rowsFirst := range []bool{true, false} {
		d := newDrive(suspended, ready("p1"))
		d.mute = true
		d.tell(at(dst, 1, SignStarted))
		if rowsFirst {
			d.rows()
		}
		d.tell(ended("req", wire.NovaPostDest))
		if !rowsFirst {
			d.rows()
		}
		wantHosts(t, d, "req", src, dst)
		wantPhase(t, d, Left)
		if got := aims(d.log); len(got) != 1 || got[0].Goal != (Goal{Kind: GoalVerify, Host: dst, NovaDone: true}) || got[0].Other != src {
			t.Errorf("rows first %t: %+v", rowsFirst, got)
		}
	}
}

func TestANotificationOfOtherHostsIsNotAdopted(t *testing.T) {
	elsewhere := start("req", wire.NovaRollback)
	elsewhere.PublisherHost, elsewhere.PayloadHost = third, third
	destination := start("req", wire.NovaPostDest)
	destination.PublisherHost = third
	for _, n := range []Input{elsewhere, destination, start("req", wire.NovaRefused)} {
		d := newDrive(suspended, ready("p1"))
		d.tell(at(dst, 1, SignStarted), at(src, 1, SignPaused))
		if got := d.tell(n); len(got) != 0 {
			t.Errorf("%s decides %+v", say(n), got)
		}
		wantHosts(t, d, "", src, dst)
		wantPhase(t, d, Paused)
	}
}

func TestTheRequestOfAnAbortIsNotTheMigrations(t *testing.T) {
	for _, step := range []wire.NovaStep{wire.NovaAbort, wire.NovaForceComplete} {
		d := newDrive(suspended, ready("p1"))
		if got := d.tell(start("req-abort", step)); len(got) != 0 || d.Current() != nil {
			t.Errorf("%s begins %+v", step, got)
		}
		d.tell(at(dst, 1, SignStarted), start("req-abort", step), ended("req-abort", step))
		wantHosts(t, d, "", src, dst)
		d.tell(start("req", wire.NovaPre), start("req", wire.NovaRollback))
		wantHosts(t, d, "req", src, dst)
		wantPhase(t, d, Failing)
	}
}

func TestARefusalBeginsNothing(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	if got := d.tell(start("req", wire.NovaRefused), start("req", wire.NovaPreFailed)); len(got) != 0 || d.Current() != nil {
		t.Errorf("decides %+v", got)
	}
}

func TestAListRepeatsAnIncomingGuestAndBeginsNothingAnew(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted))
	if got := d.tell(listed(dst, 5, SignStarted)); len(endsIn(got)) != 0 {
		t.Errorf("decides %+v", got)
	}
	wantHosts(t, d, "req", src, dst)
	d.tell(at(src, 1, SignPaused))
	if got := aimed(d.log, GoalCommit); len(got) != 1 {
		t.Errorf("commits: %+v", got)
	}
}

func TestAnIncomingGuestThatWasGoneIsAnotherAttempt(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(at(dst, 1, SignStarted), at(dst, 2, SignStopped))
	if got := endsIn(d.tell(listed(dst, 3, SignStarted))); !slices.Equal(got, []Outcome{OutcomeSuperseded}) {
		t.Errorf("ends %v", got)
	}
	wantPhase(t, d, Watching)
}

func TestASecondStartIsAnotherAttempt(t *testing.T) {
	for _, s := range []HostSign{at(dst, 9, SignStarted), at(third, 1, SignStarted), listed(third, 1, SignStarted)} {
		d := newDrive(suspended, ready("p1"))
		d.tell(at(dst, 1, SignStarted), at(src, 1, SignPaused))
		got := d.tell(s)
		if !slices.Equal(endsIn(got), []Outcome{OutcomeSuperseded}) || d.Current() == nil || d.Current().Destination != s.Host {
			t.Errorf("%s decides %+v", say(s), got)
		}
		if got := d.tell(s); len(endsIn(got)) != 0 {
			t.Errorf("its duplicate decides %+v", got)
		}
	}
}

// That the guest once came to its source is heard late by a replica that knows nothing of that
// migration, or before the source's word that it has left, out of turn: what goes on is not cut off
// by it, its commit and its restore neither. Once the guest has left it is a migration back, and by
// the hosts alone nothing else tells of one.
func TestAStartOnTheSourceIsAMigrationBackOnlyOnceTheGuestHasLeft(t *testing.T) {
	for _, c := range columns {
		t.Run(c.name, func(t *testing.T) {
			d := newDrive(suspended, ready("p1"))
			d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted))
			d.tell(c.story...)
			wantPhase(t, d, c.phase)
			d.mute = true
			got := d.tell(at(src, 90, SignStarted))
			if c.phase == Left {
				wantHosts(t, d, "", "", src)
				wantPhase(t, d, Watching)
				return
			}
			wantHosts(t, d, "req", src, dst)
			wantPhase(t, d, c.phase)
			if len(got) != 0 {
				t.Errorf("decides %+v", got)
			}
		})
	}
}

func TestAnIncomingGuestInAListBeginsAHandover(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(listed(dst, 1, SignStarted))
	wantHosts(t, d, "", src, dst) // the source by the rows
}

func TestOtherSignsBeginNothing(t *testing.T) {
	for _, s := range []HostSign{
		listed(src, 1, SignPaused), at(src, 1, SignResumed), at(src, 1, SignLeft), at(src, 1, SignStopped), listed(src, 1, SignPostCopy), listed(src, 1, SignPostCopyFailed),
		at(src, 1, SignArrivedPaused), listed(src, 1, SignRunning), listed(src, 1, SignAbsent), listed(src, 1, SignMissedEvents),
	} {
		d := newDrive(suspended, ready("p1"))
		if got := d.tell(s); len(got) != 0 || d.Current() != nil {
			t.Errorf("%s decides %+v", say(s), got)
		}
	}
}

func TestAnOldPauseBeginsAHandoverForWhatMayFollowButCommitsNothing(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	old := at(src, 1, SignPaused)
	old.FreshFor = 0
	started := at(dst, 1, SignStarted)
	if got := aimed(d.tell(old, started), GoalCommit); len(got) != 0 {
		t.Errorf("committed: %v", got)
	}
	if got := aimed(d.tell(at(src, 2, SignResumed)), GoalRestore); len(got) != 1 {
		t.Errorf("the failure after it restores %v", got)
	}
}

func TestThePauseAloneBeginsAHandover(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(at(src, 1, SignPaused), at(dst, 2, SignResumed), at(src, 2, SignLeft))
	wantHosts(t, d, "", src, dst)
	wantPhase(t, d, Left)
}

func TestTheSourceIsKnownByTheRowsAndWhatItSaidBeforeCounts(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.mute = true
	d.tell(at(dst, 1, SignStarted), at(dst, 2, SignArrivedPaused), at(src, 1, SignLeft))
	wantPhase(t, d, Arrived)
	d.rows()
	wantHosts(t, d, "", src, dst)
	wantPhase(t, d, Left)
}

func TestTheEndIsForgottenButForItsRequest(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	for i := range uint64(30) {
		d.ports = []port.Port{ready("p1")}
		for _, in := range success() {
			d.tell(again(in, 10*i, "req-"+string(rune('A'+i))))
		}
		d.finish(true)
		if d.Current() != nil {
			t.Fatalf("round %d does not end", i)
		}
	}
	if len(d.ended) != rememberedRequests || len(d.latest.since) != 2 {
		t.Errorf("remembers %d requests and %d hosts", len(d.ended), len(d.latest.since))
	}
	if got := d.tell(start("req-"+string(rune('A'+29)), wire.NovaPre)); len(got) != 0 {
		t.Errorf("a late twin of the last decides %+v", got)
	}
}

func TestItEndsOnlyWhenEveryPortHasReachedItsLastGoal(t *testing.T) {
	d := newDrive(suspended, ready("p1"), ready("p2"))
	d.tell(failure()...)
	now := Goal{Kind: GoalRestore, Host: src, NovaDone: true}
	for _, stale := range []PortDone{
		{Port: "p1", Goal: Goal{Kind: GoalRestore, Host: src}, Right: true},
		{Port: "p1", Goal: Goal{Kind: GoalVerify, Host: src, NovaDone: true}, Right: true},
		{Port: "p1", Goal: Goal{Kind: GoalRestore, Host: dst, NovaDone: true}, Right: true},
		{Port: "p1", Goal: now, Right: false},
		{Port: "p1", Goal: now, Right: true},
	} {
		if got := d.tell(stale); len(got) != 0 {
			t.Errorf("%+v decides %+v", stale, got)
		}
	}
	if got := endsIn(d.tell(PortDone{Port: "p2", Goal: now, Right: true})); !slices.Equal(got, []Outcome{OutcomeRestored}) {
		t.Errorf("ends %v", got)
	}
}

// A worker whose goal was replaced may have its result on the way still. Taken in after that of the
// goal that holds it would keep the handover open until it expires, and with it the messages that
// are held for it.
func TestAResultOfAnEarlierGoalDoesNotUndoThatOfTheLast(t *testing.T) {
	d := newDrive(suspended, ready("p1"), ready("p2"))
	d.tell(failure()...)
	earlier, last := Goal{Kind: GoalRestore, Host: src}, Goal{Kind: GoalRestore, Host: src, NovaDone: true}
	got := d.tell(
		PortDone{Port: "p1", Goal: last, Right: true, Up: true}, PortDone{Port: "p1", Goal: earlier},
		PortDone{Port: "p2", Goal: last, Right: true, Up: true},
	)
	if ends := endsIn(got); !slices.Equal(ends, []Outcome{OutcomeRestored}) {
		t.Errorf("ends %v", ends)
	}
}

func TestAPortThatIsNotRightMakesTheOutcomeWrong(t *testing.T) {
	d := newDrive(suspended, ready("p1"), ready("p2"))
	d.tell(success()...)
	if got := endsIn(d.finish(false)); !slices.Equal(got, []Outcome{OutcomeWrong}) {
		t.Errorf("ends %v", got)
	}
}

func TestAnInstanceWithoutPortsEnds(t *testing.T) {
	d := newDrive(suspended)
	if d.tell(failure()...); d.Current() != nil || !slices.Contains(endsIn(d.log), OutcomeRestored) {
		t.Errorf("%+v", d.log)
	}
}

func TestSilenceExpires(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	if got := d.tell(Expired{}); len(got) != 0 {
		t.Errorf("nothing expires: %+v", got)
	}
	d.tell(toThePause()...)
	if got := d.tell(Expired{}); !slices.Equal(endsIn(got), []Outcome{OutcomeExpired}) || d.Current() != nil {
		t.Errorf("%+v", got)
	}
}

// Pre-copy of a large guest that is written to can be silent for longer than anything is waited for:
// the handover expires, and its migration goes on. What Nova says of it then counts, since after it
// nothing may be committed: its own activate is due, or the guest stays.
func TestAMigrationThatHasExpiredIsStillHeardOf(t *testing.T) {
	for step, want := range map[wire.NovaStep]Phase{wire.NovaPost: Left, wire.NovaRollback: Contradicted} {
		d := newDrive(chosen(PolicyResumed, RepairOwn, true), ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), Expired{})
		if d.Current() != nil {
			t.Fatal("has not expired")
		}
		d.tell(at(src, 1, SignPaused), start("req", step), at(dst, 2, SignResumed))
		wantHosts(t, d, "req", src, dst)
		wantPhase(t, d, want)
		if got := aimed(d.log, GoalCommit); len(got) != 0 {
			t.Errorf("%s: commits %+v", step, got)
		}
	}
}

func TestThePartsOfAStoppedHandoverTouchNothing(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	if got := d.tell(Rows{Ports: d.ports}, PortDone{Port: "p1"}); len(got) != 0 || d.Current() != nil {
		t.Errorf("%+v", got)
	}
}

func TestTheUnplacedAreBounded(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaRollback)) // names the source only
	for i := range uint64(2 * maxUnplaced) {
		d.Step(listed(third, i+1, SignAbsent))
	}
	if got := len(d.Current().unplaced); got != maxUnplaced {
		t.Errorf("%d signs are kept, want %d", got, maxUnplaced)
	}
	d.tell(at(dst, 1, SignStarted))
	if got := len(d.Current().unplaced); got != 0 {
		t.Errorf("%d signs are kept although both hosts are known", got)
	}
}

func TestAHandoverThatIsCutOffTellsOfPortsThatItWasRestoring(t *testing.T) {
	for outcome, cut := range map[Outcome]Input{OutcomeSuperseded: start("next", wire.NovaPre), OutcomeExpired: Expired{}} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed))
		wantPhase(t, d, Failed)
		got := d.tell(cut)
		if len(alarmsIn(got)) != 1 || !strings.Contains(alarmsIn(got)[0].Why, "p1") {
			t.Errorf("%s decides %+v", outcome, got)
		}
		if a := alarmsIn(got)[0]; a.Homes["p1"] != src {
			t.Errorf("%s: it was being restored on %q", outcome, a.Homes)
		}
		d = newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused))
		wantPhase(t, d, Paused)
		if a := alarmsIn(d.tell(cut)); len(a) != 1 || len(a[0].Homes) != 0 {
			t.Errorf("%s: nothing was being restored: %+v", outcome, a)
		}
	}
}

// One port of a guest may be restored while another, moved before, is held: each entry of the journal tells of its own.
func TestAHandoverThatIsCutOffTellsWhichPortsItWasRestoring(t *testing.T) {
	d := newDrive(suspended, ready("p1"), ready("p2"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed))
	wantPhase(t, d, Failed)
	d.Current().goals["p1"] = Goal{Kind: GoalHold}
	a := alarmsIn(d.tell(start("next", wire.NovaPre)))
	if len(a) != 1 || !slices.Equal(a[0].Ports, []string{"p1", "p2"}) || !maps.Equal(a[0].Homes, map[string]string{"p2": src}) {
		t.Errorf("%+v", a)
	}
}

// A port without an ACTIVE row, or with one that is unbound, does not show its
// driver: who has not seen it before must still restore it.
func TestAPortWhoseDriverCannotBeReadIsRestored(t *testing.T) {
	bricked := ready("p1")
	bricked.Driver = ""
	bricked.Rows = bricked.Rows[:1]
	bricked.Rows[0].Active = false
	d := newDrive(Settings{Policy: PolicyAuto, Repair: RepairOwn, ConcurrentActivateSafe: true}, bricked)
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused))
	if got := aimed(d.tell(at(src, 2, SignResumed)), GoalRestore); len(got) != 1 {
		t.Errorf("restores %v", got)
	}
}
