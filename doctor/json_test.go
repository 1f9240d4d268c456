package doctor

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/port"
)

// A report says the same to machines as to people, also of what became of it.
func TestAReportAsJSON(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		stale := w.port(
			port.Row{Host: here, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{"os_vif_delegation": true}},
			port.Row{Host: there, VIFType: "unbound", VNICType: "normal"},
		)
		marked := w.port(port.Row{Host: here, Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{port.MigratingTo: there}})
		lost := w.port(port.Row{Host: there, Active: true, VIFType: "ovs", VNICType: "normal"})
		w.nova.gap = ""
		report := w.examine()
		mended := w.mend(report)

		var b bytes.Buffer
		if err := report.JSON(&b, mended); err != nil {
			t.Fatal(err)
		}
		var got struct {
			Version int `json:"earlybind_doctor_report"`
			Hosts   []string
			Ports   int
			Wrong   int
			Cases   []map[string]any
			Mended  []struct {
				Case    map[string]any
				Outcome string
				Right   bool
			}
		}
		if err := json.Unmarshal(b.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if got.Version != 1 || len(got.Hosts) != 3 || got.Ports != 3 || got.Wrong != len(report.Wrong()) || got.Wrong != 3 || len(got.Cases) != 3 {
			t.Errorf("%s", &b)
		}
		verdicts := map[string]string{stale: "stale row", marked: "left marked", lost: "no row"}
		for i, c := range got.Cases {
			id, _ := c["port"].(string)
			server, _ := c["server"].(map[string]any)
			if c["verdict"] != verdicts[id] || c["wrong"] != true || c["instance"] != instance || c["status"] != "ACTIVE" || c["host"] != here ||
				c["why"] != report.Cases[i].Why || server["host"] != here || server["status"] != "ACTIVE" {
				t.Errorf("%v", c)
			}
			var requests []string
			for _, step := range c["plan"].([]any) {
				request, _ := step.(map[string]any)["request"].(string)
				requests = append(requests, request)
			}
			var want []string
			for _, step := range report.Cases[i].Plan {
				want = append(want, step.Request(id))
			}
			if !reflect.DeepEqual(requests, want) || (len(want) == 0) != (id == lost) {
				t.Errorf("%s: requests %q, want %q", id, requests, want)
			}
			if id == stale {
				rows := []any{
					map[string]any{"host": here, "status": "ACTIVE", "vif_type": "ovs", "vnic_type": "normal"},
					map[string]any{"host": there, "status": "INACTIVE", "vif_type": "unbound", "vnic_type": "normal"},
				}
				if !reflect.DeepEqual(c["rows"], rows) {
					t.Errorf("rows %v", c["rows"])
				}
			}
		}
		if len(got.Mended) != 2 {
			t.Fatalf("%+v", got.Mended)
		}
		for _, m := range got.Mended {
			if !m.Right || m.Outcome != "mended" || m.Case["verdict"] != "right" || m.Case["wrong"] != false {
				t.Errorf("%+v", m)
			}
		}
	})
}

// Who reads it need not look for what is missing.
func TestAReportOfNothingAsJSONHasItsLists(t *testing.T) {
	var b bytes.Buffer
	if err := (Report{Cases: []Case{{}}}).JSON(&b, nil); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"hosts": []`, `"wrong": 0`, `"rows": []`, `"plan": []`} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("no %s in %s", part, &b)
		}
	}
	if strings.Contains(b.String(), "mended") {
		t.Errorf("%s", &b)
	}
}
