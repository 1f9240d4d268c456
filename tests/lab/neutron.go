package lab

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/port"
)

// NeutronAs is a client of Neutron with the rights of one of the lab's users in
// the project service: "earlybind", or "nova", which has Nova's own.
func (l *Lab) NeutronAs(ctx context.Context, user string) (*gophercloud.ServiceClient, error) {
	options, _, _, err := clouds.Parse(clouds.WithCloudName("earlybind"), clouds.WithLocations(l.CloudsFile()))
	if err != nil {
		return nil, err
	}
	options.Username, options.AllowReauth = user, true
	provider, err := openstack.NewClient(options.IdentityEndpoint)
	if err != nil {
		return nil, err
	}
	provider.HTTPClient = http.Client{Timeout: time.Minute, Transport: l.Transport()}
	provider.UserAgent.Prepend("earlybind-harness-as-" + user)
	if err := openstack.Authenticate(ctx, provider, options); err != nil {
		return nil, err
	}
	return openstack.NewNetworkV2(provider, gophercloud.EndpointOpts{Region: "RegionOne"})
}

// CloudsFile is the clouds.yaml of the lab.
func (l *Lab) CloudsFile() string { return filepath.Join(l.root, "deploy/lab/secrets/clouds.yaml") }

// Path gives a path inside the repository.
func (l *Lab) Path(elements ...string) string {
	return filepath.Join(append([]string{l.root}, elements...)...)
}

// Network is a network of a harness's own, with which all its ports go.
type Network struct {
	ID     string
	client *gophercloud.ServiceClient
}

// NewNetwork makes one. The client is to have Nova's rights.
func NewNetwork(ctx context.Context, client *gophercloud.ServiceClient, name string) (*Network, error) {
	id, err := create(ctx, client, "network", map[string]any{"name": name})
	return &Network{ID: id, client: client}, err
}

// NewPort makes a port of an instance that Nova does not know, bound on a host;
// nothing plugs it in. A nil profile is left out.
func (n *Network) NewPort(ctx context.Context, instance, host string, profile map[string]any) (string, error) {
	fields := map[string]any{
		"network_id": n.ID, "name": "earlybind-harness", "device_owner": "compute:nova", "device_id": instance,
		"binding:host_id": host,
	}
	if profile != nil {
		fields["binding:profile"] = profile
	}
	return create(ctx, n.client, "port", fields)
}

// RemovePort deletes a port, whatever has become of its rows.
func (n *Network) RemovePort(ctx context.Context, id string) error {
	return errors.Join(n.giveActiveRow(ctx, id), n.remove(ctx, "ports", id))
}

// Remove deletes the network and what is left of its ports.
func (n *Network) Remove(ctx context.Context) error {
	var answer struct {
		Ports []struct {
			ID string `json:"id"`
		} `json:"ports"`
	}
	_, err := n.client.Get(ctx, n.client.ServiceURL("ports")+"?fields=id&network_id="+n.ID, &answer, nil)
	faults := []error{err}
	for _, p := range answer.Ports {
		faults = append(faults, n.RemovePort(ctx, p.ID))
	}
	return errors.Join(append(faults, n.remove(ctx, "networks", n.ID))...)
}

// MendPort does by hand what nobody has done: the row on a host becomes ACTIVE, the others
// go, and so does the mark of a migration.
func (l *Lab) MendPort(ctx context.Context, p port.Port, host string) error {
	client, err := l.NeutronAs(ctx, "nova")
	if err != nil {
		return err
	}
	rows, err := binding.List(ctx, client, p.ID).Extract()
	if err != nil {
		return err
	}
	if active, has := binding.ActiveRow(rows); !has || active.Host != host {
		if err := binding.Activate(ctx, client, p.ID, host).Err; err != nil {
			return err
		}
	}
	for _, r := range rows {
		if r.Host != host {
			if err := binding.Delete(ctx, client, p.ID, r.Host).ExtractErr(); err != nil {
				return err
			}
		}
	}
	body := map[string]any{"port": map[string]any{"binding:profile": map[string]any{"os_vif_delegation": true}}}
	_, err = client.Put(ctx, client.ServiceURL("ports", p.ID), body, nil, &gophercloud.RequestOpts{OkCodes: []int{http.StatusOK}})
	return err
}

// giveActiveRow gives a port an ACTIVE row if it has none: Zed's Neutron answers
// 404 to the deletion of a port without (neutron/plugins/ml2/plugin.py,
// delete_port).
func (n *Network) giveActiveRow(ctx context.Context, id string) error {
	rows, err := binding.List(ctx, n.client, id).Extract()
	if err != nil {
		return err
	}
	if _, has := binding.ActiveRow(rows); has {
		return nil
	}
	for _, host := range Computes {
		if _, has := binding.RowOn(rows, host); !has {
			return binding.Create(ctx, n.client, id, binding.CreateOpts{Host: host}).Err
		}
	}
	if err := binding.Delete(ctx, n.client, id, Computes[0]).ExtractErr(); err != nil {
		return err
	}
	return binding.Create(ctx, n.client, id, binding.CreateOpts{Host: Computes[0]}).Err
}

func (n *Network) remove(ctx context.Context, kind, id string) error {
	_, err := n.client.Delete(ctx, n.client.ServiceURL(kind, id), nil)
	return err
}

func create(ctx context.Context, client *gophercloud.ServiceClient, kind string, fields map[string]any) (string, error) {
	answer := map[string]struct {
		ID string `json:"id"`
	}{}
	_, err := client.Post(ctx, client.ServiceURL(kind+"s"), map[string]any{kind: fields}, &answer, nil)
	return answer[kind].ID, err
}
