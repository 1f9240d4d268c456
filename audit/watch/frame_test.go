package watch

import (
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/earlybind/earlybind/audit/report"
)

func TestFrames(t *testing.T) {
	for _, c := range []struct {
		name   string
		after  time.Duration
		size   Size
		colour bool
	}{
		{"begun", 2 * time.Second, Size{}, false},
		{"committing", 4 * time.Second, Size{120, 30}, false},
		{"restoring", time.Minute + 1700*time.Millisecond, Size{120, 30}, false},
		{"lost", 4*time.Minute + 28*time.Second, Size{120, 30}, false},
		{"lost-in-colour", 4*time.Minute + 28*time.Second, Size{120, 30}, true},
		{"paused", 6 * time.Minute, Size{}, false},
		{"small", 4*time.Minute + 28*time.Second, Size{60, 12}, false},
		{"end", time.Hour, Size{}, false},
	} {
		live, now := until(c.after)
		golden(t, c.name+".txt", lookOf(Frame(live.Now(), now, c.size, c.colour)))
	}
	golden(t, "nothing.txt", lookOf(Frame(report.NewLive(3).Now(), noon, Size{}, false)))
}

// A frame fits whatever the terminal, and holds nothing that one acts on.
func TestFramesFit(t *testing.T) {
	live := report.NewLive(10)
	for i, e := range story {
		live.Add(e)
		scene := live.Now()
		for _, size := range []Size{{1, 1}, {7, 3}, {40, 5}, {80, 9}, {80, 24}, {200, 60}} {
			if i%5 != 0 {
				continue
			}
			frame := Frame(scene, e.Time, size, false)
			lines := strings.Split(frame, "\n")
			if len(lines) > size.Height {
				t.Fatalf("%d lines in %v:\n%s", len(lines), size, frame)
			}
			for _, l := range lines {
				if n := len([]rune(l)); n > size.Width {
					t.Fatalf("%d characters in %v: %s", n, size, l)
				}
				if strings.ContainsFunc(l, func(r rune) bool { return !unicode.IsPrint(r) }) {
					t.Fatalf("not printable: %q", l)
				}
			}
			if plain := withoutStyle(Frame(scene, e.Time, size, true)); plain != frame {
				t.Fatalf("in colour it says another thing:\n%s\n%s", plain, frame)
			}
		}
	}
}

func withoutStyle(s string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, s, _ = strings.Cut(after, "m")
	}
}

// What does not fit is counted, and outcomes keep a third of the room.
func TestWhatDoesNotFitIsCounted(t *testing.T) {
	scene := report.Scene{Lines: 1, From: noon, To: noon}
	for range 30 {
		scene.Going = append(scene.Going, report.Going{Instance: "going", Ports: 1, From: noon, PhaseFrom: noon})
		scene.Ended = append(scene.Ended, report.Outcome{Handover: report.Handover{Instance: "ended", Outcome: "migrated", Verdict: report.Right}})
	}
	frame := Frame(scene, noon, Size{200, 30}, false)
	if n := strings.Count(frame, "\n") + 1; n != 30 {
		t.Errorf("%d lines", n)
	}
	going, ended := strings.Count(frame, "  going"), strings.Count(frame, " ended ")
	if going != 7 || ended != 8 || !strings.Contains(frame, "  … and 23 more") || !strings.Contains(frame, "  … and 22 more") {
		t.Errorf("%d go on, %d have ended\n%s", going, ended, frame)
	}
	scene.Going = scene.Going[:1]
	if frame = Frame(scene, noon, Size{200, 30}, false); strings.Count(frame, " ended ") != 21 {
		t.Errorf("room is left\n%s", frame)
	}
}

