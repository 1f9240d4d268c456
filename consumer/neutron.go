package consumer

import (
	"context"

	"github.com/gophercloud/gophercloud/v2"

	api "github.com/earlybind/earlybind/internal/neutron"
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

// NewNeutron speaks to a real one.
func NewNeutron(client *gophercloud.ServiceClient) Neutron { return api.New(client) }
