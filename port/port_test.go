package port

import (
	"reflect"
	"testing"
	"unsafe"
)

func TestRightOn(t *testing.T) {
	row := func(host string, active bool, vif string) Row { return Row{Host: host, Active: active, VIFType: vif} }
	marked := row("a", true, "ovs")
	marked.Profile = map[string]any{MigratingTo: "b"}
	odd := row("a", true, "ovs")
	odd.Profile = map[string]any{MigratingTo: 5}
	for _, c := range []struct {
		name string
		rows []Row
		why  string
	}{
		{"one ACTIVE row, bound", []Row{row("a", true, "ovs")}, ""},
		{"and an INACTIVE one elsewhere", []Row{row("b", false, "unbound"), row("a", true, "ovs")}, ""},
		{"a migrating_to that is no host", []Row{odd}, ""},
		{"no row", nil, "no ACTIVE row"},
		{"INACTIVE", []Row{row("a", false, "ovs")}, "no ACTIVE row"},
		{"two ACTIVE rows", []Row{row("a", true, "ovs"), row("b", true, "ovs")}, "more than one ACTIVE row"},
		{"elsewhere", []Row{row("a", false, "ovs"), row("b", true, "ovs")}, "the ACTIVE row is on b"},
		{"unbound", []Row{row("a", true, VIFUnbound)}, "the ACTIVE row's vif_type is unbound"},
		{"binding_failed", []Row{row("a", true, VIFBindingFailed)}, "the ACTIVE row's vif_type is binding_failed"},
		{"never bound", []Row{row("a", true, "")}, "the ACTIVE row's vif_type is "},
		{"migrating_to is left", []Row{marked}, "the profile still has migrating_to b"},
	} {
		right, why := Port{Rows: c.rows}.RightOn("a")
		if right != (c.why == "") || why != c.why {
			t.Errorf("%s: %t, %q", c.name, right, why)
		}
	}
}

func TestThePortsStatusDoesNotMakeItsRowsRight(t *testing.T) {
	p := Port{Status: "DOWN", Rows: []Row{{Host: "a", Active: true, VIFType: "ovs"}}}
	if right, why := p.RightOn("a"); !right {
		t.Error(why)
	}
	if right, _ := (Port{Status: "ACTIVE"}).RightOn("a"); right {
		t.Error("right without a row")
	}
}

func TestRowsAreFoundByHostAndByBeingActive(t *testing.T) {
	p := Port{Rows: []Row{{Host: "a"}, {Host: "b", Active: true}}}
	if r, ok := p.Active(); !ok || r.Host != "b" {
		t.Errorf("%+v %t", r, ok)
	}
	if r, ok := p.Row("a"); !ok || r.Host != "a" {
		t.Errorf("%+v %t", r, ok)
	}
	if r, ok := p.Row("c"); ok || r.Host != "" {
		t.Errorf("%+v %t", r, ok)
	}
	if n := p.ActiveRows(); n != 1 {
		t.Errorf("%d ACTIVE rows", n)
	}
}

func TestALeanPortAnswersAsTheWholeOne(t *testing.T) {
	whole := Port{
		ID: "p", Device: "i", DeviceOwner: "compute:nova", Network: "n", MAC: "m", Status: "ACTIVE", Driver: "ovn", TrunkParent: true, Revision: 7,
		Rows: []Row{
			{Host: "a", Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{MigratingTo: "b", "other": 1}},
			{Host: "b", VIFType: VIFUnbound, VNICType: "direct", Profile: map[string]any{}},
			{Host: "c", Profile: map[string]any{MigratingTo: 5}},
			{Host: "d"},
		},
	}
	lean := whole.Lean().Port().Lean().Port()
	if lean.Describe() != whole.Describe() {
		t.Errorf("%s; whole: %s", lean.Describe(), whole.Describe())
	}
	for i, r := range lean.Rows {
		if r.Profile != nil || r.MigratingTo() != whole.Rows[i].MigratingTo() {
			t.Errorf("row %d: %+v", i, r)
		}
		lean.Rows[i].Profile, lean.Rows[i].announces = whole.Rows[i].Profile, ""
	}
	lean.MAC, lean.Revision = whole.MAC, whole.Revision
	if !reflect.DeepEqual(lean, whole) {
		t.Errorf("beside these: %+v, whole: %+v", lean, whole)
	}
	if whole.Rows[0].MigratingTo() != "b" {
		t.Error("the whole port has changed")
	}
}

func TestEqualStringsAreInterned(t *testing.T) {
	a, b := Intern(string([]byte("compute1"))), Intern(string([]byte("compute1")))
	if a != "compute1" || unsafe.StringData(a) != unsafe.StringData(b) {
		t.Errorf("%q and %q", a, b)
	}
}
