package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// publishers tells which hosts' publishers answer and are believed.
func publishers(f Facts) []Finding {
	const id = "publishers"
	asked, why := f.asked()
	answers, hosts := f.answers(), f.computeHosts()
	var all []Finding
	all = append(all, f.refused()...)
	all = append(all, f.elsewhere()...)
	if len(asked) == 0 {
		return append(all, Finding{ID: id, Level: Unknown, Saw: "the publishers could not be asked: " + why, Do: startConsumers(f)})
	}
	silent := f.silent()
	var missing []string
	for _, host := range hosts {
		_, answered := answers[host]
		if !answered && !slices.Contains(silent, host) && !slices.ContainsFunc(all, func(f Finding) bool { return slices.Contains(f.Hosts, host) }) {
			missing = append(missing, host)
		}
	}
	switch {
	case len(hosts) == 0:
		return append(all, Finding{ID: id, Level: Unknown, Saw: "no publisher answers, and which compute hosts there are is not known",
			Do: anywhere("-nova-cloud ENTRY of clouds.yaml, of a user that may list Nova's services")})
	case len(missing) > 0:
		all = append(all, Finding{ID: id + ".missing", Level: Note, Hosts: missing,
			Saw:   fmt.Sprintf("no publisher of %d of %s answers: %s", len(missing), of(len(hosts), "host"), few(missing)),
			Means: "a live migration from or to a host without a publisher is only observed",
			Do: anywhere("install earlybind-publisher there (docs/install.md), with EARLYBIND_HOST as Nova calls the host; what makes their RabbitMQ users is printed by\n" +
				printsRights(f, missing)),
		})
	}
	if len(answers) > 0 {
		slowest := time.Duration(0)
		for _, a := range answers {
			slowest = max(slowest, a.After)
		}
		known := ""
		if _, listed := f.Nova.Hosts.Get(); !listed {
			known = " that are known"
		}
		all = append(all, Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("the publishers of %d of %s%s answer, within %d ms, in this program's schema version",
			len(answers), of(len(hosts), "host"), known, slowest.Milliseconds())})
	}
	return all
}

// asked are the brokers whose publishers were asked; if none were, why.
func (f Facts) asked() (asked []BrokerFacts, why string) {
	why = "no broker could be asked"
	for _, b := range f.connected() {
		if _, ok := b.Asked.Get(); ok {
			asked = append(asked, b)
		} else {
			why = b.Asked.Why()
		}
	}
	return asked, why
}

// startConsumers makes the exchanges through which publishers are asked.
func startConsumers(f Facts) []Remedy {
	for _, b := range f.connected() {
		if there, ok := b.Exchanges[exchangeRequests].Get(); ok && !there {
			return anywhere("start a consumer: it declares the exchanges that publishers need (README, \"Observe\", 1)")
		}
	}
	return nil
}

func (f Facts) silent() []string {
	var silent []string
	answers := f.answers()
	for _, b := range f.Brokers {
		for _, host := range b.Silent {
			if _, answered := answers[host]; !answered {
				silent = append(silent, host)
			}
		}
	}
	slices.Sort(silent)
	return slices.Compact(silent)
}

// refused tells of answers that a consumer does not believe.
func (f Facts) refused() []Finding {
	var strangers, versions []Answer
	for _, b := range f.Brokers {
		for _, a := range b.Refused {
			if a.Unknown {
				versions = append(versions, a)
			} else {
				strangers = append(strangers, a)
			}
		}
	}
	var all []Finding
	if len(strangers) > 0 {
		hosts := hostsOf(strangers)
		all = append(all, Finding{ID: "publishers.identity", Level: Blocker, Hosts: hosts,
			Saw:   strangers[0].Refused + more(len(strangers)-1),
			Means: "a host is believed only as its own RabbitMQ user: what else says it is its publisher is dropped, and migrations from and to it are only observed",
			Do: anywhere(fmt.Sprintf("EARLYBIND_AMQP_USER=%s%s of its publisher, and so on. If no publisher of yours sends it, somebody speaks in that host's name "+
				"(docs/security.md). What makes these users is printed by\n%s", f.Settings.HostUserPrefix, hosts[0], printsRights(f, hosts))),
		})
	}
	if len(versions) > 0 {
		all = append(all, Finding{ID: "publishers.schema", Level: Blocker, Hosts: hostsOf(versions),
			Saw:   versions[0].Refused + more(len(versions)-1),
			Means: "migrations from and to these hosts are only observed",
			Do:    anywhere("publishers, consumers and this program of one release"),
		})
	}
	return all
}

