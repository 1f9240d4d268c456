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
		publishers, libvirt, clocks,
	} {
		all = append(all, rule(f)...)
	}
	for _, b := range f.Brokers {
		for _, rule := range []func(Facts, BrokerFacts) []Finding{
			connection, alarm, brokerVersion, rights, lifeOfMessages, notifications, defaultQueues, types, consumers,
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
	if _, ok := f.Neutron.Account.Get(); !ok {
		unread = append(unread, "Neutron: "+f.Neutron.Account.Why())
	}
	for _, b := range f.Brokers {
		if _, ok := b.Version.Get(); !ok {
			unread = append(unread, "RabbitMQ: "+b.Version.Why())
		}
	}
	return unread
}

// computeHosts are the hosts that Nova, Neutron or a publisher names, sorted.
func (f Facts) computeHosts() []string {
	named := map[string]bool{}
	if hosts, ok := f.Nova.Hosts.Get(); ok {
		for _, h := range hosts {
			named[h.Name] = true
		}
	}
	if found, ok := f.Neutron.Agents.Get(); ok {
		for _, a := range found {
			if driverOf[a.Type] != "" {
				named[a.Host] = true
			}
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
