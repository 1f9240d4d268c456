package handover

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/wire"
)

// DriverOverrides are an operator's own policies by the name of a mechanism
// driver, in place of the table's.
type DriverOverrides map[string]Policy

// NetworkOverrides are an operator's own policies by the UUID of a network.
type NetworkOverrides map[string]Policy

// HostOverrides are the most that an operator allows between hosts, by Nova's name of the
// host; [EveryHost] stands for those that are not named. Where there are none, everything
// is allowed; else nothing from or to a host that no entry is for.
type HostOverrides map[string]Policy

// EveryHost is the name of the entry for hosts that have none of their own.
const EveryHost = "*"

// Decode reads "ovn=resumed,calico=suspended"; envconfig calls it. The error
// names every fault by its place, and shows no value.
func (d *DriverOverrides) Decode(text string) (err error) {
	*d, err = decodeOverrides(text, func(name string) (string, bool) { return name, name != "" }, "a mechanism driver is named")
	return err
}

// Decode reads "UUID=observe,UUID=resumed"; see [DriverOverrides.Decode].
func (n *NetworkOverrides) Decode(text string) (err error) {
	*n, err = decodeOverrides(text, func(name string) (string, bool) {
		name = strings.ToLower(name) // as Neutron writes it
		return name, isUUID(name)
	}, "a network is named by its UUID")
	return err
}

// Decode reads "compute1=auto,*=observe"; see [DriverOverrides.Decode]. The policy may be
// auto: whatever else is said of the port.
func (h *HostOverrides) Decode(text string) (err error) {
	*h, err = decodeOverrides(text, func(name string) (string, bool) {
		return name, name == EveryHost || wire.CheckHost(name) == nil
	}, "a host is named as Nova names it, or *", policyNames[:PolicyAuto+1]...)
	return err
}

// Act tells whether any of them is more than observe.
func (d DriverOverrides) Act() bool { return act(d) }

// Act tells whether any of them is more than observe.
func (n NetworkOverrides) Act() bool { return act(n) }

// Act tells whether any of them is more than observe.
func (h HostOverrides) Act() bool { return act(h) }

func act(overrides map[string]Policy) bool {
	for _, policy := range overrides {
		if policy != PolicyObserve {
			return true
		}
	}
	return false
}

func (d DriverOverrides) String() string { return overridesText(d) }

func (n NetworkOverrides) String() string { return overridesText(n) }

func (h HostOverrides) String() string { return overridesText(h) }

// between gives the most that is allowed from one host to another: the more careful of
// what the two have, and for the log which entry that is. A host that is not known yet
// ("") forbids nothing: without it nothing is committed.
func (h HostOverrides) between(source, destination string) (Policy, string) {
	most, why := PolicyAuto, ""
	if len(h) == 0 {
		return most, why
	}
	for _, host := range []string{source, destination} {
		if host == "" {
			continue
		}
		policy, reason := PolicyObserve, "EARLYBIND_POLICY_HOSTS does not name "+host
		if named, ok := h[host]; ok {
			policy, reason = named, fmt.Sprintf("EARLYBIND_POLICY_HOSTS has %s=%s", host, named)
		} else if every, ok := h[EveryHost]; ok {
			policy, reason = every, fmt.Sprintf("EARLYBIND_POLICY_HOSTS has %s=%s, which is for %s", EveryHost, every, host)
		}
		if policy < most {
			most, why = policy, reason
		}
	}
	return most, why
}

// decodeOverrides reads NAME=POLICY, separated by commas; an empty text has
// none. named gives a name as it is kept, and whether it is one; policies are those that
// may be named, in their order, all but auto if there are none.
func decodeOverrides(text string, named func(string) (string, bool), rule string, policies ...string) (map[string]Policy, error) {
	if len(policies) == 0 {
		policies = policyNames[:PolicyAuto]
	}
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	read := map[string]Policy{}
	var faults []string
	for i, entry := range strings.Split(text, ",") {
		fault := func(what string) { faults = append(faults, fmt.Sprintf("entry %d: %s", i+1, what)) }
		left, right, pair := strings.Cut(entry, "=")
		name, ok := named(strings.TrimSpace(left))
		policy := slices.Index(policies, strings.TrimSpace(right))
		if !pair {
			fault("must read NAME=POLICY")
			continue
		}
		if !ok {
			fault(rule)
		}
		if policy < 0 {
			fault("the policy is one of " + strings.Join(policies, ", "))
		}
		if _, twice := read[name]; twice {
			fault("has the name of an earlier one")
		}
		read[name] = Policy(policy)
	}
	if len(faults) > 0 {
		return nil, errors.New(strings.Join(faults, "; "))
	}
	return read, nil
}

func overridesText(overrides map[string]Policy) string {
	if len(overrides) == 0 {
		return "none"
	}
	var entries []string
	for _, name := range slices.Sorted(maps.Keys(overrides)) {
		entries = append(entries, name+"="+overrides[name].String())
	}
	return strings.Join(entries, ",")
}

// isUUID tells whether a text has the form of a UUID in lower case.
func isUUID(text string) bool {
	if len(text) != 36 {
		return false
	}
	for i, r := range text {
		switch {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if r != '-' {
				return false
			}
		case !strings.ContainsRune("0123456789abcdef", r):
			return false
		}
	}
	return true
}
