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
)

// desk is one worker at work in a bubble.
type desk struct {
	*kit
	w     *worker
	done  chan handover.PortDone
	began time.Time
}

// work runs a test in a bubble with a worker for port p1.
func work(t *testing.T, p *port.Port, test func(*testing.T, *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := &desk{kit: newKit(newNeutron(p)), done: make(chan handover.PortDone, 9), began: time.Now()}
		d.w = &worker{
			instance: guest, port: "p1", tools: d.tools, mail: newMailbox(), report: d.record,
			done:      func(p handover.PortDone) { d.done <- p },
			committed: func(sent, answered time.Duration) {},
		}
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); d.w.run(ctx) }()
		test(t, d)
		cancel()
		<-over
	})
}

func (d *desk) aim(kind handover.GoalKind, host string, novaDone bool) {
	d.w.mail.put(handover.Aim{
		Port: "p1", Goal: handover.Goal{Kind: kind, Host: host, NovaDone: novaDone}, Destination: dst, Deadline: d.clock() + 5*time.Second,
	})
}

// wait gives the goal that was reached, and when.
func (d *desk) wait() (handover.PortDone, time.Duration) {
	p := <-d.done
	return p, time.Since(d.began)
}

// pass lets time go by.
func (d *desk) pass(span time.Duration) {
	<-time.After(span)
	synctest.Wait()
}

func (d *desk) wantWrites(t *testing.T, want ...string) {
	t.Helper()
	if got := d.neutron.writes(); !slices.Equal(got, want) {
		t.Errorf("writes %q, want %q", got, want)
	}
}

func (d *desk) wantQuiet(t *testing.T) {
	t.Helper()
	select {
	case p := <-d.done:
		t.Errorf("done: %+v", p)
	default:
	}
}

func TestCommitActivatesAndReadsAgain(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalCommit, dst, false)
		synctest.Wait()
		if got := d.neutron.called(); !slices.Equal(got, []string{"activate p1 compute2", "read p1"}) {
			t.Errorf("calls %q", got)
		}
		written, verified := d.last(t, audit.PortWritten), d.last(t, audit.PortVerified)
		if written.Outcome != "activated" || written.Err != nil || written.Host != dst || verified.Outcome != "rows right" {
			t.Errorf("%+v\n%+v", written, verified)
		}
	})
}

func TestCommitAfterItsDeadlineIsNotSent(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.w.mail.put(handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalCommit, Host: dst}, Deadline: d.clock() - 1})
		synctest.Wait()
		if got := d.neutron.called(); len(got) != 0 {
			t.Errorf("calls %q", got)
		}
		if l := d.last(t, audit.PortObserved); !strings.Contains(l.Why, "deadline") {
			t.Errorf("%+v", l)
		}
	})
}

func TestCommitWithoutTheLeaseIsNotSent(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.barred.Store(true)
		d.aim(handover.GoalCommit, dst, false)
		synctest.Wait()
		if got := d.neutron.called(); len(got) != 0 {
			t.Errorf("calls %q", got)
		}
		if l := d.last(t, audit.PortObserved); !strings.Contains(l.Why, "lease") {
			t.Errorf("%+v", l)
		}
	})
}

func TestCommitThatNovaHasMadeIsNoFault(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalCommit, dst, false)
		synctest.Wait()
		if l := d.last(t, audit.PortWritten); l.Err != nil || l.Outcome != "was ACTIVE already" {
			t.Errorf("%+v", l)
		}
	})
}

func TestCommitThatFailedWithA500IsReadAgain(t *testing.T) {
	for _, applied := range []bool{true, false} {
		work(t, prepared("p1"), func(t *testing.T, d *desk) {
			d.neutron.answer = on("activate", func(context.Context) (bool, error) { return applied, internal })
			d.aim(handover.GoalCommit, dst, false)
			synctest.Wait()
			written, verified := d.last(t, audit.PortWritten), d.last(t, audit.PortVerified)
			if written.Outcome != "failed" || written.Err == nil || (verified.Outcome == "rows right") != applied {
				t.Errorf("applied %t: %+v\n%+v", applied, written, verified)
			}
			d.wantWrites(t, "activate p1 compute2")
		})
	}
}

func TestCommitThatIsReplacedBeforeItIsSentIsNotSent(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalCommit, dst, false)
		d.aim(handover.GoalHold, "", false)
		synctest.Wait()
		if got := d.neutron.called(); len(got) != 0 {
			t.Errorf("calls %q", got)
		}
	})
}

func TestAWriteWithoutAnAnswerIsWatchedForAMinute(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.neutron.answer = on("activate", never)
		d.aim(handover.GoalCommit, dst, false)
		d.aimLater(handover.GoalVerify, src, true, time.Millisecond)
		d.pass(requestTimeout + time.Second)
		d.neutron.change("p1", func(p *port.Port) { p.Rows[0].Profile = nil }) // Nova has cleared migrating_to: right
		got, at := d.wait()
		if !got.Right || at < requestTimeout+unknownWatch {
			t.Errorf("%+v after %s", got, at)
		}
		if l := d.last(t, audit.PortWritten); !errors.Is(l.Err, binding.ErrNoAnswer) {
			t.Errorf("%+v", l)
		}
	})
}

func (d *desk) aimLater(kind handover.GoalKind, host string, novaDone bool, after time.Duration) {
	<-time.After(after)
	d.aim(kind, host, novaDone)
}

