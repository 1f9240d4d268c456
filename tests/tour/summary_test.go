package main

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/tests/lab"
)

// A guest that answers too late is a fault that names its limit; the rows are right nonetheless, and are counted so.
func TestAnsweringTooLate(t *testing.T) {
	f, _ := scenarioOf("f")
	at := func(ms float64) *float64 { return &ms }
	for after, late := range map[float64]bool{30000: false, 34282: true} {
		m := &sample{Scenario: "f", RowsRight: true, Reachable: len(lab.Addresses)}
		m.Figures.PauseToFirstOurs, m.Figures.FailedToAnswering = at(21), at(after)
		m.Fault = f.unmet(m)
		if (m.Fault != "") != late || late && !strings.Contains(m.Fault, "from 34.3 s after it ran on the source again; the limit is 30 s") {
			t.Errorf("after %.0f ms: %q", after, m.Fault)
		}
		counted := "(f) 1 samples: rows right 1; with a FAULT 0;"
		if late {
			counted = "(f) 1 samples: rows right 1; with a FAULT 1;"
		}
		if text := statistics([]*sample{m}, "f", ""); !strings.HasPrefix(text, counted) {
			t.Errorf("after %.0f ms: %s", after, text)
		}
	}
}
