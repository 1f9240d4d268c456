package handover

import (
	"slices"
	"testing"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

func TestALeftOverIsRestoredWhereTheGuestRuns(t *testing.T) {
	for _, repair := range []Repair{RepairOff, RepairOwn, RepairAll} {
		d := newDrive(chosen(PolicySuspended, repair, true), with(func(p *port.Port) { p.Rows[0].Active, p.Rows[1].Active = false, true }))
		d.tell(LeftOver{Host: src, Other: dst})
		wantHosts(t, d, "", src, dst)
		want := Goal{Kind: GoalRestore, Host: src, NovaDone: true}
		if repair == RepairOff {
			want.Kind = GoalVerify
		}
		if got := aims(d.log); len(got) != 1 || got[0].Goal != want || got[0].Other != dst {
			t.Errorf("%s: %+v, want %+v", repair, got, want)
		}
		if got := endsIn(d.finish(true)); !slices.Equal(got, []Outcome{OutcomeRestored}) {
			t.Errorf("%s: ends %v", repair, got)
		}
	}
}

func TestALeftOverDoesNotTouchAMigrationThatGoesOn(t *testing.T) {
	for _, goesOn := range [][]Input{toThePause(), {start("req", wire.NovaPre), at(dst, 1, SignStarted)}} {
		d := newDrive(suspended, ready("p1"))
		d.tell(goesOn...)
		if got := d.tell(LeftOver{Host: src, Other: dst}); len(got) != 0 {
			t.Errorf("%v: decides %+v", names(goesOn), got)
		}
		wantHosts(t, d, "req", src, dst)
	}
}

func TestAMigrationThatBeginsSupersedesALeftOver(t *testing.T) {
	for _, begins := range []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(third, 1, SignStarted), listed(third, 1, SignStarted),
		at(src, 1, SignPaused), at(src, 1, SignPostCopy), listed(src, 1, SignPaused), listed(src, 1, SignPostCopy),
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(LeftOver{Host: src, Other: dst})
		if got := endsIn(d.tell(begins)); !slices.Equal(got, []Outcome{OutcomeSuperseded}) {
			t.Errorf("%s: ends %v", say(begins), got)
		}
	}
}

// A replica that takes over does not know which requests are old: a late
// notification begins a handover that nothing follows.
func TestALeftOverTakesThePlaceOfAHandoverThatNoHostHasSpokenOf(t *testing.T) {
	for name, late := range map[string]NovaSign{"pre": start("old", wire.NovaPre), "rollback": start("old", wire.NovaRollback)} {
		d := newDrive(Settings{Policy: PolicySuspended, Repair: RepairAll, ConcurrentActivateSafe: true}, with(func(p *port.Port) { p.Rows[0].Active, p.Rows[1].Active = false, true }))
		d.tell(late)
		got := d.tell(LeftOver{Host: src, Other: dst})
		if ends := endsIn(got); !slices.Equal(ends, []Outcome{OutcomeSuperseded}) || len(alarmsIn(got)) != 0 {
			t.Errorf("%s: ends %v, alarms %v", name, ends, alarmsIn(got))
		}
		if restores := aimed(d.log, GoalRestore); len(restores) != 1 || restores[0].Goal.Host != src {
			t.Errorf("%s: restores %+v", name, restores)
		}
		if ends := endsIn(d.finish(true)); !slices.Equal(ends, []Outcome{OutcomeRestored}) {
			t.Errorf("%s: ends %v", name, ends)
		}
		// That request may be a migration all the same.
		d.tell(start("old", wire.NovaPre))
		wantHosts(t, d, "old", src, dst)
	}
}

// The migration was in its pre-copy when the left-over of an earlier one took its
// place: what it does next is seen and acted on.
func TestAMigrationThatGaveWayToALeftOverIsTakenUpAtItsPause(t *testing.T) {
	for _, mended := range []bool{false, true} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), LeftOver{Host: src, Other: dst})
		if mended {
			d.finish(true)
		}
		d.tell(at(dst, 1, SignStarted), at(src, 1, SignPaused))
		wantPhase(t, d, Paused)
		d.tell(at(dst, 2, SignResumed))
		wantPhase(t, d, Arrived)
		if commits := aimed(d.log, GoalCommit); len(commits) != 1 || commits[0].Goal.Host != dst {
			t.Errorf("mended %t: commits %+v", mended, commits)
		}
		d.tell(start("req", wire.NovaPost))
		wantHosts(t, d, "req", src, dst)
	}
}

// Nova's word alone, without the pause, ends the mending too: the guest may be
// about to leave.
func TestNovaTakingOverEndsTheMendingOfALeftOver(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(LeftOver{Host: src, Other: dst}, start("req", wire.NovaPost))
	wantHosts(t, d, "req", src, "")
	wantPhase(t, d, Left)
}

