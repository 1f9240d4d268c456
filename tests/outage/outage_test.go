package main

import (
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

func TestTheArmsTakeTurns(t *testing.T) {
	const ovs = "openvswitch,l2population"
	had := []sample{
		{Release: "zed", Drivers: ovs, Guest: "small", Arm: "nova"},
		{Release: "2025.1", Drivers: "linuxbridge,l2population", Guest: "small", Arm: "nova"},
		{Release: "2025.1", Drivers: ovs, Guest: "small", Arm: "nova"},
		{Release: "2025.1", Drivers: ovs, Guest: "small", Arm: "nova"},
		{Release: "2025.1", Drivers: ovs, Guest: "small", Arm: "resumed"},
		{Release: "2025.1", Drivers: ovs, Guest: "small", Arm: "resumed", Fault: "the guest is on compute1 still"},
		{Release: "2025.1", Drivers: ovs, Guest: "large", Arm: "suspended"},
	}
	var names []string
	for _, a := range missing(had, "2025.1", ovs, "small", 3) {
		names = append(names, a.name)
	}
	if got, want := strings.Join(names, " "), "suspended resumed suspended nova resumed suspended"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestTimesOf(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	activate := func(when, took int, port, host string, status int) lab.Request {
		return lab.Request{At: at(when), Took: time.Duration(took) * time.Millisecond, Method: "PUT",
			Path: "/v2.0/ports/" + port + "/bindings/" + host + "/activate", Status: status}
	}
	got := timesOf(
		[]lab.HostEvent{
			{At: at(0), Host: "compute1", Event: "suspended", Detail: "migrated"},
			{At: at(90), Host: "compute2", Event: "resumed", Detail: "migrated"},
			{At: at(400), Host: "compute1", Event: "stopped", Detail: "migrated"},
		},
		[]lab.Request{
			activate(20, 500, "port-a", "compute2", 200),
			activate(21, 600, "port-b", "compute2", 200),
			activate(2000, 50, "port-b", "compute2", 409), // Nova's, of what is done
			activate(30, 5000, "port-a", "compute1", 200), // not this way
			activate(10, 5000, "port-c", "compute2", 200), // not this guest's
		},
		[]lab.Wiring{
			{At: at(-5000), Ports: []string{"port-a", "port-b"}}, // before the pause
			{At: at(1100), Ports: []string{"port-a"}},
			{At: at(1500), Ports: []string{"port-b"}},
			{At: at(1900), Ports: []string{"port-c"}},
			{At: at(9000), Ports: []string{"port-a", "port-b"}}, // Nova's end
		},
		[]string{"port-a", "port-b"}, "compute1", "compute2")
	if want := (times{at(0), at(400), at(90), at(20), at(621), at(1500)}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheTableComparesWithNovaAlone(t *testing.T) {
	of := func(arm string, gap float64) sample {
		return sample{Release: "2025.1", Drivers: "openvswitch,l2population", Guest: "small", Arm: arm, RowsRight: true,
			Addresses: []address{{GapMS: gap / 2, Lost: 10}, {GapMS: gap, Lost: 20}}}
	}
	ovn := func(m sample) sample { m.Drivers = "ovn"; return m }
	got := table([]sample{
		of("nova", 1000), of("nova", 2000), of("nova", 4000), of("resumed", 981), of("suspended", 500), {Fault: "failed"},
		ovn(of("nova", 100)), ovn(of("resumed", 99)), ovn(of("suspended", 101)),
	})
	for _, want := range []string{"2000 / 4000", "10 / 10", "0.25", "1 migrations say nothing", "< 980 MISSED\n", "< 650 met\n", "< 100 met\n", "< 100 MISSED\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
