package check

import (
	"context"
	"errors"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/apiversions"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"

	"github.com/earlybind/earlybind/binding"
)

// Nova is what is asked of it.
type Nova interface {
	// Version gives the newest microversion, as "2.100".
	Version(ctx context.Context) (string, error)
	// Hosts gives the hosts of nova-compute.
	Hosts(ctx context.Context) ([]ComputeHost, error)
}

// NewNova asks a real one. Its version it tells everybody; its services those that have its
// rule os-services:list (docs/doctor.md).
func NewNova(client *gophercloud.ServiceClient) Nova { return novaAPI{client} }

type novaAPI struct{ client *gophercloud.ServiceClient }

func (n novaAPI) Version(ctx context.Context) (string, error) {
	pages, err := apiversions.List(n.client).AllPages(ctx)
	if err != nil {
		return "", binding.Brief(err)
	}
	versions, err := apiversions.ExtractAPIVersions(pages)
	if err != nil {
		return "", err
	}
	for _, v := range versions {
		if v.ID == "v2.1" && v.Version != "" {
			return v.Version, nil
		}
	}
	return "", errors.New("it does not list a v2.1 with microversions")
}

func (n novaAPI) Hosts(ctx context.Context) ([]ComputeHost, error) {
	pages, err := services.List(n.client, services.ListOpts{Binary: "nova-compute"}).AllPages(ctx)
	if err != nil {
		return nil, binding.Brief(err)
	}
	found, err := services.ExtractServices(pages)
	if err != nil {
		return nil, err
	}
	var hosts []ComputeHost
	for _, s := range found {
		hosts = append(hosts, ComputeHost{Name: s.Host, Up: s.State == "up"})
	}
	return hosts, nil
}
