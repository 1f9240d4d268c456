package consumer

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/internal/clock"
	api "github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/internal/turn"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// Neutron is what the consumer needs of the API.
type Neutron interface {
	rollback.Neutron
	// Ports gives the ports of an instance with all their rows.
	Ports(ctx context.Context, instance string) ([]port.Port, error)
	// WrongOn gives, of the ports that have a row on host, the instances with
	// a port that is not ACTIVE and bound there.
	WrongOn(ctx context.Context, host string) ([]string, error)
}

// NewNeutron speaks to a real one, and bounds nothing.
func NewNeutron(client *gophercloud.ServiceClient) Neutron { return api.New(client) }

// Neutron speaks to a real one, with no more requests under way than are set, and with reads alone where nothing is to be written.
func (s Settings) Neutron(client *gophercloud.ServiceClient) Neutron {
	neutron := api.New(client).Through(s.Turns(clock.Real()))
	if !s.Writes() {
		neutron = neutron.ReadOnly()
	}
	return neutron
}

// Writes tells whether anything may be written to Neutron at all: not while all is observed, unless repair is of all ports.
func (s Settings) Writes() bool { return writes(s.core(false)) }

// Turns is the gate of what is asked of Neutron; nil where no bound is set.
func (s Settings) Turns(c clock.Clock) *turn.Gate {
	if s.NeutronAtOnce == 0 {
		return nil
	}
	return turn.NewGate(c, s.NeutronAtOnce)
}
