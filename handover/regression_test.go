package handover

import (
	"slices"
	"testing"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

// Stories that the model tests have found, shrunk.
func TestStoriesThatTheModelHasFound(t *testing.T) {
	for _, c := range []struct {
		name     string
		settings Settings
		says     []Input
		phase    Phase
		commits  int
		restores int
	}{
		{
			"a destination that was frozen is listed as incoming when it thaws, the list begins a handover, and it then runs the guest that runs on the source as well",
			suspended,
			[]Input{listed(dst, 2, SignStarted), listed(dst, 2, SignMissedEvents), at(dst, 3, SignResumed), listed(src, 5, SignRunning)},
			Contradicted, 0, 0,
		},
		{
			"of the source, a STOPPED from when it was a destination itself comes late to a replica that knows nothing of that migration",
			suspended,
			[]Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 4, SignPaused), at(src, 2, SignStopped)},
			Paused, 1, 0,
		},
		{
			"a user pauses and unpauses the guest while Nova prepares: that is no failure",
			suspended,
			[]Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignArrivedPaused), at(src, 2, SignResumed), at(src, 3, SignPaused)},
			Paused, 1, 0,
		},
		{
			"post-copy is heard first, and its pause never: the end of the destination is not one before the point of no return",
			suspended,
			[]Input{at(src, 2, SignPostCopy), at(dst, 1, SignStarted), at(dst, 3, SignStopped)},
			Lost, 1, 0,
		},
		{
			"A, B, A, B: that the source had left in the first comes late to a replica that knows nothing of it",
			suspended,
			[]Input{start("req", wire.NovaPre), at(dst, 10, SignStarted), at(src, 10, SignPaused), at(src, 2, SignLeft), at(dst, 11, SignResumed)},
			Arrived, 1, 0,
		},
		{
			"and so does a list of then, without the guest",
			suspended,
			[]Input{start("req", wire.NovaPre), at(dst, 10, SignStarted), at(src, 10, SignPaused), listed(src, 2, SignAbsent), at(dst, 11, SignResumed)},
			Arrived, 1, 0,
		},
		{
			"A, B, A, B: the destination's start and end of an earlier attempt come late",
			suspended,
			[]Input{start("req", wire.NovaPre), at(dst, 10, SignStarted), at(src, 10, SignPaused), at(dst, 1, SignStarted), at(dst, 3, SignStopped)},
			Paused, 1, 0,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrive(c.settings, ready("p1"))
			d.tell(c.says...)
			wantPhase(t, d, c.phase)
			if commits, restores := len(aimed(d.log, GoalCommit)), len(aimed(d.log, GoalRestore)); commits != c.commits || restores != c.restores {
				t.Errorf("%d commits and %d restores, want %d and %d", commits, restores, c.commits, c.restores)
			}
		})
	}
}

// libvirt-events/e8: the roll-back has long finished when the destination thaws and
// runs the guest as well.
func TestAThawAfterTheEndIsAnAlarm(t *testing.T) {
	for _, thaws := range [][]Input{
		{at(dst, 3, SignResumed)},
		{listed(src, 3, SignRunning), listed(dst, 3, SignRunning)},                          // its RESUMED is lost
		{at(src, 1, SignLeft), listed(dst, 3, SignRunning)},                                 // and an old end of the source is told again
		{at(src, 3, SignStopped), listed(src, 4, SignRunning), listed(dst, 3, SignRunning)}, // and the guest is rebooted on the source
		{listed(dst, 2, SignStarted), listed(dst, 2, SignMissedEvents), at(dst, 3, SignResumed), listed(src, 5, SignRunning)},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed), ended("req", wire.NovaRollback))
		d.finish(true)
		if d.Current() != nil {
			t.Fatal("does not end")
		}
		d.now += 25 * time.Second
		got := d.tell(append(thaws, thaws...)...) // and once more
		if alarms := alarmsIn(got); len(alarms) != 1 || alarms[0].Why != "the guest was reported on both hosts" {
			t.Errorf("%v: alarms %+v, want one", names(thaws), alarms)
		}
		if commits := aimed(got, GoalCommit); len(commits) != 0 {
			t.Errorf("commits %+v", commits)
		}
	}
}

