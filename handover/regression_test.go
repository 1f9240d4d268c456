package handover

import (
	"testing"
	"time"

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
