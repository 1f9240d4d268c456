package binding

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

// Status of a port, which is not the status of a row. It proves nothing alone: an
// agent of another host can set it.
const (
	PortActive = "ACTIVE"
	PortDown   = "DOWN"
	PortBuild  = "BUILD"
)

// Port is the side of a port that bindings touch. Its binding:* attributes are
// those of the ACTIVE row.
type Port struct {
	ID          string `json:"id"`
	NetworkID   string `json:"network_id"`
	MACAddress  string `json:"mac_address"`
	ProjectID   string `json:"project_id"`
	DeviceID    string `json:"device_id"`
	DeviceOwner string `json:"device_owner"`

	// Status is the status of the port, not of a row.
	Status string `json:"status"`

	// RevisionNumber grows with every change of the port or of its rows.
	RevisionNumber int `json:"revision_number"`

	HostID     string         `json:"binding:host_id"`
	VIFType    string         `json:"binding:vif_type"`
	VNICType   string         `json:"binding:vnic_type"`
	VIFDetails map[string]any `json:"binding:vif_details"`
	Profile    map[string]any `json:"binding:profile"`

	// HasActiveRow tells whether there was any binding:* attribute. To a user who
	// may read them, a port without any has no ACTIVE row.
	HasActiveRow bool `json:"-"`

	// TrunkParent tells whether the port carries a trunk: Neutron shows
	// trunk_details on such ports only (neutron/services/trunk/plugin.py,
	// _extend_port_trunk_details).
	TrunkParent bool `json:"-"`
	// Subports are the ids of the ports of that trunk, which follow this one.
	Subports []string `json:"-"`
}

// UnmarshalJSON keeps the numbers of Profile and VIFDetails as they were sent.
func (p *Port) UnmarshalJSON(data []byte) error {
	type plain Port
	if err := decodeNumbers(data, (*plain)(p)); err != nil {
		return err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(data, &keys); err != nil {
		return err
	}
	p.HasActiveRow = false
	p.Subports = nil
	details, trunk := keys["trunk_details"]
	p.TrunkParent = trunk
	if trunk {
		var t struct {
			SubPorts []struct {
				PortID string `json:"port_id"`
			} `json:"sub_ports"`
		}
		if err := json.Unmarshal(details, &t); err != nil {
			return err
		}
		for _, sub := range t.SubPorts {
			p.Subports = append(p.Subports, sub.PortID)
		}
	}
	for key := range keys {
		p.HasActiveRow = p.HasActiveRow || strings.HasPrefix(key, "binding:")
	}
	return nil
}

// Bound tells whether the port's ACTIVE row is bound to its host.
func (p Port) Bound() bool { return bound(p.HostID, p.VIFType) }

// MigratingTo is the destination of the live migration that the profile of the
// ACTIVE row tells of, or "".
func (p Port) MigratingTo() string { return migratingTo(p.Profile) }

// BoundDrivers are the mechanism drivers that bound the ACTIVE row, top level
// first: vif_details.bound_drivers, which Neutron has had since 2022. Empty if it
// does not tell.
func (p Port) BoundDrivers() []string {
	levels, _ := p.VIFDetails["bound_drivers"].(map[string]any)
	keys := make([]int, 0, len(levels))
	for level := range levels {
		if n, err := strconv.Atoi(level); err == nil {
			keys = append(keys, n)
		}
	}
	slices.Sort(keys)
	drivers := make([]string, 0, len(keys))
	for _, n := range keys {
		if driver, ok := levels[strconv.Itoa(n)].(string); ok {
			drivers = append(drivers, driver)
		}
	}
	return drivers
}

// ListPorts reads the ports of an instance. An unknown instance has none, which is
// not an error. Trunk subports are not among them: they have no device_id of the
// instance.
func ListPorts(ctx context.Context, client *gophercloud.ServiceClient, deviceID string) ([]Port, error) {
	c := call{op: OpListPorts}
	if deviceID == "" {
		return nil, c.refuse(missingInput("deviceID"))
	}
	return c.ports(ctx, client, url.Values{"device_id": {deviceID}})
}

// ListPortsOnHost reads the ports that have a row on a host, ACTIVE or not: one call
// finds every port of the host, and those that have left it or are to come.
func ListPortsOnHost(ctx context.Context, client *gophercloud.ServiceClient, host string) ([]Port, error) {
	c := call{op: OpListPorts, host: host}
	if host == "" {
		return nil, c.refuse(missingInput("host"))
	}
	return c.ports(ctx, client, url.Values{"binding:host_id": {host}})
}

// ports reads page after page, until one is empty or the last. Gophercloud's own pager takes
// any JSON object for a page, if need be for an empty one, and decodes each port three times.
func (c call) ports(ctx context.Context, client *gophercloud.ServiceClient, filter url.Values) ([]Port, error) {
	var list []Port
	next := portsURL(client) + "?" + filter.Encode()
	for read := map[string]bool{}; next != ""; {
		if read[next] {
			return nil, c.fail(fmt.Errorf("the pages of the list lead back to %s", next))
		}
		read[next] = true
		resp, err := pagination.Request(ctx, client, nil, next)
		if err != nil {
			return nil, c.fail(err)
		}
		page, after, err := c.page(resp)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			break
		}
		list, next = append(list, page...), after
	}
	return list, nil
}

