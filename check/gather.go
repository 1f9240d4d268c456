package check

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/consumer"
)

const (
	// atOnce bounds the requests to Neutron under way: a check is in no hurry.
	atOnce = 4
	// callBound bounds one request.
	callBound = time.Minute
	// maxReads bounds how many ports' rows are read, until those of one are there.
	maxReads = 3
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
		f.Neutron.Account, f.Neutron.Next = Unseen[Account](oneLine(err)), binding.Next(err)
	} else {
		f.Neutron = c.neutron(ctx, neutron)
	}
	f.Nova = c.nova(ctx)
	named := f.hosts()
	if err == nil {
		f.ports(ctx, neutron, named)
		f.Neutron.PortsBefore = maps.Clone(f.Neutron.Ports)
	}

	cells := c.Settings.PerCell()
	f.Brokers = make([]BrokerFacts, len(cells))
	var all sync.WaitGroup
	for i, cell := range cells {
		all.Go(func() { f.Brokers[i] = c.Broker(ctx, cell, named) })
	}
	all.Wait()

	if err == nil {
		f.ports(ctx, neutron, f.toList())
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

// toList are the hosts that only an answer has made known, and those whose answer does not go
// with their ports: instances may have moved in between.
func (f *Facts) toList() []string {
	sure, perhaps := f.misnamed()
	doubted := slices.Concat(sure, perhaps, f.blind())
	return slices.DeleteFunc(f.hosts(), func(host string) bool {
		_, listed := f.Neutron.Ports[host]
		return listed && !slices.Contains(doubted, host)
	})
}

// ports lists the ports of hosts, and reads the rows of one if none's were read before.
func (f *Facts) ports(ctx context.Context, n Neutron, hosts []string) {
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
	if f.Neutron.Ports == nil {
		f.Neutron.Ports = map[string]Seen[[]Port]{}
	}
	for i, host := range hosts {
		f.Neutron.Ports[host] = lists[i]
	}
	if _, read := f.Neutron.ReadsRows.Get(); !read {
		f.Neutron.ReadsRows = f.readsRows(ctx, n)
	}
}

// readsRows asks for the rows of a port; of the next one, if it is deleted by now.
func (f *Facts) readsRows(ctx context.Context, n Neutron) Seen[bool] {
	why := "no compute host is known whose ports could be listed"
	var ids []string
	for _, host := range slices.Sorted(maps.Keys(f.Neutron.Ports)) {
		ports, ok := f.Neutron.Ports[host].Get()
		switch {
		case !ok:
			why = f.Neutron.Ports[host].Why()
		case len(ports) == 0:
			why = "no instance's port was found on the hosts that are known"
		}
		for _, p := range ports {
			if !slices.Contains(ids, p.ID) && len(ids) < maxReads {
				ids = append(ids, p.ID)
			}
		}
	}
	for _, id := range ids {
		var err error
		seen := bounded(ctx, func(ctx context.Context) (read bool, _ error) {
			read, err = n.ReadsRows(ctx, id)
			return read, err
		})
		if !errors.Is(err, binding.ErrPortNotFound) {
			return seen
		}
		why = "the ports that were asked for are deleted meanwhile"
	}
	return Unseen[bool](why)
}
