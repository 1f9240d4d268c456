package timeline

import (
	"testing"

	"github.com/earlybind/earlybind/audit"
)

func TestTheSameThingSaidAgainSoonIsOneLine(t *testing.T) {
	moments := []Moment{{2000, "a", "x"}, {0, "a", "x"}, {400, "a", "x"}, {-3.4, "b", "y"}, {400, "b", "x"}}
	Sort(moments)
	const want = `ms from pause  who                    what
          -3   b                      y
          +0   a                      x  ×2, last +400
        +400   b                      x
       +2000   a                      x
`
	if got := Text(moments); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLinesThatSaySomethingToPeople(t *testing.T) {
	for _, c := range []struct {
		line      audit.Line
		who, what string
	}{
		{audit.Line{Event: audit.EvidenceSeen, Saw: "Nova: post.start", Host: "h"}, "nova h", "post.start"},
		{audit.Line{Event: audit.EvidenceSeen, Saw: "libvirt lists: running", Host: "h"}, "libvirt h", "lists: running"},
		{audit.Line{Event: audit.EvidenceSeen, Saw: "libvirt: resumed/migrated", Host: "h"}, "", ""},
		{audit.Line{Event: audit.HandoverEnded, Outcome: "migrated"}, "earlybind", "handover.ended migrated"},
		{audit.Line{Event: audit.PortObserved, Decided: "observe", Why: "so"}, "earlybind", "observe (so)"},
		{audit.Line{Event: audit.PortVerified, Outcome: "rows right"}, "", ""},
		{audit.Line{Event: audit.PortVerified, Decided: "verify", Outcome: "rows right"}, "earlybind", "verified: rows right"},
		{audit.Line{Event: audit.LeftOversRead}, "", ""},
	} {
		who, what, ok := OfLine(c.line)
		if ok != (c.who != "") || ok && (who != c.who || what != c.what) {
			t.Errorf("%+v: %q, %q, %t", c.line, who, what, ok)
		}
	}
}

func TestRequests(t *testing.T) {
	for path, want := range map[string]string{
		"/v2.0/ports/P/bindings/h/activate": "PUT port bindings/h/activate: 200",
		"/v2.0/ports/P":                     "PUT port: 200",
	} {
		if got := OfRequest("PUT", path, "P", 200); got != want {
			t.Errorf("%s: %q", path, got)
		}
	}
}
