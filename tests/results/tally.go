package results

import (
	"fmt"
	"slices"
	"strings"
)

// Tally counts how rounds have ended.
type Tally struct {
	Rounds  int
	AtOnce  int // right at the first look
	Later   int // right after a repair
	Wrong   int
	Hurt    int // Nova was
	Refused int // a migration did not begin for a row of ours
	ToRight []float64
}

// Add counts a round; toRight, in a unit of the caller's, counts if it ended right.
func (t *Tally) Add(right, atOnce, hurt, refused bool, toRight float64) {
	t.Rounds++
	switch {
	case !right:
		t.Wrong++
	case atOnce:
		t.AtOnce++
	default:
		t.Later++
	}
	if hurt {
		t.Hurt++
	}
	if refused {
		t.Refused++
	}
	if right {
		t.ToRight = append(t.ToRight, toRight)
	}
}

// Quantiles prints the values at these fractions of the sorted ones, each in
// format; "-" if there are no values.
func Quantiles(values []float64, format string, at ...float64) string {
	if len(values) == 0 {
		return "-"
	}
	var text []string
	for _, q := range at {
		text = append(text, fmt.Sprintf(format, Quantile(values, q)))
	}
	return strings.Join(text, " / ")
}

// Quantile is the value at a fraction of the sorted ones; zero if there are none.
func Quantile(values []float64, at float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(len(sorted)-1, int(at*float64(len(sorted))))]
}
