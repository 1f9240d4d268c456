package handover

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// toThePause is a migration up to the pause, as it mostly comes.
func toThePause() []Input {
	return []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), ended("req", wire.NovaPre), at(src, 1, SignPaused)}
}

func with(change func(*port.Port)) port.Port {
	p := ready("p1")
	change(&p)
	return p
}

func TestEachPolicyCommitsAtItsMoment(t *testing.T) {
	for _, c := range []struct {
		policy         Policy
		driver         string
		paused, landed int // commits at the pause, and at the arrival
	}{
		{PolicySuspended, "ovn", 2, 0},
		{PolicyResumed, "ovn", 0, 2},
		{PolicyObserve, "linuxbridge", 0, 0},
		{PolicyAuto, "linuxbridge", 0, 2},
		{PolicyAuto, "openvswitch", 0, 2},
		{PolicyAuto, "ovn", 0, 0},
	} {
		t.Run(c.policy.String()+" "+c.driver, func(t *testing.T) {
			p1, p2 := ready("p1"), ready("p2")
			p1.Driver, p2.Driver = c.driver, c.driver
			d := newDrive(Settings{Policy: c.policy, Repair: RepairOwn, ConcurrentActivateSafe: true}, p1, p2)
			got := aimed(d.tell(toThePause()...), GoalCommit)
			if len(got) != c.paused {
				t.Errorf("%d commits at the pause, want %d", len(got), c.paused)
			}
			later := aimed(d.tell(at(dst, 2, SignResumed)), GoalCommit)
			if len(later) != c.landed {
				t.Errorf("%d commits at the arrival, want %d", len(later), c.landed)
			}
			for _, a := range append(got, later...) {
				if a.Goal.Host != dst || a.Other != src || a.Deadline <= 0 || !strings.Contains(a.Why, "guest is ") {
					t.Errorf("commit %+v", a)
				}
			}
			d.tell(at(src, 2, SignLeft))
			said := map[string]int{}
			for _, o := range observed(d.log) {
				said[o.Port]++
			}
			for _, id := range []string{"p1", "p2"} {
				want := 1
				if c.paused+c.landed > 0 {
					want = 0
				}
				if said[id] != want {
					t.Errorf("port %s was observed %d times, want %d", id, said[id], want)
				}
			}
			if got := aimed(d.log, GoalVerify); len(got) != 2 || got[0].Goal.Host != dst {
				t.Errorf("verified: %+v", got)
			}
		})
	}
}

func TestPortsOfOneInstanceGoByTheirOwnDrivers(t *testing.T) {
	ovs, vendor, ovn := ready("ovs"), ready("vendor"), ready("ovn")
	vendor.Driver, ovn.Driver = "vendor", "ovn"
	d := newDrive(early, ovs, vendor, ovn)
	if got := aimed(d.tell(toThePause()...), GoalCommit); len(got) != 1 || got[0].Port != "vendor" {
		t.Errorf("at the pause: %+v", got)
	}
	if got := aimed(d.tell(at(dst, 2, SignResumed)), GoalCommit); len(got) != 1 || got[0].Port != "ovs" {
		t.Errorf("at the arrival: %+v", got)
	}
	if got := observed(d.log); len(got) != 1 || got[0].Port != "ovn" {
		t.Errorf("observed: %+v", got)
	}
}

func TestPostCopyCommitsBothPolicies(t *testing.T) {
	for _, policy := range []Policy{PolicySuspended, PolicyResumed} {
		d := newDrive(Settings{Policy: policy, Repair: RepairOwn, ConcurrentActivateSafe: true}, ready("p1"))
		d.tell(toThePause()...)
		d.tell(at(src, 2, SignPostCopy))
		if got := aimed(d.log, GoalCommit); len(got) != 1 {
			t.Errorf("%s: %d commits", policy, len(got))
		}
	}
}

