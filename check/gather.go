package check

import (
	"context"
	"sync"
	"time"

	"github.com/earlybind/earlybind/consumer"
)

const (
	// atOnce bounds the requests to Neutron under way: a check is in no hurry.
	atOnce = 4
	// callBound bounds one request.
	callBound = time.Minute
)

// Cloud is what is checked. Each function opens what it names, or tells why it cannot.
type Cloud struct {
	Settings consumer.Settings
	Rights   Permissions
	Listen   time.Duration
	Neutron  func(context.Context) (Neutron, error)
	Nova     func(context.Context) (Nova, error)
	Agents   func(context.Context) (AgentLister, error)
	// Broker asks the broker of one cell, of which the settings are; the hosts are those that
	// Nova and Neutron name.
	Broker func(ctx context.Context, cell consumer.Settings, hosts []string) BrokerFacts
}

// Gather asks all of the cloud. What cannot be asked is a fact too.
func (c Cloud) Gather(ctx context.Context) Facts {
	f := Facts{Settings: c.Settings, Rights: c.Rights, Listened: c.Listen}
	neutron, err := c.Neutron(ctx)
	if err != nil {
		f.Neutron.Account = Unseen[Account](oneLine(err))
	} else {
		f.Neutron = c.neutron(ctx, neutron)
	}
	f.Nova = c.nova(ctx)
	named := f.computeHosts()

	cells := c.Settings.PerCell()
	f.Brokers = make([]BrokerFacts, len(cells))
	var all sync.WaitGroup
	for i, cell := range cells {
		all.Go(func() { f.Brokers[i] = c.Broker(ctx, cell, named) })
	}
	all.Wait()

	if err == nil {
		f.ports(ctx, neutron)
	}
	return f
}

func (c Cloud) neutron(ctx context.Context, n Neutron) NeutronFacts {
	facts := NeutronFacts{
		Account:  Look(n.Account()),
		Extended: bounded(ctx, n.Extended),
		Safe:     bounded(ctx, n.Safe),
		MayWrite: bounded(ctx, n.MayWrite),
	}
	if lister, err := c.Agents(ctx); err != nil {
		facts.Agents = Unseen[[]Agent](oneLine(err))
	} else {
		facts.Agents = bounded(ctx, lister.Agents)
	}
	return facts
}

func (c Cloud) nova(ctx context.Context) NovaFacts {
	n, err := c.Nova(ctx)
	if err != nil {
		return NovaFacts{Version: Unseen[string](oneLine(err)), Hosts: Unseen[[]ComputeHost](oneLine(err))}
	}
	return NovaFacts{Version: bounded(ctx, n.Version), Hosts: bounded(ctx, n.Hosts)}
}

// bounded makes one request.
func bounded[T any](ctx context.Context, ask func(context.Context) (T, error)) Seen[T] {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	return Look(ask(ctx))
}

// ports lists the ports of every host, and reads the rows of one.
func (f *Facts) ports(ctx context.Context, n Neutron) {
	hosts := f.computeHosts()
	lists := make([]Seen[[]Port], len(hosts))
	room := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, host := range hosts {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			lists[i] = bounded(ctx, func(ctx context.Context) ([]Port, error) { return n.OnHost(ctx, host) })
		})
	}
	all.Wait()
	f.Neutron.Ports = map[string]Seen[[]Port]{}
	f.Neutron.ReadsRows = Unseen[bool]("no compute host is known whose ports could be listed")
	for i, host := range hosts {
		f.Neutron.Ports[host] = lists[i]
		ports, ok := lists[i].Get()
		_, read := f.Neutron.ReadsRows.Get()
		switch {
		case read:
		case !ok:
			f.Neutron.ReadsRows = Unseen[bool](lists[i].Why())
		case len(ports) == 0:
			f.Neutron.ReadsRows = Unseen[bool]("no instance's port was found on the hosts that are known")
		default:
			f.Neutron.ReadsRows = bounded(ctx, func(ctx context.Context) (bool, error) { return n.ReadsRows(ctx, ports[0].ID) })
		}
	}
}
