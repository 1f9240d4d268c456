package health

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Beat is the last beat of a loop. Times are on one monotonic clock.
type Beat struct {
	Loop  string
	Bound time.Duration
	At    time.Duration
}

// Verdict is how a program is, a line for each thing that there is to say.
type Verdict struct {
	Stuck   []string // loops that have not come round within their bound
	Lacking []string // what the work needs and does not have
	Having  []string // what it has
}

// Judge decides. A program of which nothing is known yet is not ready.
func Judge(beats []Beat, facts map[string]Fact, now time.Duration) Verdict {
	var v Verdict
	for _, b := range beats {
		if silent := now - b.At; silent > b.Bound {
			v.Stuck = append(v.Stuck, fmt.Sprintf("%s: stuck: has not come round for %s, and may take %s", b.Loop, silent.Round(time.Second), b.Bound))
		}
	}
	slices.Sort(v.Stuck)
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		// An error may have several lines.
		line := name + ": " + strings.ReplaceAll(strings.TrimSpace(facts[name].Says), "\n", "; ")
		if facts[name].Lacks {
			v.Lacking = append(v.Lacking, line)
		} else {
			v.Having = append(v.Having, line)
		}
	}
	if len(facts) == 0 {
		v.Lacking = []string{"nothing is known yet"}
	}
	return v
}

// Live tells whether no loop is stuck.
func (v Verdict) Live() bool { return len(v.Stuck) == 0 }

// Ready tells whether the program lives and lacks nothing.
func (v Verdict) Ready() bool { return v.Live() && len(v.Lacking) == 0 }

// String is one line: what is wrong or, where nothing is, how it stands.
func (v Verdict) String() string {
	if wrong := slices.Concat(v.Stuck, v.Lacking); len(wrong) > 0 {
		return "not ready: " + strings.Join(wrong, "; ")
	}
	return "ready: " + strings.Join(v.Having, "; ")
}
