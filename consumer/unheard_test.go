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
	"github.com/earlybind/earlybind/wire"
)

// movedOn are the rows after Nova's next migration of the instance, to the same host, has succeeded.
func movedOn(p *port.Port) {
	p.Rows = []port.Row{{Host: dst, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{}}}
}

// failsUnheard has a migration fail after a commit, and the replica be cut off from the broker
// before it has restored the port.
func (s *stage) failsUnheard() {
	s.toThePause()
	pass(100 * time.Millisecond)
	s.barred.Store(true)
	s.host(dst, wire.Stopped, wire.Failed)
	s.host(src, wire.Resumed, wire.Migrated)
	pass(2 * time.Second)
}

// Found by chaos: the replica was cut off from the broker, and Nova migrated the instance again,
// at once and to its end. What the replica saw of that one was told as the failed one's end, wrong.
func TestAReplicaThatIsCutOffDoesNotTakeANewMigrationForAWrongEnd(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.failsUnheard()
		s.neutron.change("p1", movedOn)
		pass(20 * time.Second)
		for _, l := range append(s.of(audit.HandoverAlarm), s.of(audit.HandoverEnded)...) {
			t.Errorf("while it is cut off: %s %s: %s", l.Event, l.Outcome, l.Why)
		}
		s.barred.Store(false) // the lease is back, and one queue is behind the other
		pass(4 * time.Second)
		s.nova("req-2", wire.NovaPre, false)
		s.host(dst, wire.Started, wire.Migrated)
		s.host(src, wire.Suspended, wire.Migrated)
		s.host(dst, wire.Resumed, wire.Migrated)
		s.host(src, wire.Stopped, wire.Migrated)
		s.nova("req-2", wire.NovaPost, false)
		s.nova("req-2", wire.NovaPostDest, true)
		pass(time.Minute)
		ends := s.of(audit.HandoverEnded)
		if len(ends) != 2 || ends[0].Outcome != "superseded" || ends[1].Outcome != "migrated" {
			t.Errorf("ends %+v", ends)
		}
		for _, l := range s.of(audit.HandoverAlarm) {
			if l.Kind == audit.AlarmRows {
				t.Errorf("%s", l.Why)
			}
		}
		if row, _ := s.neutron.ports["p1"].Active(); row.Host != dst {
			t.Errorf("the new migration's row was moved to %s", row.Host)
		}
	})
}

// What nobody speaks of is told: a row that went without another migration, or one of which
// no message has come.
func TestRowsThatStayWrongAreToldOnceTheLeaseIsBack(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.failsUnheard()
		s.neutron.change("p1", movedOn)
		pass(20 * time.Second)
		s.barred.Store(false)
		pass(2 * leaseFor)
		if l := s.last(t, audit.HandoverAlarm); l.Kind != audit.AlarmRows || !strings.Contains(l.Why, "the source has no row") {
			t.Errorf("%+v", l)
		}
		if l := s.last(t, audit.HandoverEnded); l.Outcome != "wrong" {
			t.Errorf("%+v", l)
		}
	})
}

// The lease lasts for a while after the last word from the broker: who holds it has not
// heard all the same.
func TestHandsOffIsSaidWhenWhatTheHostsHaveSaidByThenHasBeenHeard(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.neutron.change("p1", movedOn)
		d.aim(handover.GoalRestore, src, true)
		d.pass(leaseFor - 100*time.Millisecond)
		d.wantQuiet(t)
		d.barred.Store(true) // it had not
		d.pass(time.Minute)
		d.wantQuiet(t)
		if l := d.of(audit.HandoverAlarm); len(l) != 0 {
			t.Errorf("alarms %+v", l)
		}
		if l := d.last(t, audit.PortVerified); l.Decided != "wait" || !strings.Contains(l.Why, "no row") {
			t.Errorf("%+v", l)
		}
		if lines := d.of(audit.PortVerified); len(lines) != 1 {
			t.Errorf("said %d times", len(lines))
		}
		d.aim(handover.GoalHold, "", false) // another migration is heard of
		d.pass(time.Minute)
		d.wantQuiet(t)
		if l := d.of(audit.HandoverAlarm); len(l) != 0 {
			t.Errorf("alarms %+v", l)
		}
		d.wantWrites(t)
	})
}

// A row that was announced as right, and that a migration has moved which was not heard of.
func TestRowsThatChangeWhileTheReplicaIsCutOffAreNotToldBeforeItHears(t *testing.T) {
	for name, heard := range map[string]bool{"and another migration is heard of then": true, "and nothing is": false} {
		t.Run(name, func(t *testing.T) {
			work(t, committed("p1"), func(t *testing.T, d *desk) {
				d.neutron.ports["p1"].Status = binding.PortDown
				d.aim(handover.GoalRestore, src, true)
				d.pass(2500 * time.Millisecond) // its agent is waited for
				d.barred.Store(true)
				d.neutron.change("p1", movedOn)
				d.pass(2 * time.Minute)
				d.wantQuiet(t)
				if l := d.of(audit.HandoverAlarm); len(l) != 0 {
					t.Fatalf("while it is cut off: %+v", l)
				}
				if heard {
					d.aim(handover.GoalHold, "", false)
				}
				d.barred.Store(false)
				d.pass(2 * leaseFor)
				if l := d.of(audit.HandoverAlarm); (len(l) == 0) != heard {
					t.Errorf("alarms %+v", l)
				}
			})
		})
	}
}

