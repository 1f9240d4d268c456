package neutron

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/earlybind/earlybind/binding"
)

// Token is the only token that the fake accepts.
const Token = "simulated-token"

// Neutron is one Neutron. Its methods may be called at any time from any
// goroutine.
type Neutron struct {
	Calls

	mu        sync.Mutex
	ports     map[string]*port
	created   int
	agents    map[string]bool
	autoWire  bool
	forbidden bool
	old       bool
}

// New makes a Neutron. Hosts are those with a live agent; compute1 and compute2 if
// none are given.
func New(hosts ...string) *Neutron {
	if len(hosts) == 0 {
		hosts = []string{"compute1", "compute2"}
	}
	n := &Neutron{
		Calls:  Calls{done: make(chan struct{})},
		ports:  make(map[string]*port),
		agents: make(map[string]bool),
	}
	for _, host := range hosts {
		n.agents[host] = true
	}
	return n
}

// Handler serves the API.
func (n *Neutron) Handler() http.Handler { return n.handler(n.carry) }

// PortOpts describes a port; the zero value of a field is its default.
type PortOpts struct {
	ID          string         // default a new UUID
	DeviceID    string         // the instance
	DeviceOwner string         // default compute:nova
	Host        string         // with an ACTIVE row bound there; default no row at all
	VNICType    string         // default normal
	Profile     map[string]any // of that row
	Status      string         // default DOWN
}

// AddPort adds a port and returns its id.
func (n *Neutron) AddPort(opts PortOpts) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.created++
	p := &port{
		id:       or(opts.ID, fmt.Sprintf("00000000-0000-4000-8000-%012x", n.created)),
		deviceID: opts.DeviceID,
		owner:    or(opts.DeviceOwner, "compute:nova"),
		status:   or(opts.Status, binding.PortDown),
		revision: 1,
		rows:     make(map[string]*row),
	}
	if opts.Host != "" {
		r := &row{
			host:     opts.Host,
			status:   binding.StatusActive,
			vnicType: or(opts.VNICType, "normal"),
			profile:  normalise(opts.Profile),
		}
		n.bind(r)
		p.rows[r.host] = r
	}
	n.ports[p.id] = p
	return p.id
}

// DeletePort removes a port with its rows.
func (n *Neutron) DeletePort(portID string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.ports, portID)
}

// Rows are a port's rows by host, nil if there is no such port.
func (n *Neutron) Rows(portID string) []binding.Binding {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.ports[portID]
	if p == nil {
		return nil
	}
	var rows []binding.Binding
	for _, r := range p.sorted() {
		rows = append(rows, binding.Binding{
			Host: r.host, Status: r.status, VIFType: r.vifType, VNICType: r.vnicType,
			VIFDetails: maps.Clone(r.details), Profile: maps.Clone(r.profile),
		})
	}
	return rows
}

// PutRow adds or replaces a row as it is, past all checks: a left-over, or what
// another call has done.
func (n *Neutron) PutRow(portID string, b binding.Binding) {
	n.change(portID, func(p *port) {
		p.rows[b.Host] = &row{
			host: b.Host, status: b.Status, vifType: b.VIFType, vnicType: or(b.VNICType, "normal"),
			details: normalise(b.VIFDetails), profile: normalise(b.Profile),
		}
	})
}

// DeleteRow removes a row, as Nova's rollback does; nothing happens if it is not
// there.
func (n *Neutron) DeleteRow(portID, host string) {
	n.change(portID, func(p *port) { delete(p.rows, host) })
}

// SetPortStatus sets a port's status, as any agent can that has the device.
func (n *Neutron) SetPortStatus(portID, status string) {
	n.change(portID, func(p *port) { p.status = status })
}

// PortStatus is the status of a port, "" if there is no such port.
func (n *Neutron) PortStatus(portID string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[portID]; p != nil {
		return p.status
	}
	return ""
}

// AutoWire makes agents report a port as ACTIVE as soon as Neutron tells them of it:
// when a row that is bound is activated, and when an update of the port has bound its
// row. A row that is ACTIVE because it was created so is not told to any agent. It is
// off at first: a port stays DOWN until SetPortStatus.
func (n *Neutron) AutoWire(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.autoWire = on
}

// SetAgent makes the agent of a host live or dead.
func (n *Neutron) SetAgent(host string, live bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.agents[host] = live
}

