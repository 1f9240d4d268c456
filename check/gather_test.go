package check

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/earlybind/earlybind/consumer"
)

// cloudOf is a Neutron and a Nova that say what they are made to.
type cloudOf struct {
	mu    sync.Mutex
	ports map[string][]Port
	lists []string // the hosts whose ports were listed
	fault error
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
func (c *cloudOf) ReadsRows(_ context.Context, id string) (bool, error) { return id == "p", nil }
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