// page reads one page, and where the next one is.
func (c call) page(resp *http.Response) (list []Port, next string, err error) {
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, "", c.fail(err)
	}
	var body json.RawMessage
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := decodeNumbers(text, &body); err != nil {
			return nil, "", c.fail(err)
		}
	}
	r := gophercloud.Result{StatusCode: resp.StatusCode, Header: resp.Header}
	if c.holds(&r, body, "ports"); r.Err != nil {
		return nil, "", r.Err
	}
	var links []gophercloud.Link
	if err := extract(r, "ports_links", &links); err != nil {
		return nil, "", c.fail(err)
	}
	if err := extract(r, "ports", &list); err != nil {
		return nil, "", c.fail(err)
	}
	if next, err = gophercloud.ExtractNextURL(links); err != nil {
		return nil, "", c.fail(err)
	}
	return list, next, nil
}

// GetPort reads one port; [ErrPortNotFound] if it is not there.
func GetPort(ctx context.Context, client *gophercloud.ServiceClient, portID string) (*Port, error) {
	c := call{op: OpGetPort, portID: portID}
	if err := c.require(needPort); err != nil {
		return nil, err
	}
	var body json.RawMessage
	resp, err := client.Get(ctx, portURL(client, portID), &body, &gophercloud.RequestOpts{
		OkCodes: []int{http.StatusOK},
	})
	return c.port(resp, body, err)
}

// UpdateProfile writes the profile of the port's ACTIVE row, if the port's revision
// is still the one given. It binds a row that is unbound, and unbinds and binds one
// whose profile it changes; either makes the port DOWN until the agent has wired it
// again. An agent is told of a changed profile, and of a row that was unbound.
//
// The port has changed meanwhile: [ErrChanged]. The port has no ACTIVE row:
// [ErrPortNotFound], although GetPort finds it.
//
// Neutron checks the revision when the request first writes, and not again when a
// collision in its database makes it run a second time (code,
// neutron/services/revisions/revision_plugin.py _get_constrained_instance_match):
// it is a good guard and not a lock.
//
// neutron/plugins/ml2/plugin.py update_port, _process_port_binding.
func UpdateProfile(ctx context.Context, client *gophercloud.ServiceClient, portID string, profile map[string]any, revision int) (*Port, error) {
	c := call{op: OpUpdateProfile, portID: portID}
	if err := c.require(needPort); err != nil {
		return nil, err
	}
	if profile == nil {
		profile = map[string]any{}
	}
	return c.update(ctx, client, map[string]any{"binding:profile": profile}, map[string]string{"If-Match": fmt.Sprintf("revision_number=%d", revision)})
}

// Rebind binds the port's ACTIVE row if it is unbound, by an update that changes
// nothing; the agent is told, since the row was not bound before. It is for a row
// whose profile stays: Neutron 21.0.0 answers 412 to an [UpdateProfile] that changes
// nothing but binds, for ever and at each revision, since its own binding comes
// before it compares (run); without a profile there is nothing that could be
// overwritten.
//
// The port has no ACTIVE row: [ErrPortNotFound], although GetPort finds it.
func Rebind(ctx context.Context, client *gophercloud.ServiceClient, portID string) (*Port, error) {
	c := call{op: OpUpdateProfile, portID: portID}
	if err := c.require(needPort); err != nil {
		return nil, err
	}
	return c.update(ctx, client, map[string]any{}, nil)
}

// update is not gophercloud's: its portsbinding.UpdateOptsExt sends null for an empty profile
// and loses If-Match.
func (c call) update(ctx context.Context, client *gophercloud.ServiceClient, change map[string]any, header map[string]string) (*Port, error) {
	var body json.RawMessage
	resp, err := client.Put(ctx, portURL(client, c.portID), map[string]any{"port": change}, &body, &gophercloud.RequestOpts{
		MoreHeaders: header,
		OkCodes:     []int{http.StatusOK, http.StatusCreated},
	})
	return c.port(resp, body, err)
}

// port extracts the port of an answer.
func (c call) port(resp *http.Response, body json.RawMessage, err error) (*Port, error) {
	var r gophercloud.Result
	c.finish(&r, resp, err)
	c.holds(&r, body, "port")
	if r.Err != nil {
		return nil, r.Err
	}
	var p Port
	if err := extract(r, "port", &p); err != nil {
		return nil, c.fail(err)
	}
	return &p, nil
}
