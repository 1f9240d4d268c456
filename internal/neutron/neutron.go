// Package neutron is Neutron's API as those need it who decide of ports: package
// binding's calls, and package port's values.
package neutron

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/internal/turn"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// API is one Neutron.
type API struct {
	client *gophercloud.ServiceClient
	turns  *turn.Gate
	reads  bool
}

var _ rollback.Neutron = API{}

// New speaks to the Neutron that the client is of.
func New(client *gophercloud.ServiceClient) API { return API{client: client} }

// Through gives the same Neutron, of which each request waits for its turn. What could not
// be sent before its context ended wraps [binding.ErrWithheld].
func (a API) Through(g *turn.Gate) API {
	a.turns = g
	return a
}

// ReadOnly gives the same Neutron to one who writes nothing, and is to send nothing but reads.
func (a API) ReadOnly() API {
	a.reads = true
	return a
}

// ask sends one request when it is its turn.
func ask[T any](ctx context.Context, a API, request func() (T, error)) (answer T, err error) {
	if err := a.turns.Enter(ctx); err != nil {
		return answer, fmt.Errorf("%w, its turn did not come: %w", binding.ErrWithheld, err)
	}
	defer a.turns.Leave()
	return request()
}

// Ports gives the ports of an instance with all their rows.
func (a API) Ports(ctx context.Context, instance string) ([]port.Port, error) {
	found, err := a.List(ctx, instance)
	if err != nil {
		return nil, err
	}
	ports := make([]port.Port, len(found))
	faults := make([]error, len(found))
	var wg sync.WaitGroup
	for i, p := range found {
		wg.Go(func() { ports[i], faults[i] = a.WithRows(ctx, p) })
	}
	wg.Wait()
	for _, err := range faults {
		if err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// List gives the ports of an instance without their rows.
func (a API) List(ctx context.Context, instance string) ([]binding.Port, error) {
	return ask(ctx, a, func() ([]binding.Port, error) { return binding.ListPorts(ctx, a.client, instance) })
}

// OnHost gives the ports that have a row on host, ACTIVE or not.
func (a API) OnHost(ctx context.Context, host string) ([]binding.Port, error) {
	return ask(ctx, a, func() ([]binding.Port, error) { return binding.ListPortsOnHost(ctx, a.client, host) })
}

// WrongOn gives, of the ports that have a row on host, the instances with a port that
// is not ACTIVE and bound there.
func (a API) WrongOn(ctx context.Context, host string) ([]string, error) {
	found, err := a.OnHost(ctx, host)
	if err != nil {
		return nil, err
	}
	var instances []string
	for _, p := range found {
		if p.HostID != host || !p.Bound() {
			instances = append(instances, p.DeviceID)
		}
	}
	return instances, nil
}

// Read reads the port before its rows: a row that changes in between has
// changed the revision too, and SetProfile with the older one is refused. The
// error of a port that is not there wraps [port.ErrGone].
func (a API) Read(ctx context.Context, id string) (port.Port, error) {
	found, err := ask(ctx, a, func() (*binding.Port, error) { return binding.GetPort(ctx, a.client, id) })
	if errors.Is(err, binding.ErrPortNotFound) {
		// Neutron says so too to a user that has lost its role; before 2023.2 to the probe as well, and
		// there it is believed.
		if !a.reads {
			if probe := binding.ProbePermission(ctx, a.client); probe != nil {
				return port.Port{}, errors.Join(err, probe)
			}
		}
		return port.Port{}, fmt.Errorf("%w: %w", port.ErrGone, err)
	}
	if err != nil {
		return port.Port{}, err
	}
	return a.WithRows(ctx, *found)
}

// WithRows reads the rows of a port that was read.
func (a API) WithRows(ctx context.Context, p binding.Port) (port.Port, error) {
	rows, err := ask(ctx, a, func() ([]binding.Binding, error) { return binding.List(ctx, a.client, p.ID).Extract() })
	if err != nil {
		return port.Port{}, err
	}
	result := port.Port{
		ID: p.ID, Network: p.NetworkID, MAC: p.MACAddress, Device: p.DeviceID, DeviceOwner: p.DeviceOwner, Status: p.Status, Revision: p.RevisionNumber,
		TrunkParent: p.TrunkParent,
	}
	if drivers := p.BoundDrivers(); len(drivers) > 0 {
		result.Driver = drivers[0]
	}
	for _, r := range rows {
		result.Rows = append(result.Rows, port.Row{
			Host: r.Host, Active: r.Active(), VIFType: r.VIFType, VNICType: r.VNICType, Profile: r.Profile,
		})
	}
	return result, nil
}

// Activate makes the row on host the ACTIVE one.
func (a API) Activate(ctx context.Context, id, host string) error {
	_, err := ask(ctx, a, func() (struct{}, error) { return struct{}{}, binding.Activate(ctx, a.client, id, host).Err })
	return err
}

// SetProfile replaces the profile of the ACTIVE row, if the port is still at that revision.
func (a API) SetProfile(ctx context.Context, id string, profile map[string]any, revision int) error {
	_, err := ask(ctx, a, func() (*binding.Port, error) { return binding.UpdateProfile(ctx, a.client, id, profile, revision) })
	return err
}

// Rebind binds the ACTIVE row if it is unbound.
func (a API) Rebind(ctx context.Context, id string) error {
	_, err := ask(ctx, a, func() (*binding.Port, error) { return binding.Rebind(ctx, a.client, id) })
	return err
}

// Create makes a row; an error wraps [rollback.ErrRefused] where Neutron itself has said
// no.
func (a API) Create(ctx context.Context, id, host, vnic string, profile map[string]any) error {
	_, err := ask(ctx, a, func() (*binding.Binding, error) {
		return binding.Create(ctx, a.client, id, binding.CreateOpts{Host: host, VNICType: vnic, Profile: profile}).Extract()
	})
	if fault := (*binding.Error)(nil); errors.As(err, &fault) && fault.Type != "" {
		return fmt.Errorf("%w: %w", rollback.ErrRefused, err)
	}
	return err
}

// Delete removes a row, ACTIVE or not.
func (a API) Delete(ctx context.Context, id, host string) error {
	_, err := ask(ctx, a, func() (struct{}, error) { return struct{}{}, binding.Delete(ctx, a.client, id, host).ExtractErr() })
	return err
}
