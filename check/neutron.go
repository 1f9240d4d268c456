package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/agents"

	"github.com/earlybind/earlybind/binding"
)

// Neutron is what is asked of it, and of the token with which it is.
type Neutron interface {
	Account() (Account, error)
	Extended(ctx context.Context) (bool, error)
	Safe(ctx context.Context) (bool, error)
	// MayWrite tells whether the user may write rows, by one for a port that does not exist.
	MayWrite(ctx context.Context) (bool, error)
	// OnHost gives the instances' ports that have a row on host, ACTIVE or not.
	OnHost(ctx context.Context, host string) ([]Port, error)
	// ReadsRows tells whether the rows of a port can be read; [binding.ErrPortNotFound] if
	// the port is not there any more.
	ReadsRows(ctx context.Context, portID string) (bool, error)
}

// AgentLister is what is asked of a Neutron that may be asked as another user.
type AgentLister interface {
	Agents(ctx context.Context) ([]Agent, error)
}

// NewNeutron asks a real one, with the client that the consumer has.
func NewNeutron(client *gophercloud.ServiceClient) Neutron { return neutronAPI{client} }

// NewAgents lists the agents of a real Neutron. Its user needs Neutron's rule get_agent, which
// is an administrator's; without it Neutron lists none.
func NewAgents(client *gophercloud.ServiceClient) AgentLister { return neutronAPI{client} }

type neutronAPI struct{ client *gophercloud.ServiceClient }

// Account reads what Keystone has said with the token.
func (n neutronAPI) Account() (Account, error) {
	token, ok := n.client.GetAuthResult().(interface {
		ExtractUser() (*tokens.User, error)
		ExtractProject() (*tokens.Project, error)
		ExtractRoles() ([]tokens.Role, error)
	})
	if !ok {
		return Account{}, errors.New("Keystone's answer tells no user")
	}
	user, err := token.ExtractUser()
	if err != nil {
		return Account{}, err
	}
	project, err := token.ExtractProject()
	if err != nil {
		return Account{}, err
	}
	roles, err := token.ExtractRoles()
	if err != nil {
		return Account{}, err
	}
	a := Account{User: user.Name, Project: "(none)"}
	if project != nil && project.Name != "" {
		a.Project = project.Name
	}
	for _, r := range roles {
		a.Roles = append(a.Roles, r.Name)
	}
	return a, nil
}

func (n neutronAPI) Extended(ctx context.Context) (bool, error) {
	return binding.HasBindingExtended(ctx, n.client)
}

func (n neutronAPI) Safe(ctx context.Context) (bool, error) {
	return binding.ConcurrentActivateSafe(ctx, n.client)
}

// noPort is the id of none.
const noPort = "00000000-0000-0000-0000-000000000000"

// MayWrite: who may is answered 404 or 500. So is everybody whose Neutron has no database: the
// answer counts if Neutron knows that a port does not exist.
func (n neutronAPI) MayWrite(ctx context.Context) (bool, error) {
	err := binding.ProbePermission(ctx, n.client)
	switch {
	case errors.Is(err, binding.ErrForbidden):
		return false, nil
	case err != nil:
		return false, err
	}
	if _, err := binding.GetPort(ctx, n.client, noPort); err != nil && !errors.Is(err, binding.ErrPortNotFound) {
		return false, fmt.Errorf("it has not refused, but it reads nothing either: %w", err)
	}
	return true, nil
}

func (n neutronAPI) OnHost(ctx context.Context, host string) ([]Port, error) {
	found, err := binding.ListPortsOnHost(ctx, n.client, host)
	if err != nil {
		return nil, err
	}
	var ports []Port
	for _, p := range found {
		if !strings.HasPrefix(p.DeviceOwner, "compute:") {
			continue
		}
		one := Port{ID: p.ID, Instance: p.DeviceID, Network: p.NetworkID, Owner: p.DeviceOwner, Trunk: p.TrunkParent, Active: p.HostID == host}
		if drivers := p.BoundDrivers(); len(drivers) > 0 {
			one.Driver = drivers[0]
		}
		ports = append(ports, one)
	}
	return ports, nil
}

// ReadsRows: who may not is answered 403, 404 as if there were no port, or before 2023.2 500.
// A port that is deleted is answered 404 too, or with no rows.
func (n neutronAPI) ReadsRows(ctx context.Context, portID string) (bool, error) {
	rows, err := binding.List(ctx, n.client, portID).Extract()
	switch {
	case errors.Is(err, binding.ErrForbidden):
		return false, nil
	case errors.Is(err, binding.ErrNotFound), err == nil && len(rows) == 0:
		_, err = binding.GetPort(ctx, n.client, portID)
		return false, err
	}
	return err == nil, err
}

func (n neutronAPI) Agents(ctx context.Context) ([]Agent, error) {
	pages, err := agents.List(n.client, agents.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, binding.Brief(err)
	}
	found, err := agents.ExtractAgents(pages)
	if err != nil {
		return nil, err
	}
	var all []Agent
	for _, a := range found {
		all = append(all, Agent{Host: a.Host, Type: a.AgentType, Alive: a.Alive})
	}
	return all, nil
}
