package ovs

import "slices"

// deadVLAN is the local VLAN that goes nowhere: Neutron's DEAD_VLAN_TAG
// (neutron/plugins/ml2/drivers/openvswitch/agent/common/constants.py).
const deadVLAN = 4095

// trunkMode is how a port lets no frame pass that has no tag; see plug.
const trunkMode = "trunk"

// contents is what the database holds, as the monitor has told. Columns that
// decisions rest on are read once, when the row comes.
type contents struct {
	schema     schema
	bridges    map[string]bridgeRow // by row UUID, as all of them
	ports      map[string]portRow
	interfaces map[string]interfaceRow
}

type bridgeRow struct {
	name  string
	ports []string // row UUIDs
}

type portRow struct {
	row
	interfaces []string // row UUIDs
	tag        int      // 0: none
}

type interfaceRow struct {
	row
	name     string
	port     string // external_ids:iface-id, the Neutron port
	instance string // external_ids:vm-uuid
	ofport   int    // 0: ovs-vswitchd has not taken it yet; -1: it could not
	fault    string // column error
}

// updates are rows by table and row UUID; nil where the row has gone.
type updates map[string]map[string]row

func newContents(s schema) *contents {
	return &contents{schema: s, bridges: map[string]bridgeRow{}, ports: map[string]portRow{}, interfaces: map[string]interfaceRow{}}
}

// apply takes what the monitor says.
func (c *contents) apply(u updates) {
	for id, r := range u[tableBridge] {
		set(c.bridges, id, r, bridgeRow{r.text("name"), r.uuids("ports")})
	}
	for id, r := range u[tablePort] {
		tag, _ := r.number("tag")
		set(c.ports, id, r, portRow{r, r.uuids("interfaces"), tag})
	}
	for id, r := range u[tableInterface] {
		ids := r.texts("external_ids")
		ofport, _ := r.number("ofport")
		set(c.interfaces, id, r, interfaceRow{
			row: r, name: r.text("name"), port: ids["iface-id"], instance: ids["vm-uuid"], ofport: ofport, fault: r.text("error"),
		})
	}
}

func set[T any](rows map[string]T, id string, r row, value T) {
	if r == nil {
		delete(rows, id)
	} else {
		rows[id] = value
	}
}

// place is where an interface hangs.
type place struct {
	iface  interfaceRow
	portID string // row UUID
	port   portRow
	bridge string // name
}

// find gives the places of the interfaces of a Neutron port; more than one is a
// mistake of somebody's.
func (c *contents) find(port string) []place {
	var found []place
	for id, i := range c.interfaces {
		if i.port == port {
			found = append(found, c.placeOf(id))
		}
	}
	return found
}

// placeOf gives an interface's place; without port and bridge where it has none
// of its own.
func (c *contents) placeOf(id string) place {
	p := place{iface: c.interfaces[id]}
	for portID, port := range c.ports {
		if slices.Contains(port.interfaces, id) {
			p.portID, p.port = portID, port
		}
	}
	for _, b := range c.bridges {
		if p.portID != "" && slices.Contains(b.ports, p.portID) {
			p.bridge = b.name
		}
	}
	return p
}

// ofInstance gives the Neutron ports of an instance that have interfaces here,
// sorted.
func (c *contents) ofInstance(instance string) []string {
	var ports []string
	for _, i := range c.interfaces {
		if i.instance == instance && i.port != "" && !slices.Contains(ports, i.port) {
			ports = append(ports, i.port)
		}
	}
	slices.Sort(ports)
	return ports
}
