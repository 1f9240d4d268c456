package consumer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
)

// faulty are the ways in which an activate can fail. later: it may take effect
// after it has failed.
var faulty = []struct {
	name  string
	fault bindingtest.Fault
	later bool
}{
	{"401", bindingtest.Fault{Status: 401}, false},
	{"403", bindingtest.Fault{Status: 403, Type: "PolicyNotAuthorized"}, false},
	{"404", bindingtest.Fault{Status: 404, Type: "PortBindingNotFound"}, false},
	{"409", bindingtest.Fault{Status: 409, Type: "StateInvalid"}, false},
	{"429", bindingtest.Fault{Status: 429, Gateway: true, Header: http.Header{"Retry-After": {"3600"}}}, false},
	{"500 before", bindingtest.Fault{Status: 500, Type: "HTTPInternalServerError"}, false},
	{"500 after", bindingtest.Fault{Status: 500, Type: "HTTPInternalServerError", Apply: true}, false},
	{"502 before", bindingtest.Fault{Status: 502, Gateway: true}, true},
	{"502 after", bindingtest.Fault{Status: 502, Gateway: true, Apply: true}, true},
	{"503 before", bindingtest.Fault{Status: 503, Gateway: true}, true},
	{"503 of Neutron's own", bindingtest.Fault{Status: 503}, false},
	{"504 before", bindingtest.Fault{Status: 504, Gateway: true}, true},
	{"504 after", bindingtest.Fault{Status: 504, Gateway: true, Apply: true}, true},
	{"cut before", bindingtest.Fault{Drop: true}, true},
	{"cut after", bindingtest.Fault{Drop: true, Apply: true}, true},
	{"cut half-way", bindingtest.Fault{Half: true, Apply: true}, true},
	{"a page", bindingtest.Fault{Status: 200, Gateway: true}, true},
}

// failing is what package binding makes of a fault of activate.
func failing(t *testing.T, f bindingtest.Fault) error {
	t.Helper()
	n := bindingtest.New(t)
	id := n.AddPort(bindingtest.PortOpts{Host: src})
	n.PutRow(id, binding.Binding{Host: dst, Status: binding.StatusInactive, VIFType: "ovs"})
	f.Op = binding.OpActivate
	n.Inject(f)
	err := NewNeutron(n.Client()).Activate(t.Context(), id, dst)
	if err == nil {
		t.Fatal("the activate has not failed")
	}
	return err
}

// A commit is sent once, whatever comes of it and however long Neutron asks to wait.
// Its line tells whether it may have taken effect, the rows are read, and a port that
// it may still reach is not believed to be right for a minute.
func TestACommitThatFailsIsSentOnce(t *testing.T) {
	for _, c := range faulty {
		t.Run(c.name, func(t *testing.T) {
			fault := failing(t, c.fault)
			work(t, prepared("p1"), func(t *testing.T, d *desk) {
				d.neutron.answer = on("activate", func(context.Context) (bool, error) { return c.fault.Apply, fault })
				d.aim(handover.GoalCommit, dst, false)
				pass(2 * readAfter)

				written, verified := d.last(t, audit.PortWritten), d.last(t, audit.PortVerified)
				if written.Outcome != "failed" || !errors.Is(written.Err, fault) {
					t.Errorf("%+v", written)
				}
				text := written.Err.Error()
				if strings.Contains(text, "it may still take effect") != c.later ||
					strings.Contains(text, "it may have taken effect") != (!c.later && binding.OutcomeUnknown(fault)) {
					t.Errorf("the line does not tell: %s", text)
				}
				if (verified.Outcome == "rows right") != c.fault.Apply {
					t.Errorf("%+v", verified)
				}

				// The guest runs on the destination, and Nova has done its part.
				d.neutron.answer = nil
				d.neutron.change("p1", func(p *port.Port) { p.Rows = []port.Row{{Host: dst, Active: true, VIFType: "ovs"}} })
				d.pass(time.Second)
				d.aim(handover.GoalVerify, dst, true)
				got, at := d.wait()
				if !got.Right || (at >= unknownWatch) != c.later {
					t.Errorf("%+v after %s", got, at)
				}
				d.wantWrites(t, "activate p1 compute2")
			})
		})
	}
}

