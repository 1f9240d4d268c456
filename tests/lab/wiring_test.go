package lab

import (
	"reflect"
	"testing"
	"time"
)

func TestParseWiring(t *testing.T) {
	const line = "2026-11-29 00:00:36.617 128 INFO neutron.plugins.ml2.drivers.openvswitch.agent.ovs_neutron_agent [None req-1 - - - - - -] " +
		"Configuration for devices up ['5a9c', '77d0'] and devices down [] completed.\n"
	w, ok := parseWiring(line)
	want := Wiring{At: time.Date(2026, 11, 29, 0, 0, 36, 617e6, time.UTC), Ports: []string{"5a9c", "77d0"}}
	if !ok || !reflect.DeepEqual(w, want) {
		t.Errorf("got %+v, %v", w, ok)
	}
	const bridge = "2026-11-30 00:00:36.617 31 DEBUG neutron.db.provisioning_blocks [None req-1 - - - - - -] " +
		"Provisioning complete for port 5a9c triggered by entity L2. provisioning_complete /usr/lib/python3/dist-packages/neutron/db/provisioning_blocks.py:144\n"
	w, ok = parseWiring(bridge)
	want = Wiring{At: time.Date(2026, 11, 30, 0, 0, 36, 617e6, time.UTC), Ports: []string{"5a9c"}}
	if !ok || !reflect.DeepEqual(w, want) {
		t.Errorf("got %+v, %v", w, ok)
	}
	for _, other := range []string{
		"",
		"Configuration for devices up ['5a9c'] and devices down [] completed.",
		"2026-11-29 00:00:36.617 128 INFO neutron [-] Configuration for devices up [] and devices down ['5a9c'] completed.",
		"2026-11-29 00:00:36.617 128 INFO neutron [-] Configuration for devices up ['5a9c",
		"2026-11-30 00:00:36.617 31 DEBUG neutron [-] Provisioning complete for port 5a9c triggered by entity DHCP. ",
	} {
		if w, ok := parseWiring(other); ok {
			t.Errorf("%q: got %+v", other, w)
		}
	}
}