// Found by the model: of the migration that began meanwhile nothing was heard but its end. Where
// its guest is now is not known, and the other row's host is not it.
func TestALeftOverWhoseGuestLeavesIsMendedNoMore(t *testing.T) {
	for name, c := range map[string]struct {
		says []Input
		over bool
	}{
		"it leaves":                             {[]Input{at(src, 2, SignLeft)}, true},
		"a list of it, from before, came first": {[]Input{listed(src, 3, SignRunning), at(src, 2, SignLeft)}, true},
		"an earlier migration's, late":          {[]Input{at(src, 1, SignLeft)}, false},
		"another host's":                        {[]Input{at(dst, 2, SignLeft)}, false},
		"it has arrived at the other row's":     {[]Input{at(dst, 2, SignResumed), at(src, 2, SignLeft)}, false},
	} {
		d := newDrive(chosen(PolicySuspended, RepairAll, true), with(func(p *port.Port) { p.Rows[0].Active, p.Rows[1].Active = false, true }))
		d.tell(listed(src, 1, SignRunning), LeftOver{Host: src, Other: dst})
		got := d.tell(c.says...)
		over := slices.Equal(endsIn(got), []Outcome{OutcomeSuperseded}) && d.Current() == nil
		if over != c.over || c.over && len(aims(got)) != 0 {
			t.Errorf("%s: decides %+v", name, got)
		}
		if alarms := alarmsIn(got); c.over && (len(alarms) != 1 || !slices.Equal(alarms[0].Ports, []string{"p1"})) {
			t.Errorf("%s: alarms %+v", name, alarms)
		}
	}
}

// Found by chaos: an hour-old pre of a migration that was long over cut off a restore, and
// as the guest did run where that one had led, the mending waited for ten minutes.
func TestALeftOverTakesOverFromAMigrationThatOnlyListsSpeakOf(t *testing.T) {
	over := []Input{start("old", wire.NovaPre), listed(dst, 5, SignRunning), listed(src, 5, SignAbsent)}
	// What a host has said long ago, or to another replica before.
	late := func(host string, sequence uint64, sign Sign) Input {
		s := at(host, sequence, sign)
		s.FreshFor = 0
		return s
	}
	unsafe := suspended
	unsafe.ConcurrentActivateSafe = false
	for name, c := range map[string]struct {
		says        []Input
		takes       bool
		takesUnsafe bool // where Nova's own activate may be hurt
	}{
		"only lists":                  {over, true, true},
		"the guest has arrived":       {over[:2], true, true},
		"and its arrival":             {append(over[:1:1], at(dst, 4, SignResumed), at(src, 4, SignLeft)), false, false},
		"its arrival, late":           {append(over[:1:1], late(dst, 3, SignStarted), late(dst, 4, SignResumed), late(src, 4, SignLeft)), true, false},
		"and lists":                   {append(slices.Clone(over), late(dst, 3, SignStarted)), true, false},
		"it comes in":                 {[]Input{over[0], listed(dst, 5, SignStarted)}, false, false},
		"the source has paused":       {[]Input{over[0], at(src, 5, SignPaused)}, false, false},
		"nothing":                     {over[:1], true, true},
		"it has, Nova rolls back":     {[]Input{over[0], at(src, 5, SignPaused), start("old", wire.NovaRollback)}, false, false}, // found by the model
		"it had, Nova has, both late": {[]Input{over[0], late(src, 5, SignPaused), start("old", wire.NovaRollback)}, true, false},
	} {
		for _, s := range []Settings{suspended, unsafe} {
			want := c.takes && s.ConcurrentActivateSafe || c.takesUnsafe && !s.ConcurrentActivateSafe
			d := newDrive(s, ready("p1"))
			d.tell(c.says...)
			d.tell(LeftOver{Host: dst, Other: src})
			if h := d.Current(); h == nil || h.leftOver != want {
				t.Errorf("%s, safe %t: mends %t, want %t", name, s.ConcurrentActivateSafe, h != nil && h.leftOver, want)
			}
		}
	}
}

// What the rows announce may be a migration that was not heard of yet, unless they and the hosts were looked at twice; and Nova's
// own activate may be late rather than lost.
func TestALeftOverIsMendedThroughAnAnnouncementOnlyWhereItWasFoundTwice(t *testing.T) {
	safe := Settings{Policy: PolicyAuto, Repair: RepairOwn, ConcurrentActivateSafe: true}
	unsafe := safe
	unsafe.ConcurrentActivateSafe = false
	for name, c := range map[string]struct {
		settings Settings
		alone    bool
		want     []Goal
	}{
		"twice":                 {safe, true, []Goal{{Kind: GoalRestore, Host: dst, NovaDone: true, Mend: true}}},
		"once":                  {safe, false, []Goal{{Kind: GoalRestore, Host: dst, NovaDone: true}}},
		"and it is not safe to": {unsafe, true, nil},
	} {
		d := newDrive(c.settings, ready("p1"))
		var got []Goal
		for _, a := range aimed(d.tell(LeftOver{Host: dst, Other: src, Alone: c.alone}), GoalRestore) {
			got = append(got, a.Goal)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
