package doctor

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/rollback"
)

// The last line tells what to do next.
func TestTheLastLine(t *testing.T) {
	mended, told := Case{Finding: Finding{Verdict: Stale, Plan: []rollback.Step{{Action: rollback.Activate, Host: "a"}}}}, Case{Finding: Finding{Verdict: Down}}
	for name, c := range map[string]struct {
		cases []Case
		want  string
	}{
		"nothing":      {nil, "every port is right, or something is under way with its instance\n"},
		"one has":      {[]Case{mended, told}, "2 not right, of which 1 have a plan: earlybind doctor -fix carries it out\n"},
		"none has one": {[]Case{told}, "1 not right, and none has a plan: docs/repair.md, and the command in its alarm (earlybind audit -instance UUID)\n"},
	} {
		if text := (Report{Cases: c.cases}).Text(); !strings.HasSuffix(text, c.want) {
			t.Errorf("%s: %s", name, text)
		}
	}
}
