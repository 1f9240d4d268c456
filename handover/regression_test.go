package handover

import (
	"testing"

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
			Watching, 0, 0,
		},
		{
			"of the source, a STOPPED from when it was a destination itself comes late to a replica that knows nothing of that migration",
			suspended,
			[]Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 4, SignPaused), at(src, 2, SignStopped)},
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
