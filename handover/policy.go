package handover

import (
	"fmt"
	"github.com/earlybind/earlybind/port"
	"slices"
	"strings"
)

// Policy says when the destination's binding of a port may be activated.
type Policy int

// The commit policies; PolicyAuto leaves it to the port's mechanism driver.
const (
	PolicyObserve   Policy = iota // never: record what it would have gained
	PolicyResumed                 // when the guest is on the destination
	PolicySuspended               // when the guest stands still on the source
	PolicyAuto
)

var policyNames = [...]string{"observe", "resumed", "suspended", "auto"}

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
//     failure cuts the guest off.
//   - linuxbridge: the agent scans all taps and adds them again (read in
//     neutron's source, not run).
//   - ovn: the guest's own RARP moves the traffic (multichassis port).
//   - sriovnicswitch, macvtap: nothing to gain.
//   - Calico's driver does not show its version: up to 3.31 it gains most,
//     from 3.32 on nothing. An operator who knows forces the policy.
var driverPolicies = map[string]Policy{
	"openvswitch":    PolicyResumed,
	"linuxbridge":    PolicySuspended,
	"ovn":            PolicyObserve,
	"sriovnicswitch": PolicyObserve,
	"macvtap":        PolicyObserve,
	"calico":         PolicyObserve,
}

// mayBeOurs tells whether earlybind may have moved a port: by its policy, or
// because the driver that decides the policy cannot be read, as Neutron shows it
// for a bound ACTIVE row only and the port has none.
func mayBeOurs(configured Policy, p port.Port) bool {
	if configured == PolicyAuto && p.Driver == "" {
		p.Driver = "openvswitch" // any that is committed
	}
	policy, _ := policyFor(configured, p)
	return policy != PolicyObserve
}

// policyFor gives the commit policy of one port and, for the log, its reason.
func policyFor(configured Policy, p port.Port) (Policy, string) {
	switch {
	case configured == PolicyObserve:
		return PolicyObserve, "EARLYBIND_POLICY=observe"
	case !strings.HasPrefix(p.DeviceOwner, "compute:"):
		return PolicyObserve, "device_owner is not compute"
	case p.TrunkParent:
		return PolicyObserve, "trunk parent"
	case configured != PolicyAuto:
		return configured, "EARLYBIND_POLICY=" + configured.String()
	case p.Driver == "":
		return PolicyObserve, "the port does not show its mechanism driver (bound_drivers)"
	}
	if policy, ok := driverPolicies[p.Driver]; ok {
		return policy, "mechanism driver " + p.Driver
	}
	return PolicyObserve, "unknown mechanism driver " + p.Driver
}
