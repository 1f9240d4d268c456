package main

import (
	"context"
	"fmt"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// grow runs the consumer's benchmarks: what a handover costs while others are armed,
// and a message when many hosts have been heard of.
func grow(ctx context.Context, _ *rabbit, o options, rep *report) error {
	costs := map[string]map[string][]float64{} // by benchmark, then by unit
	for range o.growth {
		out, err := exec.CommandContext(ctx, "go", "test", "./consumer", "-run", "^$", "-bench", "^Benchmark(Handover|Message)$",
			"-benchmem", "-benchtime", o.growthTime).CombinedOutput()
		if err != nil {
			return fmt.Errorf("go test -bench: %w: %s", err, lastLine(string(out)))
		}
		for name, cost := range benchmarks(string(out)) {
			if costs[name] == nil {
				costs[name] = map[string][]float64{}
			}
			for unit, value := range cost {
				costs[name][unit] = append(costs[name][unit], value)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(costs)) {
		for _, unit := range slices.Sorted(maps.Keys(costs[name])) {
			rep.series("growth", name, unit, costs[name][unit])
		}
	}
	compare := func(what, few, many string) error {
		for _, unit := range []string{"ns/op", "B/op"} {
			base, grown := costs[few][unit], costs[many][unit]
			if len(base) == 0 || len(grown) == 0 {
				return fmt.Errorf("go test has run no benchmark %s or %s", few, many)
			}
			rep.judge("growth", what, unit, median(grown), median(base), atMost(1.2, strings.SplitAfter(few, "/")[1]))
		}
		return nil
	}
	for _, c := range [][3]string{
		{"a handover, 1,000 armed", "Handover/armed=10", "Handover/armed=1000"},
		{"a handover, 100,000 armed", "Handover/armed=10", "Handover/armed=100000"},
		{"a message, 1,000 hosts", "Message/hosts=1", "Message/hosts=1000"},
	} {
		if err := compare(c[0], c[1], c[2]); err != nil {
			return err
		}
	}
	return nil
}

var (
	benchmarkLine = regexp.MustCompile(`(?m)^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)
	benchmarkCost = regexp.MustCompile(`([\d.]+) (\S+/op)`)
)

// benchmarks reads what go test prints: name -> unit -> value.
func benchmarks(out string) map[string]map[string]float64 {
	found := map[string]map[string]float64{}
	for _, line := range benchmarkLine.FindAllStringSubmatch(out, -1) {
		found[line[1]] = map[string]float64{}
		for _, cost := range benchmarkCost.FindAllStringSubmatch(line[2], -1) {
			found[line[1]][cost[2]], _ = strconv.ParseFloat(cost[1], 64)
		}
	}
	return found
}
