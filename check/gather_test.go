package check

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/consumer"
)

// cloudOf is a Neutron and a Nova that say what they are made to.
type cloudOf struct {
	mu        sync.Mutex
	ports     map[string][]Port
	lists     []string // the hosts whose ports were listed
	fault     error
	gone      []string // ports that are deleted when their rows are asked for
	asked     int      // for rows
	meanwhile func()   // runs while the brokers are asked
	answer    Answer   // of here's publisher, if it has a host
}

func (c *cloudOf) Account() (Account, error) {
	return Account{"earlybind", "service", []string{"service"}}, nil
}
func (c *cloudOf) Extended(context.Context) (bool, error) { return true, nil }
func (c *cloudOf) Safe(context.Context) (bool, error)     { return false, c.fault }
func (c *cloudOf) MayWrite(context.Context) (bool, error) { return true, nil }
func (c *cloudOf) OnHost(_ context.Context, host string) ([]Port, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lists = append(c.lists, host)
	if host == "away" {
		return nil, errors.New("504")
	}
	return c.ports[host], nil
}
func (c *cloudOf) ReadsRows(_ context.Context, id string) (bool, error) {
	c.asked++
	if slices.Contains(c.gone, id) {
		return false, fmt.Errorf("it is not there: %w", binding.ErrPortNotFound)
	}
	return id == "p", nil
}
func (c *cloudOf) Agents(context.Context) ([]Agent, error) {
	return []Agent{{"agent", "Open vSwitch agent", true}}, nil
}
func (c *cloudOf) Version(context.Context) (string, error) { return "2.96", nil }
func (c *cloudOf) Hosts(context.Context) ([]ComputeHost, error) {
	return []ComputeHost{{here, true}, {"away", true}}, nil
}

func (c *cloudOf) cloud(told *[]string) Cloud {
	return Cloud{
		Settings: consumer.Settings{OtherCells: consumer.Cells{{"amqp://cell2"}}},
		Neutron:  func(context.Context) (Neutron, error) { return c, nil },
		Nova:     func(context.Context) (Nova, error) { return c, nil },
		Agents:   func(context.Context) (AgentLister, error) { return c, nil },
		Broker: func(_ context.Context, s consumer.Settings, hosts []string) BrokerFacts {
			c.mu.Lock()
			defer c.mu.Unlock()
			*told = hosts
			if c.meanwhile != nil {
				c.meanwhile()
			}
			if c.answer.Host != "" {
				return BrokerFacts{Version: Saw("4.0.5"), Heard: Heard{Answers: map[string]Answer{c.answer.Host: c.answer}}}
			}
			if len(s.AMQPUrls) == 0 {
				return BrokerFacts{Version: Saw("4.0.5"), Heard: Heard{Answers: map[string]Answer{there: {Host: there}}}}
			}
			return BrokerFacts{Version: Unseen[string](s.AMQPUrls.String())}
		},
	}
}

func TestAllOfACloudIsAsked(t *testing.T) {
	c := &cloudOf{ports: map[string][]Port{there: {{ID: "p", Instance: guest}}}, fault: errors.New("503")}
	var told []string
	f := c.cloud(&told).Gather(t.Context())
	slices.Sort(c.lists)
	// Those of the agents and of Nova are known when the brokers are asked; who answers there is one more.
	if !slices.Equal(told, []string{"agent", "away", here}) || !slices.Equal(c.lists, []string{"agent", "away", here, there}) {
		t.Errorf("brokers were told of %q, ports listed of %q", told, c.lists)
	}
	if _, ok := f.Neutron.Safe.Get(); ok || f.Neutron.Safe.Why() != "503" {
		t.Errorf("%+v", f.Neutron.Safe)
	}
	if read, ok := f.Neutron.ReadsRows.Get(); !read || !ok {
		t.Errorf("%+v", f.Neutron.ReadsRows)
	}
	if _, ok := f.Neutron.Ports["away"].Get(); ok {
		t.Error("the ports of a host that could not be listed are known")
	}
	if len(f.Brokers) != 2 || f.Brokers[1].Version.Why() != "cell2:5672" {
		t.Errorf("%+v", f.Brokers)
	}
	if v, _ := f.Nova.Version.Get(); v != "2.96" {
		t.Errorf("%+v", f.Nova)
	}
	if unread := f.Unread(); !slices.Equal(unread, []string{"RabbitMQ: cell2:5672"}) {
		t.Errorf("%q", unread)
	}
}

func TestWhatCannotBeOpenedIsAFact(t *testing.T) {
	c := &cloudOf{}
	var told []string
	cloud := c.cloud(&told)
	cloud.Neutron = func(context.Context) (Neutron, error) { return nil, errors.New("no such cloud\nat all") }
	cloud.Nova = func(context.Context) (Nova, error) { return nil, errors.New("no Nova") }
	f := cloud.Gather(t.Context())
	if len(c.lists) > 0 || f.Neutron.Ports != nil {
		t.Errorf("ports of %q were listed", c.lists)
	}
	if f.Neutron.Account.Why() != "no such cloud; at all" || f.Nova.Hosts.Why() != "no Nova" {
		t.Errorf("%+v %+v", f.Neutron, f.Nova)
	}
	if text := Text(Judge(f), f.Unread()); !strings.Contains(text, "no such cloud; at all") || !strings.Contains(text, "not known to be fit for earlybind: 0 blockers") {
		t.Error(text)
	}
}

