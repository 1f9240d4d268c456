package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/earlybind/earlybind/tests/duel"
	"github.com/earlybind/earlybind/tests/results"
)

// groups are the staggers that share a line, in ms.
var groups = [][2]int{{-300, -225}, {-200, -125}, {-100, -50}, {-25, 25}, {50, 100}, {125, 200}, {225, 300}}

// table has a line for each case and group of staggers, and one for the case.
// Refused are new migrations that a row of ours kept from beginning.
func table(cases []duel.Case, rounds []duel.Result) string {
	var b strings.Builder
	for _, c := range cases {
		fmt.Fprintf(&b, "\n(%s) %s\n", c.Key, c.Title)
		fmt.Fprintf(&b, "%14s %7s %10s %13s %6s %6s %9s %18s %22s\n",
			"stagger ms", "rounds", "right at", "right after", "wrong", "hurt", "refused", "ms to right", "ms apart as measured")
		fmt.Fprintf(&b, "%14s %7s %10s %13s %6s %6s %9s %18s %22s\n", "", "", "once", "repair", "", "Nova", "", "p50 / p99", "min / p50 / max")
		for _, g := range groups {
			fmt.Fprint(&b, row(fmt.Sprintf("%+d..%+d", g[0], g[1]), rounds, c.Key, g))
		}
		fmt.Fprint(&b, row("all", rounds, c.Key, [2]int{math.MinInt, math.MaxInt}))
	}
	return b.String()
}

func row(name string, rounds []duel.Result, key string, group [2]int) string {
	var t results.Tally
	var apart []float64
	for _, r := range rounds {
		if r.Case != key || r.StaggerMS < group[0] || r.StaggerMS > group[1] {
			continue
		}
		t.Add(r.Right, r.AtOnce, len(r.Hurt) > 0, r.Refused, r.TimeToRightMS)
		if r.ApartMS != nil {
			apart = append(apart, *r.ApartMS)
		}
	}
	if t.Rounds == 0 {
		return ""
	}
	return fmt.Sprintf("%14s %7d %10d %13d %6d %6d %9d %18s %22s\n", name, t.Rounds, t.AtOnce, t.Later, t.Wrong, t.Hurt, t.Refused,
		results.Quantiles(t.ToRight, "%.0f", .5, .99), results.Quantiles(apart, "%.0f", 0, .5, 1))
}

// story tells a duel that ended wrong or hurt Nova, with all its calls.
func story(r duel.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n(%s) at %+d ms:", r.Case, r.StaggerMS)
	if !r.Right {
		fmt.Fprintf(&b, " ENDED WRONG: %s", r.Why)
	}
	for _, h := range r.Hurt {
		fmt.Fprintf(&b, " HURT NOVA: %s", h)
	}
	fmt.Fprintln(&b)
	for _, e := range r.Calls {
		fmt.Fprintf(&b, "    %s\n", e)
	}
	return b.String()
}