// No thaw: the guest was stopped on the source, and started where its live migration was to lead.
func TestAColdMigrationAfterAFailureIsNoAlarm(t *testing.T) {
	for _, stops := range [][]Input{{at(src, 3, SignStopped)}, {listed(src, 3, SignAbsent)}, {at(src, 3, SignStopped), listed(src, 4, SignAbsent)}} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed), ended("req", wire.NovaRollback))
		d.finish(true)
		if got := d.tell(append(stops, listed(dst, 3, SignRunning), listed(dst, 4, SignRunning))...); len(got) != 0 {
			t.Errorf("%v: decides %+v", names(stops), got)
		}
	}
}

// The destination's list comes before its RESUMED, and begins another handover: that the guest runs on the source
// as well only that host's list tells, which comes when it is asked for.
func TestAThawThatIsListedFirstHasTheHostsAsked(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed), ended("req", wire.NovaRollback))
	d.finish(true)
	d.now += 25 * time.Second
	thaw := []Input{listed(dst, 2, SignStarted), listed(dst, 2, SignMissedEvents), at(dst, 3, SignResumed)}
	asked := 0
	for _, one := range d.tell(append(thaw, thaw...)...) { // and once more
		if _, ok := one.(AskHosts); ok {
			asked++
		}
	}
	if asked != 1 {
		t.Errorf("the hosts were asked %d times", asked)
	}
	if alarms := alarmsIn(d.tell(listed(src, 5, SignRunning))); len(alarms) != 1 || alarms[0].Why != "the guest was reported on both hosts" {
		t.Errorf("alarms %+v, want one", alarms)
	}
}

// What follows was found by a review (2026-11-25); each went wrong before.

func TestACommittedPortThatIsHeldAndNeverHeardOfAgainIsAlarmed(t *testing.T) {
	for name, last := range map[string]Input{"expired": Expired{}, "another migration": start("r2", wire.NovaPre)} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("r1", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), Activated{Port: "p1"}, start("r1", wire.NovaRollback))
		wantPhase(t, d, Failing)
		if got := alarmsIn(d.log); len(got) != 0 {
			t.Fatalf("%s: %+v before the end", name, got)
		}
		d.tell(last)
		if got := alarmsIn(d.log); len(got) != 1 || !slices.Equal(got[0].Ports, []string{"p1"}) {
			t.Errorf("%s: alarms %+v", name, got)
		}
	}
}

func TestAnAlarmOfTwoHostsNamesThePortsThatWereMoved(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("r1", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), Activated{Port: "p1"})
	d.tell(at(src, 2, SignResumed), at(dst, 2, SignResumed))
	wantPhase(t, d, Contradicted)
	if got := alarmsIn(d.log); len(got) != 1 || !slices.Equal(got[0].Ports, []string{"p1"}) {
		t.Errorf("alarms %+v", got)
	}
}

func TestARestoreWhoseDestinationNobodyHasNamedTakesItFromTheRows(t *testing.T) {
	p := ready("p1")
	d := newDrive(chosen(PolicyAuto, RepairOwn, true), p)
	d.tell(at(src, 1, SignPaused), at(src, 2, SignResumed))
	got := aimed(d.log, GoalRestore)
	if len(got) != 1 || got[0].Other != dst {
		t.Fatalf("%+v", got)
	}
	if step := rollback.Plan(rollback.Situation{Port: p, Source: src, Destination: got[0].Other}); step.Action == rollback.HandsOff {
		t.Errorf("an ordinary failed migration is not ours to mend: %s", step.Why)
	}
}

func TestAnIOErrorInPreCopyIsNoFailureOfTheMigration(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("r1", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignHalted), at(src, 2, SignResumed))
	wantPhase(t, d, Watching)
	d.tell(at(src, 3, SignPaused))
	if got := aimed(d.log, GoalCommit); len(got) != 1 {
		t.Errorf("commits %+v", got)
	}
}

func TestAnOrphanThatAThirdHostListsTakesNothingOver(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("r1", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), Activated{Port: "p1"})
	if got := d.tell(listed(third, 7, SignStarted)); len(endsIn(got)) != 0 {
		t.Errorf("ends %v", endsIn(got))
	}
	if got := aimed(d.tell(at(dst, 2, SignStopped), at(src, 2, SignResumed)), GoalRestore); len(got) != 1 || got[0].Goal.Host != src {
		t.Errorf("restores %+v", got)
	}
}

