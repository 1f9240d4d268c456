package consumer

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
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
	reads atomic.Int32 // see blockReads
	ended func()       // what happens as the read that waited ends, before its caller knows
}

// work runs a test in a bubble with a worker for port p1.
func work(t *testing.T, p *port.Port, test func(*testing.T, *desk)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(p)
		ctx, cancel := context.WithCancel(t.Context())
		over := make(chan struct{})
		go func() { defer close(over); d.w.run(ctx) }()
		test(t, d)
		cancel()
		<-over
	})
}

// newDesk has a worker for port p1 that is not at work.
func newDesk(p *port.Port) *desk {
	d := &desk{kit: newKit(newNeutron(p)), done: make(chan handover.PortDone, 9), began: time.Now()}
	d.w = &worker{
		instance: guest, port: "p1", tools: d.tools, mail: newMailbox(), ended: make(chan struct{}), report: d.record,
		done:      func(p handover.PortDone) { d.done <- p },
		committed: func(sent, answered time.Duration) {},
	}
	return d
}

func (d *desk) aim(kind handover.GoalKind, host string, novaDone bool) {
	d.w.mail.put(handover.Aim{
		Port: "p1", Goal: handover.Goal{Kind: kind, Host: host, NovaDone: novaDone}, Other: dst, Deadline: d.clock() + 5*time.Second,
	})
}

// wait gives the goal that was reached, and when.
func (d *desk) wait() (handover.PortDone, time.Duration) {
	p := <-d.done
	return p, time.Since(d.began)
}

// blockReads has the first read after that time wait until its caller gives up, and counts from there.
func (d *desk) blockReads(after time.Duration) {
	from := d.clock() + after
	d.neutron.answer = on("read", func(ctx context.Context) (bool, error) {
		if d.clock() < from || d.reads.Add(1) > 1 {
			return true, nil
		}
		<-ctx.Done()
		if d.ended != nil {
			d.ended()
		}
		return false, ctx.Err()
	})
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
		if got := d.neutron.called(); !slices.Equal(got, []string{"activate p1 compute2"}) {
			t.Errorf("at once: %q", got)
		}
		pass(2 * readAfter)
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
			pass(2 * readAfter)
			written, verified := d.last(t, audit.PortWritten), d.last(t, audit.PortVerified)
			if written.Outcome != "failed" || written.Err == nil || (verified.Outcome == "rows right") != applied {
				t.Errorf("applied %t: %+v\n%+v", applied, written, verified)
			}
			d.wantWrites(t, "activate p1 compute2")
		})
	}
}

