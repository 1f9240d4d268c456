package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
)

// held names the settings that hold back what is said of ports themselves; empty if there are none.
func held(s consumer.Settings) string {
	var by []string
	if len(s.PolicyHosts) > 0 {
		by = append(by, "EARLYBIND_POLICY_HOSTS")
	}
	if !s.Canary.Whole() {
		by = append(by, "EARLYBIND_CANARY="+strings.TrimSuffix(s.Canary.String(), "%"))
	}
	return strings.Join(by, " and ")
}

// overrides is a setting that names things of the cloud.
type overrides struct {
	setting string
	names   []string // sorted
	unseen  string   // why nobody knows what there is; empty if somebody does
	nobody  string   // who does not know a name that is not there
	means   string
	do      []Remedy
}

// finding tells which of the names nothing in the cloud has.
func (o overrides) finding(id string, there func(name string) bool) (f Finding, missing []string) {
	if o.unseen != "" {
		return Finding{ID: id, Level: Unknown, Saw: fmt.Sprintf("whether what %s names is there was not seen: %s", o.setting, o.unseen)}, nil
	}
	missing = slices.DeleteFunc(slices.Clone(o.names), there)
	if len(missing) == 0 {
		return Finding{ID: id, Level: Fit, Saw: o.setting + " names what is there: " + few(o.names)}, nil
	}
	return Finding{ID: id, Level: Note, Saw: fmt.Sprintf("%s names %s, which %s", o.setting, few(missing), o.nobody), Means: o.means, Do: o.do}, missing
}

// namedDrivers tells of the mechanism drivers in EARLYBIND_POLICY_DRIVERS that nothing shows.
func namedDrivers(f Facts) []Finding {
	o := overrides{
		setting: "EARLYBIND_POLICY_DRIVERS", names: slices.Sorted(maps.Keys(f.Settings.PolicyDrivers)),
		nobody: "no port and no agent that was seen shows",
		means:  "an entry for a driver that no port shows does nothing",
		do:     anywhere("the name as handover.armed in the consumers' log and neutron.driver.NAME here have it (docs/settings.md)"),
	}
	shown := map[string]bool{}
	for _, seen := range f.Neutron.Ports {
		ports, _ := seen.Get()
		for _, p := range ports {
			shown[p.Driver] = true
		}
	}
	agents, _ := f.Neutron.Agents.Get()
	for _, a := range agents {
		shown[driverOf[a.Type]] = true
	}
	delete(shown, "")
	if _, ok := f.Neutron.Account.Get(); !ok || len(o.names) == 0 {
		return nil
	}
	if len(shown) == 0 {
		o.unseen = "no port and no agent shows a driver"
	}
	finding, _ := o.finding("settings.policy-drivers", func(name string) bool { return shown[name] })
	return one(finding)
}

// namedHosts tells of the hosts in EARLYBIND_POLICY_HOSTS that nobody names.
func namedHosts(f Facts) []Finding {
	o := overrides{
		setting: "EARLYBIND_POLICY_HOSTS", nobody: "neither Nova nor an agent, a port or a publisher names",
		means: "the entry does nothing; from or to a host that was meant, and has another name, nothing is activated, unless the entry * allows it",
		do:    anywhere("the name as Nova has it: openstack compute service list --service nova-compute"),
	}
	for _, host := range slices.Sorted(maps.Keys(f.Settings.PolicyHosts)) {
		if host != handover.EveryHost {
			o.names = append(o.names, host)
		}
	}
	_, let := f.Neutron.Account.Get()
	if _, listed := f.Nova.Hosts.Get(); !let && !listed || len(o.names) == 0 {
		return nil
	}
	known := f.hosts()
	if _, listed := f.Nova.Hosts.Get(); !listed {
		o.nobody = "no agent, port or publisher names; Nova's hosts were not listed"
		if len(f.agentHosts()) == 0 {
			o.unseen = "neither Nova's hosts nor Neutron's agents were listed"
		}
	}
	finding, missing := o.finding("settings.policy-hosts", func(name string) bool { return slices.Contains(known, name) })
	finding.Hosts = missing
	return one(finding)
}

// namedNetworks tells of the networks in EARLYBIND_POLICY_NETWORKS that no instance's port is in.
// They themselves are not read.
func namedNetworks(f Facts) []Finding {
	o := overrides{
		setting: "EARLYBIND_POLICY_NETWORKS", names: slices.Sorted(maps.Keys(f.Settings.PolicyNetworks)),
		nobody: "no instance's port is in",
		means:  "the entry does nothing as yet, or is not the UUID of the network that was meant",
		do:     anywhere("openstack network show UUID tells which it is"),
	}
	if _, ok := f.Neutron.Account.Get(); !ok || len(o.names) == 0 {
		return nil
	}
	used := map[string]bool{}
	for _, host := range slices.Sorted(maps.Keys(f.Neutron.Ports)) {
		ports, ok := f.Neutron.Ports[host].Get()
		if !ok {
			o.unseen = "the ports of " + host + " were not listed: " + f.Neutron.Ports[host].Why()
		}
		for _, p := range ports {
			used[p.Network] = true
		}
	}
	_, hosts := f.Nova.Hosts.Get()
	switch {
	case !hosts && len(f.agentHosts()) == 0:
		o.unseen = "neither Nova's hosts nor Neutron's agents were listed, and so not the ports of all hosts"
	case len(used) == 0 && o.unseen == "":
		o.unseen = "no instance's port was seen"
	}
	finding, _ := o.finding("settings.policy-networks", func(name string) bool { return used[name] })
	return one(finding)
}