// Found by chaos: a user's pause was lost, the RESUMED after it read as a failure, and the
// replica that activated the source just after Nova's activate was cut off. The next one
// has to mend that, not only to see it.
func TestWhatIsWrongWhenNovaHasFinishedIsMended(t *testing.T) {
	left, landed := at(src, 2, SignLeft), at(dst, 2, SignResumed)
	post, done := start("req", wire.NovaPost), ended("req", wire.NovaPostDest)
	for name, c := range map[string]struct {
		settings Settings
		says     []Input
		mend     bool
		novaDone bool
	}{
		"left, Nova at work":                    {suspended, []Input{left}, true, false},
		"left, Nova has finished":               {suspended, []Input{left, done}, true, true},
		"a restore came too late":               {suspended, []Input{at(src, 2, SignResumed), at(src, 3, SignLeft), done}, true, true},
		"landed, Nova has finished":             {suspended, []Input{landed, post, done}, true, true},
		"Nova's word alone":                     {suspended, []Input{post, done}, false, true},
		"Nova's word, then the source's":        {suspended, []Input{post, done, left}, true, true},
		"repair is off":                         {chosen(PolicySuspended, RepairOff, true), []Input{left, done}, false, true},
		"not ours":                              {chosen(PolicyObserve, RepairOwn, true), []Input{left, done}, false, true},
		"not ours, and all are to be right":     {chosen(PolicyObserve, RepairAll, true), []Input{left, done}, true, true},
		"two activates at once can fail Nova's": {chosen(PolicySuspended, RepairAll, false), []Input{left, done}, false, true},
	} {
		d := newDrive(c.settings, ready("p1"))
		d.tell(toThePause()...)
		d.tell(c.says...)
		wantPhase(t, d, Left)
		all := aims(d.log)
		last := all[len(all)-1]
		if want := (Goal{Kind: GoalVerify, Host: dst, NovaDone: c.novaDone, Mend: c.mend}); last.Goal != want || last.Other != src {
			t.Errorf("%s: %+v", name, last)
		}
	}
}

// Found by the model: rows that an earlier migration has left wrong name a source that is none, and
// the guest was restored where it is not.
func TestTheSourceIsWhoSaysSoAndNotWhoseRowIsActive(t *testing.T) {
	wrong := with(func(p *port.Port) {
		p.Rows[0].Active, p.Rows[0].VIFType = false, "unbound"
		p.Rows = append(p.Rows, port.Row{Host: third, Active: true, VIFType: "ovs", VNICType: "normal"})
	})
	finished := with(func(p *port.Port) {
		p.Rows[0].Host, p.Rows[1].Host = dst, third
	})
	for _, c := range []struct {
		name  string
		rows  port.Port
		says  []Input
		phase Phase
	}{
		{"Nova has deleted its row when its pause comes", wrong, []Input{at(dst, 2, SignResumed), Rows{Ports: []port.Port{finished}}, at(src, 1, SignPaused), at(src, 2, SignLeft)}, Left},
		{"the source pauses", wrong, []Input{at(src, 1, SignPaused)}, Paused},
		{"and the destination ends", wrong, []Input{at(src, 1, SignPaused), at(dst, 2, SignStopped)}, Failed},
		{"and has resumed it, which comes first", wrong, []Input{at(src, 2, SignResumed), at(src, 1, SignPaused)}, Failed},
		{"post-copy", wrong, []Input{at(src, 1, SignPostCopy)}, PostCopy},
		{"what the other says is no source's", wrong, []Input{listed(third, 9, SignAbsent), at(third, 10, SignLeft), at(src, 1, SignPaused), at(dst, 2, SignResumed)}, Arrived},
		{"the source lists it as paused", wrong, []Input{listed(src, 1, SignPaused), at(dst, 2, SignStopped)}, Failed},
		{"the source lists it as running", wrong, []Input{at(dst, 2, SignStopped), listed(third, 1, SignAbsent), listed(src, 1, SignRunning)}, Failed},
		{"Nova says it", wrong, []Input{start("req", wire.NovaPre), at(dst, 2, SignStopped)}, Failed},
		{"Nova's roll-back says it", wrong, []Input{at(dst, 2, SignStopped), start("req", wire.NovaRollback)}, Failed},
		{"the rows are right, and a pause of long ago comes", ready("p1"), []Input{listed(src, 1, SignRunning), at(third, 1, SignPaused)}, Watching},
	} {
		d := newDrive(suspended, c.rows)
		d.tell(at(dst, 1, SignStarted))
		got := d.tell(c.says...)
		wantPhase(t, d, c.phase)
		if h := d.Current(); h.Source != src || h.Destination != dst || len(endsIn(got)) != 0 {
			t.Errorf("%s: from %s to %s, %v", c.name, h.Source, h.Destination, endsIn(got))
		}
		for _, a := range aimed(d.log, GoalRestore) {
			if a.Goal.Host != src || a.Other != dst {
				t.Errorf("%s: restores %+v", c.name, a)
			}
		}
		if n := len(aimed(d.log, GoalRestore)); (n == 1) != (c.phase == Failed) {
			t.Errorf("%s: %d restores", c.name, n)
		}
	}
}

