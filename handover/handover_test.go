package handover

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// The hosts of every story: the guest migrates from src to dst.
const (
	src   = "compute1.example.org"
	dst   = "compute2.example.org"
	third = "compute3.example.org"
)

const window = 5 * time.Second

var suspended = Settings{Policy: PolicySuspended, Repair: RepairOwn, ConcurrentActivateSafe: true}

func chosen(p Policy, r Repair, safe bool) Settings {
	return Settings{Policy: p, Repair: r, ConcurrentActivateSafe: safe}
}

// at is a sign at a place of its host's stream.
func at(host string, sequence uint64, sign Sign) HostSign {
	return HostSign{Host: host, Sign: sign, Order: wire.Order{Epoch: 1, Sequence: sequence}, FreshFor: window}
}

// listed is a sign that was read in a list of domains.
func listed(host string, sequence uint64, sign Sign) HostSign {
	s := at(host, sequence, sign)
	s.Listed, s.FreshFor = true, 0
	return s
}

func nova(request string, step wire.NovaStep, ended bool) NovaSign {
	e := wire.NovaEvent{Instance: "guest", RequestID: request, Step: step, Ended: ended, PublisherHost: src, PayloadHost: src}
	switch step {
	case wire.NovaPre, wire.NovaRollbackDest:
		e.PublisherHost = dst
	case wire.NovaPostDest:
		e.PublisherHost = dst
		if ended {
			e.PayloadHost = dst
		}
	case wire.NovaPreFailed:
		e.PublisherHost, e.PayloadHost = dst, ""
	case wire.NovaRefused:
		e.PublisherHost, e.PayloadHost = "controller", ""
	}
	return NovaSign{NovaEvent: e}
}

func start(request string, step wire.NovaStep) NovaSign { return nova(request, step, false) }
func ended(request string, step wire.NovaStep) NovaSign { return nova(request, step, true) }

// ready is a port as Nova has prepared it for the migration.
func ready(id string) port.Port {
	return port.Port{
		ID: id, Device: "guest", DeviceOwner: "compute:nova", Status: "ACTIVE", Driver: "openvswitch", Revision: 3,
		Rows: []port.Row{
			{Host: src, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{port.MigratingTo: dst}},
			{Host: dst, VIFType: "ovs", VNICType: "normal"},
		},
	}
}

// drive feeds an instance and answers what it asks for, as the consumer does.
type drive struct {
	*Instance
	now   time.Duration
	ports []port.Port // the answer to Arm
	mute  bool        // do not answer Arm
	log   []Decision
}

func newDrive(s Settings, ports ...port.Port) *drive {
	return &drive{Instance: NewInstance(&s), now: time.Hour, ports: ports}
}

// tell gives inputs and answers with all that was decided on them.
func (d *drive) tell(inputs ...Input) []Decision {
	var out []Decision
	for _, in := range inputs {
		d.now += time.Millisecond
		decisions := d.Step(d.stamp(in))
		out = append(out, decisions...)
		d.log = append(d.log, decisions...)
		if !d.mute && slices.Contains(decisions, Decision(Arm{})) {
			out = append(out, d.rows()...)
		}
	}
	return out
}

func (d *drive) rows() []Decision {
	d.now += time.Millisecond
	decisions := d.Step(Rows{Ports: d.ports, Now: d.now})
	d.log = append(d.log, decisions...)
	return decisions
}

func (d *drive) stamp(in Input) Input {
	switch in := in.(type) {
	case HostSign:
		in.Now = d.now
		return in
	case NovaSign:
		in.Now = d.now
		return in
	case PortDone:
		in.Now = d.now
		return in
	case Activated:
		in.Now = d.now
		return in
	case LeftOver:
		in.Now = d.now
		return in
	case Muted:
		in.Now = d.now
		return in
	}
	return in
}

// phase is the current handover's, or -1.
func (d *drive) phase() Phase {
	if d.Current() == nil {
		return -1
	}
	return d.Current().Phase()
}

// finish answers the last goal of every port as reached.
func (d *drive) finish(right bool) []Decision {
	var out []Decision
	last := map[string]Goal{}
	for _, a := range aims(d.log) {
		last[a.Port] = a.Goal
	}
	for _, p := range d.ports {
		out = append(out, d.tell(PortDone{Port: p.ID, Goal: last[p.ID], Right: right, Up: right})...)
	}
	return out
}

func aims(decisions []Decision) []Aim {
	var out []Aim
	for _, d := range decisions {
		if a, ok := d.(Aim); ok {
			out = append(out, a)
		}
	}
	return out
}

func aimed(decisions []Decision, kind GoalKind) []Aim {
	return slices.DeleteFunc(aims(decisions), func(a Aim) bool { return a.Goal.Kind != kind })
}

func observed(decisions []Decision) []Observe {
	var out []Observe
	for _, d := range decisions {
		if o, ok := d.(Observe); ok {
			out = append(out, o)
		}
	}
	return out
}

func alarmsIn(decisions []Decision) []Alarm {
	var out []Alarm
	for _, d := range decisions {
		if a, ok := d.(Alarm); ok {
			out = append(out, a)
		}
	}
	return out
}

func endsIn(decisions []Decision) []Outcome {
	var out []Outcome
	for _, d := range decisions {
		if e, ok := d.(End); ok {
			out = append(out, e.Outcome)
		}
	}
	return out
}

func wantPhase(t *testing.T, d *drive, want Phase) {
	t.Helper()
	if got := d.phase(); got != want {
		t.Fatalf("phase is %s, want %s", phaseName(got), want)
	}
}

func phaseName(p Phase) string {
	if p < 0 {
		return "(no handover)"
	}
	return p.String()
}

func say(in Input) string {
	switch in := in.(type) {
	case HostSign:
		return fmt.Sprintf("%s %s %d", in.Host[:8], in.Sign, in.Order.Sequence)
	case NovaSign:
		return fmt.Sprintf("Nova %s %t", in.Step, in.Ended)
	}
	return fmt.Sprintf("%T", in)
}

func names(inputs []Input) []string {
	out := make([]string, len(inputs))
	for i, in := range inputs {
		out[i] = say(in)
	}
	return out
}
