package main

import (
	"math"
	"reflect"
	"strings"
	"testing"
)

func TestQuantilesAreSamples(t *testing.T) {
	values := []float64{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.25: 1, 0.5: 2, 0.99: 4, 1: 4} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN(quantile(nil, 0.5)) {
		t.Error("there is a median of nothing")
	}
}

func TestMissedGoalsAreMarked(t *testing.T) {
	for name, c := range map[string]struct {
		value, against float64
		goal           goal
		missed         bool
	}{
		"at the bound":            {11, 10, atMost(1.1, "floor"), false},
		"above it":                {11.1, 10, atMost(1.1, "floor"), true},
		"absolute":                {31, 0, atMost(30, ""), true},
		"enough":                  {8, 10, atLeast(0.8, "bare"), false},
		"not enough":              {7.9, 10, atLeast(0.8, "bare"), true},
		"nothing was measured":    {math.NaN(), 10, atMost(1.1, "floor"), true},
		"nothing to hold against": {1, math.NaN(), atLeast(0.8, "bare"), true},
	} {
		var rep report
		rep.judge("part", name, "ms", c.value, c.against, c.goal)
		var out strings.Builder
		rep.print(&out)
		if rep.Results[0].Missed != c.missed || strings.Contains(out.String(), "MISSED") != c.missed {
			t.Errorf("%s: missed %t\n%s", name, rep.Results[0].Missed, &out)
		}
	}
}

func TestRoundKeepsFourDigits(t *testing.T) {
	for value, want := range map[float64]float64{0: 0, 1.23456: 1.235, 12345.6: 12350, 0.00123456: 0.001235, math.Inf(1): 0} {
		if got := round(value); math.Abs(got-want) > want*1e-9 {
			t.Errorf("%v becomes %v", value, got)
		}
	}
}

func TestBenchmarksAreRead(t *testing.T) {
	const out = `pkg: github.com/earlybind/earlybind/consumer
BenchmarkHandover/armed=10-2         	     200	   4505156 ns/op	   20352 B/op	     258 allocs/op
BenchmarkMessage/hosts=1000        	     200	   382.5 ns/op	   0 B/op	     0 allocs/op
PASS`
	want := map[string]map[string]float64{
		"Handover/armed=10":  {"ns/op": 4505156, "B/op": 20352, "allocs/op": 258},
		"Message/hosts=1000": {"ns/op": 382.5, "B/op": 0, "allocs/op": 0},
	}
	if got := benchmarks(out); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestAnInstanceNamesItsPorts(t *testing.T) {
	instance := newInstance(7, 32)
	ports := portsOf(instance)
	if len(instance) != 36 || len(ports) != 32 {
		t.Fatalf("%s has %d ports", instance, len(ports))
	}
	for _, p := range ports {
		if instanceOf(p) != instance || p == instance || len(p) != 36 {
			t.Errorf("port %s of %s", p, instance)
		}
	}
}