// A migration fails, and only rows say from where, which an earlier one may have left wrong: the
// hosts are asked, and nothing is restored before one of them or Nova has named the source.
func TestWhatOnlyTheRowsNameIsNotRestored(t *testing.T) {
	for name, named := range map[string]Input{
		"a list":            listed(src, 1, SignRunning),
		"the pause":         at(src, 1, SignPaused),
		"Nova's roll-back":  start("req", wire.NovaRollback),
		"Nova's at the end": ended("req", wire.NovaRollback),
	} {
		d := newDrive(chosen(PolicySuspended, RepairAll, true), ready("p1"))
		d.tell(at(dst, 1, SignStarted))
		got := d.tell(at(dst, 2, SignStopped))
		wantPhase(t, d, Failed)
		if aimed := aims(got); len(aimed) != 1 || aimed[0].Goal != (Goal{Kind: GoalVerify, Host: src}) || !slices.ContainsFunc(got, func(d Decision) bool { _, asks := d.(AskHosts); return asks }) {
			t.Errorf("%s: before it %+v", name, got)
		}
		got = d.tell(named)
		if aimed := aims(got); len(aimed) != 1 || aimed[0].Goal.Kind != GoalRestore || aimed[0].Goal.Host != src {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A SUSPENDED or a pre of long ago, of a host that has no row of the port, names no source.
func TestAHostWithoutARowIsNotTheSource(t *testing.T) {
	for name, stray := range map[string]Input{
		"a pause":  at(third, 1, SignPaused),
		"a pre":    NovaSign{NovaEvent: wire.NovaEvent{RequestID: "old", Step: wire.NovaPre, PayloadHost: third, PublisherHost: dst}},
		"a list":   listed(third, 1, SignPaused),
		"postcopy": at(third, 1, SignPostCopy),
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(at(dst, 1, SignStarted), stray)
		if _, isPre := stray.(NovaSign); !isPre && d.Current().Source != src {
			t.Errorf("%s: the source is %s", name, d.Current().Source)
		}
		d.tell(at(dst, 2, SignStopped))
		for _, a := range aimed(d.log, GoalRestore) {
			if a.Goal.Host != src {
				t.Errorf("%s: restores %+v", name, a)
			}
		}
	}
}

// The source has resumed the guest and lists it as running, and its pause was not heard of: that it
// runs on the destination too is told, and nothing is activated there.
func TestAGuestThatTheSourceHasResumedDoesNotArrive(t *testing.T) {
	d := newDrive(chosen(PolicyResumed, RepairOwn, true), ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 2, SignResumed), listed(src, 3, SignRunning), at(dst, 2, SignResumed))
	wantPhase(t, d, Contradicted)
	if got := aimed(d.log, GoalCommit); len(got) != 0 || len(alarmsIn(d.log)) != 1 {
		t.Errorf("commits %+v, alarms %+v", got, alarmsIn(d.log))
	}
}

// Found by the model, by libvirt-events/e6: a list is taken in as two signs, of which the first
// made its host heard again, so that a port was committed before the second, which says that the
// guest runs on the source.
func TestThatEventsWereMissedMakesNoHostHeardAgain(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.mute = true
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), Muted{Host: src})
	d.rows()
	if got := d.tell(listed(src, 2, SignMissedEvents)); len(aims(got)) != 0 {
		t.Errorf("decides %+v", got)
	}
	d.tell(listed(src, 2, SignRunning))
	wantPhase(t, d, Failed)
	if got := aimed(d.log, GoalCommit); len(got) != 0 {
		t.Errorf("commits %+v", got)
	}
}

// Found by replay, by libvirt-events/e8 while nothing is written and the handover so goes on: what
// the destination says when it thaws, that it has no guest and that it has resumed it, was read as its end.
func TestAGuestThatRunsWhereItWasListedAsGoneRunsOnBoth(t *testing.T) {
	d := newDrive(chosen(PolicyObserve, RepairOwn, true), ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed))
	wantPhase(t, d, Failed)
	d.tell(listed(dst, 3, SignAbsent), listed(dst, 3, SignMissedEvents), at(dst, 4, SignResumed))
	wantPhase(t, d, Contradicted)
	if got := alarmsIn(d.log); len(got) != 1 {
		t.Errorf("alarms %+v", got)
	}
}
