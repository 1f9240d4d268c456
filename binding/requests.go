package binding

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/gophercloud/gophercloud/v2"
)

// List reads all rows of a port, ordered by Neutron. A port that is not there is
// [ErrPortNotFound]; so is one that the user may not see.
//
// neutron/plugins/ml2/plugin.py get_port_bindings.
func List(ctx context.Context, client *gophercloud.ServiceClient, portID string) (r ListResult) {
	c := call{op: OpList, portID: portID}
	if r.Err = c.require(needPort); r.Err != nil {
		return
	}
	var body json.RawMessage
	resp, err := client.Get(ctx, rootURL(client, portID), &body, &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusOK},
	})
	c.finish(&r.Result, resp, err)
	c.holds(&r.Result, body, "bindings")
	return
}

// Get reads the row of a port on one host; [ErrBindingNotFound] if it has none
// there.
//
// neutron/plugins/ml2/plugin.py get_port_binding.
func Get(ctx context.Context, client *gophercloud.ServiceClient, portID, host string) (r GetResult) {
	c := call{op: OpGet, portID: portID, host: host}
	if r.Err = c.require(needHost); r.Err != nil {
		return
	}
	var body json.RawMessage
	resp, err := client.Get(ctx, resourceURL(client, portID, host), &body, &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusOK},
	})
	c.finish(&r.Result, resp, err)
	c.holds(&r.Result, body, "binding")
	return
}

// CreateOptsBuilder allows extensions to add parameters to the Create request.
type CreateOptsBuilder interface {
	ToBindingCreateMap() (map[string]any, error)
}

// CreateOpts describes a row to be created.
type CreateOpts struct {
	// Host is the host of the Neutron agent, which is Nova's "host". Required.
	Host string

	// VNICType is the type of the virtual NIC; Neutron's default is "normal".
	VNICType string

	// Profile is what the host needs to know to plug the port; {} if empty.
	Profile map[string]any
}

// ToBindingCreateMap builds the body of a Create request. It does not use
// [gophercloud.BuildRequestBody], which turns the numbers of a profile into
// float64.
func (opts CreateOpts) ToBindingCreateMap() (map[string]any, error) {
	if opts.Host == "" {
		return nil, missingInput("Host")
	}
	row := map[string]any{"host": opts.Host}
	if opts.VNICType != "" {
		row["vnic_type"] = opts.VNICType
	}
	if len(opts.Profile) > 0 {
		row["profile"] = opts.Profile
	}
	return map[string]any{"binding": row}, nil
}

// Create adds a row. The row is INACTIVE if the port has an ACTIVE row, and
// ACTIVE at once, agents untold, if it has none: see the status of the answer.
//
// The row exists already: [ErrAlreadyExists]. No live agent on the host, or
// nothing there that can bind it: [ErrNotBindable]; if the port had no ACTIVE row,
// that leaves an ACTIVE row behind whose vif_type is binding_failed. In the same
// case without a profile there is no error, but an ACTIVE row that is unbound (both
// seen on 26.0.3).
//
// neutron/plugins/ml2/plugin.py create_port_binding.
func Create(ctx context.Context, client *gophercloud.ServiceClient, portID string, opts CreateOptsBuilder) (r CreateResult) {
	c := call{op: OpCreate, portID: portID}
	if r.Err = c.require(needPort); r.Err != nil {
		return
	}
	b, err := opts.ToBindingCreateMap()
	if err != nil {
		r.Err = c.refuse(err)
		return
	}
	if row, ok := b["binding"].(map[string]any); ok {
		c.host, _ = row["host"].(string)
	}
	var body json.RawMessage
	resp, err := client.Post(ctx, rootURL(client, portID), b, &body, &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusCreated},
	})
	c.finish(&r.Result, resp, err)
	c.holds(&r.Result, body, "binding")
	return
}

// Activate makes the INACTIVE row of a host the ACTIVE one. The row that was
// ACTIVE becomes INACTIVE and unbound, and the port DOWN until the agent of the
// host has wired it. The request has no body: even {} is answered with 500.
//
// The row is ACTIVE already: [ErrAlreadyActive]. There is no row for the host:
// [ErrBindingNotFound]. The port is not an instance's: [ErrNotCompute]. The port
// has no ACTIVE row, or two calls have collided: [ErrInternal]. The answer is a
// 200 that names another host, or a row that is not ACTIVE: [ErrOtherHost].
//
// neutron/plugins/ml2/plugin.py activate.
func Activate(ctx context.Context, client *gophercloud.ServiceClient, portID, host string) (r ActivateResult) {
	c := call{op: OpActivate, portID: portID, host: host}
	if r.Err = c.require(needHost); r.Err != nil {
		return
	}
	var row json.RawMessage // decoded once, and not by way of a map: many may be sent at once
	resp, err := client.Put(ctx, activateURL(client, portID, host), nil, &row, &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusOK},
	})
	r.Body = row
	c.finish(&r.Result, resp, err)
	if r.Err == nil {
		r.Err = c.believe(r)
	}
	return
}

// Delete removes a row, an ACTIVE one too; no mechanism driver is told. There is
// no such row: [ErrBindingNotFound].
//
// neutron/plugins/ml2/plugin.py delete_port_binding.
func Delete(ctx context.Context, client *gophercloud.ServiceClient, portID, host string) (r DeleteResult) {
	c := call{op: OpDelete, portID: portID, host: host}
	if r.Err = c.require(needHost); r.Err != nil {
		return
	}
	resp, err := client.Delete(ctx, resourceURL(client, portID, host), &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusNoContent},
	})
	c.finish(&r.Result, resp, err)
	return
}