// Forbid makes every write answer 403, as to a user with the role admin alone.
func (n *Neutron) Forbid(on bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forbidden = on
}

// MakeOld makes the fake a Neutron before 23.0.0: without the extension that tells,
// and with 500 instead of 409 to the caller that loses when two activates meet.
func (n *Neutron) MakeOld() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.old = true
}

func (n *Neutron) change(portID string, f func(*port)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if p := n.ports[portID]; p != nil {
		f(p)
		p.revision++
	}
}

type port struct {
	id, deviceID, owner, status string
	revision                    int
	rows                        map[string]*row
}

type row struct {
	host, status, vifType, vnicType string
	details, profile                map[string]any
}

func (p *port) sorted() []*row {
	return slices.SortedFunc(maps.Values(p.rows), func(a, b *row) int {
		return bytes.Compare([]byte(a.host), []byte(b.host))
	})
}

func (p *port) active() *row {
	for _, r := range p.rows {
		if r.status == binding.StatusActive {
			return r
		}
	}
	return nil
}

// bind is what the mechanism driver does.
func (n *Neutron) bind(r *row) bool {
	if !n.agents[r.host] {
		r.vifType, r.details = binding.VIFTypeBindingFailed, map[string]any{}
		return false
	}
	r.vifType = "ovs"
	r.details = map[string]any{
		"connectivity":    "l2",
		"port_filter":     true,
		"ovs_hybrid_plug": false,
		"datapath_type":   "netdev",
		"bridge_name":     "br-int",
	}
	return true
}

func (r *row) bound() bool {
	return r.vifType != binding.VIFTypeUnbound && r.vifType != binding.VIFTypeBindingFailed
}

func (r *row) unbind() {
	r.vifType, r.details = binding.VIFTypeUnbound, map[string]any{}
}

func (r *row) body() map[string]any {
	return map[string]any{
		"host": r.host, "status": r.status, "vif_type": r.vifType, "vnic_type": r.vnicType,
		"vif_details": maps.Clone(r.details), "profile": maps.Clone(r.profile),
	}
}

func (p *port) body() map[string]any {
	body := map[string]any{
		"id": p.id, "name": "", "description": "", "admin_state_up": true, "status": p.status,
		"network_id":   "8ea8cb6b-09f1-45aa-9c97-64e0531e6d59",
		"tenant_id":    "1eb3faed665e41d9b6618e17dae5fde7",
		"project_id":   "1eb3faed665e41d9b6618e17dae5fde7",
		"mac_address":  "fa:16:3e:37:7b:92",
		"device_id":    p.deviceID,
		"device_owner": p.owner,
		"fixed_ips": []any{map[string]any{
			"subnet_id": "97ce1183-42aa-4cac-88f9-8a92f1a8c4d1", "ip_address": "10.10.3.229",
		}},
		"allowed_address_pairs": []any{}, "extra_dhcp_opts": []any{}, "tags": []any{},
		"security_groups":       []any{"05df66ac-dbad-4a90-894a-0f25f9b2c0c3"},
		"port_security_enabled": true,
		"created_at":            "2026-11-23T04:12:11Z",
		"updated_at":            "2026-11-23T04:12:13Z",
		"revision_number":       p.revision,
	}
	// Without an ACTIVE row a port has no binding:* attributes at all.
	if r := p.active(); r != nil {
		details := maps.Clone(r.details)
		if r.bound() {
			details["bound_drivers"] = map[string]any{"0": "openvswitch"}
		}
		body["binding:host_id"] = r.host
		body["binding:vif_type"] = r.vifType
		body["binding:vnic_type"] = r.vnicType
		body["binding:vif_details"] = details
		body["binding:profile"] = maps.Clone(r.profile)
	}
	return body
}

// normalise is what a trip over the wire makes of a map; never nil.
func normalise(m map[string]any) map[string]any {
	data, err := json.Marshal(m)
	if err != nil {
		panic(fmt.Sprintf("neutron: %v", err))
	}
	out := map[string]any{}
	if err := decode(data, &out); err != nil {
		panic(fmt.Sprintf("neutron: %v", err))
	}
	if out == nil {
		out = map[string]any{}
	}
	return out
}

func decode(data []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode(to)
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