func hostsOf(answers []Answer) []string {
	var hosts []string
	for _, a := range answers {
		hosts = append(hosts, a.Host)
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

func more(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

// elsewhere tells of publishers whose domains Neutron has on other hosts.
func (f Facts) elsewhere() []Finding {
	const id = "publishers.host"
	fix := novasName()
	sure, perhaps := f.misnamed()
	var all []Finding
	if len(sure) > 0 {
		all = append(all, Finding{ID: id, Level: Blocker, Hosts: sure,
			Saw: "the publishers that speak for " + few(sure) + " list running instances that Neutron has on other hosts, all of them",
			Means: "EARLYBIND_HOST is another host's name there: what they report is taken for the wrong host. " +
				"Or the host was evacuated, and its instances still run there",
			Do: fix,
		})
	}
	if len(perhaps) > 0 {
		all = append(all, Finding{ID: id, Level: Note, Hosts: perhaps,
			Saw:   "the publishers that speak for " + few(perhaps) + " list one running instance each, which Neutron has on another host",
			Means: "it has moved since they answered, or EARLYBIND_HOST is another host's name there: look again, with -nova-cloud, whose hosts' ports are listed before too",
			Do:    fix,
		})
	}
	return all
}

// misnamed are the hosts whose publishers list instances that run, all of which Neutron has on
// other hosts. An instance that migrates has a row on both, and one that has moved away since
// the answer had its row before. A host whose ports were not listed before is misnamed perhaps
// if only one instance speaks for it. A domain that is shut off tells nothing: a resize that is
// to be confirmed leaves one, and so does an evacuation.
func (f Facts) misnamed() (sure, perhaps []string) {
	at := map[string]map[string]bool{} // the hosts of an instance's rows
	for _, lists := range []map[string]Seen[[]Port]{f.Neutron.PortsBefore, f.Neutron.Ports} {
		for host, seen := range lists {
			ports, _ := seen.Get()
			for _, p := range ports {
				if at[p.Instance] == nil {
					at[p.Instance] = map[string]bool{}
				}
				at[p.Instance][host] = true
			}
		}
	}
	answers := f.answers()
	for _, host := range slices.Sorted(maps.Keys(answers)) {
		here, there := 0, 0
		for _, domain := range answers[host].Running {
			switch {
			case at[domain][host]:
				here++
			case len(at[domain]) > 0:
				there++
			}
		}
		_, listed := f.Neutron.Ports[host].Get()
		_, before := f.Neutron.PortsBefore[host].Get()
		switch {
		case !listed || here > 0 || there == 0:
		case before, there+f.unlisted(host, answers[host]) > 1:
			sure = append(sure, host)
		default:
			perhaps = append(perhaps, host)
		}
	}
	return sure, perhaps
}

// unlisted counts the instances that Neutron has on a host and the answer has not.
func (f Facts) unlisted(host string, a Answer) int {
	n := 0
	for instance := range f.instancesOn(host) {
		if !slices.Contains(a.Domains, instance) {
			n++
		}
	}
	return n
}

// libvirt tells what the publishers have seen of it. A publisher answers from what libvirt
// has told it, and not at all while libvirt is away.
func libvirt(f Facts) []Finding {
	const id = "libvirt"
	answers, silent := f.answers(), f.silent()
	if len(answers)+len(silent) == 0 {
		return one(Finding{ID: id, Level: Unknown, Saw: "no publisher has answered: whether they may read libvirt is not known"})
	}
	var all []Finding
	if len(silent) > 0 {
		level := Note
		if len(answers) == 0 {
			level = Blocker
		}
		all = append(all, Finding{ID: id, Level: level, Hosts: silent,
			Saw:   "publishers are connected to RabbitMQ and do not answer, on " + few(silent),
			Means: "a publisher does not answer while it has not read libvirt: migrations from and to these hosts are only observed",
			Do:    readLibvirt(),
		})
	}
	domains := 0
	for _, a := range answers {
		domains += len(a.Domains)
	}
	blind := f.blind()
	if len(blind) > 0 {
		all = append(all, Finding{ID: id, Level: Note, Hosts: blind,
			Saw:   "the publishers of " + few(blind) + " see no domain, and Neutron has instances' ports there",
			Means: "their libvirt is another than nova-compute's, or its domains are not Nova's",
			Do:    readLibvirt(),
		})
	}
	if n := len(answers) - len(blind); n > 0 {
		all = append(all, Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("the publishers of %s read libvirt: %s", of(n, "host"), of(domains, "domain"))})
	}
	return all
}

// blind are the hosts whose publishers see no domain, though instances are there.
func (f Facts) blind() []string {
	var blind []string
	for host, a := range f.answers() {
		if len(a.Domains) == 0 && len(f.instancesOn(host)) > 0 {
			blind = append(blind, host)
		}
	}
	slices.Sort(blind)
	return blind
}

// instancesOn are the instances with an ACTIVE row on a host.
func (f Facts) instancesOn(host string) map[string]bool {
	ports, _ := f.Neutron.Ports[host].Get()
	instances := map[string]bool{}
	for _, p := range ports {
		if p.Active {
			instances[p.Instance] = true
		}
	}
	return instances
}

// maxSkew is how far clocks may differ before it is worth a word: logs of several hosts are
// then hard to read together. No decision of earlybind's rests on a wall clock.
const maxSkew = 2 * time.Second

// clocks tells how far the hosts' are from this machine's, by when they say they have answered.
func clocks(f Facts) []Finding {
	const id = "clock"
	var wrong []string
	var ahead, behind time.Duration // the worst
	seen := 0
	for host, a := range f.answers() {
		skew, ok := a.Skew.Get()
		if !ok {
			continue
		}
		seen++
		if skew.Abs() > maxSkew {
			wrong = append(wrong, host)
		}
		ahead, behind = max(ahead, skew), min(behind, skew)
	}
	slices.Sort(wrong)
	switch {
	case seen == 0:
		return one(Finding{ID: id, Level: Unknown, Saw: "no publisher has told the time: the hosts' clocks were not seen"})
	case len(wrong) > 0:
		var sides []string
		for _, side := range []struct {
			by    time.Duration
			words string
		}{{ahead, "ahead of"}, {-behind, "behind"}} {
			if side.by > maxSkew {
				sides = append(sides, fmt.Sprintf("%s %s", side.by.Round(100*time.Millisecond), side.words))
			}
		}
		return one(Finding{ID: id, Level: Note, Hosts: wrong,
			Saw:   fmt.Sprintf("the clocks of %d of %s are off, the worst by at least %s this machine's: %s", len(wrong), of(seen, "host"), strings.Join(sides, " and "), few(wrong)),
			Means: "earlybind decides nothing by them, but logs of several machines cannot be read together, and Keystone's tokens can be refused",
			Do:    clocksInStep(),
		})
	}
	return one(Finding{ID: id, Level: Fit, Saw: fmt.Sprintf("the clocks of %s agree with this machine's, within the time of an answer", of(seen, "host"))})
}
