package check

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
)

const (
	here, there = "compute1", "compute2"
	guest       = "9d3f3f2f-5b2a-4a2e-9a55-0d3f6a4f1c11"
	other       = "3b6f6f0e-0c43-4f35-8f0d-b60f7f0f6a22"
	resized     = "6a0f1c7e-5f0b-4a53-9d3e-0f2f7f9b7d33"

	keptOff = "^(?!earlybind)" // as docs/security.md has it
)

// fit is a cloud in which all was seen, and nothing is to be said against.
func fit() Facts {
	port := func(instance string) Port {
		return Port{ID: "p-" + instance, Instance: instance, Network: "n", Owner: "compute:nova", Driver: "openvswitch", Active: true}
	}
	ports := map[string]Seen[[]Port]{here: Saw([]Port{port(guest)}), there: Saw([]Port{port(other)})}
	return Facts{
		Settings: consumer.Settings{
			Settings: broker.Settings{AMQPUrls: []string{"amqp://rabbit/nova"}, AMQPUser: "earlybind"},
			Policy:   handover.PolicyObserve, NeutronConcurrentActivate: "detect", NovaExchange: "nova",
			NotificationTopics: []string{"notifications", "versioned_notifications"},
			Queue:              "earlybind", QueueType: "quorum", Shares: 1, HostUserPrefix: "earlybind-",
		},
		Rights:   Permissions{"^earlybind.*", "^earlybind.*", "^(earlybind.*|nova)$"},
		Listened: 10 * time.Second,
		Neutron: NeutronFacts{
			Account:  Saw(Account{"earlybind", "service", []string{"service"}}),
			Extended: Saw(true), Safe: Saw(true), MayWrite: Saw(true), ReadsRows: Saw(true),
			Agents: Saw([]Agent{{here, "Open vSwitch agent", true}, {there, "Open vSwitch agent", true}, {"net1", "DHCP agent", false}}),
			Ports:  ports, PortsBefore: maps.Clone(ports),
		},
		Nova: NovaFacts{Version: Saw("2.100"), Hosts: Saw([]ComputeHost{{here, true}, {there, true}})},
		Brokers: []BrokerFacts{{
			Name: "rabbit:5672/nova", Vhost: "nova", Version: Saw("4.0.5"),
			Rights:    []Right{{"make queues named earlybind.…", Saw(true)}, {"read exchange nova", Saw(true)}},
			Exchanges: map[string]Seen[bool]{"nova": Saw(true), "earlybind": Saw(true), "earlybind.requests": Saw(true)},
			Queues: map[string]Seen[Queue]{
				"notifications.info": Saw(Queue{true, 0, 1}), "notifications.error": Saw(Queue{}),
				"versioned_notifications.info": Saw(Queue{}), "versioned_notifications.error": Saw(Queue{}),
				"earlybind.layout": Saw(Queue{true, 0, 2}),
			},
			Kept: Saw(true), Asked: Saw(true), Listened: Saw(true),
			Heard: Heard{
				Notifications: map[Source]int{{"compute", here, "notifications", false, true}: 3},
				Answers: map[string]Answer{
					here:  {Host: here, User: "earlybind-" + here, Domains: []string{guest}, Running: []string{guest}, After: 20 * time.Millisecond, Skew: Saw(time.Duration(0))},
					there: {Host: there, User: "earlybind-" + there, Domains: []string{other}, Running: []string{other}, After: 30 * time.Millisecond, Skew: Saw(time.Duration(0))},
				},
			},
			Made: Saw(Made{
				Exchanges: map[string]MadeExchange{"nova": {"topic", false, "openstack"}, "earlybind": {"topic", true, "earlybind"}},
				Queues: map[string]MadeQueue{
					"earlybind": made("quorum", "", nil), "earlybind.journal": made("quorum", "", nil),
					"earlybind.parked":       made("quorum", "", nil),
					"earlybind.check.X.kept": made("classic", "", nil), "notifications.info": made("classic", "", nil),
				},
				Permissions: Saw(Permissions{"^earlybind.*", "^earlybind.*", "^(earlybind.*|nova)$"}),
				Novas:       Saw(Permissions{keptOff, keptOff, keptOff}),
			}),
		}},
	}
}

// made is a queue with the policy in force on it.
func made(kind, policy string, limits map[string]float64) MadeQueue {
	return MadeQueue{Type: kind, Policy: policy, Limits: Saw(limits)}
}

func TestAFitCloudIsFit(t *testing.T) {
	for _, f := range Judge(fit()) {
		if f.Level != Fit || len(f.Do) > 0 {
			t.Errorf("%+v", f)
		}
	}
}

