//go:build integration

package integration

import "testing"

// The re-plug on real ovsdb-servers: those of a compute host's Open vSwitch, each
// test on a database and a socket of its own beside the host's.
func TestOVSDBReplug(t *testing.T) {
	runInside(t, theLab(t), source, "publisher/ovs", "^TestOVSDB",
		"EARLYBIND_TEST_OVS_SCHEMA=/usr/share/openvswitch/vswitch.ovsschema")
}
