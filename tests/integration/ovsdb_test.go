//go:build integration

package integration

import (
	"context"
	"strings"
	"testing"
)

// The re-plug on real ovsdb-servers: those of a compute host's Open vSwitch, each
// test on a database and a socket of its own beside the host's.
func TestOVSDBReplug(t *testing.T) {
	runInside(t, theLab(t), source, builtTests(t, "publisher/ovs"), "^TestOVSDB",
		"EARLYBIND_TEST_OVS_SCHEMA=/usr/share/openvswitch/vswitch.ovsschema")
}

// What keeps a port apart that is plugged in again, on the lab's br-int with Neutron's flows:
// tag 4095 alone does not, since the flow that drops the dead VLAN matches a tag, and an access
// port's frames have none; with vlan_mode and trunks no frame passes.
func TestOVSDBDeadPortReachesNobody(t *testing.T) {
	l := theLab(t)
	run := func(command ...string) string {
		t.Helper()
		out, err := l.Exec(context.WithoutCancel(t.Context()), source, command...)
		must(t, err)
		return out
	}
	for _, c := range []struct {
		apart   []string
		reaches bool
	}{
		{[]string{"tag=4095"}, true},
		{[]string{"tag=4095", "vlan_mode=trunk", "trunks=4095"}, false},
	} {
		plug := []string{"ovs-vsctl"}
		for _, port := range []string{"dead1", "dead2"} {
			plug = append(plug, "--", "--may-exist", "add-port", "br-int", port)
			plug = append(plug, c.apart...)
			plug = append(plug, "--", "set", "Interface", port, "type=internal")
		}
		run(plug...)
		t.Cleanup(func() {
			run("ovs-vsctl", "--", "--if-exists", "del-port", "dead1", "--", "--if-exists", "del-port", "dead2")
		})
		trace := run("sh", "-c", "ovs-appctl -t /run/openvswitch/ovs-vswitchd.*.ctl ofproto/trace br-int in_port=dead1,dl_src=fa:16:3e:00:00:01,dl_dst=ff:ff:ff:ff:ff:ff,dl_type=0x806")
		_, actions, _ := strings.Cut(trace, "Datapath actions: ")
		if actions = strings.TrimSpace(actions); (actions != "drop") != c.reaches {
			t.Errorf("%v: the frame of one dead port goes to %q\n%s", c.apart, actions, trace)
		}
		run("ovs-vsctl", "del-port", "dead1", "--", "del-port", "dead2")
	}
}