func TestRefusals(t *testing.T) {
	rows := func(change func(*port.Port)) []port.Port { return []port.Port{with(change)} }
	prepared := []port.Port{ready("p1")}
	old := suspended
	old.ConcurrentActivateSafe = false
	stale := at(src, 1, SignPaused)
	stale.FreshFor = 0
	negative := at(src, 1, SignPaused)
	negative.FreshFor = -time.Second
	for _, c := range []struct {
		name     string
		settings Settings
		ports    []port.Port
		says     []Input
		why      string
	}{
		{"no publisher on the destination", suspended, prepared, []Input{start("req", wire.NovaPre), at(src, 1, SignPaused)}, "no publisher was heard on " + dst},
		{"no publisher on the source", suspended, prepared, []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), at(dst, 2, SignResumed)}, "no publisher was heard on " + src},
		{"old Neutron", old, prepared, toThePause(), "older than 23.0.0"},
		{"redelivered sign", suspended, prepared, []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), stale}, "too old"},
		{"sign that was too old when it came", suspended, prepared, []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), negative}, "too old"},
		{"no ACTIVE row", suspended, rows(func(p *port.Port) { p.Rows[0].Active = false }), toThePause(), "no ACTIVE row"},
		{"the destination is ACTIVE already", suspended, rows(func(p *port.Port) { p.Rows[0].Active, p.Rows[1].Active = false, true }), toThePause(), "ACTIVE already"},
		{"ACTIVE on a third host", suspended, rows(func(p *port.Port) { p.Rows[0].Host = third }), toThePause(), "is on " + third},
		{"migrates to a third host", suspended, rows(func(p *port.Port) { p.Rows[0].Profile = map[string]any{port.MigratingTo: third} }), toThePause(), "migrates to " + third},
		{"no row for the destination", suspended, rows(func(p *port.Port) { p.Rows = p.Rows[:1] }), toThePause(), "has no row"},
		{"the destination's row is not bound", suspended, rows(func(p *port.Port) { p.Rows[1].VIFType = port.VIFBindingFailed }), toThePause(), "not bound"},
		{"a publisher that is not understood any more, before it was known to be the source's", suspended, prepared, []Input{at(dst, 1, SignStarted), at(src, 1, SignRunning), Muted{Host: src}, start("req", wire.NovaPre), at(dst, 2, SignResumed)}, "no publisher was heard on " + src},
		{"its start was not heard, and it is not there", suspended, prepared, []Input{start("req", wire.NovaPre), listed(dst, 1, SignAbsent), at(src, 1, SignPaused)}, "does not have the guest"},
		{"trunk parent", suspended, rows(func(p *port.Port) { p.TrunkParent = true }), toThePause(), "trunk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrive(c.settings, c.ports...)
			d.tell(c.says...)
			if got := aimed(d.log, GoalCommit); len(got) != 0 {
				t.Fatalf("committed: %+v", got)
			}
			d.rows()
			d.tell(c.says...)
			if got := observed(d.log); len(got) != 1 || got[0].Port != "p1" || !strings.Contains(got[0].Why, c.why) {
				t.Errorf("observed %+v, want once, because %q", got, c.why)
			}
		})
	}
}

func TestWithoutPublishersNothingIsAimedAndTheEndTellsWhy(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), start("req", wire.NovaPost), ended("req", wire.NovaPostDest))
	if got := aims(d.log); len(got) == 0 || slices.ContainsFunc(got, func(a Aim) bool { return a.Goal.Kind != GoalVerify }) {
		t.Errorf("aims: %+v", got)
	}
	if got := observed(d.log); len(got) != 1 || !strings.Contains(got[0].Why, "no publisher was heard") {
		t.Errorf("observed: %+v", got)
	}
}

func TestMigratingToMayBeMissing(t *testing.T) {
	p := with(func(p *port.Port) { p.Rows[0].Profile = nil })
	d := newDrive(suspended, p)
	if got := aimed(d.tell(toThePause()...), GoalCommit); len(got) != 1 {
		t.Errorf("%d commits", len(got))
	}
}

func TestRowsThatComeAfterThePauseCommitWithinTheDeadlineAndNotAfterIt(t *testing.T) {
	for _, c := range []struct {
		late time.Duration
		want int
	}{{0, 1}, {window, 1}, {window + 1, 0}, {time.Minute, 0}} {
		t.Run(c.late.String(), func(t *testing.T) {
			d := newDrive(suspended)
			d.mute = true
			d.tell(toThePause()...)
			deadline := d.now + window // from the pause, which came last
			got := d.Step(Rows{Ports: []port.Port{ready("p1")}, Now: d.now + c.late})
			commits := aimed(got, GoalCommit)
			if len(commits) != c.want {
				t.Fatalf("%d commits, want %d", len(commits), c.want)
			}
			if c.want == 1 && commits[0].Deadline != deadline {
				t.Errorf("deadline %s, want %s", commits[0].Deadline, deadline)
			}
			if o := observed(got); c.want == 0 && (len(o) != 1 || !strings.Contains(o[0].Why, "too old")) {
				t.Errorf("observed %+v", o)
			}
		})
	}
}

