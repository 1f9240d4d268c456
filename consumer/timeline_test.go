package consumer

import (
	"fmt"
	"testing"
	"time"
	"unique"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

func TestFiguresOfATimeline(t *testing.T) {
	ms := time.Millisecond
	for name, c := range map[string]struct {
		timeline timeline
		want     map[string]int64
	}{
		"nothing": {timeline{}, map[string]int64{}},
		"activated": {timeline{came: &moments{paused: 10 * ms, cause: 9 * ms, activate: 11 * ms, answered: 161 * ms, nova: 700 * ms}}, map[string]int64{
			"pause_to_activate_ms": 1, "pause_to_active_ms": 151, "pause_to_nova_ms": 690, "reaction_ms": 2, "lead_ms": 539}},
		"Nova was first": {timeline{came: &moments{paused: 10 * ms, activate: 11 * ms, answered: 800 * ms, nova: 700 * ms}}, map[string]int64{
			"pause_to_activate_ms": 1, "pause_to_active_ms": 790, "pause_to_nova_ms": 690, "lead_ms": -100}},
		"observed": {timeline{came: &moments{paused: 10 * ms, arrived: 20 * ms, nova: 700 * ms}}, map[string]int64{
			"pause_to_arrival_ms": 10, "pause_to_nova_ms": 690, "would_lead_suspended_ms": 690, "would_lead_resumed_ms": 680}},
		"of a flavour": {timeline{flavor: unique.Make(wire.Flavor{Name: "m1.large", MemoryMB: 8192, VCPUs: 4})}, map[string]int64{"memory_mb": 8192, "vcpus": 4}},
		"failed":       {timeline{came: &moments{paused: 10 * ms, activate: 11 * ms, answered: 100 * ms}}, map[string]int64{"pause_to_activate_ms": 1, "pause_to_active_ms": 90}},
	} {
		if got := c.timeline.figures(); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestADriverIsRememberedFromWhenItWasShown(t *testing.T) {
	for name, c := range map[string]struct {
		reads [][]string
		want  string
	}{
		"one":                  {[][]string{{"ovn", "ovn"}}, "ovn"},
		"none is shown":        {[][]string{{"", ""}}, ""},
		"not of every port":    {[][]string{{"", "ovn"}}, "ovn"},
		"not after a commit":   {[][]string{{"ovn"}, {""}}, "ovn"},
		"several":              {[][]string{{"ovn", "sriovnicswitch"}}, audit.DriverMixed},
		"several, in two":      {[][]string{{"ovn"}, {"sriovnicswitch"}}, audit.DriverMixed},
		"several stay several": {[][]string{{"ovn", "sriovnicswitch"}, {"ovn"}}, audit.DriverMixed},
	} {
		var l timeline
		for _, drivers := range c.reads {
			var ports []port.Port
			for _, d := range drivers {
				ports = append(ports, port.Port{Driver: d})
			}
			l.shown(ports)
		}
		if l.driver != c.want {
			t.Errorf("%s: %q, want %q", name, l.driver, c.want)
		}
	}
}

// An instance that is slow to take in what was delivered is slow to react.
func TestTheReactionBeginsWithTheDelivery(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaPre, false)
		s.host(dst, wire.Started, wire.Migrated)
		pass(time.Second)
		halt := s.tools.halt
		s.tools.halt = func() handover.Halt {
			time.Sleep(70 * time.Millisecond)
			s.tools.halt = halt
			return halt()
		}
		s.host(src, wire.Suspended, wire.Migrated)
		s.host(src, wire.Stopped, wire.Migrated) // a verification is no reaction
		pass(time.Second)
		if f := s.r.actors[guest].timeline.figures(); f["reaction_ms"] != 70 || f["pause_to_activate_ms"] != 0 {
			t.Errorf("%v", f)
		}
	})
}

// Nova's end of its work does not stand for its beginning, where that was lost: seconds can be
// between them.
func TestTheLeadEndsWhereNovaBegins(t *testing.T) {
	for name, c := range map[string]struct {
		begun bool
		lead  int64
	}{"both": {true, 200}, "the end alone": {false, 0}} {
		act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
			s.toThePause()
			pass(200 * time.Millisecond)
			if c.begun {
				s.nova("req", wire.NovaPost, false)
			}
			pass(time.Second)
			s.nova("req", wire.NovaPost, true)
			s.host(dst, wire.Resumed, wire.Migrated)
			s.host(src, wire.Stopped, wire.Migrated)
			s.nova("req", wire.NovaPostDest, true)
			pass(time.Second)
			if lead, told := s.last(t, audit.HandoverEnded).Figures["lead_ms"]; told != c.begun || lead != c.lead {
				t.Errorf("%s: %d, told %t", name, lead, told)
			}
		})
	}
}
