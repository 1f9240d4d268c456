package handover

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/port"
)

// Policy says when the destination's binding of a port may be activated.
type Policy int

// The commit policies. PolicyAuto leaves it to the port's mechanism driver, PolicyNamed to
// what an operator says of its network and of its driver.
const (
	PolicyObserve   Policy = iota // never: record what it would have gained
	PolicyResumed                 // when the guest is on the destination
	PolicySuspended               // when the guest stands still on the source
	PolicyAuto
	PolicyNamed
)

var policyNames = [...]string{"observe", "resumed", "suspended", "auto", "named"}

func (p Policy) String() string { return policyNames[p] }

// Decode reads a policy's name; envconfig calls it.
func (p *Policy) Decode(name string) error {
	i := slices.Index(policyNames[:], name)
	if i < 0 {
		return fmt.Errorf("a policy is one of %s", strings.Join(policyNames[:], ", "))
	}
	*p = Policy(i)
	return nil
}

// Repair says which ports a failed migration is repaired for.
type Repair int

// RepairOwn: ports that earlybind may have moved, by their policy. RepairAll:
// every port of a handover.
const (
	RepairOff Repair = iota
	RepairOwn
	RepairAll
)

var repairNames = [...]string{"off", "own", "all"}

func (r Repair) String() string { return repairNames[r] }

// Decode reads the name; envconfig calls it.
func (r *Repair) Decode(name string) error {
	i := slices.Index(repairNames[:], name)
	if i < 0 {
		return fmt.Errorf("repair is one of %s", strings.Join(repairNames[:], ", "))
	}
	*r = Repair(i)
	return nil
}

// driverPolicies is the table of the drivers that were measured or read; a
// driver that is not in it is observed. The reasons are shown to operators.
//
//   - openvswitch: the source's agent takes the tap off br-int as soon as the
//     binding has moved, and re-activation does not plug it in again (run on
//     Neutron 21.0.0 and 26.0.3): an activate at the pause followed by a
//     failure cuts the guest off. Where the source's publisher can plug the tap
//     in again it is suspended: see ofPort.
//   - linuxbridge: as with openvswitch. The source's agent takes the tap off its
//     bridge within seconds of an activate on the destination, and after a
//     re-activation leaves it off: it takes a tap of a compute:… port to be added
//     by others (_add_tap_interface, linuxbridge_neutron_agent.py). Run on Neutron
//     21.0.0: no packet 12 s after the port was ACTIVE and bound again, all of them
//     once the tap was put onto its bridge by hand.
//   - ovn: the guest's own RARP moves the traffic (multichassis port). Run on Neutron 26.0.3 with OVN 25.03: in nine of ten
//     it answered 0.1 to 0.4 s after it ran, seconds before its rows were ACTIVE, whoever activated (docs/performance.md).
//   - sriovnicswitch, macvtap: nothing to gain.
//   - Calico's driver does not show its version: up to 3.31 it gains most,
//     from 3.32 on nothing. An operator who knows overrides the policy.
var driverPolicies = map[string]Policy{
	openvswitch:      PolicyResumed,
	"linuxbridge":    PolicyResumed,
	"ovn":            PolicyObserve,
	"sriovnicswitch": PolicyObserve,
	"macvtap":        PolicyObserve,
	"calico":         PolicyObserve,
}

// Drivers names the mechanism drivers that there is a policy for, sorted: those of the
// table, and those that an operator has named.
func Drivers(overrides DriverOverrides) []string {
	named := slices.AppendSeq(slices.Collect(maps.Keys(driverPolicies)), maps.Keys(overrides))
	slices.Sort(named)
	return slices.Compact(named)
}

// ByDriver gives the policy that [PolicyAuto] has for the ports of a mechanism driver; known
// is false, and the policy [PolicyObserve], for one that is not in the table.
func ByDriver(name string) (policy Policy, known bool) {
	policy, known = driverPolicies[name]
	return policy, known
}

const openvswitch = "openvswitch"

// Replugs tells whether a publisher can plug in again what a mechanism driver's agent has unplugged.
func Replugs(driver string) bool { return driver == openvswitch }

