package main

import (
	"errors"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/tests/results"
)

func TestWhatIsWrongIsNeverCountedAsRight(t *testing.T) {
	active := 2.5
	done := sample{Migration: "completed", Source: "a", Destination: "b", Guest: "b", Answers: 3, ToActive: &active}
	late, bad, failed, fault, lost, mended := done, done, done, done, done, done
	lost.Migration, lost.Guest = "error", ""
	late.Late, late.ToRight, late.Ours = true, 7, 3
	bad.Late, bad.Wrong = true, "no ACTIVE row"
	failed.Migration, failed.Guest = "error", "a"
	fault.Fault, fault.Answers, fault.ToActive = "Neutron did not answer", 0, nil
	mended.ByHand = []string{"state reset (ERROR, <nil>)"}
	got := table([]sample{done, mended, late, bad, failed, fault, lost})
	for _, row := range []string{
		"| succeeded | 5 | 2 | 1 | 1 | 1 | 0.0 / 7.0 | 2.5 / 2.5 | 4 | 1 | 1 |",
		"| failed by Nova | 2 | 1 | 0 | 0 | 1 | 0.0 / 0.0 | 2.5 / 2.5 | 2 | 0 | 0 |",
		"| all | 7 | 3 | 1 | 1 | 2 | 0.0 / 7.0 | 2.5 / 2.5 | 6 | 1 | 1 |",
		"0 guests did not answer on every address at the end: 0 lost by QEMU's emulation, 0 not known why",
		"1 guests were not asked: the sample failed before",
	} {
		if !strings.Contains(got, row+"\n") {
			t.Errorf("no row %q in\n%s", row, got)
		}
	}
}

// fine are the ports of a guest on b that are right.
func fine() []port.Port {
	ports := make([]port.Port, len(lab.Addresses))
	for i := range ports {
		ports[i] = port.Port{ID: strconv.Itoa(i), Status: "ACTIVE", Rows: []port.Row{{Host: "a"}, {Host: "b", Active: true, VIFType: "ovs"}}}
	}
	return ports
}

// unwired are the same with the last one's status DOWN, elsewhere with a row ACTIVE on a.
func unwired() []port.Port {
	ports := fine()
	ports[2].Status = "DOWN"
	return ports
}

func elsewhere() []port.Port {
	ports := unwired()
	ports[1].Rows = []port.Row{{Host: "a", Active: true, VIFType: "ovs"}, {Host: "b"}}
	return ports
}

func TestAPortIsRightWhenItsStatusIsACTIVEWithinTheAgentsTime(t *testing.T) {
	type look struct {
		ports []port.Port
		after time.Duration
	}
	for _, c := range []struct {
		name   string
		looks  []look
		waits  bool // for another look
		late   bool
		right  float64
		active float64 // -1: never
		wrong  string
	}{
		{"at once", []look{{fine(), 0}}, false, false, 0, 0, ""},
		{"the status is waited for, and the rows were right at once", []look{{unwired(), 0}}, true, false, 0, -1, ""},
		{"the status comes", []look{{unwired(), 0}, {fine(), agentBound}}, false, false, 0, agentBound.Seconds(), ""},
		{"the status does not come in time", []look{{unwired(), 0}, {unwired(), agentBound + time.Second}}, false, false, 0, -1, "port 2: its status is DOWN 181 s after the rows were right"},
		{"the rows are waited for", []look{{elsewhere(), 0}, {elsewhere(), agentBound + time.Second}}, true, true, 0, -1, "port 1: the ACTIVE row is on a"},
		{"the rows do not come in time", []look{{elsewhere(), repairBound + time.Second}}, false, true, 0, -1, "port 1: the ACTIVE row is on a"},
		{"the agent's time is from the rows' repair on", []look{{elsewhere(), 0}, {unwired(), time.Minute}, {unwired(), agentBound + time.Minute}}, true, true, 60, -1, ""},
		{"repaired, then wired", []look{{elsewhere(), 0}, {unwired(), time.Minute}, {fine(), 2 * time.Minute}}, false, true, 60, 120, ""},
		{"one port is missing", []look{{fine()[1:], repairBound + time.Second}}, false, true, 0, -1, "it has 2 ports"},
	} {
		m := sample{Guest: "b"}
		w := watch{sample: &m}
		var err error
		for _, l := range c.looks {
			err = w.look(l.ports, l.after)
		}
		active := -1.0
		if m.ToActive != nil {
			active = *m.ToActive
		}
		if (err != nil) != c.waits || m.Late != c.late || m.ToRight != c.right || active != c.active || m.Wrong != c.wrong {
			t.Errorf("%s: waits for %v, status ACTIVE after %v, %+v", c.name, err, active, m)
		}
	}
}