// Of rows that never come right, the last look may see another migration's.
func TestAVerdictOfVerifyWaitsForTheLeaseToo(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalVerify, dst, true)
		d.pass(2*novaPatience - 10*time.Second)
		d.barred.Store(true)
		d.pass(time.Minute)
		d.wantQuiet(t)
		d.barred.Store(false)
		d.pass(2 * leaseFor)
		d.last(t, audit.HandoverAlarm)
		select {
		case got := <-d.done:
			if got.Right {
				t.Errorf("%+v", got)
			}
		default:
			t.Error("no end")
		}
	})
}

// A Neutron that does not answer says nothing of how the rows stand meanwhile.
func TestRowsThatCouldNotBeReadAreNotWrongForThatLong(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.neutron.ports["p1"].Status = binding.PortDown
		d.tools.upWithin = 2 * time.Second
		d.aim(handover.GoalVerify, dst, true)
		d.pass(1500 * time.Millisecond)
		right := clone(d.neutron.ports["p1"])
		d.neutron.change("p1", func(p *port.Port) { p.Rows = p.Rows[:1] })
		d.pass(3 * time.Second)
		failing := on("read", func(context.Context) (bool, error) { return false, internal })
		d.neutron.mu.Lock()
		d.neutron.answer = failing
		d.neutron.mu.Unlock()
		d.pass(3 * leaseFor)
		d.neutron.mu.Lock()
		d.neutron.answer = nil
		d.neutron.mu.Unlock()
		d.pass(2 * time.Second)
		d.wantQuiet(t)
		d.neutron.change("p1", func(p *port.Port) { p.Rows = right.Rows })
		if got, _ := d.wait(); !got.Right {
			t.Errorf("%+v", got)
		}
		for _, l := range d.of(audit.HandoverAlarm) {
			if l.Kind != audit.AlarmDown {
				t.Errorf("%+v", l)
			}
		}
	})
}

// A replica whose lease does not come back tells it in the end: there may be no other.
func TestWrongRowsAreToldInTheEndWithoutALeaseToo(t *testing.T) {
	for name, c := range map[string]struct {
		goal  handover.GoalKind
		host  string
		moved time.Duration
	}{
		"hands off":               {handover.GoalRestore, src, 0},
		"the agent is waited for": {handover.GoalRestore, src, 2500 * time.Millisecond},
		"only read":               {handover.GoalVerify, src, 0},
	} {
		t.Run(name, func(t *testing.T) {
			work(t, committed("p1"), func(t *testing.T, d *desk) {
				d.neutron.ports["p1"].Status = binding.PortDown
				d.neutron.mu.Lock()
				if c.moved == 0 {
					movedOn(d.neutron.ports["p1"])
				}
				d.neutron.mu.Unlock()
				d.aim(c.goal, c.host, true)
				d.pass(c.moved)
				d.barred.Store(true)
				d.neutron.change("p1", movedOn)
				if got, at := d.wait(); got.Right || at < restorePatience || at > restorePatience+3*novaPatience {
					t.Errorf("%+v after %s", got, at)
				}
				if l := d.last(t, audit.HandoverAlarm); l.Kind != audit.AlarmRows {
					t.Errorf("%+v", l)
				}
			})
		})
	}
}

// What is wrong in another way was not so for long: a migration goes on.
func TestRowsThatAreWrongInAnotherWayAreLookedAtAnew(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.neutron.change("p1", movedOn)
		d.aim(handover.GoalRestore, src, true)
		d.pass(leaseFor - 500*time.Millisecond)
		d.neutron.change("p1", func(p *port.Port) { p.Rows[0].Host = "compute9" })
		d.pass(leaseFor - 500*time.Millisecond)
		d.wantQuiet(t)
		if got, _ := d.wait(); got.Right {
			t.Errorf("%+v", got)
		}
		if l := d.of(audit.HandoverAlarm); len(l) != 1 || !strings.Contains(l[0].Why, "compute9") {
			t.Errorf("%+v", l)
		}
	})
}

// Rows of a migration to a third host were seen: whatever becomes of it, this restore has no word any more.
func TestNothingIsRestoredAfterRowsOfAnotherMigrationWereSeen(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		announces := func(profile map[string]any) {
			d.neutron.change("p1", func(p *port.Port) {
				p.Rows = []port.Row{
					{Host: src, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{}},
					{Host: dst, Active: true, VIFType: "ovs", VNICType: "normal", Profile: profile},
				}
			})
		}
		announces(map[string]any{port.MigratingTo: "compute3"})
		d.aim(handover.GoalRestore, src, true)
		d.pass(3 * time.Second)
		announces(map[string]any{}) // it has failed, and Nova has said so to nobody yet
		d.pass(time.Minute)
		if writes := d.neutron.writes(); len(writes) > 0 {
			t.Errorf("written: %v", writes)
		}
	})
}
