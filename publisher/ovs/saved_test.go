package ovs

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestWhatCanBePutBack(t *testing.T) {
	set := func(column string, value any) func(iface, portRow row) {
		return func(iface, portRow row) {
			if _, ok := portRow[column]; ok && column != "name" {
				portRow[column] = raw(value)
			} else {
				iface[column] = raw(value)
			}
		}
	}
	none := json.RawMessage(`["set",[]]`)
	for _, tc := range []struct {
		name   string
		change func(iface, portRow row)
		why    string // begins the reason; empty: it can
	}{
		{"plain tap", func(row, row) {}, ""},
		{"type system", set("type", "system"), ""},
		{"access port", set("vlan_mode", "access"), ""},
		{"hybrid plug", set("name", "qvoaaaaaaaa-aa"), "its device is not a tap of libvirt's"},
		{"representor", set("name", "eth3"), "its device is not a tap of libvirt's"},
		{"QinQ network", set("vlan_mode", "dot1q-tunnel"), "it carries several VLANs"},
		{"vhost-user", set("type", "dpdkvhostuserclient"), "an interface of type dpdkvhostuserclient"},
		{"internal", set("type", "internal"), "an interface of type internal"},
		{"patch", set("type", "patch"), "an interface of type patch"},
		{"dead", set("tag", deadVLAN), "Neutron's Open vSwitch agent has not wired it"},
		{"OVN, or not wired yet", set("tag", none), "Neutron's Open vSwitch agent has not wired it"},
		{"trunk mode", set("vlan_mode", "trunk"), "it carries several VLANs"},
		{"native", set("vlan_mode", "native-untagged"), "it carries several VLANs"},
		{"trunks", set("trunks", json.RawMessage(`["set",[5,6]]`)), "it carries several VLANs"},
		{"one trunk", set("trunks", 5), "it carries several VLANs"},
		{"fake bridge", set("fake_bridge", true), "its interface is not alone"},
		{"no device", set("ofport", -1), "Open vSwitch does not run it"},
		{"not taken yet", set("ofport", none), "Open vSwitch does not run it"},
		{"in error", set("error", "could not open"), "Open vSwitch does not run it: could not open"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newFakeDatabase()
			d.add("br-int", first(wired("tapA", portA, guest1, tc.change)), second(wired("tapA", portA, guest1, tc.change)))
			s, why := d.contents(t).save(portA)
			if tc.why == "" && why != "" || !strings.HasPrefix(why, tc.why) {
				t.Fatalf("got %q", why)
			}
			if why == "" && (s.name != "tapA" || s.bridge != "br-int" || s.instance != guest1 || s.port != portA) {
				t.Errorf("got %+v", s)
			}
		})
	}
}

func first(a, _ row) row  { return a }
func second(_, b row) row { return b }

func TestWhatCannotBePutBackByItsPlace(t *testing.T) {
	c := newFakeDatabase().contents(t)
	if _, why := c.save(portA); why != "it has no interface here" {
		t.Errorf("missing: %q", why)
	}

	d := newFakeDatabase()
	iface, portRow := wired("tapA", portA, guest1)
	d.add("br-int", iface, portRow)
	d.add("br-int", row{"name": raw("tapA2"), "external_ids": iface["external_ids"]}, portRow)
	if _, why := d.contents(t).save(portA); why != "it has 2 interfaces here" {
		t.Errorf("twice: %q", why)
	}

	d = newFakeDatabase()
	d.tables[tableBridge]["br-2"] = row{"name": raw("tbr-12345678-1")}
	d.add("tbr-12345678-1", iface, portRow)
	if _, why := d.contents(t).save(portA); !strings.HasPrefix(why, "it is a trunk's parent") {
		t.Errorf("trunk: %q", why)
	}

	d = newFakeDatabase()
	d.add("br-int", iface, portRow)
	d.setPorts("br-1", nil)
	if _, why := d.contents(t).save(portA); why != "its interface is on no bridge" {
		t.Errorf("no bridge: %q", why)
	}

	d = newFakeDatabase()
	_, id := d.insert("br-int", iface, portRow)
	d.tables[tablePort][id]["interfaces"] = raw(json.RawMessage(`["set",[["uuid","iface-1"],["uuid","x"]]]`))
	if _, why := d.contents(t).save(portA); why != "its interface is not alone on its port" {
		t.Errorf("bond: %q", why)
	}
}

