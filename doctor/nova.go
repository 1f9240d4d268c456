package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/migrations"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/pagination"

	"github.com/earlybind/earlybind/binding"
)

// microversion is the first in which Nova shows what it cannot say, because a cell is
// down (2.69, Stein; nova/api/openstack/compute/rest_api_version_history.rst).
const microversion = "2.69"

// NewNova speaks to a real one. Its user needs to read all projects' servers with their
// hosts, migrations and services: docs/doctor.md has the rules.
func NewNova(client *gophercloud.ServiceClient) Nova {
	own := *client
	own.Microversion = microversion
	return novaAPI{&own}
}

type novaAPI struct{ client *gophercloud.ServiceClient }

func (n novaAPI) Hosts(ctx context.Context) (hosts []string, gap string, err error) {
	// Not gophercloud's list: of a cell that is down Nova gives no more than these three
	// (nova/api/openstack/compute/services.py, _get_service_detail), and it wants an id.
	var body struct {
		Services []struct{ Binary, Host, Status string } `json:"services"`
	}
	resp, err := n.client.Get(ctx, n.client.ServiceURL("os-services")+"?binary=nova-compute", &body, nil)
	if _, _, err := gophercloud.ParseResponse(resp, err); err != nil {
		return nil, "", binding.Brief(err)
	}
	for _, s := range body.Services {
		if s.Binary != "nova-compute" {
			continue
		}
		hosts = append(hosts, s.Host)
		if s.Status == "UNKNOWN" {
			gap = "the cell of compute host " + s.Host + " is down, and Nova lists none of its migrations"
		}
	}
	return hosts, gap, nil
}

func (n novaAPI) OnHost(ctx context.Context, host string) ([]string, error) {
	var instances []string
	err := servers.List(n.client, serversOn(host)).EachPage(ctx, func(_ context.Context, page pagination.Page) (bool, error) {
		var found []struct {
			ID   string          `json:"id"`
			Host json.RawMessage `json:"OS-EXT-SRV-ATTR:host"`
		}
		if err := servers.ExtractServersInto(page, &found); err != nil {
			return false, err
		}
		for _, s := range found {
			if shown := string(s.Host); shown != `"`+host+`"` {
				return false, errors.New(hidden)
			}
			instances = append(instances, s.ID)
		}
		return true, nil
	})
	return instances, binding.Brief(err)
}

// serversOn lists the servers of all projects on one host.
type serversOn string

func (h serversOn) ToServerListQuery() (string, error) {
	return "?" + url.Values{"all_tenants": {"1"}, "host": {string(h)}}.Encode(), nil
}

// hidden says what it means that Nova ignores a filter, or leaves out hosts.
const hidden = "Nova does not let this user list instances by host: it needs the rules servers:allow_all_filters and os-extended-server-attributes (docs/doctor.md)"

// Server lists with a filter and does not show: the list of all projects has a rule of
// its own, where a single server of another project is hidden from whoever is no
// administrator (nova/db/main/api.py, project_only). An instance that is soft-deleted it leaves out
// of a list, unless soft_deleted is there too: the API adds deleted=False by itself
// (nova/api/openstack/compute/servers.py, _get_servers), and then soft_deleted brings those to the
// others, and none that are gone (nova/db/main/api.py, instance_get_all_by_filters_sort). Filtering
// by status or vm_state would not, as deleted=False stays.
func (n novaAPI) Server(ctx context.Context, id string) (Server, error) {
	var body struct {
		Servers []struct {
			ID         string          `json:"id"`
			Status     string          `json:"status"`
			Host       json.RawMessage `json:"OS-EXT-SRV-ATTR:host"` // null: on none; missing: not for this user
			VMState    string          `json:"OS-EXT-STS:vm_state"`
			TaskState  string          `json:"OS-EXT-STS:task_state"`
			PowerState int             `json:"OS-EXT-STS:power_state"`
		} `json:"servers"`
	}
	query := url.Values{"all_tenants": {"1"}, "soft_deleted": {"1"}, "uuid": {id}}
	resp, err := n.client.Get(ctx, n.client.ServiceURL("servers", "detail")+"?"+query.Encode(), &body, nil)
	if _, _, err := gophercloud.ParseResponse(resp, err); err != nil {
		return Server{}, binding.Brief(err)
	}
	if len(body.Servers) == 0 {
		return Server{}, fmt.Errorf("%w: %s", ErrNoInstance, id)
	}
	s := body.Servers[0]
	if s.ID != id || s.Host == nil && s.Status != "UNKNOWN" {
		return Server{}, errors.New(hidden)
	}
	found := Server{ID: id, Status: s.Status, VMState: s.VMState, TaskState: s.TaskState, PowerState: s.PowerState}
	if s.Host != nil {
		err = json.Unmarshal(s.Host, &found.Host)
	}
	return found, err
}

func (n novaAPI) Migrations(ctx context.Context, id string) ([]Migration, error) {
	pages, err := migrations.List(n.client, migrations.ListOpts{InstanceID: &id}).AllPages(ctx)
	if err != nil {
		return nil, binding.Brief(err)
	}
	found, err := migrations.ExtractMigrations(pages)
	if err != nil {
		return nil, err
	}
	var all []Migration
	for _, m := range found {
		all = append(all, Migration{m.UUID, m.MigrationType, m.Status, m.SourceCompute, m.DestCompute})
	}
	return all, nil
}
