package consumer

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// toldUp has the agent report the port up when it has been told so many times
// again, or with the restore itself.
func toldUp(d *desk, up int) {
	d.neutron.ports["p1"].Status = "DOWN"
	told := 0
	d.neutron.answer = on("profile", func(context.Context) (bool, error) {
		// Each telling is two updates: with the mark and without.
		if told++; told == 2*up+1 {
			d.neutron.mu.Lock()
			d.neutron.ports["p1"].Status = "ACTIVE"
			d.neutron.mu.Unlock()
		}
		return true, nil
	})
}

func TestAnAgentThatDoesNotReportARestoredPortUpIsToldAgain(t *testing.T) {
	for up, want := range []struct {
		writes []string
		at     time.Duration
		up     bool
	}{
		{[]string{"activate p1 compute1", "profile p1"}, time.Second, true},
		{[]string{"activate p1 compute1", "profile p1", "profile p1", "profile p1"}, 22 * time.Second, true},
		{[]string{"activate p1 compute1", "profile p1", "profile p1", "profile p1", "profile p1", "profile p1"}, 43 * time.Second, true},
		{[]string{"activate p1 compute1", "profile p1", "profile p1", "profile p1", "profile p1", "profile p1"}, 63 * time.Second, false},
	} {
		work(t, committed("p1"), func(t *testing.T, d *desk) {
			toldUp(d, up)
			d.aim(handover.GoalRestore, src, true)
			got, at := d.wait()
			if !got.Right || got.Up != want.up || at > want.at || at < want.at-3*time.Second {
				t.Errorf("after %d tellings: %+v at %s, want %s", up, got, at, want.at)
			}
			d.wantWrites(t, want.writes...)
			if row, _ := d.neutron.ports["p1"].Row(src); rollback.Made(row) || !row.Bound() {
				t.Errorf("left %+v", row)
			}
			if alarms := d.of(audit.HandoverAlarm); len(alarms) != 0 == want.up {
				t.Errorf("alarms %+v", alarms)
			}
			// Were it killed in between, who acts next would take the mark out.
			if len(want.writes) > 2 && len(d.pages.doubts) == 0 {
				t.Error("not in the journal")
			}
		})
	}
}

func TestAnAgentThatHasLittleTimeIsToldLess(t *testing.T) {
	for within, tellings := range map[time.Duration]int{time.Second: 0, 9 * time.Second: 0, 10 * time.Second: 1, 15 * time.Second: 2, 10 * time.Minute: 2} {
		work(t, committed("p1"), func(t *testing.T, d *desk) {
			d.tools.upWithin = within
			toldUp(d, 99)
			d.aim(handover.GoalRestore, src, true)
			if got, at := d.wait(); got.Up || at < within {
				t.Errorf("%+v at %s", got, at)
			}
			if got := len(d.neutron.writes()); got != 2+2*tellings {
				t.Errorf("within %s: %q", within, d.neutron.writes())
			}
		})
	}
}

func TestAnAgentIsNotToldAgainForANewMigration(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		toldUp(d, 99)
		d.aim(handover.GoalRestore, src, true)
		d.pass(5 * time.Second)
		d.aim(handover.GoalHold, "", false)
		d.pass(time.Minute)
		d.wantWrites(t, "activate p1 compute1", "profile p1")
	})
}

func TestRestoreOfACommittedPort(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalRestore, src, true)
		got, _ := d.wait()
		want := handover.Goal{Kind: handover.GoalRestore, Host: src, NovaDone: true}
		if got.Port != "p1" || got.Goal != want || !got.Right {
			t.Errorf("%+v", got)
		}
		d.wantWrites(t, "activate p1 compute1", "profile p1")
		if l := d.last(t, audit.PortVerified); l.Outcome != "rows right" || l.Decided != "restore" || l.Err != nil {
			t.Errorf("%+v", l)
		}
	})
}

