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

// Neutron speaks to a real one, with no more requests under way than are set.
func (s Settings) Neutron(client *gophercloud.ServiceClient) Neutron {
	return api.New(client).Through(s.Turns(clock.Real()))
}

// Turns is the gate of what is asked of Neutron; nil where no bound is set.
func (s Settings) Turns(c clock.Clock) *turn.Gate {
	if s.NeutronAtOnce == 0 {
		return nil
	}
	return turn.NewGate(c, s.NeutronAtOnce)
}