func TestWhatWasRightIsToStayRight(t *testing.T) {
	for _, c := range []struct {
		name  string
		ports []port.Port
		after time.Duration
		waits bool
		wrong string
	}{
		{"it has", fine(), 0, false, ""},
		{"an agent has its time", unwired(), agentBound, true, ""},
		{"and no more", unwired(), agentBound + time.Second, false, "it was right, and then: port 2: its status is DOWN"},
		{"rows have none", elsewhere(), 0, false, "it was right, and then: port 1: the ACTIVE row is on a"},
	} {
		m := sample{Guest: "b"}
		if err := m.again(c.ports, c.after); (err != nil) != c.waits || m.Wrong != c.wrong {
			t.Errorf("%s: waits for %v, wrong %q", c.name, err, m.Wrong)
		}
	}
	m := sample{Guest: "b", Wrong: "first"}
	if err := m.again(elsewhere(), 0); err != nil || m.Wrong != "first" {
		t.Errorf("what was wrong first is not kept: %v, %q", err, m.Wrong)
	}
}

func TestASilentGuestIsToldApart(t *testing.T) {
	tap := []lab.Tap{{Port: "1", Tag: "4095"}}
	taps := func(string) ([]lab.Tap, error) { return tap, nil }
	on := map[string][]lab.Tap{lab.Computes[0]: tap, lab.Computes[1]: tap}
	answered := func(string) (int, error) { return 0, nil }
	for _, c := range []struct {
		dead     bool
		err      error
		taps     func(string) ([]lab.Tap, error)
		timeouts func(string) (int, error)
		want     silence
		text     string
	}{
		{true, nil, taps, answered, silence{Lost: true}, "lost by QEMU's emulation: true"},
		{false, nil, taps, answered, silence{Taps: on}, "lost by QEMU's emulation: false"},
		{true, errors.New("no tap"), taps, answered, silence{Faults: []string{"no tap"}, Taps: on}, "lost by QEMU's emulation: not known: no tap"},
		{false, nil, taps, func(host string) (int, error) {
			if host == lab.Computes[0] {
				return 0, errors.New("no log")
			}
			return 2, nil
		}, silence{Faults: []string{"no log"}, Taps: on, Timeouts: map[string]int{lab.Computes[1]: 2}},
			"lost by QEMU's emulation: not known: no log; 2 calls of the agent on " + lab.Computes[1] + " got no answer"},
		{false, nil, func(host string) ([]lab.Tap, error) {
			if host == lab.Computes[0] {
				return nil, errors.New("away")
			}
			return tap, nil
		}, answered, silence{Faults: []string{"away"}, Taps: map[string][]lab.Tap{lab.Computes[1]: tap}}, "lost by QEMU's emulation: not known: away"},
	} {
		got := found(func() (bool, error) { return c.dead, c.err }, c.taps, c.timeouts)
		if !reflect.DeepEqual(*got, c.want) || got.String() != c.text {
			t.Errorf("%+v, %s; want %+v, %s", *got, got, c.want, c.text)
		}
	}
}

