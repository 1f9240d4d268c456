package consumer

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
)

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

// Seen in the lab: Neutron was away for so long that the next migration came first, and the
// read that it cut off was told as an alarm.
func TestVerifyThatEndsWithTheHandoverInAReadDoesNotAlarm(t *testing.T) {
	var d *desk
	work(t, prepared("p1"), func(t *testing.T, at *desk) {
		d = at
		reading := make(chan struct{}, 1)
		d.neutron.answer = func(ctx context.Context, call string) (bool, error) {
			if time.Since(d.began) <= 2*novaPatience {
				return true, nil // in time, and wrong
			}
			reading <- struct{}{}
			return never(ctx)
		}
		d.aim(handover.GoalVerify, dst, true)
		<-reading
		// work cancels and waits for the worker's end.
	})
	if alarms := d.of(audit.HandoverAlarm); len(alarms) != 0 {
		t.Errorf("%+v", alarms)
	}
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

// Found by chaos: a new migration was prepared while the agent's word on the one before was waited for.
func TestRowsThatANewMigrationPreparesMeanwhileAreRight(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.neutron.ports["p1"].Status = "DOWN"
		d.aim(handover.GoalVerify, dst, true)
		d.pass(2500 * time.Millisecond)
		d.neutron.change("p1", func(p *port.Port) {
			for i := range p.Rows {
				p.Rows[i].Profile = nil
				if p.Rows[i].Host == dst {
					p.Rows[i].Profile = map[string]any{port.MigratingTo: src}
				}
			}
		})
		if got, _ := d.wait(); !got.Right || got.Up {
			t.Errorf("%+v", got)
		}
		if l := d.last(t, audit.PortVerified); l.Outcome != "rows right" || !strings.Contains(l.Why, "new migration") {
			t.Errorf("%+v", l)
		}
		if alarms := d.of(audit.HandoverAlarm); len(alarms) != 1 || alarms[0].Kind != audit.AlarmDown {
			t.Errorf("alarms %+v", alarms)
		}
	})
}

// The agent's word may come with the last look.
func TestAPortThatTheLastLookFindsUpIsUp(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.neutron.ports["p1"].Status = "DOWN"
		d.tools.upWithin = 10 * time.Second
		reads := 0
		d.neutron.answer = on("read", func(context.Context) (bool, error) {
			if reads++; reads == 11 { // 10 come before the agent's time is over
				d.neutron.mu.Lock()
				d.neutron.ports["p1"].Status = "ACTIVE"
				d.neutron.mu.Unlock()
			}
			return true, nil
		})
		d.aim(handover.GoalVerify, dst, true)
		if got, _ := d.wait(); !got.Right || !got.Up || len(d.of(audit.HandoverAlarm)) != 0 {
			t.Errorf("%+v after %d reads, alarms %+v", got, reads, d.of(audit.HandoverAlarm))
		}
	})
}

// What a restore that came too late has left: the guest is on the destination, Nova has
// finished, and the ACTIVE row is on the source.
func TestVerifyMendsWhatIsWrongWhenNovaHasFinished(t *testing.T) {
	for name, c := range map[string]struct {
		goal   handover.Goal
		writes []string
		at     time.Duration
	}{
		"it may":          {handover.Goal{Kind: handover.GoalVerify, Host: dst, NovaDone: true, Mend: true}, []string{"activate p1 compute2", "rebind p1"}, mendAfter + 3*time.Second},
		"Nova is at work": {handover.Goal{Kind: handover.GoalVerify, Host: dst, Mend: true}, nil, verifyPatience + time.Minute},
		"it may not":      {handover.Goal{Kind: handover.GoalVerify, Host: dst, NovaDone: true}, nil, 2*novaPatience + 5*time.Second},
	} {
		p := prepared("p1")
		p.Rows[1].VIFType = "unbound" // and the source's announces the migration still
		work(t, p, func(t *testing.T, d *desk) {
			d.w.mail.put(handover.Aim{Port: "p1", Goal: c.goal, Other: src})
			got, at := d.wait()
			if got.Right != (c.writes != nil) || got.Goal != c.goal || at > c.at {
				t.Errorf("%s: %+v after %s", name, got, at)
			}
			d.wantWrites(t, c.writes...)
			if left := len(d.pages.doubts) > 0; left != (c.goal.Mend && c.writes == nil) {
				t.Errorf("%s: in the journal: %t", name, left)
			}
		})
	}
}

// Nova's last changes may be on their way when it says that it has finished.
func TestVerifyGivesNovaTimeBeforeItMends(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.w.mail.put(handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalVerify, Host: dst, Mend: true}, Other: src})
		d.pass(novaPatience + time.Second) // before that Nova's silence is taken for nothing
		d.w.mail.put(handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalVerify, Host: dst, Mend: true, NovaDone: true}, Other: src})
		d.pass(mendAfter - time.Second)
		d.neutron.change("p1", func(p *port.Port) { p.Rows[0].Active, p.Rows[1].Active = false, true })
		if got, _ := d.wait(); !got.Right {
			t.Errorf("%+v", got)
		}
		d.wantWrites(t)
	})
}

