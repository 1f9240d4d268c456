package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"text/tabwriter"
)

// report is what bench/results.json holds.
type report struct {
	Date     string            `json:"date"`
	Short    bool              `json:"short,omitempty"` // few samples: read nothing into p99
	Only     string            `json:"only,omitempty"`  // these parts
	Machine  machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Samples  []sample          `json:"samples"`
	Results  []result          `json:"results"`
	Faults   []string          `json:"faults,omitempty"` // parts that broke off
}

// sample is a series of raw samples, as its quantiles.
type sample struct {
	Part      string            `json:"part"`
	Name      string            `json:"name"`
	Unit      string            `json:"unit"`
	Count     int               `json:"count"`
	Quantiles map[string]figure `json:"quantiles"`
}

// result is one figure with its goal.
type result struct {
	Part  string `json:"part"`
	Name  string `json:"name"`
	Value figure `json:"value"`
	Unit  string `json:"unit"`
	// Against is what it is measured against, in the same unit, and Ratio the
	// value's ratio to that; empty if the goal is absolute.
	Against figure `json:"against,omitempty"`
	Ratio   figure `json:"ratio,omitempty"`
	Goal    string `json:"goal,omitempty"`
	Missed  bool   `json:"missed,omitempty"`
}

// figure is a number of four digits. One that is none, as nothing was measured, and one without end, as what was waited
// for has never come, are null in JSON, which has neither.
type figure float64

func (f figure) MarshalJSON() ([]byte, error) {
	if v := float64(f); math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	return json.Marshal(float64(f))
}

// goal is a bound on a value, or on its ratio to what it is measured against.
type goal struct {
	atLeast bool
	bound   float64
	of      string // empty: the bound is on the value
}

func atMost(bound float64, of string) goal  { return goal{false, bound, of} }
func atLeast(bound float64, of string) goal { return goal{true, bound, of} }

func (g goal) String() string {
	sign := "≤"
	if g.atLeast {
		sign = "≥"
	}
	text := sign + " " + strconv.FormatFloat(g.bound, 'f', -1, 64)
	if g.of != "" {
		text += " × " + g.of
	}
	return text
}

// judge puts a value and what it is measured against beside a goal.
func (r *report) judge(part, name, unit string, value, against float64, g goal) {
	one := result{Part: part, Name: name, Unit: unit, Value: round(value), Goal: g.String()}
	seen := value
	if g.of != "" {
		seen = value / against
		one.Against, one.Ratio = round(against), round(seen)
	}
	// Not written the other way round, so that a NaN misses.
	one.Missed = !(g.atLeast && seen >= g.bound || !g.atLeast && seen <= g.bound)
	r.Results = append(r.Results, one)
}

// note adds a figure that has no goal.
func (r *report) note(part, name, unit string, value float64) {
	r.Results = append(r.Results, result{Part: part, Name: name, Unit: unit, Value: round(value)})
}

// beside adds a figure beside what it is measured against, without a goal.
func (r *report) beside(part, name, unit string, value, against float64) {
	r.Results = append(r.Results, result{
		Part: part, Name: name, Unit: unit, Value: round(value), Against: round(against), Ratio: round(value / against),
	})
}

// series keeps the quantiles of raw samples.
func (r *report) series(part, name, unit string, values []float64) {
	s := sample{Part: part, Name: name, Unit: unit, Count: len(values), Quantiles: map[string]figure{}}
	for _, q := range []float64{0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1} {
		s.Quantiles[strconv.FormatFloat(q, 'f', -1, 64)] = round(quantile(values, q))
	}
	r.Samples = append(r.Samples, s)
}

// quantile is the smallest value that at least a share of q is not above.
func quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func median(values []float64) float64 { return quantile(values, 0.5) }

// round keeps four digits.
func round(v float64) figure {
	if v == 0 || math.IsNaN(v) || math.IsInf(v, 0) {
		return figure(v)
	}
	scale := math.Pow(10, 4-math.Ceil(math.Log10(math.Abs(v))))
	return figure(math.Round(v*scale) / scale)
}

// print writes the table; goals stand beside results, and missed ones are marked.
func (r *report) print(to io.Writer) {
	table := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "part\twhat\tmeasured\tagainst\tratio\tgoal\t")
	missed, goals := 0, 0
	for _, one := range r.Results {
		verdict := ""
		switch {
		case one.Missed:
			verdict = "MISSED"
			missed++
			goals++
		case one.Goal != "":
			verdict = "met"
			goals++
		}
		fmt.Fprintf(table, "%s\t%s\t%s %s\t%s\t%s\t%s\t%s\n", one.Part, one.Name, cmp.Or(number(one.Value), "0"), one.Unit,
			cmp.Or(number(one.Against), "-"), cmp.Or(number(one.Ratio), "-"), cmp.Or(one.Goal, "-"), verdict)
	}
	_ = table.Flush()
	fmt.Fprintf(to, "\n%d of %d goals met\n", goals-missed, goals)
	for _, fault := range r.Faults {
		fmt.Fprintf(to, "NOT MEASURED: %s\n", fault)
	}
}

func number(v figure) string {
	switch {
	case v == 0:
		return ""
	case math.IsInf(float64(v), 0):
		return "never"
	}
	return strconv.FormatFloat(float64(v), 'f', -1, 64)
}

// write keeps the report in a file; nowhere if it has no name.
func (r *report) write(path string) error {
	if path == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}