// named are overrides of so many names.
func named(names []string) map[string]handover.Policy {
	overrides := map[string]handover.Policy{}
	for _, name := range names {
		overrides[name] = handover.PolicyResumed
	}
	return overrides
}

// byAMQP takes from a cloud what the management API tells.
func byAMQP(f *Facts) { f.Brokers[0].Made = Unseen[Made]("no management API was named") }

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

// A command is run as it stands: it names every host, and what a stranger calls itself is a word.
func TestTheCommandForRightsIsOne(t *testing.T) {
	command := func(f Facts, id string) string {
		t.Helper()
		for _, found := range Judge(f) {
			if found.ID == id {
				lines := strings.Split(found.Do[0].Text, "\n")
				return lines[len(lines)-1]
			}
		}
		t.Errorf("no finding %s", id)
		return ""
	}
	f := fit()
	var hosts []ComputeHost
	var names []string
	for i := range 12 {
		name := fmt.Sprintf("compute%02d.example", i)
		hosts, names = append(hosts, ComputeHost{name, true}), append(names, name)
	}
	f.Nova.Hosts, f.Neutron.Ports, f.Brokers[0].Answers = Saw(hosts), nil, nil
	if got, want := command(f, "publishers.missing"), "earlybind rights -hosts-only -vhost nova "+strings.Join(names, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}

	f = fit()
	f.Settings.HostUserPrefix = "compute-"
	f.Brokers = append(f.Brokers, f.Brokers[0])
	f.Brokers[1].Vhost, f.Brokers[1].Refused = "cell2", []Answer{{Host: "it's;reboot", Refused: "from nobody"}, {Host: here, Refused: "from nobody"}, {Host: "-prefix=", Refused: "from nobody"}, {Host: "a,b", Refused: "from nobody"}}
	if got, want := command(f, "publishers.identity"), `earlybind rights -hosts-only -vhost VHOST -prefix compute- compute1 'it'\''s;reboot'`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Whoever follows README and whoever follows a finding set the same policy, with a priority: which of
// two of the same is in force, RabbitMQ does not say.
func TestTheBoundOfNovasQueuesIsREADMEs(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(boundDefaultQueues("VHOST"), func(r Remedy) bool { return r.Tool == Plain })
	if text := boundDefaultQueues("VHOST")[i].Text; !strings.Contains(strings.Join(strings.Fields(string(readme)), " "), text) {
		t.Errorf("README lacks %s", text)
	}
}

// One thing at a time that cannot be seen: then fewer findings are fit than where all is seen,
// and none is a blocker.
func TestWhatCannotBeSeenIsNeverFit(t *testing.T) {
	const why = "it was hidden"
	all := Count(Fit, Judge(fit()))
	for name, hide := range map[string]func(*Facts){
		"account":       func(f *Facts) { f.Neutron.Account = Unseen[Account](why) },
		"extended":      func(f *Facts) { f.Neutron.Extended = Unseen[bool](why) },
		"safe":          func(f *Facts) { f.Neutron.Safe = Unseen[bool](why) },
		"may write":     func(f *Facts) { f.Neutron.MayWrite = Unseen[bool](why) },
		"reads rows":    func(f *Facts) { f.Neutron.ReadsRows = Unseen[bool](why) },
		"agents":        func(f *Facts) { f.Neutron.Agents = Unseen[[]Agent](why) },
		"Nova's":        func(f *Facts) { f.Nova.Version = Unseen[string](why) },
		"hosts":         func(f *Facts) { f.Nova.Hosts = Unseen[[]ComputeHost](why) },
		"broker":        func(f *Facts) { f.Brokers[0] = BrokerFacts{Version: Unseen[string](why)} },
		"right":         func(f *Facts) { f.Brokers[0].Rights[0].Has = Unseen[bool](why) },
		"rights":        func(f *Facts) { f.Brokers[0].Rights = nil },
		"asked":         func(f *Facts) { f.Brokers[0].Asked, f.Brokers[0].Answers = Unseen[bool](why), nil },
		"notifications": func(f *Facts) { f.Brokers[0].Listened, f.Brokers[0].Notifications = Unseen[bool](why), nil },
		"kept":          func(f *Facts) { byAMQP(f); f.Brokers[0].Kept = Unseen[bool](why) },
		"made":          byAMQP,
		"Nova's rights": func(f *Facts) {
			m, _ := f.Brokers[0].Made.Get()
			m.Novas = Unseen[Permissions](why)
			f.Brokers[0].Made = Saw(m)
		},
		"default queue": func(f *Facts) { f.Brokers[0].Queues["notifications.info"] = Unseen[Queue](why) },
		"consumers":     func(f *Facts) { f.Brokers[0].Queues["earlybind.layout"] = Unseen[Queue](why) },
	} {
		f := fit()
		hide(&f)
		found := Judge(f)
		if Count(Fit, found) >= all || Count(Unknown, found) == 0 || Count(Blocker, found) > 0 {
			t.Errorf("%s:\n%s", name, Text(found, nil))
		}
	}
	if found := Judge(Facts{Brokers: []BrokerFacts{{}}}); Count(Fit, found)+Count(Blocker, found) > 0 {
		t.Errorf("nothing was seen:\n%s", Text(found, nil))
	}
}

func TestEveryFindingOfSeveralBrokersNamesItsOwn(t *testing.T) {
	f := fit()
	second := fit().Brokers[0]
	second.Name, second.Answers, second.Kept = "cell2:5672", map[string]Answer{"compute3": {Host: "compute3"}}, Saw(false)
	f.Brokers = append(f.Brokers, second)
	named := map[string]int{}
	for _, found := range Judge(f) {
		if found.ID == "rabbitmq.policy" {
			named[found.Broker]++
		}
	}
	if !maps.Equal(named, map[string]int{"rabbit:5672/nova": 1, "cell2:5672": 1}) {
		t.Errorf("%v", named)
	}
	if answers := f.answers(); len(answers) != 3 {
		t.Errorf("%d hosts have answered", len(answers))
	}
}

func TestBlockersComeFirstAndCount(t *testing.T) {
	f := fit()
	f.Neutron.MayWrite = Saw(false)
	f.Nova.Hosts = Unseen[[]ComputeHost]("why")
	found := Judge(f)
	if text := Text(found, nil); found[0].ID != "neutron.role" || !strings.Contains(text, "\nnot fit for earlybind: 1 blocker, 0 notes, 1 unknown, ") {
		t.Error(text)
	}
}

func TestVerdict(t *testing.T) {
	f := fit()
	if unread := f.Unread(); len(unread) != 0 || Judgement(Judge(f), unread) != IsFit {
		t.Errorf("%q", unread)
	}
	f.Brokers[0] = BrokerFacts{Version: Unseen[string]("refused")}
	unread := f.Unread()
	if !slices.Equal(unread, []string{"RabbitMQ: refused"}) || Judgement(Judge(f), unread) != IsOpen {
		t.Errorf("%q", unread)
	}
	f.Neutron.MayWrite = Saw(false)
	if Judgement(Judge(f), unread) != IsNotFit {
		t.Error("a blocker, and a broker that could not be asked")
	}
}

// What connected and then told nothing was not read.
func TestWhatHasToldNothingIsUnread(t *testing.T) {
	lost := Unseen[bool]("the connection was lost")
	for _, c := range []struct {
		name   string
		change func(*Facts)
		want   []string
	}{
		{"a broker is lost at once", func(f *Facts) {
			f.Brokers[0] = BrokerFacts{Name: "rabbit:5672", Version: Saw("4.0.5"), Rights: []Right{{"a", lost}, {"b", lost}}}
		}, []string{"RabbitMQ: the connection to rabbit:5672 was lost: the connection was lost"}},
		{"a broker is lost later", func(f *Facts) { f.Brokers[0].Rights = []Right{{"a", Saw(true)}, {"b", lost}} }, nil},
		{"a broker lets a user do nothing", func(f *Facts) { f.Brokers[0].Rights = []Right{{"a", Saw(false)}} }, nil},
		{"Neutron tells not even its extensions", func(f *Facts) { f.Neutron.Extended = Unseen[bool]("503") }, []string{"Neutron: 503"}},
		{"Neutron tells its extensions and nothing else", func(f *Facts) {
			f.Neutron.MayWrite, f.Neutron.Agents = Unseen[bool]("500"), Unseen[[]Agent]("500")
			f.Neutron.Ports = map[string]Seen[[]Port]{here: Unseen[[]Port]("500")}
		}, []string{"Neutron: 500"}},
		{"Neutron answers all but the probe", func(f *Facts) { f.Neutron.MayWrite = Unseen[bool]("500") }, nil},
	} {
		f := fit()
		c.change(&f)
		if unread := f.Unread(); !slices.Equal(unread, c.want) {
			t.Errorf("%s: %q, want %q", c.name, unread, c.want)
		}
	}
}

// What healthy clouds look like now and then, and what is not to be said of them.
func TestWhatIsNoFault(t *testing.T) {
	row := func(instance string, active bool) Port {
		return Port{ID: "p-" + instance, Instance: instance, Active: active}
	}
	answer := func(f *Facts, host string, running []string, shutOff ...string) {
		a := f.Brokers[0].Answers[host]
		a.Domains, a.Running = slices.Concat(running, shutOff), running
		f.Brokers[0].Answers[host] = a
	}
	for _, c := range []struct {
		name   string
		change func(*Facts)
		id     string
	}{
		{"a resize is to be confirmed", func(f *Facts) {
			f.Neutron.Ports = map[string]Seen[[]Port]{here: Saw([]Port{}), there: Saw([]Port{row(other, true), row(resized, true), row(guest, true)})}
			f.Neutron.PortsBefore = maps.Clone(f.Neutron.Ports)
			answer(f, here, nil, guest, resized) // or it was evacuated, and came back
		}, "publishers.host"},
		{"the only instance leaves after the answer", func(f *Facts) {
			f.Neutron.Ports[here], f.Neutron.Ports[there] = Saw([]Port{}), Saw([]Port{row(guest, true), row(other, true)})
		}, "publishers.host"},
		{"two instances come before the answer, and after the first list", func(f *Facts) {
			f.Neutron.PortsBefore = map[string]Seen[[]Port]{here: Saw([]Port{}), there: Saw([]Port{row(guest, true), row(other, true), row(resized, true)})}
			f.Neutron.Ports[here] = Saw([]Port{row(guest, true), row(resized, true)})
			answer(f, here, []string{guest, resized})
		}, "publishers.host"},
		{"the ports of a host could not be listed, and its instance migrates", func(f *Facts) {
			f.Neutron.Ports[here] = Unseen[[]Port]("504")
			f.Neutron.Ports[there] = Saw([]Port{row(guest, false), row(other, true)})
			f.Neutron.PortsBefore = maps.Clone(f.Neutron.Ports)
		}, "publishers.host"},
		{"a network node has no publisher", func(f *Facts) {
			found, _ := f.Neutron.Agents.Get()
			f.Neutron.Agents = Saw(append(found, Agent{"net1", "Open vSwitch agent", true}))
			f.Neutron.Ports["net1"] = Saw([]Port{})
		}, "publishers.missing"},
	} {
		f := fit()
		c.change(&f)
		for _, found := range Judge(f) {
			if found.ID == c.id {
				t.Errorf("%s:\n%s", c.name, Text([]Finding{found}, nil))
			}
		}
	}
}

// Hosts that are named and are not there are all in a finding's hosts, and the star is none.
func TestEveryNamedHostThatIsNotThereIsAHostOfTheFinding(t *testing.T) {
	f := fit()
	var want []string
	for i := range 12 {
		want = append(want, fmt.Sprintf("rack%02d", i))
	}
	f.Settings.PolicyHosts = named(append([]string{here, handover.EveryHost}, want...))
	found := namedHosts(f)
	if len(found) != 1 || !slices.Equal(found[0].Hosts, want) {
		t.Errorf("%+v", found)
	}
}

// Where Keystone lets nobody in one finding says so, and not one for each thing that was not seen.
func TestNamesAreNotLookedForInACloudThatWasNotMet(t *testing.T) {
	f := fit()
	f.Neutron, f.Nova = NeutronFacts{Account: Unseen[Account]("401")}, NovaFacts{}
	f.Settings.PolicyDrivers, f.Settings.PolicyHosts, f.Settings.PolicyNetworks = named([]string{"ovn"}), named([]string{"compute9"}), named([]string{"m"})
	for _, found := range Judge(f) {
		if strings.HasPrefix(found.ID, "settings.") {
			t.Errorf("%+v", found)
		}
	}
}

func TestHostsWithoutAPublisherAreMissed(t *testing.T) {
	agent := func(f *Facts) {
		found, _ := f.Neutron.Agents.Get()
		f.Neutron.Agents = Saw(append(found, Agent{"compute3", "Open vSwitch agent", true}))
	}
	for name, change := range map[string]func(*Facts){
		"Nova lists it":                             func(f *Facts) { f.Nova.Hosts = Saw([]ComputeHost{{here, true}, {there, true}, {"compute3", true}}) },
		"it has an instance":                        func(f *Facts) { agent(f); f.Neutron.Ports["compute3"] = Saw([]Port{{ID: "p", Instance: resized}}) },
		"it has an agent, and Nova has listed none": func(f *Facts) { agent(f); f.Nova.Hosts = Unseen[[]ComputeHost]("403") },
	} {
		f := fit()
		change(&f)
		if !slices.ContainsFunc(Judge(f), func(f Finding) bool {
			return f.ID == "publishers.missing" && slices.Equal(f.Hosts, []string{"compute3"})
		}) {
			t.Errorf("%s: it is not missed", name)
		}
	}
}
