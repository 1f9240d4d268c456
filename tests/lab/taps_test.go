package lab

import (
	"slices"
	"testing"

	"github.com/earlybind/earlybind/port"
)

// What Open vSwitch 3.5's ovs-vsctl wrote of a port that is wired and of one that stands apart.
func TestParseTaps(t *testing.T) {
	ports := []port.Port{{ID: "8adc729d-01aa"}, {ID: "b637c40f-01bb"}, {ID: "ca0809d8-01cc"}}
	got, err := parseTaps(`port,tap8adc729d-01,3,,
port,tapb637c40f-01,4095,trunk,4095
interface,tap8adc729d-01,5,,iface-id=abc iface-status=active
interface,tapb637c40f-01,-1,"could not open network device (No such device), again",
kernel,tap8adc729d-01,unknown,17,4,
`, ports)
	want := []Tap{
		{Port: "8adc729d-01aa", Plugged: true, Tag: "3", OFPort: "5", ExternalIDs: "iface-id=abc iface-status=active", Link: "unknown", ToGuest: "17", FromGuest: "4"},
		{Port: "b637c40f-01bb", Plugged: true, Tag: "4095", Mode: "trunk", Trunks: "4095", OFPort: "-1", Error: "could not open network device (No such device), again"},
		{Port: "ca0809d8-01cc"},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, other := range []string{"port,tap8adc729d-01\n", "port,tapfffffffff-ff,3,,\n", "ovs-vsctl: no such table\n"} {
		if got, err := parseTaps(other, ports); err == nil {
			t.Errorf("%q: got %+v", other, got)
		}
	}
}