// Found by make rolling: Neutron answered 500 to our activates and to Nova's first, and Nova, which gives up for
// good then, says nothing. Consumers that are restarted meanwhile know of no activate of theirs.
func TestVerifyActivatesWhatNovaHasNot(t *testing.T) {
	mends := handover.Goal{Kind: handover.GoalVerify, Host: dst, Mend: true}
	for name, c := range map[string]struct {
		change  func(*desk)
		refused bool // ours, before that
		goal    handover.Goal
		after   time.Duration // the least; 0: never
	}{
		"ours was refused":            {nil, true, mends, mendAfter + leaseFor},
		"nothing is known of ours":    {nil, false, mends, novaPatience + leaseFor},
		"repair does not cover it":    {nil, true, handover.Goal{Kind: handover.GoalVerify, Host: dst}, 0},
		"the lease is away":           {func(d *desk) { d.barred.Store(true) }, false, mends, 0},
		"another migration's rows":    {func(d *desk) { d.announce("compute3") }, false, mends, 0},
		"a third host announces it":   {func(d *desk) { d.neutron.ports["p1"].Rows[0].Host = "compute3" }, false, mends, 0},
		"no migration is announced":   {func(d *desk) { d.announce("") }, false, mends, 0},
		"the row there is unbound":    {func(d *desk) { d.neutron.ports["p1"].Rows[1].VIFType = "unbound" }, false, mends, 0},
		"Nova activates in its time":  {func(d *desk) { go d.novaActivates(novaPatience - time.Second) }, false, mends, 0},
		"Nova activates a bit later":  {func(d *desk) { go d.novaActivates(novaPatience + leaseFor - time.Second) }, false, mends, 0},
		"another aim comes before it": {func(d *desk) { go d.aimLater(handover.GoalHold, "", false, novaPatience+leaseFor-time.Second) }, false, mends, 0},
	} {
		work(t, prepared("p1"), func(t *testing.T, d *desk) {
			if c.change != nil {
				c.change(d)
			}
			from := time.Duration(0)
			var want []string
			if c.refused {
				d.neutron.answer = on("activate", func(context.Context) (bool, error) { return false, internal })
				d.aim(handover.GoalCommit, dst, false)
				d.pass(time.Second / 2)
				d.neutron.answer = nil
				from, want = time.Since(d.began), append(want, "activate p1 compute2")
			}
			d.w.mail.put(handover.Aim{Port: "p1", Goal: c.goal, Other: src})
			if c.after > 0 {
				d.pass(c.after - time.Second)
				d.wantWrites(t, want...)
				want = append(want, "activate p1 compute2")
				got, at := d.wait()
				if !got.Right || got.Goal != c.goal || at-from > c.after+novaPatience+10*look {
					t.Errorf("%s: %+v after %s", name, got, at-from)
				}
				if l := d.last(t, audit.HostsAsked); !strings.Contains(l.Why, "Nova has not activated") || d.asked.Load() != 1 {
					t.Errorf("%s: asked %d times, %+v", name, d.asked.Load(), l)
				}
			} else {
				d.pass(verifyPatience / 2)
				if decided := d.of(audit.PortDecided); len(decided) > 0 {
					t.Errorf("%s: %+v", name, decided)
				}
			}
			if got := d.neutron.writes(); !slices.Equal(got, want) {
				t.Errorf("%s: writes %q", name, got)
			}
		})
	}
}

// announce has the source's row announce a migration to a host.
func (d *desk) announce(host string) {
	d.neutron.change("p1", func(p *port.Port) {
		p.Rows[0].Profile = nil
		if host != "" {
			p.Rows[0].Profile = map[string]any{port.MigratingTo: host}
		}
	})
}

func (d *desk) novaActivates(after time.Duration) {
	<-time.After(after)
	d.neutron.change("p1", func(p *port.Port) { p.Rows[0].Active, p.Rows[0].VIFType, p.Rows[1].Active = false, "unbound", true })
}

func TestMendingStopsForAnotherGoal(t *testing.T) {
	work(t, prepared("p1"), func(t *testing.T, d *desk) {
		d.neutron.answer = on("activate", func(context.Context) (bool, error) {
			<-time.After(time.Second)
			return true, nil
		})
		d.w.mail.put(handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalVerify, Host: dst, NovaDone: true, Mend: true}, Other: src})
		d.pass(mendAfter + 1500*time.Millisecond) // the activate is under way
		d.aim(handover.GoalHold, "", false)
		d.pass(time.Minute)
		d.wantWrites(t, "activate p1 compute2")
		d.wantQuiet(t)
		if d.asked.Load() != 0 {
			t.Error("hosts are asked where Nova has said that it has finished")
		}
	})
}
