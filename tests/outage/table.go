package main

import (
	"fmt"
	"strings"

	"github.com/earlybind/earlybind/tests/results"
)

// table sums up each cell; medians, and the worst of all where two figures stand.
func table(samples []sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\nms, p50 / worst; from the pause where not said otherwise; a packet to the first address every %d ms, to the others every %d; lost: of the first\n", every.Milliseconds(), everyOther.Milliseconds())
	fmt.Fprintf(&b, "%-8s %-24s %-6s %-10s %3s  %15s %14s %8s %9s %8s %10s %9s %8s  %s\n", "release", "drivers", "guest", "activates", "n",
		"longest gap", "packets lost", "runs", "activate", "ACTIVE", "reported", "answers", "gap/Nova", "goal")
	for _, c := range cells(samples) {
		f := figuresOf(c.samples)
		ratio, goal := "-", ""
		alone := results.Quantile(figuresOf(pick(samples, c.release, c.drivers, c.guest, "nova")).gap, .5)
		if alone > 0 && c.arm != "nova" {
			ratio = fmt.Sprintf("%.2f", results.Quantile(f.gap, .5)/alone)
			goal = goalOf(c.drivers, c.arm).judge(results.Quantile(f.gap, .5), alone)
		}
		fmt.Fprintf(&b, "%-8s %-24s %-6s %-10s %3d  %15s %14s %8s %9s %8s %10s %9s %8s  %s\n", c.release, c.drivers, c.guest, c.arm, len(c.samples),
			results.Quantiles(f.gap, "%.0f", .5, 1), results.Quantiles(f.lost, "%.0f", .5, 1), results.Quantiles(f.runs, "%.0f", .5),
			results.Quantiles(f.requested, "%.0f", .5), results.Quantiles(f.active, "%.0f", .5), results.Quantiles(f.reported, "%.0f", .5),
			results.Quantiles(f.back, "%.0f", .5), ratio, goal)
	}
	if faults := len(samples) - len(whole(samples)); faults > 0 {
		fmt.Fprintf(&b, "%d migrations say nothing and are left out: they failed, or an address never answered\n", faults)
	}
	return b.String()
}

// goal is what the longest gap is to stay below at its median.
type goal struct {
	ms float64 // 0: what Nova alone has in the same run
}

// goalOf is what the first runs ever made have had on ML2/OVS with l2population, the best of each arm (0.65 and 0.98 s,
// a ping each 50 ms); elsewhere earlybind is to have less than Nova alone.
func goalOf(drivers, arm string) goal {
	switch {
	case drivers != "openvswitch,l2population":
		return goal{}
	case arm == "suspended":
		return goal{650}
	default:
		return goal{980}
	}
}

// judge puts the goal beside a median gap, and Nova's.
func (g goal) judge(gap, nova float64) string {
	bound, verdict := g.ms, "met"
	if bound == 0 {
		bound = nova
	}
	if gap >= bound {
		verdict = "MISSED"
	}
	return fmt.Sprintf("< %.0f %s", bound, verdict)
}

// cell is all samples that can be compared with one another.
type cell struct {
	release, drivers, guest, arm string
	samples                      []sample
}

// cells come in the order of guests and arms.
func cells(samples []sample) []cell {
	var found []cell
	for _, release := range []string{"2025.1", "zed"} {
		for _, drivers := range driversOf(samples) {
			for _, g := range guests {
				for _, a := range arms {
					if of := pick(samples, release, drivers, g.name, a.name); len(of) > 0 {
						found = append(found, cell{release, drivers, g.name, a.name, of})
					}
				}
			}
		}
	}
	return found
}

func driversOf(samples []sample) []string {
	var found []string
	seen := map[string]bool{}
	for _, m := range samples {
		if !seen[m.Drivers] {
			seen[m.Drivers] = true
			found = append(found, m.Drivers)
		}
	}
	return found
}

// whole leaves out those that say nothing.
func whole(samples []sample) []sample {
	var of []sample
	for _, m := range samples {
		if m.Fault == "" {
			of = append(of, m)
		}
	}
	return of
}

func pick(samples []sample, release, drivers, guest, arm string) []sample {
	var of []sample
	for _, m := range whole(samples) {
		if m.Release == release && m.Drivers == drivers && m.Guest == guest && m.Arm == arm {
			of = append(of, m)
		}
	}
	return of
}

// figures are the values of a cell.
type figures struct{ gap, lost, runs, requested, active, reported, back []float64 }

func figuresOf(samples []sample) figures {
	var f figures
	for _, m := range samples {
		f.gap = append(f.gap, m.gap())
		f.lost = append(f.lost, float64(m.lost()))
		f.back = append(f.back, m.back())
		for list, v := range map[*[]float64]*float64{
			&f.runs: m.Resumed, &f.requested: m.Requested, &f.active: m.AllActive, &f.reported: m.Reported,
		} {
			if v != nil {
				*list = append(*list, *v)
			}
		}
	}
	return f
}