func TestWhichOfNovasActivatesMetOneOfOurs(t *testing.T) {
	began := time.Unix(1e9, 0)
	at := func(agent string, status, from, till int) lab.Request {
		return lab.Request{At: began.Add(time.Duration(from) * time.Second), Took: time.Duration(till-from) * time.Second, Status: status, Agent: agent}
	}
	novas := at("nova", 500, 10, 20)
	for _, c := range []struct {
		name string
		ours lab.Request
		met  bool
	}{
		{"answered 200 before", at("earlybind/1", 200, 1, 2), true},
		{"refused before", at("earlybind/1", 500, 1, 2), false},
		{"refused meanwhile", at("earlybind/1", 500, 9, 11), true},
		{"came later", at("earlybind/1", 200, 21, 22), false},
		{"another's", at("nova", 200, 11, 12), false},
	} {
		if got := met(novas, []lab.Request{novas, c.ours}); got != c.met {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}

func TestWhatARunFailsFor(t *testing.T) {
	done := sample{Migration: "completed", Destination: "b", Guest: "b", Answers: 3, Restarts: []string{neutron, "consumer1"}}
	partly, dead, rebooted, later, hurt, unmet := done, done, done, done, done, done
	partly.Answers, partly.Silence = 2, &silence{Faults: []string{"no tap"}}
	dead.Answers, dead.Silence = 0, &silence{Lost: true}
	rebooted.Answers, rebooted.ByHand = 0, []string{"reboot (libvirt: map[b:running], lost by QEMU's emulation: true)"}
	later.ByHand, later.Silence = []string{"reboot (libvirt: map[b:running], lost by QEMU's emulation: false)"}, &silence{}
	refused := done
	refused.NovaFailed = 1
	hurt.NovaFailed, hurt.NovaHurt, unmet.Restarts = 1, 1, []string{"consumer1"}
	for _, c := range []struct {
		name string
		m    sample
		why  string
	}{
		{"answers", done, ""},
		{"lost by QEMU", dead, ""},
		{"lost by QEMU, an older sample", rebooted, ""},
		{"silent on one", partly, "a guest did not answer"},
		{"silent when it was mended", later, "a guest did not answer"},
		{"Neutron refused Nova's", refused, ""},
		{"Nova was hurt", hurt, "an activate of Nova's failed"},
		{"Neutron was not restarted", unmet, "no migration met a restart of neutron"},
		{"wrong", sample{Wrong: "no ACTIVE row", Answers: 3}, "a port ended wrong"},
		{"not judged", sample{Fault: "no answer"}, "0 could be judged"},
	} {
		err := verdict([]sample{c.m}, 1, []string{"consumer1", neutron})
		if (err != nil) != (c.why != "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if got := partly.answers(); got != "answers on 2 of 3: not known why (no tap)" {
		t.Error(got)
	}
}

// What docs/measurements.md says of the runs of November 2026 is in their samples.
func TestOlderSamplesAreRead(t *testing.T) {
	for _, c := range []struct {
		file string
		n    int
		rows []string
	}{
		{"2025.1-rolling.jsonl", 52, []string{
			"| succeeded | 39 | 39 | 0 | 0 | 0 | 0.0 / 0.0 | - | 36 | 3 | 38 |",
			"| failed by Nova | 13 | 11 | 0 | 0 | 2 | 0.0 / 0.0 | - | 13 | 6 | 0 |",
			"| all | 52 | 50 | 0 | 0 | 2 | 0.0 / 0.0 | - | 49 | 9 | 38 |",
			"3 guests did not answer on every address at the end: 2 lost by QEMU's emulation, 1 not known why",
			"50 samples that were judged do not say whether the ports' status was ACTIVE",
		}},
		{"2025.1-rolling-cluster.jsonl", 100, []string{
			"| succeeded | 68 | 65 | 0 | 3 | 0 | 0.0 / 0.0 | 0.4 / 163.1 | 65 | 3 | 67 |",
			"| failed by Nova | 32 | 32 | 0 | 0 | 0 | 0.0 / 0.0 | 0.3 / 47.0 | 32 | 3 | 2 |",
			"| all | 100 | 97 | 0 | 3 | 0 | 0.0 / 0.0 | 0.4 / 163.1 | 97 | 6 | 69 |",
		}},
		{"2025.1-rolling-quorum.jsonl", 31, []string{
			"| succeeded | 28 | 28 | 0 | 0 | 0 | 0.0 / 0.0 | 2.6 / 20.9 | 28 | 0 | 25 |",
			"| failed by Nova | 3 | 3 | 0 | 0 | 0 | 0.0 / 0.0 | 2.6 / 4.1 | 3 | 0 | 0 |",
			"| all | 31 | 31 | 0 | 0 | 0 | 0.0 / 0.0 | 2.6 / 20.9 | 31 | 0 | 25 |",
		}},
		{"2025.1-rolling-one-node.jsonl", 32, []string{
			"| succeeded | 23 | 23 | 0 | 0 | 0 | 0.0 / 0.0 | 0.3 / 64.9 | 23 | 0 | 20 |",
			"| failed by Nova | 9 | 7 | 0 | 0 | 2 | 0.0 / 0.0 | 0.3 / 0.3 | 9 | 2 | 0 |",
		}},
		{"2025.1-rolling-busy.jsonl", 53, []string{
			"5 guests did not answer on every address at the end: 0 lost by QEMU's emulation, 5 not known why",
			"1 guests were not asked: the sample failed before",
			"50 samples that were judged do not say whether the ports' status was ACTIVE",
		}},
	} {
		samples, err := results.Load[sample]("../../docs/measurements/" + c.file)
		if err != nil || len(samples) != c.n {
			t.Errorf("%s: %d samples, %v", c.file, len(samples), err)
		}
		got := table(samples)
		for _, row := range c.rows {
			if !strings.Contains(got, row+"\n") {
				t.Errorf("%s: no row %q in\n%s", c.file, row, got)
			}
		}
	}
}

func TestAMigrationMetTheRestartsThatItOverlaps(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	r := &restarts{done: []restart{
		{"consumer1", at(0), at(9)}, {"rabbitmq", at(10), at(20)}, {"rabbitmq", at(22), at(25)}, {"publisher1", at(29), time.Time{}}, {neutron, at(31), at(40)},
	}}
	if got := r.since(at(15), at(30)); !slices.Equal(got, []string{"rabbitmq", "publisher1"}) {
		t.Errorf("%q", got)
	}
}