func TestAWriteThatTakesEffectLateIsRestoredAgain(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.neutron.answer = on("activate p1 compute2", never)
		d.aim(handover.GoalCommit, dst, false)
		d.aimLater(handover.GoalRestore, src, true, time.Millisecond)
		d.pass(requestTimeout + 20*time.Second)
		d.wantQuiet(t) // right, and not believed yet
		d.neutron.change("p1", func(p *port.Port) {
			p.Rows[0].Active, p.Rows[0].VIFType, p.Rows[1].Active = false, "unbound", true
		})
		got, at := d.wait()
		if !got.Right || at < requestTimeout+unknownWatch {
			t.Errorf("%+v after %s", got, at)
		}
		p := clone(d.neutron.ports["p1"])
		if right, why := p.RightOn(src); !right {
			t.Error(why)
		}
	})
}

func TestAReadWithoutAnAnswerIsNoWriteToWatch(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		reads := 0
		d.neutron.answer = on("read", func(ctx context.Context) (bool, error) {
			if reads++; reads == 1 {
				return false, &binding.Error{Op: binding.OpGetPort, Err: errTest}
			}
			return true, nil
		})
		d.aim(handover.GoalRestore, src, true)
		if got, at := d.wait(); !got.Right || at > 10*time.Second {
			t.Errorf("%+v after %s", got, at)
		}
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

func TestVerifyWaitsForNovaAndReadsOnly(t *testing.T) {
	for _, c := range []struct {
		novaDone bool
		least    time.Duration
	}{{true, 0}, {false, novaPatience}} {
		p := committed("p1")
		work(t, p, func(t *testing.T, d *desk) {
			d.aim(handover.GoalVerify, dst, c.novaDone)
			got, at := d.wait()
			if !got.Right || at < c.least || at > c.least+time.Second {
				t.Errorf("%+v after %s", got, at)
			}
			d.wantWrites(t)
		})
	}
}

func TestVerifyOfWhatStaysWrongAlarms(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalVerify, dst, true)
		got, at := d.wait()
		if got.Right || at < 2*novaPatience || at > 2*novaPatience+5*time.Second {
			t.Errorf("%+v after %s", got, at)
		}
		if l := d.last(t, audit.HandoverAlarm); !strings.Contains(l.Why, "ACTIVE row is on "+src) {
			t.Errorf("%+v", l)
		}
		d.wantWrites(t)
	})
}

func TestVerifyWhileNeutronIsAwayAlarmsToo(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.neutron.answer = on("read", never)
		d.aim(handover.GoalVerify, dst, true)
		if got, _ := d.wait(); got.Right {
			t.Errorf("%+v", got)
		}
		d.last(t, audit.HandoverAlarm)
	})
}

func TestVerifyThatIsReplacedIsLeftAtOnce(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.aim(handover.GoalVerify, dst, false)
		d.pass(time.Second)
		d.aim(handover.GoalHold, "", false)
		d.pass(time.Hour)
		d.wantQuiet(t)
		if got := d.neutron.called(); len(got) != 0 {
			t.Errorf("calls %q", got)
		}
	})
}

func TestTheAgentsWordIsWaitedForAndItsAbsenceIsSaid(t *testing.T) {
	for _, c := range []struct {
		up   time.Duration
		want time.Duration
	}{{3 * time.Second, 4 * time.Second}, {time.Hour, time.Minute + time.Second}} {
		work(t, committed("p1"), func(t *testing.T, d *desk) {
			d.neutron.ports["p1"].Status = "DOWN"
			up := time.AfterFunc(c.up, func() { d.neutron.change("p1", func(p *port.Port) { p.Status = "ACTIVE" }) })
			defer up.Stop()
			d.aim(handover.GoalVerify, dst, true)
			got, at := d.wait()
			late := c.up > time.Minute
			if !got.Right || got.Up == late || at > c.want {
				t.Errorf("%+v after %s", got, at)
			}
			if l := d.last(t, audit.PortVerified); l.Outcome != "rows right" {
				t.Errorf("%+v", l)
			}
			alarms := d.of(audit.HandoverAlarm)
			if !late && len(alarms) != 0 || late && (len(alarms) != 1 || !strings.Contains(alarms[0].Why, "has not reported") || !strings.Contains(alarms[0].Decided, "external_ids:iface-id=p1")) {
				t.Errorf("alarms %+v", alarms)
			}
			d.wantWrites(t) // after a success nothing is written
		})
	}
}

func TestRowsThatChangeWhileTheAgentIsWaitedForAlarm(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.neutron.ports["p1"].Status = "DOWN"
		d.aim(handover.GoalVerify, dst, true)
		d.pass(2500 * time.Millisecond)
		d.neutron.change("p1", func(p *port.Port) { p.Rows = p.Rows[:1] })
		if got, _ := d.wait(); got.Right {
			t.Errorf("%+v", got)
		}
		if l := d.last(t, audit.HandoverAlarm); !strings.Contains(l.Why, "have changed since") {
			t.Errorf("%+v", l)
		}
	})
}

func TestAMailboxKeepsTheNewestAimOnly(t *testing.T) {
	m := newMailbox()
	never := func(handover.Aim) bool { return false }
	if _, taken, waits := m.takeIf(never); taken || waits {
		t.Error("a new mailbox is full")
	}
	m.put(handover.Aim{Port: "old"})
	m.put(handover.Aim{Port: "new"})
	if _, taken, waits := m.takeIf(never); taken || !waits {
		t.Error("an aim that is not wanted is taken")
	}
	if got, ok := m.take(); !ok || got.Port != "new" {
		t.Errorf("%+v", got)
	}
	if _, ok := m.take(); ok {
		t.Error("taken twice")
	}
	if len(m.wake) != 1 {
		t.Errorf("%d tokens", len(m.wake))
	}
}

func TestDescribe(t *testing.T) {
	got := describe(*prepared("p1"))
	want := "port status ACTIVE; rows: compute1 ACTIVE ovs migrating_to=compute2; compute2 INACTIVE ovs;"
	if got != want {
		t.Errorf("%q", got)
	}
}
