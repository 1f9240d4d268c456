package check

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
)

// The table of the rules: a cloud that is fit but for one thing, and what is said of it.
func TestRules(t *testing.T) {
	b := func(change func(*BrokerFacts)) func(*Facts) { return func(f *Facts) { change(&f.Brokers[0]) } }
	queue := func(name string, q Seen[Queue]) func(*Facts) { return b(func(b *BrokerFacts) { b.Queues[name] = q }) }
	answer := func(host string, change func(*Answer)) func(*Facts) {
		return b(func(b *BrokerFacts) {
			a := b.Answers[host]
			change(&a)
			b.Answers[host] = a
		})
	}
	lists := func(host string, instances ...string) func(*Facts) {
		return answer(host, func(a *Answer) { a.Domains, a.Running = instances, instances })
	}
	roles := func(names ...string) func(*Facts) {
		return func(f *Facts) { f.Neutron.Account = Saw(Account{"u", "p", names}) }
	}
	management := func(change func(*Made)) func(*Facts) {
		return b(func(b *BrokerFacts) {
			m, _ := b.Made.Get()
			change(&m)
			b.Made = Saw(m)
		})
	}
	parked := func(limits map[string]float64) func(*Facts) {
		return management(func(m *Made) { m.Queues["earlybind.parked"] = made("quorum", "all", limits) })
	}
	novas := func(configure, write, read string) func(*Facts) {
		return management(func(m *Made) { m.Novas = Saw(Permissions{configure, write, read}) })
	}
	driver := func(name string) func(*Facts) {
		return func(f *Facts) {
			f.Neutron.Ports = map[string]Seen[[]Port]{here: Saw([]Port{{ID: "p", Instance: guest, Owner: "compute:nova", Driver: name, Active: true}})}
		}
	}
	all := func(changes ...func(*Facts)) func(*Facts) {
		return func(f *Facts) {
			for _, change := range changes {
				change(f)
			}
		}
	}
	may := func(is Seen[bool]) func(*Facts) { return func(f *Facts) { f.Neutron.MayWrite = is } }
	safe := func(is Seen[bool]) func(*Facts) { return func(f *Facts) { f.Neutron.Safe = is } }
	setting := func(change func(*consumer.Settings)) func(*Facts) { return func(f *Facts) { change(&f.Settings) } }
	drivers := func(names ...string) func(*Facts) {
		return func(f *Facts) { f.Settings.PolicyDrivers = named(names) }
	}
	policyHosts := func(names ...string) func(*Facts) {
		return func(f *Facts) { f.Settings.PolicyHosts = named(names) }
	}
	networks := func(names ...string) func(*Facts) {
		return func(f *Facts) { f.Settings.PolicyNetworks = named(names) }
	}
	nova := func(version string) func(*Facts) { return func(f *Facts) { f.Nova.Version = Saw(version) } }
	version := func(v string) func(*Facts) { return b(func(b *BrokerFacts) { b.Version = Saw(v) }) }
	not := Saw(false)
	unseen := Unseen[bool]("the reason")

	for _, c := range []struct {
		name   string
		change func(*Facts)
		id     string
		level  Level
		says   string // in what was seen, what it means, or what to do
	}{
		{"Keystone is away", func(f *Facts) { f.Neutron = NeutronFacts{Account: Unseen[Account]("refused")} }, "keystone", Unknown, "refused"},

		{"no bindings", func(f *Facts) { f.Neutron.Extended = not }, "neutron.binding-extended", Blocker, "core_plugin = ml2"},
		{"bindings not seen", func(f *Facts) { f.Neutron.Extended = unseen }, "neutron.binding-extended", Unknown, "the reason"},

		{"an administrator on 2024.1", all(roles("admin", "member"), may(not)), "neutron.role", Blocker, "openstack role add --user u --project p service"},
		{"a member", all(roles("member"), may(not)), "neutron.role", Blocker, "role add --user u --project p service"},
		{"service, and refused", all(roles("service"), may(not)), "neutron.role", Blocker, "policy.yaml"},
		{"the probe has failed", may(unseen), "neutron.role", Unknown, "the reason"},
		{"service on Zed, where the probe tells nothing", safe(not), "neutron.role", Blocker, "role add --user earlybind --project service admin"},
		{"admin on Zed", all(roles("admin"), safe(not)), "neutron.role", Fit, "admin"},
		{"service, and the version was not seen", safe(unseen), "neutron.role", Unknown, "before 2023.2"},
		{"more than is needed", roles("service", "admin"), "neutron.role", Note, "role remove --user u --project p admin"},

		{"Zed", safe(not), "neutron.concurrent-activate", Blocker, "19.7.0"},
		{"Zed with the fix, as an operator says", all(safe(not), setting(func(s *consumer.Settings) { s.NeutronConcurrentActivate = "safe" })), "neutron.concurrent-activate", Note, "believed"},
		{"an operator says unsafe", setting(func(s *consumer.Settings) { s.NeutronConcurrentActivate = "unsafe" }), "neutron.concurrent-activate", Blocker, "=detect"},
		{"not seen", safe(unseen), "neutron.concurrent-activate", Unknown, "the reason"},

		{"no bindings are shown", func(f *Facts) { f.Neutron.ReadsRows = not }, "neutron.read", Blocker, "get_port_binding"},
		{"no port was there to be read", func(f *Facts) { f.Neutron.ReadsRows = Unseen[bool]("no instance's port") }, "neutron.read", Unknown, "no instance's port"},

		{"ML2/OVN", driver("ovn"), "neutron.driver.ovn", Note, "RARP"},
		{"a driver that nobody knows", driver("acme"), "neutron.driver.acme", Note, "never measured"},
		{"a driver that an operator knows", all(driver("acme"), setting(func(s *consumer.Settings) { s.PolicyDrivers = handover.DriverOverrides{"acme": handover.PolicyResumed} })),
			"neutron.driver.acme", Fit, "makes it resumed"},
		{"drivers are not shown", driver(""), "neutron.driver.not shown", Note, "Yoga"},
		{"what the ports get now", setting(func(s *consumer.Settings) { s.Policy = handover.PolicyAuto }), "neutron.driver.openvswitch", Fit, "as set now (auto) they are: 2 resumed"},
		{"what hosts and canary hold back", setting(func(s *consumer.Settings) {
			s.Policy, s.PolicyHosts, s.Canary = handover.PolicyAuto, handover.HostOverrides{here: handover.PolicyAuto}, handover.CanaryOf(5)
		}), "neutron.driver.openvswitch", Fit, "they are: 2 resumed, held back further by EARLYBIND_POLICY_HOSTS and EARLYBIND_CANARY=5"},
		{"what a canary holds back", setting(func(s *consumer.Settings) { s.Policy, s.Canary = handover.PolicyNamed, handover.CanaryOf(5) }),
			"neutron.driver.openvswitch", Fit, "they are: 2 resumed, held back further by EARLYBIND_CANARY=5"},
		{"a canary holds nothing back of what is observed", setting(func(s *consumer.Settings) { s.Policy, s.Canary = handover.PolicyObserve, handover.CanaryOf(5) }),
			"neutron.driver.openvswitch", Fit, "they are: 2 observe\n"},
		{"no port yet, but agents", func(f *Facts) { f.Neutron.Ports = nil }, "neutron.driver.openvswitch", Fit, "0 ports, 2 agents"},
		{"no port and no agent", func(f *Facts) { f.Neutron.Ports, f.Neutron.Agents = nil, Saw([]Agent{}) }, "neutron.drivers", Unknown, "when instances run"},

		{"a dead agent", func(f *Facts) {
			f.Neutron.Agents = Saw([]Agent{{here, "Open vSwitch agent", false}, {there, "Open vSwitch agent", true}})
		}, "neutron.agents", Note, here},
		{"agents are not shown", func(f *Facts) { f.Neutron.Agents = Saw([]Agent{}) }, "neutron.agents", Unknown, "-nova-cloud"},
		{"agents were not listed", func(f *Facts) { f.Neutron.Agents = Unseen[[]Agent]("403") }, "neutron.agents", Unknown, "403"},

		{"2.93", nova("2.93"), "nova.version", Fit, "Zed"},
		{"2.93 gains most", nova("2.93"), "nova.version", Fit, "only after it has cleaned up volumes"},
		{"2.95 is two releases", nova("2.95"), "nova.version", Fit, "28.3.1"},
		{"2.96", nova("2.96"), "nova.version", Fit, "as soon as it has noticed"},
		{"2.97 is of no release", nova("2.97"), "nova.version", Fit, "on the way to 2025.1"},
		{"2.999", nova("2.999"), "nova.version", Fit, "later than 2026.1"},
		{"2.1", nova("2.1"), "nova.version", Fit, "before Stein"},
		{"an API of another kind", nova("3.0"), "nova.version", Unknown, `"3.0"`},
		{"Nova was not asked", func(f *Facts) { f.Nova = NovaFacts{} }, "nova.version", Unknown, "not looked at"},
		{"hosts were refused", func(f *Facts) { f.Nova.Hosts = Unseen[[]ComputeHost]("403") }, "nova.hosts", Unknown, "docs/doctor.md"},
		{"a host is down", func(f *Facts) { f.Nova.Hosts = Saw([]ComputeHost{{here, true}, {there, false}}) }, "nova.hosts", Note, there},
		{"two names for a host", func(f *Facts) { f.Nova.Hosts = Saw([]ComputeHost{{here, true}, {"compute2.example", true}}) }, "hosts.names", Note, "compute2.example"},

		{"a driver that is not there", drivers("ovn", "openvswitch", "opnvswitch"), "settings.policy-drivers", Note, "EARLYBIND_POLICY_DRIVERS names opnvswitch, ovn, which no port"},
		{"a driver that an agent shows", all(drivers("ovn"), func(f *Facts) {
			f.Neutron.Agents = Saw([]Agent{{here, "OVN Controller agent", true}})
		}), "settings.policy-drivers", Fit, "ovn"},
		{"a driver that a port shows", all(drivers("acme"), driver("acme")), "settings.policy-drivers", Fit, "acme"},
		{"no driver was seen", all(drivers("ovn"), func(f *Facts) { f.Neutron.Ports, f.Neutron.Agents = nil, Saw([]Agent{{"net1", "DHCP agent", true}}) }),
			"settings.policy-drivers", Unknown, "no port and no agent"},
		{"a host that is not there", policyHosts(here, "compute9", "*"), "settings.policy-hosts", Note, "EARLYBIND_POLICY_HOSTS names compute9, which neither Nova"},
		{"hosts that are there", policyHosts(here, there, "*"), "settings.policy-hosts", Fit, "compute1, compute2"},
		{"a host that agents do not name, and Nova was not asked", all(policyHosts("compute9"), func(f *Facts) { f.Nova.Hosts = Unseen[[]ComputeHost]("403") }),
			"settings.policy-hosts", Note, "compute9, which no agent, port or publisher names; Nova's hosts were not listed"},
		{"a host, and nobody has named any", all(policyHosts("compute9"), func(f *Facts) {
			f.Nova.Hosts, f.Neutron.Agents = Unseen[[]ComputeHost]("403"), Saw([]Agent{})
		}), "settings.policy-hosts", Unknown, "neither Nova's hosts"},
		{"a network without a port", networks("n", "m"), "settings.policy-networks", Note, "EARLYBIND_POLICY_NETWORKS names m, which no instance's port is in"},
		{"a network with a port", networks("n"), "settings.policy-networks", Fit, "n"},
		{"a network, and the ports of a host were not listed", all(networks("m"), func(f *Facts) { f.Neutron.Ports[there] = Unseen[[]Port]("504") }),
			"settings.policy-networks", Unknown, "compute2 were not listed: 504"},
		{"a network, and no host is known", all(networks("m"), func(f *Facts) {
			f.Nova.Hosts, f.Neutron.Agents = Unseen[[]ComputeHost]("403"), Saw([]Agent{})
		}), "settings.policy-networks", Unknown, "not the ports of all hosts"},
		{"a network, and no port", all(networks("m"), func(f *Facts) { f.Neutron.Ports = nil }), "settings.policy-networks", Unknown, "no instance's port was seen"},

		{"a host without a publisher", b(func(b *BrokerFacts) { delete(b.Answers, there) }), "publishers.missing", Note, "earlybind rights -hosts-only -vhost nova compute2"},
		{"a publisher that does not answer", b(func(b *BrokerFacts) { delete(b.Answers, there); b.Silent = []string{there} }), "libvirt", Note, "libvirt-sock-ro"},
		{"none answers", b(func(b *BrokerFacts) { b.Answers = nil; b.Silent = []string{here, there} }), "libvirt", Blocker, "auth_unix_ro"},
		{"another speaks for a host", b(func(b *BrokerFacts) { b.Refused = []Answer{{Host: there, Refused: `from user "nova"`}} }), "publishers.identity", Blocker, "earlybind-compute2"},
		{"another version", b(func(b *BrokerFacts) { b.Refused = []Answer{{Host: there, Refused: "version 2", Unknown: true}} }), "publishers.schema", Blocker, "of one release"},
		{"the names of two hosts are exchanged", all(lists(here, other), lists(there, guest)), "publishers.host", Blocker, "compute1, compute2"},
		{"the names of two hosts are exchanged, which Nova has not listed", all(lists(here, other), lists(there, guest), func(f *Facts) { f.Neutron.PortsBefore = nil }),
			"publishers.host", Blocker, "compute1, compute2"},
		{"the only instance has left a host whose ports were not listed before", func(f *Facts) {
			f.Neutron.PortsBefore, f.Neutron.Ports[here] = nil, Saw([]Port{})
			lists(here, other)(f)
		}, "publishers.host", Note, "it has moved since"},
		{"a publisher sees none of Nova's domains", answer(here, func(a *Answer) { a.Domains = nil }), "libvirt", Note, "see no domain"},
		{"no consumer has made the exchanges", b(func(b *BrokerFacts) {
			b.Asked, b.Answers = Unseen[bool]("exchange earlybind is not there"), nil
			b.Exchanges["earlybind.requests"] = not
		}), "publishers", Unknown, "start a consumer"},
		{"no host is known", func(f *Facts) {
			f.Nova.Hosts, f.Neutron.Agents, f.Neutron.Ports = Unseen[[]ComputeHost]("403"), Saw([]Agent{}), nil
			f.Brokers[0].Answers = nil
		}, "publishers", Unknown, "which compute hosts there are is not known"},
		{"who answers, where Nova's hosts are not known", func(f *Facts) { f.Nova.Hosts = Unseen[[]ComputeHost]("403") }, "publishers", Fit, "2 of 2 hosts that are known"},
		{"a clock is ahead", answer(there, func(a *Answer) { a.Skew = Saw(3 * time.Minute) }), "clock", Note, "3m0s ahead"},
		{"a clock is behind", answer(there, func(a *Answer) { a.Skew = Saw(-4 * time.Second) }), "clock", Note, "4s behind"},
		{"one clock is ahead and one behind", b(func(b *BrokerFacts) {
			for host, skew := range map[string]time.Duration{here: 3 * time.Minute, there: -4 * time.Minute} {
				a := b.Answers[host]
				a.Skew = Saw(skew)
				b.Answers[host] = a
			}
		}), "clock", Note, "3m0s ahead of and 4m0s behind this machine's"},
		{"a clock is a little off", answer(there, func(a *Answer) { a.Skew = Saw(time.Second) }), "clock", Fit, ""},
		{"no clock was seen", b(func(b *BrokerFacts) { b.Answers = nil }), "clock", Unknown, ""},

		{"no connection", func(f *Facts) { f.Brokers[0] = BrokerFacts{Version: Unseen[string]("refused")} }, "rabbitmq", Unknown, "refused"},
		{"short of memory", b(func(b *BrokerFacts) { b.Alarm = "low on memory" }), "rabbitmq.alarm", Blocker, "low on memory"},
		{"3.9 and quorum queues", version("3.9.27"), "rabbitmq.version", Blocker, "EARLYBIND_QUEUE_TYPE=classic"},
		{"3.9 and classic queues", all(version("3.9.27"), byAMQP, setting(func(s *consumer.Settings) { s.QueueType = "classic" })), "rabbitmq.version", Fit, ""},
		{"3.10", version("3.10.8"), "rabbitmq.version", Fit, ""},
		{"3.7", all(version("3.7.28"), setting(func(s *consumer.Settings) { s.QueueType = "classic" })), "rabbitmq.version", Blocker, "3.10 or later"},
		{"4.3.0 hides exchanges", version("4.3.0"), "rabbitmq.version", Blocker, "4.3.1"},
		{"another broker", version("LavinMQ"), "rabbitmq.version", Unknown, "LavinMQ"},
		{"a right is missing", b(func(b *BrokerFacts) { b.Rights[1].Has = not }), "rabbitmq.rights", Blocker, "may not read exchange nova"},
		{"a right was not seen", b(func(b *BrokerFacts) { b.Rights[1].Has = unseen }), "rabbitmq.rights", Unknown, "the reason"},
		{"rights over all", management(func(m *Made) { m.Permissions = Saw(Permissions{".*", ".*", ".*"}) }), "rabbitmq.rights", Note, "set_permissions -p nova earlybind '^earlybind.*'"},

		{"Nova's user may all", novas(".*", ".*", ".*"), "rabbitmq.nova-user", Note, "user openstack may read and purge, delete, write to earlybind's"},
		{"and is kept off so", novas(".*", ".*", ".*"), "rabbitmq.nova-user", Note, "set_permissions -p nova openstack '^(?!earlybind)' '^(?!earlybind)' '^(?!earlybind)'"},
		{"Nova's user may read", novas(keptOff, keptOff, "nova|earlybind"), "rabbitmq.nova-user", Note, "may read and purge earlybind's"},
		{"Nova's user may write to the hosts' exchange", novas(keptOff, "^(nova|earlybind)$", keptOff), "rabbitmq.nova-user", Note, "may write to earlybind's"},
		{"Nova's user may delete what is parked", novas("parked", keptOff, keptOff), "rabbitmq.nova-user", Note, "may delete earlybind's"},
		{"Nova's user is kept off otherwise", novas("", "^(?!(earlybind|foo))nova.*", "^(nova|notifications)"), "rabbitmq.nova-user", Fit, "kept off"},
		{"a queue of another name", all(novas(keptOff, keptOff, keptOff), setting(func(s *consumer.Settings) { s.Queue = "foo" })), "rabbitmq.nova-user", Note, "'^(?!(earlybind|foo))'"},
		{"a pattern that Go does not know", novas(keptOff, keptOff, "^(?=nova)"), "rabbitmq.nova-user", Unknown, "what '^(?=nova)' allows is not known"},
		{"another", novas(keptOff, `^(?!early\(bind)`, keptOff), "rabbitmq.nova-user", Unknown, "is not known"},
		{"rights are told to administrators", management(func(m *Made) { m.Novas = Unseen[Permissions]("user m may not see it") }), "rabbitmq.nova-user", Unknown, "user m may not see it"},

		{"a short life", b(func(b *BrokerFacts) { b.Kept = not }), "rabbitmq.policy", Blocker, "--priority 100"},
		{"openstack-helm's life, as the management tells", management(func(m *Made) {
			m.Queues["earlybind.check.X.kept"] = made("classic", "ha_ttl_nova", map[string]float64{"message-ttl": 70000})
		}), "rabbitmq.policy", Blocker, "policy ha_ttl_nova gives queue earlybind.check.X.kept message-ttl = 70000 ms"},
		{"a queue that expires", management(func(m *Made) {
			m.Queues["earlybind.paused"] = made("quorum", "p", map[string]float64{"expires": 3600000})
		}), "rabbitmq.policy", Blocker, "expires"},
		{"the life of host events may be short", management(func(m *Made) {
			m.Queues["earlybind"] = made("quorum", "p", map[string]float64{"message-ttl": 70000})
		}), "rabbitmq.policy", Fit, ""},
		{"a short life of what is parked", parked(map[string]float64{"message-ttl": 70000}), "rabbitmq.policy", Note, "policy all gives queue earlybind.parked message-ttl = 70000"},
		{"which is the remedy's to mend", parked(map[string]float64{"message-ttl": 70000}), "rabbitmq.policy", Note, "--priority 100 --apply-to queues earlybind '^earlybind'"},
		{"room for few that are parked", parked(map[string]float64{"max-length": 9999}), "rabbitmq.policy", Note, "max-length = 9999"},
		{"room for little that is parked", parked(map[string]float64{"max-length-bytes": 1 << 20}), "rabbitmq.policy", Note, "max-length-bytes = 1048576"},
		{"looks at what is parked are counted", parked(map[string]float64{"delivery-limit": 20}), "rabbitmq.policy", Note, "delivery-limit = 20"},
		{"a parking queue that expires", parked(map[string]float64{"expires": 1e12}), "rabbitmq.policy", Note, "expires = 1000000000000"},
		{"looks at what is parked are not counted", parked(map[string]float64{"delivery-limit": -1}), "rabbitmq.policy", Fit, ""},
		{"bounds of what is parked that are its own", parked(map[string]float64{"message-ttl": 7 * 24 * 3600 * 1000, "max-length": 10000, "max-length-bytes": 268435456, "delivery-limit": 1000000}),
			"rabbitmq.policy", Fit, ""},
		{"classic queues count no deliveries", all(parked(map[string]float64{"delivery-limit": 20}), setting(func(s *consumer.Settings) { s.QueueType = "classic" })), "rabbitmq.policy", Fit, ""},
		{"a short life of what is parked, and of the journal", all(parked(map[string]float64{"message-ttl": 1}), management(func(m *Made) {
			m.Queues["earlybind.journal"] = made("quorum", "all", map[string]float64{"message-ttl": 1})
		})), "rabbitmq.policy", Blocker, "queue earlybind.journal"},
		{"the management has no statistics yet", management(func(m *Made) { m.Queues["earlybind.check.X.kept"] = MadeQueue{Type: "classic"} }), "rabbitmq.policy", Unknown, "-listen 90s"},
		{"the management has seen no queue in which messages last", management(func(m *Made) { m.Queues = nil }), "rabbitmq.policy", Unknown, "-listen 90s"},
		{"a long life cannot be seen over AMQP", byAMQP, "rabbitmq.policy", Unknown, "-listen 90s"},
		{"nothing was put there", all(byAMQP, b(func(b *BrokerFacts) { b.Kept = unseen })), "rabbitmq.policy", Unknown, "the reason"},

		{"no exchange of Nova's", b(func(b *BrokerFacts) { b.Exchanges["nova"] = not }), "nova.notifications", Note, "driver = messagingv2"},
		{"notifications were not heard", b(func(b *BrokerFacts) { b.Listened = unseen }), "nova.notifications", Unknown, "the reason"},
		{"none came", b(func(b *BrokerFacts) { b.Notifications = nil }), "nova.notifications", Unknown, "notifications.info are there"},
		{"none of nova-compute", b(func(b *BrokerFacts) {
			b.Notifications = map[Source]int{{"conductor", "c", "notifications", false, true}: 1}
		}), "nova.notifications", Unknown, "none of nova-compute"},
		{"which came", nil, "nova.notifications", Fit, "3 of compute on compute1 (unversioned, driver messagingv2, topic notifications)"},

		{"a queue that nobody reads", all(byAMQP, queue("notifications.info", Saw(Queue{true, 4711, 0}))), "rabbitmq.default-queues", Note, "4711 messages waiting"},
		{"the management knows of no bound", queue("notifications.info", Saw(Queue{true, 1, 0})), "rabbitmq.default-queues", Note, "no policy bounds them"},
		{"the management has no statistics of it", all(queue("notifications.info", Saw(Queue{true, 1, 0})), management(func(m *Made) { m.Queues["notifications.info"] = MadeQueue{} })),
			"rabbitmq.default-queues", Note, "unless a policy bounds them"},
		{"a bound", all(queue("notifications.info", Saw(Queue{true, 5, 0})), management(func(m *Made) {
			m.Queues["notifications.info"] = made("classic", "nova-notifications", map[string]float64{"max-length": 10000})
		})), "rabbitmq.default-queues", Fit, "bounded by policy nova-notifications"},
		{"a queue that is not shown", queue("versioned_notifications.info", Unseen[Queue]("4.2.6 and later")), "rabbitmq.default-queues", Unknown, "4.2.6 and later"},
		{"no such queue", queue("notifications.info", Saw(Queue{})), "rabbitmq.default-queues", Fit, "none"},

		{"types are not seen over AMQP", byAMQP, "rabbitmq.types", Unknown, "-management"},
		{"a queue of the other type", management(func(m *Made) { m.Queues["earlybind"] = MadeQueue{Type: "classic"} }), "rabbitmq.types", Blocker, "EARLYBIND_QUEUE_TYPE=classic"},
		{"nothing was made yet", management(func(m *Made) {
			m.Exchanges, m.Queues = nil, map[string]MadeQueue{"earlybind.check.X.kept": {Type: "classic"}}
		}), "rabbitmq.types", Unknown, "yet"},
		{"an exchange that is no topic", management(func(m *Made) { m.Exchanges["nova"] = MadeExchange{"direct", true, ""} }), "rabbitmq.types", Blocker, "type direct"},

		{"no consumer runs", queue("earlybind.layout", Saw(Queue{})), "consumers", Note, "two consumers"},
		{"one runs", queue("earlybind.layout", Saw(Queue{true, 0, 1})), "consumers", Note, "nobody takes over"},
		{"two run, of two shares", setting(func(s *consumer.Settings) { s.Shares = 2 }), "consumers", Note, "for 2 shares"},
		{"consumers were not seen", queue("earlybind.layout", Unseen[Queue]("why")), "consumers", Unknown, "why"},
	} {
		f := fit()
		if c.change != nil {
			c.change(&f)
		}
		found := Judge(f)
		i := slices.IndexFunc(found, func(f Finding) bool { return f.ID == c.id && f.Level == c.level })
		if i < 0 {
			t.Errorf("%s: no finding %s of level %s:\n%s", c.name, c.id, c.level, Text(found, nil))
			continue
		}
		said := found[i].Saw + "\n" + found[i].Means
		for _, r := range found[i].Do {
			said += "\n" + r.Tool + ": " + r.Text
		}
		if !strings.Contains(said, c.says) {
			t.Errorf("%s: %q is not in\n%s", c.name, c.says, said)
		}
	}
}