func TestWaits(t *testing.T) {
	for want, g := range map[string]report.Going{
		"Neutron to tell its ports":                    {Phase: "watching", Ports: -1},
		"the guest's pause on a":                       {Phase: "watching", Ports: 1},
		"Neutron's answer":                             {Phase: "arrived", Ports: 2, Commit: 2, Unanswered: 1},
		"the guest to run on b":                        {Phase: "paused", Ports: 1},
		"the rest of its memory to follow":             {Phase: "postcopy", Ports: 1},
		"its end on a":                                 {Phase: "arrived", Ports: 1, Commit: 1},
		"a host to tell where the guest runs":          {Phase: "failing", Ports: 1},
		"2 ports to be right on a":                     {Phase: "failed", Ports: 3, Restore: 3, Restored: 1},
		"Nova to finish, then for the rows to be read": {Phase: "left", Ports: 2, Verify: 2, Verified: 1},
		"its end": {Phase: "left", Ports: 2, Verify: 2, Verified: 2},
		"the hosts to agree where the guest runs":                 {Phase: "contradicted", Ports: 1, Hold: 1},
		"an operator: post-copy has failed":                       {Phase: "lost", Ports: 1, Hold: 1},
		"a replica that goes on with it: the replica was stopped": {Phase: "failed", Ports: 1, Restore: 1, Cut: "the replica was stopped"},
	} {
		g.Source, g.Destination = "a", "b"
		if got := waits(g); got != want {
			t.Errorf("%+v waits for %q, want %q", g, got, want)
		}
	}
}

// What is told of one is what "earlybind audit" counts of all.
func TestLead(t *testing.T) {
	for _, c := range []struct {
		activated   int
		figures     map[string]int64
		early, tell string
	}{
		{1, map[string]int64{"lead_ms": 1834}, "1834 ms", ""},
		{1, map[string]int64{"lead_ms": -40, "would_lead_resumed_ms": 3}, "-40 ms", "(Nova was first, or Neutron slow)"},
		{0, map[string]int64{"lead_ms": -40}, "-40 ms", "(Nova was first, or Neutron slow)"},
		{0, map[string]int64{"lead_ms": 70}, "-", "no gain: was ACTIVE already"}, // 409: somebody else's
		{0, map[string]int64{"would_lead_resumed_ms": 3, "would_lead_suspended_ms": 5}, "-", "lead would be 3 ms (resumed), 5 ms (suspended)"},
		{0, map[string]int64{"would_lead_resumed_ms": 0, "would_lead_suspended_ms": 5}, "-", "lead would be none (resumed), 5 ms (suspended)"},
		{0, map[string]int64{"would_lead_resumed_ms": -7}, "-", "lead would be none (resumed)"},
		{0, map[string]int64{"would_lead_suspended_ms": 5}, "-", "lead would be 5 ms (suspended)"},
		{0, map[string]int64{"pause_to_active_ms": 5}, "-", ""},
	} {
		o := report.Outcome{Handover: report.Handover{Activated: c.activated, Ports: 1, Figures: c.figures, Outcome: "migrated", Verdict: report.Right}}
		frame := Frame(report.Scene{Lines: 1, Ended: []report.Outcome{o}}, noon, Size{}, false)
		line := strings.Join(strings.Fields(frame[strings.LastIndex(frame, "\n"):]), " ")
		if !strings.Contains(line, "right "+c.early+" ") || !strings.HasSuffix(line, strings.TrimSpace(" "+c.tell)) || c.tell == "" && !strings.HasSuffix(line, "port") && !strings.HasSuffix(line, "early)") {
			t.Errorf("%d, %v: %s", c.activated, c.figures, line)
		}
		want := c.tell
		if c.early != "-" {
			want = strings.TrimSpace("lead " + c.early + " " + c.tell)
		}
		if got := lead(o.Handover); got != want {
			t.Errorf("%d, %v: %q, want %q", c.activated, c.figures, got, want)
		}
	}
}

func TestAgo(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "0 s", 999 * time.Millisecond: "0 s", 119 * time.Second: "119 s", 2 * time.Minute: "2 min", 119 * time.Minute: "119 min", 49 * time.Hour: "49 h",
	} {
		if got := ago(noon, noon.Add(d)); got != want {
			t.Errorf("%s: %q", d, got)
		}
	}
}