// The migration has failed after such a commit: the port is restored, and again if
// the commit takes effect then.
func TestACommitThatFailsAndTakesEffectLaterIsRestored(t *testing.T) {
	for _, c := range faulty {
		if !c.later {
			continue
		}
		for _, after := range []time.Duration{time.Second, 20 * time.Second, unknownWatch - 2*time.Second} {
			t.Run(fmt.Sprintf("%s/%s", c.name, after), func(t *testing.T) {
				fault := failing(t, c.fault)
				work(t, prepared("p1"), func(t *testing.T, d *desk) {
					d.neutron.answer = on("activate p1 compute2", func(context.Context) (bool, error) { return c.fault.Apply, fault })
					d.aim(handover.GoalCommit, dst, false)
					synctest.Wait()
					d.aim(handover.GoalRestore, src, true)
					d.pass(after)
					d.wantQuiet(t)
					d.neutron.change("p1", func(p *port.Port) {
						p.Rows[0].Active, p.Rows[0].VIFType, p.Rows[1].Active = false, "unbound", true
					})
					got, at := d.wait()
					p := clone(d.neutron.ports["p1"])
					if right, why := p.RightOn(src); !got.Right || !right || at < unknownWatch {
						t.Errorf("%+v after %s: %s", got, at, why)
					}
				})
			})
		}
	}
}

// A restore whose every call fails goes on, ever more slowly, and ends right when
// Neutron is back: nobody has to be told.
func TestARestoreOutlastsAnyFault(t *testing.T) {
	const outage = 5 * time.Minute
	for _, c := range faulty {
		for _, calls := range []string{"read", "activate", "profile", ""} {
			if c.name == "404" && calls != "activate" && calls != "profile" {
				continue // a port that is gone
			}
			t.Run(c.name+"/"+calls, func(t *testing.T) {
				fault := failing(t, c.fault)
				work(t, committed("p1"), func(t *testing.T, d *desk) {
					d.neutron.answer = on(calls, func(context.Context) (bool, error) {
						if time.Since(d.began) < outage {
							return false, fault
						}
						return true, nil
					})
					d.aim(handover.GoalRestore, src, true)
					got, at := d.wait()
					// The last write of the outage may be watched for a minute.
					if !got.Right || at < outage || at > outage+10*time.Second+unknownWatch {
						t.Errorf("%+v after %s", got, at)
					}
					if n := len(d.neutron.called()); n > 300 {
						t.Errorf("%d calls in %s", n, at)
					}
					if alarms := d.of(audit.HandoverAlarm); len(alarms) != 0 {
						t.Errorf("%+v", alarms)
					}
				})
			})
		}
	}
}

// Who writes nothing is told of a port that is not there, and sends no write to learn whether it could have been seen.
func TestAPortThatIsGoneIsReadWithoutAWriteByWhoObserves(t *testing.T) {
	for _, c := range []struct {
		policy handover.Policy
		repair handover.Repair
		calls  []string
	}{
		{handover.PolicyObserve, handover.RepairOwn, []string{binding.OpGetPort}},
		{handover.PolicyObserve, handover.RepairOff, []string{binding.OpGetPort}},
		{handover.PolicyObserve, handover.RepairAll, []string{binding.OpGetPort, binding.OpCreate}},
		{handover.PolicyAuto, handover.RepairOwn, []string{binding.OpGetPort, binding.OpCreate}},
	} {
		n := bindingtest.New(t)
		_, err := Settings{Policy: c.policy, Repair: c.repair}.Neutron(n.Client()).Read(t.Context(), "00000000-0000-4000-8000-00000000dead")
		var calls []string
		for _, r := range n.Requests() {
			calls = append(calls, r.Op)
		}
		if !errors.Is(err, port.ErrGone) || !slices.Equal(calls, c.calls) {
			t.Errorf("%s, %s: %q, %v", c.policy, c.repair, calls, err)
		}
	}
}

// What was only to be read cannot take effect later.
func TestNoFaultOfAReadIsAWriteToWatch(t *testing.T) {
	for _, c := range faulty {
		if c.name == "404" {
			continue
		}
		n := bindingtest.New(t)
		id := n.AddPort(bindingtest.PortOpts{Host: src})
		c.fault.Op = binding.OpGetPort
		n.Inject(c.fault)
		_, fault := NewNeutron(n.Client()).Read(t.Context(), id)
		if fault == nil || binding.MayStillHappen(fault) || binding.OutcomeUnknown(fault) {
			t.Errorf("%s: %v", c.name, fault)
		}
	}
}
