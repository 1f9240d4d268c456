package ovs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// saved is all that is needed to put one interface back.
type saved struct {
	port     string // Neutron's
	instance string
	name     string // of the interface and of its port
	bridge   string
	// The configuration columns of the two rows.
	ifaceRow, portRow row
	// references are the columns of the port's row that refer to others.
	references []string
}

// trunkBridge begins the names of the bridges that Neutron's agent makes for
// trunks (neutron/services/trunk/drivers/openvswitch/utils.py).
const trunkBridge = "tbr-"

// tapPrefix begins the names of the taps that Nova has libvirt make (nova/network/model.py,
// NIC_NAME_PREFIX, and get_vif_devname).
const tapPrefix = "tap"

// save saves the interface of a Neutron port, or says why it could not be put
// back.
func (c *contents) save(port string) (s saved, why string) {
	places := c.find(port)
	switch len(places) {
	case 0:
		return s, "it has no interface here"
	case 1:
	default:
		return s, fmt.Sprintf("it has %d interfaces here", len(places))
	}
	p := places[0]
	kind, mode := p.iface.text("type"), p.port.text("vlan_mode")
	switch {
	case kind != "" && kind != "system":
		// An internal device goes with its interface. A vhost-user socket may
		// stay, but to take it from a QEMU that sends its state has not
		// been tried.
		return s, "an interface of type " + kind + " may not come back"
	case p.bridge == "":
		return s, "its interface is on no bridge"
	case strings.HasPrefix(p.bridge, trunkBridge):
		return s, "it is a trunk's parent: the bridge " + p.bridge + " is the agent's to wire"
	case len(p.port.interfaces) != 1, p.port.flag("fake_bridge"):
		return s, "its interface is not alone on its port"
	case !strings.HasPrefix(p.iface.name, tapPrefix):
		// A hybrid plug's veth, a representor: neither was tried with a real agent.
		return s, "its device is not a tap of libvirt's: " + p.iface.name
	case mode != "" && mode != "access", !p.port.empty("trunks"):
		return s, "it carries several VLANs, and Neutron's agent would not restore that"
	case p.port.tag == 0 || p.port.tag == deadVLAN:
		return s, "Neutron's Open vSwitch agent has not wired it"
	case p.iface.ofport < 1 || p.iface.fault != "":
		return s, strings.TrimSpace("Open vSwitch does not run it: " + p.iface.fault)
	}
	return saved{
		port: port, instance: p.iface.instance, name: p.iface.name, bridge: p.bridge,
		ifaceRow:   pick(p.iface.row, c.schema.configuration[tableInterface]),
		portRow:    pick(p.port.row, c.schema.configuration[tablePort]),
		references: c.schema.references,
	}, ""
}

func pick(r row, columns []string) row {
	kept := row{}
	for _, column := range columns {
		if value, ok := r[column]; ok {
			kept[column] = value
		}
	}
	return kept
}

// refersElsewhere tells whether the port's row refers to rows that may have gone.
func (s saved) refersElsewhere() bool {
	return slices.ContainsFunc(s.references, func(column string) bool { return len(s.portRow.uuids(column)) > 0 })
}

// withoutReferences drops what refers to other rows.
func (s saved) withoutReferences() saved {
	s.portRow = maps.Clone(s.portRow)
	for _, column := range s.references {
		delete(s.portRow, column)
	}
	return s
}

// mend is the command by which a person plugs it in.
func (s saved) mend() string {
	ids := s.ifaceRow.texts("external_ids")
	command := fmt.Sprintf("ovs-vsctl --may-exist add-port %s %s tag=%d vlan_mode=%s trunks=%d -- set Interface %s", s.bridge, s.name, deadVLAN, trunkMode, deadVLAN, s.name)
	for _, key := range slices.Sorted(maps.Keys(ids)) {
		command += fmt.Sprintf(" 'external_ids:%s=%q'", key, ids[key])
	}
	return command
}