func TestADuplicateOfThePauseDoesNotMoveTheDeadline(t *testing.T) {
	d := newDrive(suspended)
	d.mute = true
	d.tell(toThePause()...)
	deadline := d.now + window
	d.now += window / 2
	d.tell(at(src, 1, SignPaused))
	got := aimed(d.Step(Rows{Ports: []port.Port{ready("p1")}, Now: d.now}), GoalCommit)
	if len(got) != 1 || got[0].Deadline != deadline {
		t.Errorf("%+v, want the deadline %s", got, deadline)
	}
}

func TestAnOldEpochIsNoNews(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	newer := at(src, 1, SignRunning)
	newer.Order, newer.Listed = wire.Order{Epoch: 2, Sequence: 1}, true
	old := at(src, 999, SignPaused)
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), newer, old)
	if got := aimed(d.log, GoalCommit); len(got) != 0 {
		t.Errorf("a pause of an earlier epoch commits: %+v", got)
	}
	wantPhase(t, d, Failed) // it was paused, and reads running since
}

func TestBothFormatsOfEachNotificationAreTakenOnce(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre))
	before := len(d.log)
	if got := d.tell(start("req", wire.NovaPre)); slices.ContainsFunc(got, func(d Decision) bool { _, begin := d.(Begin); return begin }) {
		t.Errorf("the twin decides %+v", got)
	}
	d.tell(at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed))
	for _, step := range []wire.NovaStep{wire.NovaRollback, wire.NovaRollbackDest} {
		d.tell(start("req", step), start("req", step), ended("req", step))
		if got := d.tell(ended("req", step)); len(got) != 0 {
			t.Errorf("the twin of %s decides %+v", step, got)
		}
	}
	if before == 0 || len(aimed(d.log, GoalRestore)) != 2 { // and once more when Nova is done
		t.Errorf("restores: %+v", aimed(d.log, GoalRestore))
	}
}

func TestRepair(t *testing.T) {
	for _, c := range []struct {
		settings Settings
		want     GoalKind
	}{
		{chosen(PolicySuspended, RepairOwn, true), GoalRestore},
		{chosen(PolicyResumed, RepairOwn, true), GoalRestore},
		{chosen(PolicyObserve, RepairOwn, true), GoalVerify},
		{chosen(PolicySuspended, RepairOwn, false), GoalVerify},
		{chosen(PolicyObserve, RepairAll, true), GoalRestore},
		{chosen(PolicyObserve, RepairAll, false), GoalRestore},
		{chosen(PolicyObserve, RepairOff, true), GoalVerify},
	} {
		t.Run(fmt.Sprintf("%s %s %t", c.settings.Policy, c.settings.Repair, c.settings.ConcurrentActivateSafe), func(t *testing.T) {
			d := newDrive(c.settings, ready("p1"))
			d.tell(toThePause()...)
			got := aims(d.tell(at(src, 2, SignResumed)))
			want := Goal{Kind: c.want, Host: src}
			if len(got) != 1 || got[0].Goal != want || got[0].Other != dst {
				t.Errorf("%+v, want %+v", got, want)
			}
			got = aims(d.tell(ended("req", wire.NovaRollback)))
			want.NovaDone = true
			if len(got) != 1 || got[0].Goal != want {
				t.Errorf("when Nova is done: %+v, want %+v", got, want)
			}
			if got := endsIn(d.finish(true)); !slices.Equal(got, []Outcome{OutcomeRestored}) {
				t.Errorf("ends %v", got)
			}
		})
	}
}

func TestANotificationAloneNeverLeadsToAWrite(t *testing.T) {
	everything := []Input{}
	for step := wire.NovaPre; step <= wire.NovaRefused; step++ {
		everything = append(everything, start("req", step), ended("req", step))
	}
	active := with(func(p *port.Port) { p.Rows[0].Active, p.Rows[1].Active = false, true })
	none := with(func(p *port.Port) { p.Rows[0].Active = false })
	for _, first := range everything {
		for _, second := range everything {
			for _, p := range []port.Port{ready("p1"), active, none} {
				for _, repair := range []Repair{RepairOff, RepairOwn, RepairAll} {
					d := newDrive(chosen(PolicySuspended, repair, true), p)
					d.tell(first, second, ended("req", wire.NovaRollback))
					for _, a := range aims(d.log) {
						if a.Goal.Kind != GoalVerify && a.Goal.Kind != GoalHold {
							t.Fatalf("%s and %s: %+v", say(first), say(second), a)
						}
					}
				}
			}
		}
	}
}

