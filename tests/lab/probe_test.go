package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// replies reads what lab-ping writes for answers at these milliseconds.
func replies(at ...int) []reply {
	var out strings.Builder
	for i, ms := range at {
		fmt.Fprintf(&out, "[%d.%06d] icmp_seq=%d\n", 1000+ms/1000, ms%1000*1000, i+1)
	}
	out.WriteString("[1003.0000") // it was ended while it wrote
	return readReplies(out.String())
}

func TestAnsweredFrom(t *testing.T) {
	end := time.Unix(1010, 0)
	for _, tc := range []struct {
		name    string
		replies [][]reply
		from    int // milliseconds; -1: does not answer
	}{
		{"without a gap", [][]reply{replies(0, 900, 1800, 2700, 3600, 4500, 5400, 6300, 7200, 8100, 9000, 9900)}, 0},
		{"after a gap", [][]reply{replies(0, 500, 7000, 7900, 8800, 9700)}, 7000},
		{"the last of two gaps", [][]reply{replies(0, 2000, 5000, 9000, 9500)}, 9000},
		{"the last of two addresses", [][]reply{replies(0, 9100, 9500), replies(9300, 9600)}, 9300},
		{"silent at the end", [][]reply{replies(0, 500, 8900)}, -1},
		{"one is silent", [][]reply{replies(9500), nil}, -1},
	} {
		from, why := (&Silence{replies: tc.replies, stopped: end}).AnsweredFrom()
		if ok := why == ""; ok != (tc.from >= 0) || ok && from.Sub(time.Unix(1000, 0)) != time.Duration(tc.from)*time.Millisecond {
			t.Errorf("%s: got %v, %q", tc.name, from, why)
		}
	}
}

func TestGap(t *testing.T) {
	second := func(ms int) time.Time { return time.Unix(1000, 0).Add(time.Duration(ms) * time.Millisecond) }
	answers := []reply{{second(0), 1}, {second(900), 2}, {second(905), 3}, {second(1655), 150}, {second(1655), 150}, {second(1700), 152}}
	for _, tc := range []struct {
		name        string
		since       int
		from, to    int
		lost        int
		replies     []reply
		withoutGaps bool
	}{
		{"all of it", -1, 0, 900, 147, answers, false},
		{"what lies before is left out", 901, 905, 1655, 147, answers, false},
		{"one answer", -1, 0, 0, 0, answers[:1], true},
		{"none", -1, 0, 0, 0, nil, true},
	} {
		want := Gap{Lost: tc.lost}
		if !tc.withoutGaps {
			want.From, want.To = second(tc.from), second(tc.to)
		}
		if g := gapOf(tc.replies, second(tc.since)); g != want {
			t.Errorf("%s: got %+v, want %+v", tc.name, g, want)
		}
	}
}
