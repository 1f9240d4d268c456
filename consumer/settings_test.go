package consumer

import (
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/port"
)

const network = "5f2c0d1e-0d4b-4c53-9a0e-5b1f0c9d7a11"

func TestOverridesAndTheBreakerReachTheCore(t *testing.T) {
	for name, value := range map[string]string{
		"AMQP_USER": "u", "AMQP_PASSWORD": "p", "POLICY": "auto",
		"POLICY_DRIVERS": "ovn=resumed,calico=suspended", "POLICY_NETWORKS": network + "=observe",
		"POLICY_HOSTS": "compute1=auto,*=observe", "CANARY": "5",
		"BREAKER_FAILURES": "1", "BREAKER_PAUSE": "10m",
	} {
		t.Setenv("EARLYBIND_"+name, value)
	}
	var s Settings
	if err := config.Load("EARLYBIND", &s); err != nil {
		t.Fatal(err)
	}
	c := New(s, Replica{ConcurrentActivateSafe: true, Log: audit.New(nil, zerolog.Disabled, "")})
	if offline := NewOffline(s, nil, true, clock.Real(), nil); !reflect.DeepEqual(offline.registry.tools.settings, c.core) {
		t.Errorf("a replay has %+v", offline.registry.tools.settings)
	}
	if c.core.Policy != handover.PolicyAuto || c.core.Repair != handover.RepairOwn || !c.core.ConcurrentActivateSafe ||
		!maps.Equal(c.core.Drivers, handover.DriverOverrides{"ovn": handover.PolicyResumed, "calico": handover.PolicySuspended}) ||
		!maps.Equal(c.core.Networks, handover.NetworkOverrides{network: handover.PolicyObserve}) ||
		!maps.Equal(c.core.Hosts, handover.HostOverrides{"compute1": handover.PolicyAuto, handover.EveryHost: handover.PolicyObserve}) ||
		c.core.Canary != handover.CanaryOf(5) {
		t.Errorf("%+v", c.core)
	}
	line, changed := c.breaker.judge(handover.Verdict{Circuit: handover.Circuit{Driver: "ovn"}, Result: handover.Bad})
	if !changed || line.Figures["stopped_ms"] != (10*time.Minute).Milliseconds() {
		t.Errorf("%+v", line)
	}
}

func TestFaultsOfOverridesAreNamedWithTheirVariable(t *testing.T) {
	t.Setenv("EARLYBIND_AMQP_USER", "u")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "p")
	t.Setenv("EARLYBIND_POLICY_DRIVERS", "ovn:resumed,calico=often")
	t.Setenv("EARLYBIND_POLICY_NETWORKS", "hunter2=observe")
	t.Setenv("EARLYBIND_POLICY_HOSTS", "compute1")
	t.Setenv("EARLYBIND_CANARY", "hunter2%")
	t.Setenv("EARLYBIND_BREAKER_FAILURES", "-1")
	err := config.Load("EARLYBIND", &Settings{})
	for _, want := range []string{
		"EARLYBIND_POLICY_DRIVERS: entry 1: must read NAME=POLICY; entry 2: the policy is one of observe, resumed, suspended",
		"EARLYBIND_POLICY_HOSTS: entry 1: must read NAME=POLICY", "EARLYBIND_CANARY: must be a whole number of percent, from 0 to 100",
		"EARLYBIND_POLICY_NETWORKS: entry 1: a network is named by its UUID", "EARLYBIND_BREAKER_FAILURES must be 0 or more",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lacks %q: %v", want, err)
		}
	}
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("shows a value: %v", err)
	}
}