func TestAForgedRollBackAtThePauseAsksTheHostsAndRestoresNothing(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(toThePause()...)
	if len(aimed(d.log, GoalCommit)) != 1 {
		t.Fatal("not committed")
	}
	got := d.tell(start("req", wire.NovaRollback))
	if !slices.ContainsFunc(got, func(d Decision) bool { _, ok := d.(AskHosts); return ok }) {
		t.Errorf("the hosts were not asked: %+v", got)
	}
	if hold := aimed(got, GoalHold); len(hold) != 1 {
		t.Errorf("a commit that was not sent yet is not called off: %+v", got)
	}
	got = d.tell(start("req", wire.NovaRollbackDest))
	if slices.ContainsFunc(got, func(d Decision) bool { _, ok := d.(AskHosts); return ok }) {
		t.Error("the hosts were asked twice")
	}
	d.tell(ended("req", wire.NovaRollback))
	if len(aimed(d.log, GoalRestore)) != 0 {
		t.Error("restored on Nova's word alone")
	}
	// The hosts answer: the guest has left, what was said was not true.
	d.tell(listed(dst, 2, SignRunning), listed(src, 2, SignAbsent))
	wantPhase(t, d, Left)
	if len(aimed(d.log, GoalRestore)) != 0 {
		t.Error("restored although the guest is on the destination")
	}
}

func TestARollBackThatTheHostsConfirmRestores(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(toThePause()...)
	d.tell(start("req", wire.NovaRollback), listed(src, 2, SignRunning))
	if got := aimed(d.log, GoalRestore); len(got) != 1 || got[0].Goal.Host != src {
		t.Errorf("restores: %+v", got)
	}
}

func TestASignOfFailureThatProvesOlderThanThePauseIsCalledOff(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignStopped))
	if len(aimed(d.log, GoalRestore)) != 1 {
		t.Fatal("no restore")
	}
	got := d.tell(at(src, 2, SignPaused))
	wantPhase(t, d, Paused)
	if hold := aimed(got, GoalHold); len(hold) != 1 || len(aimed(d.log, GoalCommit)) != 0 {
		t.Errorf("decides %+v", got)
	}
}

// A user unpauses the guest while it is migrated. Nothing is restored, and the pause after
// it is the switchover's.
func TestAResumedBeforeThePauseRestoresNothing(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignResumed))
	if got := aimed(d.log, GoalRestore); len(got) != 0 {
		t.Errorf("restores %+v", got)
	}
	if got := aimed(d.tell(at(src, 2, SignPaused)), GoalCommit); len(got) != 1 {
		t.Errorf("commits %+v", got)
	}
	d.tell(at(src, 3, SignResumed), start("req", wire.NovaRollback))
	if got := aimed(d.log, GoalRestore); len(got) != 1 {
		t.Errorf("restores %+v", got)
	}
}

func TestAnAlarmIsRaisedOncePerPhase(t *testing.T) {
	d := newDrive(suspended, ready("p1"), ready("p2"))
	d.tell(toThePause()...)
	d.tell(at(src, 2, SignResumed), at(dst, 2, SignResumed), at(dst, 3, SignResumed), start("req", wire.NovaRollback), ended("req", wire.NovaRollback))
	if got := alarmsIn(d.log); len(got) != 1 {
		t.Errorf("%d alarms: %+v", len(got), got)
	}
	if got := aimed(d.log, GoalHold); len(got) != 2 {
		t.Errorf("holds: %+v", got)
	}
	d.tell(at(src, 3, SignPostCopy))
	if got := alarmsIn(d.log); len(got) != 2 || reflect.DeepEqual(got[0], got[1]) {
		t.Errorf("alarms: %+v", got)
	}
}

func TestNothingIsAimedAtAHostThatNobodyHasNamed(t *testing.T) {
	for _, says := range [][]Input{
		{start("req", wire.NovaPost)},                              // the destination is not known
		{at(dst, 1, SignStarted), at(dst, 2, SignStopped)},         // nor here the source: no port has an ACTIVE row elsewhere
		{start("req", wire.NovaPostDest), at(dst, 1, SignStarted)}, // nor here a port
	} {
		d := newDrive(suspended, with(func(p *port.Port) { p.Rows = p.Rows[1:]; p.Rows[0].Active = true }))
		d.tell(says...)
		for _, a := range aims(d.log) {
			if a.Goal.Host == "" {
				t.Errorf("%v: %+v", names(says), a)
			}
		}
	}
}