// Whole rows: what the schema calls configuration is kept byte by byte, known or
// not, and what ovs-vswitchd writes is not.
func TestSavedRowsAreWhole(t *testing.T) {
	d := newFakeDatabase()
	iface, portRow := wired("tapA", portA, guest1, func(iface, portRow row) {
		portRow["qos"], portRow["bond_active_slave"] = uuidOf("q"), raw("tapA")
	})
	d.add("br-int", iface, portRow)
	s, why := d.contents(t).save(portA)
	if why != "" {
		t.Fatal(why)
	}
	for _, column := range []string{"name", "type", "mtu_request", "external_ids", "ingress_policing_rate", "of_a_later_release"} {
		if string(s.ifaceRow[column]) != string(iface[column]) {
			t.Errorf("Interface.%s: %s", column, s.ifaceRow[column])
		}
	}
	for _, column := range []string{"name", "tag", "trunks", "vlan_mode", "fake_bridge", "qos", "other_config"} {
		if string(s.portRow[column]) != string(portRow[column]) {
			t.Errorf("Port.%s: %s", column, s.portRow[column])
		}
	}
	for _, column := range []string{"ofport", "error", "bond_active_slave", "statistics", "link_state"} {
		if s.ifaceRow[column] != nil || s.portRow[column] != nil {
			t.Errorf("%s is saved", column)
		}
	}

	plug := s.plug()
	back := plug[insertOfPort]["row"].(row)
	if string(back["tag"]) != "4095" || string(back["vlan_mode"]) != `"trunk"` || string(back["trunks"]) != "4095" || string(back["interfaces"]) != `["named-uuid","iface"]` || string(back["qos"]) != `["uuid","q"]` {
		t.Errorf("Port goes back as %s", raw(back))
	}
	if string(s.portRow["tag"]) != "2" {
		t.Error("the saved row was changed")
	}
	if !s.refersElsewhere() {
		t.Error("the reference is not seen")
	}
	less := s.withoutReferences()
	if less.refersElsewhere() || less.portRow["qos"] != nil || s.portRow["qos"] == nil {
		t.Errorf("without references: %s, before %s", raw(less.portRow), raw(s.portRow))
	}
}

func TestMendIsAShellCommand(t *testing.T) {
	d := newFakeDatabase()
	d.add("br-int", first(wired("tapA", portA, guest1)), second(wired("tapA", portA, guest1)))
	s, _ := d.contents(t).save(portA)
	want := `ovs-vsctl --may-exist add-port br-int tapA tag=4095 vlan_mode=trunk trunks=4095 -- set Interface tapA 'external_ids:attached-mac="fa:16:3e:00:00:01"' ` +
		`'external_ids:iface-id="` + portA + `"' 'external_ids:iface-status="active"' 'external_ids:vm-uuid="` + guest1 + `"'`
	if s.mend() != want {
		t.Errorf("got %s", s.mend())
	}
}

func TestSchemaMustHaveWhatIsLookedAt(t *testing.T) {
	for _, text := range []string{
		`{}`, `[]`,
		strings.Replace(someSchema, `"tag"`, `"other"`, 1),
		strings.Replace(someSchema, `"external_ids"`, `"other"`, 1),
	} {
		if _, err := readSchema(json.RawMessage(text)); err == nil {
			t.Errorf("no error for %.40s", text)
		}
	}
	s, err := readSchema(json.RawMessage(someSchema))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.references, []string{"qos"}) {
		t.Errorf("references %v", s.references)
	}
	want := []string{"error", "ofport", "external_ids", "ingress_policing_rate", "mtu_request", "name", "of_a_later_release", "type"}
	if got := s.monitored()[tableInterface]["columns"]; !slices.Equal(got, want) {
		t.Errorf("monitored %v", got)
	}
}

func TestOutcomeOfATransaction(t *testing.T) {
	for _, tc := range []struct {
		answer string
		insert int
		id     string
		err    string // part of it
	}{
		{`[{}, {}, {}, {"uuid":["uuid","i"]}, {"uuid":["uuid","p"]}, {"count":1}, {}]`, insertOfPort, "p", ""},
		{`[{"count":1}, {}]`, -1, "", ""},
		{`[{}, {"error":"timed out","details":"x"}, null, null, null, null, null]`, insertOfPort, "", "is there already"},
		{`[{}, {}, {}, {"uuid":["uuid","i"]}, {"uuid":["uuid","p"]}, {"count":1}, {}, {"error":"referential integrity violation","details":"x"}]`, insertOfPort, "", "has gone: x"},
		{`[{"error":"constraint violation","details":"no"}]`, insertOfPort, "", "constraint violation: no"},
		{`[{}]`, insertOfPort, "", "no row UUID"},
		{`{}`, insertOfPort, "", "answer to a transaction"},
	} {
		id, err := readOutcome(json.RawMessage(tc.answer), tc.insert)
		if id != tc.id || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: got %q, %v", tc.answer, id, err)
		}
	}
}

func TestAddressMustBeASocket(t *testing.T) {
	for address, ok := range map[string]bool{
		"unix:/run/openvswitch/db.sock": true,
		"":                              false, "unix:": false, "unix:db.sock": false, "tcp:127.0.0.1:6640": false, "/run/openvswitch/db.sock": false,
	} {
		if err := CheckAddress(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