// Each of the settings that choose ports switches on by itself what it names, and no more; observe is
// absolute.
func TestOneSettingSwitchesOn(t *testing.T) {
	const net1, net2 = "11111111-1111-4111-8111-111111111111", "22222222-2222-4222-8222-222222222222"
	of := func(network, driver string) port.Port {
		return port.Port{Network: network, Driver: driver, DeviceOwner: "compute:nova", Device: guest}
	}
	plain := of(net1, "openvswitch")
	// The reason where observe is in force, by EARLYBIND_POLICY.
	observedFor := map[string]string{"": "nothing is switched on", "named": "nothing is switched on", "observe": "EARLYBIND_POLICY=observe"}
	for _, c := range []struct {
		set   map[string]string
		force string
		acts  []port.Port // are more than observed
		not   []port.Port
	}{
		{nil, "observe", nil, []port.Port{plain, of(net1, "linuxbridge")}},
		{map[string]string{"POLICY": "named"}, "observe", nil, []port.Port{plain}},
		{map[string]string{"POLICY": "observe"}, "observe", nil, []port.Port{plain}},
		{map[string]string{"POLICY": "auto"}, "auto", []port.Port{plain}, []port.Port{of(net1, "calico")}},
		{map[string]string{"POLICY_DRIVERS": "openvswitch=resumed"}, "named", []port.Port{plain}, []port.Port{of(net1, "linuxbridge")}},
		{map[string]string{"POLICY_NETWORKS": net2 + "=resumed"}, "named", []port.Port{of(net2, "openvswitch")}, []port.Port{plain}},
		{map[string]string{"POLICY_HOSTS": "compute1=auto,compute2=auto"}, "auto", []port.Port{plain}, []port.Port{of(net1, "calico")}},
		{map[string]string{"CANARY": "5"}, "auto", []port.Port{plain}, nil},
		{map[string]string{"CANARY": "100"}, "observe", nil, []port.Port{plain}},
		// What is named to be observed switches nothing on.
		{map[string]string{"POLICY_HOSTS": "*=observe"}, "observe", nil, []port.Port{plain}},
		{map[string]string{"POLICY_HOSTS": "compute1=observe", "CANARY": "5"}, "observe", nil, []port.Port{plain}},
		{map[string]string{"POLICY_DRIVERS": "ovn=observe"}, "observe", nil, []port.Port{plain, of(net1, "ovn")}},
		{map[string]string{"POLICY_NETWORKS": net1 + "=observe", "POLICY_HOSTS": "*=auto"}, "auto", []port.Port{of(net2, "openvswitch")}, []port.Port{plain}},
		// Of several the more careful reading.
		{map[string]string{"POLICY_DRIVERS": "openvswitch=resumed", "POLICY_HOSTS": "*=auto"}, "named", []port.Port{plain}, []port.Port{of(net1, "linuxbridge")}},
		{map[string]string{"POLICY": "observe", "POLICY_DRIVERS": "openvswitch=resumed", "POLICY_HOSTS": "*=auto", "CANARY": "50"}, "observe", nil, []port.Port{plain}},
	} {
		t.Run(fmt.Sprint(c.set), func(t *testing.T) {
			t.Setenv("EARLYBIND_AMQP_USER", "u")
			t.Setenv("EARLYBIND_AMQP_PASSWORD", "p")
			for name, value := range c.set {
				t.Setenv("EARLYBIND_"+name, value)
			}
			var s Settings
			if err := config.Load("EARLYBIND", &s); err != nil {
				t.Fatal(err)
			}
			if got := s.PolicyInForce().String(); got != c.force {
				t.Errorf("in force: %s, want %s", got, c.force)
			}
			for _, p := range c.acts {
				if got, why := handover.PolicyOf(s.core(true), p); got == handover.PolicyObserve {
					t.Errorf("%s on %s is observed: %s", p.Driver, p.Network, why)
				}
			}
			for _, p := range c.not {
				if got, why := handover.PolicyOf(s.core(true), p); got != handover.PolicyObserve {
					t.Errorf("%s on %s is %s: %s", p.Driver, p.Network, got, why)
				} else if want := observedFor[c.set["POLICY"]]; c.force == "observe" && why != want {
					t.Errorf("%s on %s is observed since %q, want %q", p.Driver, p.Network, why, want)
				}
			}
		})
	}
}

func TestWhatIsCommittedMustBeRepaired(t *testing.T) {
	resumed := handover.DriverOverrides{"ovn": handover.PolicyResumed}
	for change, ok := range map[*Settings]bool{
		with(func(s *Settings) {
			s.Policy, s.PolicyDrivers, s.Repair = handover.PolicyAuto, resumed, handover.RepairOff
		}): false,
		// observe is absolute: no override commits.
		with(func(s *Settings) { s.PolicyDrivers, s.Repair = resumed, handover.RepairOff }): true,
		with(func(s *Settings) {
			s.Policy, s.PolicyDrivers, s.Repair = handover.PolicyNamed, resumed, handover.RepairOff
		}): false,
		with(func(s *Settings) { s.Policy, s.Repair = handover.PolicyNamed, handover.RepairOff }): true,
	} {
		if err := change.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v", change, err)
		}
	}
}

func TestAServerNameHasNoWhiteSpace(t *testing.T) {
	for name, ok := range map[string]bool{"": true, "cloud.example": true, "a b": false, " cloud": false, "cloud\n": false} {
		if err := with(func(s *Settings) { s.OSServerName = name }).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestSettingsOfTheBreaker(t *testing.T) {
	for change, ok := range map[*Settings]bool{
		with(func(s *Settings) { s.BreakerFailures, s.BreakerPause = 3, time.Hour }):           true,
		with(func(s *Settings) { s.BreakerFailures, s.BreakerPause = 3, handover.MaxPause }):   true,
		with(func(s *Settings) { s.BreakerFailures, s.BreakerPause = 3, handover.MaxPause+1 }): false,
		with(func(s *Settings) { s.BreakerFailures, s.BreakerPause = 3, 0 }):                   false,
		with(func(s *Settings) { s.BreakerFailures, s.BreakerPause = 0, 0 }):                   true, // off
		with(func(s *Settings) { s.BreakerFailures, s.BreakerPause = -1, time.Hour }):          false,
	} {
		if err := change.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v", change, err)
		}
	}
	var s Settings
	t.Setenv("EARLYBIND_AMQP_USER", "u")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "p")
	if err := config.Load("EARLYBIND", &s); err != nil || s.BreakerFailures != 3 || s.BreakerPause != time.Hour || len(s.PolicyDrivers)+len(s.PolicyNetworks)+len(s.PolicyHosts) > 0 ||
		s.Canary != handover.CanaryOf(100) {
		t.Errorf("%+v, %v", s, err)
	}
}