func TestRestoreThatIsReplacedWhileItWaitsWritesNothingMore(t *testing.T) {
	for _, next := range []handover.GoalKind{handover.GoalHold, handover.GoalVerify} {
		work(t, prepared("p1"), func(t *testing.T, d *desk) {
			d.aim(handover.GoalRestore, src, false) // waits for Nova
			d.pass(3 * time.Second)
			d.aim(next, dst, true)
			d.pass(time.Millisecond)
			if l := d.w.aim.Goal.Kind; l != next {
				t.Errorf("works on %s, want %s at once", l, next)
			}
			d.pass(10 * time.Minute)
			d.wantWrites(t)
		})
	}
}

func TestRestoreThatIsReplacedWhileNeutronIsAwayIsLeftAtOnce(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.neutron.answer = on("read", func(context.Context) (bool, error) { return false, &binding.Error{Op: binding.OpGetPort, Err: errTest} })
		d.aim(handover.GoalRestore, src, false)
		d.pass(time.Minute)
		d.aim(handover.GoalHold, "", false)
		d.pass(10 * time.Second)
		before := len(d.neutron.called())
		d.pass(time.Minute)
		if after := len(d.neutron.called()); after != before || d.w.aim.Goal.Kind != handover.GoalHold {
			t.Errorf("%d reads after a hold, works on %s", after-before, d.w.aim.Goal.Kind)
		}
	})
}

func TestRestoreTakesInThatNovaIsDone(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalRestore, src, false)
		d.pass(2 * time.Second)
		d.wantWrites(t)
		d.aim(handover.GoalRestore, src, true)
		got, at := d.wait()
		if !got.Goal.NovaDone || !got.Right || at > 3*time.Second {
			t.Errorf("%+v after %s", got, at)
		}
		d.wantWrites(t, "profile p1")
	})
}

func TestAPortThatNobodyMovedIsLeftToASilentNova(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalRestore, src, false)
		if got, at := d.wait(); got.Right || at < restorePatience {
			t.Errorf("%+v after %s", got, at)
		}
		d.wantWrites(t)
		if l := d.last(t, audit.HandoverAlarm); !strings.Contains(l.Why, "about to clear migrating_to") {
			t.Errorf("the alarm does not say why: %+v", l)
		}
	})
}

func TestRestoreThatIsNotOursToMendAlarms(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.neutron.change("p1", func(p *port.Port) { p.Rows[0].Host = "compute9" })
		d.aim(handover.GoalRestore, src, true)
		if got, _ := d.wait(); got.Right {
			t.Errorf("%+v", got)
		}
		d.wantWrites(t)
		l := d.last(t, audit.HandoverAlarm)
		if l.Port != "p1" || l.Host != src || !strings.Contains(l.Why, "compute9") || !strings.Contains(l.Decided, "openstack port show p1") {
			t.Errorf("%+v", l)
		}
	})
}

func TestRestoreThatDoesNotSucceedIsGivenUpWithAnAlarm(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.neutron.answer = on("activate", func(context.Context) (bool, error) { return false, internal })
		d.aim(handover.GoalRestore, src, true)
		got, at := d.wait()
		if got.Right || at < restorePatience || at > restorePatience+time.Minute {
			t.Errorf("%+v after %s", got, at)
		}
		d.last(t, audit.HandoverAlarm)
		if l := d.last(t, audit.PortVerified); l.Err != nil || !strings.Contains(l.Outcome, "rows wrong") {
			t.Errorf("the last line does not tell what is there: %+v", l)
		}
		if n := len(d.neutron.writes()); n > 200 {
			t.Errorf("%d writes in %s", n, at)
		}
	})
}

func TestRestoreWaitsForTheLease(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.barred.Store(true)
		d.aim(handover.GoalRestore, src, true)
		d.pass(20 * time.Second)
		d.wantWrites(t)
		d.wantQuiet(t)
		d.barred.Store(false)
		if got, at := d.wait(); !got.Right || at > 22*time.Second {
			t.Errorf("%+v after %s", got, at)
		}
	})
}

func TestRestoreEndsWithTheHandover(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.barred.Store(true)
		d.aim(handover.GoalRestore, src, true)
		d.pass(time.Second)
		// work cancels and waits for the worker's end.
	})
}
