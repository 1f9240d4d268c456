package watch

import (
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit/report"
)

func TestChanges(t *testing.T) {
	live := report.NewLive(10)
	changes := NewChanges(live)
	var said []string
	for _, e := range story {
		said = append(said, changes.Of(e, live.Add(e))...)
	}
	golden(t, "changes.txt", strings.Join(said, "\n")+"\n")
	if len(changes.said) != len(live.Now().Going) {
		t.Errorf("of %d it is kept what was said, and %d go on", len(changes.said), len(live.Now().Going))
	}
}

// A line that changes nothing is not told.
func TestNoChangeIsNotTold(t *testing.T) {
	live, _ := until(4*time.Minute + 25*time.Second)
	changes := NewChanges(live)
	standing := changes.Standing()
	if len(standing) != 2 || !strings.Contains(standing[0], "  e7322275-") || !strings.Contains(standing[0], "lost, ") {
		t.Errorf("%q", standing)
	}
	for _, e := range story {
		if e.Handover.Instance != "" && strings.HasPrefix(e.Handover.Instance, "e") && e.Phase == "lost" {
			e.Event = "evidence.seen"
			if said := changes.Of(e, live.Add(e)); len(said) > 0 {
				t.Errorf("%q", said)
			}
			return
		}
	}
	t.Error("the story has no such line")
}
