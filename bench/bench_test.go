package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
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

// An activate that has not come is no quick one.
func TestWhatNeverCameIsNotTakenForNothing(t *testing.T) {
	var rep report
	rep.judge("part", "p99", "ms", math.Inf(1), 4, atMost(1.25, "floor"))
	var out strings.Builder
	rep.print(&out)
	if !strings.Contains(out.String(), "never ms") || !strings.Contains(out.String(), "MISSED") {
		t.Error(out.String())
	}
	file := filepath.Join(t.TempDir(), "results.json")
	if err := rep.write(file); err != nil {
		t.Fatal(err)
	}
	if text, _ := os.ReadFile(file); !strings.Contains(string(text), `"value": null`) {
		t.Errorf("%s", text)
	}
}

func TestRoundKeepsFourDigits(t *testing.T) {
	for value, want := range map[float64]float64{0: 0, 1.23456: 1.235, 12345.6: 12350, 0.00123456: 0.001235, math.Inf(1): math.Inf(1)} {
		if got := float64(round(value)); got != want && math.Abs(got-want) > want*1e-9 {
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

// Alone an activate takes what it was measured to; eight at once all the time take each
// about what was measured, 565 ms (p50).
func TestWorkersTakeWhatWasMeasured(t *testing.T) {
	begin := time.Unix(0, 0)
	w := newWorkers(apiWorkers)
	if took := w.take(begin, neutronTakes(activateRow)).Sub(begin); took != 157*time.Millisecond {
		t.Errorf("alone %s", took)
	}
	w.turn(false)
	ready, took := slices.Repeat([]time.Time{begin}, 8), []float64(nil)
	for range 800 {
		slices.SortFunc(ready, time.Time.Compare)
		ends := w.take(ready[0], neutronTakes(activateRow))
		took = append(took, ms(ends.Sub(ready[0])))
		ready[0] = ends
	}
	if p50 := median(took); p50 < 565*0.85 || p50 > 565*1.15 {
		t.Errorf("eight at once %.0f ms", p50)
	}
}

// Requests come 1 ms after each other, and are answered in that order as workers are free.
func TestWorkersServeInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, began := newWorkers(2), time.Now()
		w.serve(requestOf(http.MethodGet, []string{"off"}, began))()
		if len(w.answered) != 0 || time.Since(began) != 0 {
			t.Error("it takes time while it is off")
		}
		w.turn(true)
		var all sync.WaitGroup
		for _, port := range []string{"a", "b", "c", "d", "e"} {
			all.Go(func() {
				w.serve(requestOf(http.MethodPut, []string{port, "bindings", destination, "activate"}, time.Now()))()
			})
			time.Sleep(time.Millisecond)
		}
		all.Wait()
		for _, want := range []struct {
			port string
			at   time.Duration
		}{{"a", 157}, {"b", 158}, {"c", 314}, {"d", 315}, {"e", 471}} {
			if r := <-w.answered; r.port != want.port || r.kind != activateRow || r.host != destination || r.answered.Sub(began) != want.at*time.Millisecond {
				t.Errorf("%+v after %s, want %+v", r, r.answered.Sub(began), want)
			}
		}
	})
}

// A port comes back as Neutron was seen to bring it: activate leaves it unbound, and an
// update binds it.
func TestASinksPortGoesAndComesBack(t *testing.T) {
	s := &sink{arrived: make(chan arrival, 2)}
	port := portsOf(newInstance(1, 1))[0]
	rows := func() string {
		answer := httptest.NewRecorder()
		s.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/v2.0/ports/"+port+"/bindings", nil))
		var body struct {
			Bindings []struct {
				Status, VIFType string
				Profile         map[string]string
			}
		}
		text := strings.ReplaceAll(answer.Body.String(), "vif_type", "VIFType")
		if err := json.Unmarshal([]byte(text), &body); err != nil || len(body.Bindings) != 2 {
			t.Fatal(err, text)
		}
		return fmt.Sprint(body.Bindings)
	}
	put := func(path string) {
		s.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPut, "/v2.0/ports/"+port+path, nil))
	}
	if got := rows(); got != "[{ACTIVE ovs map[migrating_to:compute2]} {INACTIVE ovs map[]}]" {
		t.Errorf("at first %s", got)
	}
	for _, step := range []struct{ put, want string }{
		{"/bindings/" + destination + "/activate", "[{INACTIVE unbound map[migrating_to:compute2]} {ACTIVE ovs map[]}]"},
		{"/bindings/" + source + "/activate", "[{ACTIVE unbound map[migrating_to:compute2]} {INACTIVE ovs map[]}]"},
		{"", "[{ACTIVE ovs map[]} {INACTIVE ovs map[]}]"},
	} {
		put(step.put)
		if got := rows(); got != step.want {
			t.Errorf("PUT %q: %s, want %s", step.put, got, step.want)
		}
	}
}

// Five guests pause; two fail 200 ms later. Of the others one comes while a restore waits, one
// later, and one is left.
func TestFiguresOfADrain(t *testing.T) {
	began := time.Unix(0, 0)
	at := func(ms int) time.Time { return began.Add(time.Duration(ms) * time.Millisecond) }
	c := course{paused: began, word: at(200), failed: map[string]bool{}}
	for i := range 5 {
		c.guests = append(c.guests, newInstance(i, 1))
	}
	c.failed[c.guests[0]], c.failed[c.guests[1]] = true, true
	ask := func(guest int, kind, host string, arrived, answered int) {
		r := request{kind: kind, host: host, port: portsOf(c.guests[guest])[0], arrived: at(arrived), answered: at(answered), takes: neutronTakes(kind)}
		c.requests = append(c.requests, r)
	}
	ask(0, activateRow, destination, 1, 158)
	ask(1, activateRow, destination, 2, 200)
	c.requests = append(c.requests, request{kind: readPorts, arrived: at(1), answered: at(205)}) // a list
	ask(1, readRows, "", 201, 210)                                                               // of a list, before its restore
	ask(0, readPorts, "", 210, 230)
	ask(2, activateRow, destination, 220, 380)
	ask(1, readPorts, "", 240, 400)
	ask(0, activateRow, source, 250, 410)
	ask(1, activateRow, source, 260, 420)
	ask(0, updatePort, "", 430, 700)
	ask(3, activateRow, destination, 300, 500)
	ask(0, readPorts, "", 710, 720) // it is right by then
	ask(1, updatePort, "", 440, 800)
	want := figures{
		waits: []float64{1, 2, 220, 300}, active: []float64{380, 500}, left: 1, turns: []float64{5, 10},
		restores: []float64{10, 40}, passed: 1, right: []float64{500, 600},
		alone: 157 + (22.9+2*14.1+2*157+2*191.1)/2,
	}
	got := c.figures()
	slices.Sort(got.restores)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestWhatIsFatalIsNotWaitedOut(t *testing.T) {
	p := &process{cmd: exec.Command("program"), lines: make(chan string, 3), fatal: "lost"}
	p.lines <- "is armed"
	p.lines <- "is lost"
	p.lines <- "is armed"
	if _, err := p.await(time.Minute, "armed"); err != nil {
		t.Error(err)
	}
	if line, err := p.await(time.Minute, "armed"); err == nil || !strings.Contains(err.Error(), "is lost") {
		t.Errorf("%q, %v", line, err)
	}
}
