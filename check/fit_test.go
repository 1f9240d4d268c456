package check

import (
	"maps"
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

func TestAFitCloudIsFit(t *testing.T) {
	for _, f := range Judge(fit()) {
		if f.Level != Fit || len(f.Do) > 0 {
			t.Errorf("%+v", f)
		}
	}
}