// policyFor gives the commit policy of one port in a migration between two hosts and, for
// the log, its reason: what ofPort gives, or less.
//
//	a host's entry in EARLYBIND_POLICY_HOSTS  the more careful of the two, if it is less
//	not of the share EARLYBIND_CANARY         observe
//
// replug: the publisher on the source can plug the port's Open vSwitch
// interface in again, see [wire.HostEvent].
func policyFor(s Settings, p port.Port, source, destination string, replug bool) (Policy, string) {
	policy, why := ofPort(s, p, replug)
	if most, reason := s.Hosts.between(source, destination); most < policy {
		policy, why = most, reason
	}
	if policy != PolicyObserve && !s.Canary.has(p.Device) {
		return PolicyObserve, fmt.Sprintf("EARLYBIND_CANARY=%d: the instance is not of that share", s.Canary.percent())
	}
	return policy, why
}

// ofPort gives what is said of the port itself: the first line that applies.
//
//	nothing is switched on                    observe
//	EARLYBIND_POLICY=observe                  observe: no override makes it write
//	device_owner is not compute:…             observe
//	trunk parent                              observe
//	its network in EARLYBIND_POLICY_NETWORKS  as said there
//	its driver in EARLYBIND_POLICY_DRIVERS    as said there
//	EARLYBIND_POLICY=named                    observe
//	EARLYBIND_POLICY=resumed, suspended       as said there
//	driver not shown, or not in the table     observe
//	openvswitch, replug                       suspended
//	any other                                 by the table driverPolicies
func ofPort(s Settings, p port.Port, replug bool) (Policy, string) {
	switch {
	case s.Policy == PolicyObserve && s.NothingOn:
		return PolicyObserve, "nothing is switched on"
	case s.Policy == PolicyObserve:
		return PolicyObserve, "EARLYBIND_POLICY=observe"
	case !strings.HasPrefix(p.DeviceOwner, "compute:"):
		return PolicyObserve, "device_owner is not compute"
	case p.TrunkParent:
		return PolicyObserve, "trunk parent"
	}
	if policy, ok := s.Networks[p.Network]; ok {
		return policy, fmt.Sprintf("EARLYBIND_POLICY_NETWORKS has %s=%s", p.Network, policy)
	}
	if policy, ok := s.Drivers[p.Driver]; ok {
		return policy, fmt.Sprintf("EARLYBIND_POLICY_DRIVERS has %s=%s", p.Driver, policy)
	}
	policy, known := ByDriver(p.Driver)
	switch {
	case s.Policy == PolicyNamed:
		return PolicyObserve, "neither EARLYBIND_POLICY_NETWORKS nor EARLYBIND_POLICY_DRIVERS names it"
	case s.Policy != PolicyAuto:
		return s.Policy, "EARLYBIND_POLICY=" + s.Policy.String()
	case p.Driver == "":
		return PolicyObserve, "the port does not show its mechanism driver (bound_drivers)"
	case !known:
		return PolicyObserve, "unknown mechanism driver " + p.Driver
	case Replugs(p.Driver) && replug:
		return PolicySuspended, "mechanism driver openvswitch, and the source can plug it in again"
	}
	return policy, "mechanism driver " + p.Driver
}

// PolicyOf gives the commit policy that is said of a port itself, by whatever hosts it
// migrates and whatever instance it is of, where its source does not say that it can plug it
// in again; and the reason for it.
func PolicyOf(s Settings, p port.Port) (Policy, string) { return ofPort(s, p, false) }

// mayBeOurs tells whether earlybind may have moved a port, in this process or in
// one that was killed: by its policy, whichever moment that names. Neutron shows
// the driver for a bound ACTIVE row only; where the port has none, any driver
// may have been its own.
func mayBeOurs(s Settings, p port.Port, source, destination string) bool {
	drivers := []string{p.Driver}
	if active, ok := p.Active(); p.Driver == "" && (!ok || !active.Bound()) {
		drivers = slices.AppendSeq(drivers, maps.Keys(driverPolicies))
		drivers = slices.AppendSeq(drivers, maps.Keys(s.Drivers))
	}
	return slices.ContainsFunc(drivers, func(driver string) bool {
		p.Driver = driver
		policy, _ := policyFor(s, p, source, destination, false)
		return policy != PolicyObserve
	})
}
