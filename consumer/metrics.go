package consumer

import (
	"context"
	"time"

	"github.com/earlybind/earlybind/consumer/metrics"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// messageOf tells of what kind a message is for the metrics, by what was read off it.
func messageOf(read any) metrics.Message {
	switch read.(type) {
	case wire.NovaEvent:
		return metrics.Notification
	case wire.HostEvent:
		return metrics.Event
	case wire.HostStates:
		return metrics.States
	case wire.Tick:
		return metrics.Tick
	default:
		return metrics.Other
	}
}

// standing tells how this replica stands in its cell. It is asked at a scrape.
func (c *Consumer) standing() metrics.Standing {
	var is metrics.Standing
	is.StoppedPairs, is.StoppedDrivers = c.breaker.stopped()
	halt := c.halts.now()
	is.PausedAll, is.PausedHosts = halt.All || halt.Unknown != "", len(halt.Hosts)
	s := c.serving.Load()
	if s == nil {
		return is
	}
	is.Active, is.Held = s.lease.held(), s.shelf.len()
	var oldest time.Time
	is.Journal, oldest, is.JournalRead = s.journal.standing()
	if !oldest.IsZero() {
		is.JournalAge = max(0, time.Since(oldest))
	}
	return is
}

// measured is a Neutron whose every answer is counted. Nothing is done before a request.
type measured struct {
	Neutron
	metrics *metrics.Consumer
}

func (m measured) Ports(ctx context.Context, instance string) ([]port.Port, error) {
	began := time.Now()
	ports, err := m.Neutron.Ports(ctx, instance)
	m.metrics.Request(metrics.ActionPorts, began, err)
	return ports, err
}

func (m measured) WrongOn(ctx context.Context, host string) ([]string, error) {
	began := time.Now()
	instances, err := m.Neutron.WrongOn(ctx, host)
	m.metrics.Request(metrics.ActionWrongOn, began, err)
	return instances, err
}

func (m measured) Read(ctx context.Context, id string) (port.Port, error) {
	began := time.Now()
	p, err := m.Neutron.Read(ctx, id)
	m.metrics.Request(metrics.ActionRead, began, err)
	return p, err
}

func (m measured) Activate(ctx context.Context, id, host string) error {
	return m.write(metrics.ActionActivate, func() error { return m.Neutron.Activate(ctx, id, host) })
}

func (m measured) SetProfile(ctx context.Context, id string, profile map[string]any, revision int) error {
	return m.write(metrics.ActionProfile, func() error { return m.Neutron.SetProfile(ctx, id, profile, revision) })
}

func (m measured) Rebind(ctx context.Context, id string) error {
	return m.write(metrics.ActionRebind, func() error { return m.Neutron.Rebind(ctx, id) })
}

func (m measured) Create(ctx context.Context, id, host, vnic string, profile map[string]any) error {
	return m.write(metrics.ActionCreate, func() error { return m.Neutron.Create(ctx, id, host, vnic, profile) })
}

func (m measured) Delete(ctx context.Context, id, host string) error {
	return m.write(metrics.ActionDelete, func() error { return m.Neutron.Delete(ctx, id, host) })
}

func (m measured) write(action string, request func() error) error {
	began := time.Now()
	err := request()
	m.metrics.Request(action, began, err)
	return err
}
