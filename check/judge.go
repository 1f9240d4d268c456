package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Judge gives what the facts mean: the blockers first, then in the order of the rules.
func Judge(f Facts) []Finding {
	var all []Finding
	for _, rule := range []func(Facts) []Finding{
		keystone, extended, role, concurrentActivate, reading, drivers, liveAgents,
		novaVersion, novaHosts, hostNames,
		namedDrivers, namedHosts, namedNetworks,
		publishers, libvirt, clocks,
	} {
		all = append(all, rule(f)...)
	}
	for _, b := range f.Brokers {
		for _, rule := range []func(Facts, BrokerFacts) []Finding{
			connection, alarm, brokerVersion, rights, rightsOfNova, lifeOfMessages, notifications, defaultQueues, types, consumers,
		} {
			found := rule(f, b)
			for i := range found {
				if len(f.Brokers) > 1 {
					found[i].Broker = b.Name
				}
			}
			all = append(all, found...)
		}
	}
	slices.SortStableFunc(all, func(a, b Finding) int {
		return cmp.Compare(slices.Index(levels, a.Level), slices.Index(levels, b.Level))
	})
	return all
}

// Unread names what could not be asked at all, with the reason.
func (f Facts) Unread() []string {
	var unread []string
	if why := f.Neutron.unread(); why != "" {
		unread = append(unread, "Neutron: "+why)
	}
	for _, b := range f.Brokers {
		if why := b.unread(); why != "" {
			unread = append(unread, "RabbitMQ: "+why)
		}
	}
	return unread
}

// unread is why nothing is known of Neutron; empty if something is. It tells its extensions
// without its database, and nothing else.
func (n NeutronFacts) unread() string {
	_, account := n.Account.Get()
	_, extended := n.Extended.Get()
	_, mayWrite := n.MayWrite.Get()
	switch {
	case !account && n.Next != "":
		return n.Account.Why() + "; " + n.Next
	case !account:
		return n.Account.Why()
	case !extended:
		return n.Extended.Why()
	case !mayWrite && !n.listed():
		return n.MayWrite.Why()
	}
	return ""
}

// listed tells whether Neutron has listed anything of its database.
func (n NeutronFacts) listed() bool {
	_, listed := n.Agents.Get()
	for _, ports := range n.Ports {
		_, ok := ports.Get()
		listed = listed || ok
	}
	return listed
}

// unread is why nothing is known of a broker: there was no connection, or it was lost before
// the first answer. Empty if something is.
func (b BrokerFacts) unread() string {
	if !b.connected() && b.Next != "" {
		return b.Version.Why() + "; " + b.Next
	}
	if !b.connected() {
		return b.Version.Why()
	}
	for _, r := range b.Rights {
		if _, ok := r.Has.Get(); ok {
			return ""
		}
	}
	if len(b.Rights) == 0 {
		return ""
	}
	return "the connection to " + b.Name + " was lost: " + b.Rights[0].Has.Why()
}

// hosts are those that Nova, Neutron or a publisher names, sorted.
func (f Facts) hosts() []string {
	return slices.Compact(slices.Sorted(slices.Values(append(f.computeHosts(), f.agentHosts()...))))
}

// agentHosts are those that an L2 agent is on: compute hosts, and network nodes.
func (f Facts) agentHosts() []string {
	var hosts []string
	found, _ := f.Neutron.Agents.Get()
	for _, a := range found {
		if driverOf[a.Type] != "" && a.Host != "" {
			hosts = append(hosts, a.Host)
		}
	}
	return hosts
}

// computeHosts are those of the hosts that can have instances, sorted. Where Nova has listed
// its own, an agent alone makes none.
func (f Facts) computeHosts() []string {
	named := map[string]bool{}
	if hosts, ok := f.Nova.Hosts.Get(); ok {
		for _, h := range hosts {
			named[h.Name] = true
		}
	} else {
		for _, host := range f.agentHosts() {
			named[host] = true
		}
	}
	for host, seen := range f.Neutron.Ports {
		if ports, ok := seen.Get(); ok && len(ports) > 0 {
			named[host] = true
		}
	}
	for host := range f.answers() {
		named[host] = true
	}
	for _, b := range f.Brokers {
		for _, a := range b.Refused {
			named[a.Host] = true
		}
	}
	delete(named, "")
	return slices.Sorted(maps.Keys(named))
}

// answers are those that are believed, of all brokers.
func (f Facts) answers() map[string]Answer {
	all := map[string]Answer{}
	for _, b := range f.Brokers {
		maps.Copy(all, b.Answers)
	}
	return all
}

// connected are the brokers that could be asked.
func (f Facts) connected() []BrokerFacts {
	return slices.DeleteFunc(slices.Clone(f.Brokers), func(b BrokerFacts) bool {
		_, ok := b.Version.Get()
		return !ok
	})
}

// few lists names, not more than fit into a line.
func few(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// of counts things, as "1 port" and "2 ports".
func of(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

func one(f Finding) []Finding { return []Finding{f} }
