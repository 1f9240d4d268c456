package consumer

import (
	"context"
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

// The agent's word may come with the last look.
func TestAPortThatTheLastLookFindsUpIsUp(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.neutron.ports["p1"].Status = "DOWN"
		d.tools.upWithin = 10 * time.Second
		reads := 0
		d.neutron.answer = on("read", func(context.Context) (bool, error) {
			if reads++; reads == 13 { // 12 come before the agent's time is over
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