func TestCommitThatIsReplacedBeforeItIsSentIsNotSent(t *testing.T) {
	d := newDesk(prepared("p1"))
	d.aim(handover.GoalCommit, dst, false)
	d.w.aim, _ = d.w.mail.take()
	d.aim(handover.GoalHold, "", false)
	d.w.commit(t.Context())
	if got := d.neutron.called(); len(got) != 0 || len(d.lines) != 0 {
		t.Errorf("calls %q, told %+v", got, d.lines)
	}
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

func TestAMailboxTellsOfAnAimThatWaitsAlready(t *testing.T) {
	m := newMailbox()
	m.put(handover.Aim{Port: "new"})
	ended := 0
	forget := m.watch(func(a handover.Aim) bool { return a.Port == "new" }, func() { ended++ })
	m.put(handover.Aim{Port: "another"})
	forget()
	m.put(handover.Aim{Port: "new"})
	if ended != 1 {
		t.Errorf("told %d times", ended)
	}
}

func TestDescribe(t *testing.T) {
	got := prepared("p1").Describe()
	want := "port status ACTIVE; rows: compute1 ACTIVE ovs migrating_to=compute2; compute2 INACTIVE ovs;"
	if got != want {
		t.Errorf("%q", got)
	}
}

// What was not sent leaves nothing to be looked after, however long it waited for its turn.
func TestAWriteThatWasWithheldIsNotSuspected(t *testing.T) {
	for _, c := range []struct {
		err      error
		suspects bool
	}{{&binding.Error{Op: binding.OpActivate, Err: binding.ErrWithheld}, false}, {nil, true}} {
		work(t, prepared("p1"), func(t *testing.T, d *desk) {
			d.w.suspect(c.err, leaseFor+time.Second)
			if got := len(d.pages.doubts) == 1; got != c.suspects || d.w.unknown != 0 {
				t.Errorf("%v: %+v, unknown until %s", c.err, d.pages.doubts, d.w.unknown)
			}
		})
	}
}

// A read's turn comes after all activates', however many wait: a restore does not wait for its own
// port's (seen in the bench's drain with two requests at once: 3.4 s).
func TestAReadThatWaitsForItsTurnMakesWayForAnotherAim(t *testing.T) {
	for _, c := range []struct {
		name string
		goal handover.GoalKind
		from time.Duration // when the read begins
	}{
		{"after an activate", handover.GoalCommit, 0},
		{"while Nova's own is verified", handover.GoalVerify, 0},
		{"when the time that Nova's rows have is over", handover.GoalVerify, 2 * novaPatience},
	} {
		t.Run(c.name, func(t *testing.T) {
			work(t, prepared("p1"), func(t *testing.T, d *desk) {
				d.blockReads(c.from)
				d.aim(c.goal, dst, true)
				for d.reads.Load() == 0 {
					d.pass(time.Second)
				}
				d.aim(handover.GoalRestore, src, true)
				synctest.Wait()
				if d.reads.Load() < 2 {
					t.Error("the restore waits for the read")
				}
				if got, _ := d.wait(); !got.Right || got.Goal.Kind != handover.GoalRestore {
					t.Errorf("%+v", got)
				}
				for _, l := range d.lines {
					if l.Err != nil || l.Event == audit.HandoverAlarm {
						t.Errorf("told as a fault: %+v", l)
					}
				}
			})
		})
	}
}

// So does one by which the agent of a port that is right is waited for.
func TestAWaitForTheAgentMakesWayForAnotherAim(t *testing.T) {
	down := committed("p1")
	down.Status = "DOWN"
	work(t, down, func(t *testing.T, d *desk) {
		d.blockReads(3 * time.Second)
		d.aim(handover.GoalVerify, dst, true)
		for d.reads.Load() == 0 {
			d.pass(time.Second)
		}
		d.aim(handover.GoalRestore, src, true)
		synctest.Wait()
		if d.reads.Load() < 2 {
			t.Error("the restore waits for the read")
		}
		for _, l := range d.lines {
			if l.Err != nil || l.Event == audit.HandoverAlarm {
				t.Errorf("told as a fault: %+v", l)
			}
		}
	})
}

// The aim that ends a read may be replaced itself before the worker looks: then the port is read again,
// and nobody is told that it could not be.
func TestAReadThatWasEndedForAnAimThatIsGoneAgain(t *testing.T) {
	for kind, from := range map[handover.GoalKind]time.Duration{
		handover.GoalCommit: 0,
		handover.GoalVerify: 2 * novaPatience, // when an alarm is due
	} {
		work(t, prepared("p1"), func(t *testing.T, d *desk) {
			d.blockReads(from)
			d.aim(kind, dst, true)
			for d.reads.Load() == 0 {
				d.pass(time.Second)
			}
			d.ended = func() { d.aim(kind, dst, true) }
			d.aim(handover.GoalRestore, src, true)
			d.pass(time.Minute)
			for _, l := range d.lines {
				if l.Err != nil || strings.Contains(l.Why, "canceled") || strings.Contains(l.Why, errReplaced.Error()) {
					t.Errorf("%s: told as a fault: %+v", kind, l)
				}
			}
			if writes := len(d.neutron.writes()); kind == handover.GoalCommit && writes != 1 {
				t.Errorf("%d writes", writes)
			}
		})
	}
}

func TestAReadGoesOnWhenAnAimOnlySaysThatNovaIsDone(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		ended := false
		d.neutron.answer = on("read", func(ctx context.Context) (bool, error) {
			select {
			case <-ctx.Done():
				ended = true
			case <-time.After(time.Second):
			}
			return true, nil
		})
		d.aim(handover.GoalVerify, dst, true)
		synctest.Wait()
		d.aim(handover.GoalVerify, dst, true)
		if got, _ := d.wait(); !got.Right || ended {
			t.Errorf("%+v, ended %t", got, ended)
		}
	})
}