// What to look at where a cloud is not met is told where that is.
func TestACloudThatIsNotMetIsToldWithWhatToLookAt(t *testing.T) {
	var told []string
	cloud := (&cloudOf{}).cloud(&told)
	cloud.Settings = consumer.Settings{}
	cloud.Neutron = func(context.Context) (Neutron, error) {
		return nil, &binding.Error{Op: binding.OpAuthenticate, Status: http.StatusUnauthorized}
	}
	f := cloud.Gather(t.Context())
	const next = "user, password, project or domain is not right: OS_* or the entry of clouds.yaml"
	if unread := f.Unread(); len(unread) != 1 || unread[0] != "Neutron: authenticate: 401 Unauthorized; "+next {
		t.Errorf("%q", unread)
	}
	if found := keystone(f); len(found) != 1 || !strings.HasPrefix(found[0].Do[0].Text, next+" (") {
		t.Errorf("%+v", found)
	}
}

// loggedIn has Keystone's word, which the client of a fake Neutron has not.
type loggedIn struct{ Neutron }

func (loggedIn) Account() (Account, error) {
	return Account{"earlybind", "service", []string{"service"}}, nil
}

// Keystone is there, and Neutron is not, or its database is not.
func TestANeutronThatAnswersNothingIsUnread(t *testing.T) {
	for name, c := range map[string]struct {
		ops   []string // empty: all
		fault bindingtest.Fault
	}{
		"Neutron is away":      {[]string{""}, bindingtest.Fault{Status: http.StatusServiceUnavailable, Gateway: true}},
		"its database is away": {[]string{binding.OpCreate, binding.OpGetPort, binding.OpListPorts, binding.OpList}, bindingtest.Fault{Status: http.StatusInternalServerError, Type: "HTTPInternalServerError"}},
	} {
		client, fake := bindingtest.Client(t)
		for _, op := range c.ops {
			fault := c.fault
			fault.Op, fault.Times = op, -1
			fake.Inject(fault)
		}
		var told []string
		cloud := (&cloudOf{}).cloud(&told)
		cloud.Settings = consumer.Settings{}
		cloud.Neutron = func(context.Context) (Neutron, error) { return loggedIn{NewNeutron(client)}, nil }
		cloud.Agents = func(context.Context) (AgentLister, error) { return NewAgents(client), nil }
		f := cloud.Gather(t.Context())
		if _, ok := f.Neutron.MayWrite.Get(); ok {
			t.Errorf("%s: whether the user may write is known", name)
		}
		unread := f.Unread()
		if found := Judge(f); len(unread) != 1 || !strings.HasPrefix(unread[0], "Neutron: ") || Judgement(found, unread) != IsOpen {
			t.Errorf("%s: %q\n%s", name, unread, Text(found, unread))
		}
	}
}

// Ports are listed before the publishers are asked, and again where an answer does not go with them.
func TestPortsAreListedBeforeTheAnswersAndAgainInDoubt(t *testing.T) {
	at := func(host string) map[string][]Port {
		return map[string][]Port{host: {{ID: "p", Instance: guest, Active: true}}}
	}
	on := func(host string) Answer {
		return Answer{Host: host, Domains: []string{guest}, Running: []string{guest}}
	}
	for _, c := range []struct {
		name          string
		before, after map[string][]Port
		answer        Answer
		again         int   // how often the ports of here are listed
		level         Level // of what is said of its name; empty if nothing
	}{
		{"it stays", at(here), at(here), on(here), 1, ""},
		{"it leaves after the answer", at(here), at("agent"), on(here), 1, ""},
		{"it comes before the answer", at("agent"), at(here), on(here), 2, ""},
		{"another host's name", at("agent"), at("agent"), on(here), 2, Blocker},
		{"it leaves before the answer", at(here), at("agent"), Answer{Host: here}, 2, ""},
	} {
		fake := &cloudOf{ports: c.before, answer: c.answer}
		fake.meanwhile = func() { fake.ports = c.after }
		var told []string
		cloud := fake.cloud(&told)
		cloud.Settings = consumer.Settings{}
		f := cloud.Gather(t.Context())
		times := 0
		for _, host := range fake.lists {
			if host == here {
				times++
			}
		}
		var level Level
		for _, found := range Judge(f) {
			if found.ID == "publishers.host" {
				level = found.Level
			}
		}
		if times != c.again || level != c.level || len(f.blind()) > 0 {
			t.Errorf("%s: listed %d times\n%s", c.name, times, Text(Judge(f), nil))
		}
	}
}

func TestARowIsReadOfTheNextPortIfOneIsDeleted(t *testing.T) {
	ports := map[string][]Port{"agent": {{ID: "1"}, {ID: "2"}}, here: {{ID: "2"}, {ID: "p"}, {ID: "q"}}}
	for _, c := range []struct {
		gone       []string
		read, seen bool
	}{
		{nil, false, true}, // the rows of 1 are not shown
		{[]string{"1", "2"}, true, true},
		{[]string{"1", "2", "p"}, false, false},
	} {
		fake := &cloudOf{ports: ports, gone: c.gone}
		f := Facts{}
		f.ports(t.Context(), fake, []string{"agent", here})
		if read, seen := f.Neutron.ReadsRows.Get(); read != c.read || seen != c.seen || fake.asked != min(len(c.gone)+1, 3) {
			t.Errorf("%q deleted: %t %t %q, asked for %d", c.gone, read, seen, f.Neutron.ReadsRows.Why(), fake.asked)
		}
	}
}
