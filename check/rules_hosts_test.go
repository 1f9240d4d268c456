package check

import (
	"maps"
	"slices"
	"testing"
)

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
