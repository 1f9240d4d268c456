package duel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"

	"github.com/earlybind/earlybind/port"
)

// Profile is what the row of a port in a harness holds: what Nova writes, and
// what an operator could have.
func Profile() map[string]any {
	return object([]byte(`{"os_vif_delegation": true, "big": 9007199254740993, "nested": {"list": [1, "two", null], "empty": {}}}`))
}

// Judge tells whether a port has ended right for a guest on host: one ACTIVE row,
// there, bound, with vnic_type normal and [Profile], and no row elsewhere.
func Judge(p port.Port, host string) (bool, string) {
	if right, why := p.RightOn(host); !right {
		return false, why
	}
	row, _ := p.Row(host)
	profile, err := json.Marshal(row.Profile)
	switch {
	case err != nil:
		return false, err.Error()
	case row.VNICType != "normal":
		return false, "vnic_type is " + row.VNICType
	case !reflect.DeepEqual(object(profile), Profile()):
		return false, "the profile is " + string(profile)
	}
	for _, r := range p.Rows {
		if r.Host != host {
			return false, fmt.Sprintf("a row is left on %s, with profile %v", r.Host, r.Profile)
		}
	}
	return true, ""
}

// object reads JSON and keeps its numbers.
func object(text []byte) map[string]any {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		panic(err)
	}
	return o
}
