// Package ovs plugs the interfaces of a guest into Open vSwitch again, should
// Neutron's agent have taken them off and the live migration then have failed.
//
// # Why
//
// When a binding is deactivated, neutron-openvswitch-agent deletes whatever port
// of its integration bridge has that iface-id (process_deactivated_bindings in
// ovs_neutron_agent.py), and nothing plugs it in again when the binding is
// activated once more: the guest is cut off for good (run, Neutron 21.0.0 and
// 26.0.3). Whoever plugs it in before the binding is right may have it taken off
// a second time. So nobody gives a command: the host where the guest is levels
// by itself.
//
// # What it does
//
//   - It follows the Bridge, Port and Interface rows of the Open vSwitch database
//     by a monitor, in memory.
//   - SUSPENDED/MIGRATED: the rows of the instance's interfaces are saved, and
//     those that can be put back are announced ([Replugger.Heard]).
//   - The guest runs here again (RESUMED, or a reading of libvirt): every saved
//     interface that is missing is put back, in one transaction, as often as it is
//     taken off, until it has been wired again for a minute, 15 minutes at most. One that
//     was never taken off is watched as long: the agent can be minutes late.
//   - STOPPED, SUSPENDED/POSTCOPY, or the end of that time: the rows are
//     forgotten, and nothing is put back any more. An interface that Nova has
//     detached has lost its device: should it be put back, it is taken out again.
//
// # What is put back
//
// Every configuration column that the database's own schema has, with two
// exceptions. Port.tag becomes 4095, Neutron's dead VLAN, with vlan_mode=trunk and
// trunks=4095, as os-vif plugs with isolate_vif: the old tag may be another network's
// by now, and the guest must reach nobody, other ports in the dead VLAN neither, before the
// agent has set its filters. The agent then gives the port its VLAN and clears the
// other two, which is also how this package knows that it was wired. And
// Port.qos is left out where that QoS row has gone. Not put back are what other
// rows said of the old ones: mirrors.
//
// # What is not announced
//
// Whatever is not a device of its own on a port of its own that the agent has
// wired: DPDK and internal interfaces, hybrid plugs' veths and representors (neither
// was tried), bonds, ports on the bridge of a trunk, ports with several VLANs; see the
// reasons in save.
package ovs
