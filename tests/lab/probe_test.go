package lab

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// replies writes what ping -D writes for answers at these milliseconds.
func replies(at ...int) []time.Time {
	var out strings.Builder
	out.WriteString("PING 10.77.0.101 (10.77.0.101) 56(84) bytes of data.\n")
	for i, ms := range at {
		fmt.Fprintf(&out, "[%d.%06d] 64 bytes from 10.77.0.101: icmp_seq=%d ttl=64 time=0.5 ms\n", 1000+ms/1000, ms%1000*1000, i+1)
	}
	out.WriteString("[1003.000000] From 10.77.0.1 icmp_seq=9 Destination Host Unreachable\n")
	return readReplies(out.String())
}

func TestAnsweredFrom(t *testing.T) {
	end := time.Unix(1010, 0)
	for _, tc := range []struct {
		name    string
		replies [][]time.Time
		from    int // milliseconds; -1: does not answer
	}{
		{"without a gap", [][]time.Time{replies(0, 900, 1800, 2700, 3600, 4500, 5400, 6300, 7200, 8100, 9000, 9900)}, 0},
		{"after a gap", [][]time.Time{replies(0, 500, 7000, 7900, 8800, 9700)}, 7000},
		{"the last of two gaps", [][]time.Time{replies(0, 2000, 5000, 9000, 9500)}, 9000},
		{"the last of two addresses", [][]time.Time{replies(0, 9100, 9500), replies(9300, 9600)}, 9300},
		{"silent at the end", [][]time.Time{replies(0, 500, 8900)}, -1},
		{"one is silent", [][]time.Time{replies(9500), nil}, -1},
	} {
		from, ok := (&Silence{replies: tc.replies, stopped: end}).AnsweredFrom()
		if ok != (tc.from >= 0) || ok && from.Sub(time.Unix(1000, 0)) != time.Duration(tc.from)*time.Millisecond {
			t.Errorf("%s: got %v, %v", tc.name, from, ok)
		}
	}
}
