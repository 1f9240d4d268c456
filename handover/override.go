package handover

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// DriverOverrides are an operator's own policies by the name of a mechanism
// driver, in place of the table's.
type DriverOverrides map[string]Policy

// NetworkOverrides are an operator's own policies by the UUID of a network.
type NetworkOverrides map[string]Policy

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

func (d DriverOverrides) String() string { return overridesText(d) }

func (n NetworkOverrides) String() string { return overridesText(n) }

// decodeOverrides reads NAME=POLICY, separated by commas; an empty text has
// none. named gives a name as it is kept, and whether it is one.
func decodeOverrides(text string, named func(string) (string, bool), rule string) (map[string]Policy, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	read := map[string]Policy{}
	var faults []string
	for i, entry := range strings.Split(text, ",") {
		fault := func(what string) { faults = append(faults, fmt.Sprintf("entry %d: %s", i+1, what)) }
		left, right, pair := strings.Cut(entry, "=")
		name, ok := named(strings.TrimSpace(left))
		policy := slices.Index(policyNames[:PolicyAuto], strings.TrimSpace(right))
		if !pair {
			fault("must read NAME=POLICY")
			continue
		}
		if !ok {
			fault(rule)
		}
		if policy < 0 {
			fault("the policy is one of " + strings.Join(policyNames[:PolicyAuto], ", "))
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
