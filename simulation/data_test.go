package simulation

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

// round is to the precision of the data, 0.1 ms.
func round(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }

func TestFailuresAreThoseOfTheRecordings(t *testing.T) {
	failures := readFailures()
	if len(failures) < 8 {
		t.Errorf("%d kinds of failures", len(failures))
	}
	for _, f := range failures {
		name, addition, _ := strings.Cut(f.Origin, ";")
		file, err := os.Open(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		_, messages, err := recording.Read(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		want := recorded(messages)
		if addition != "" {
			want = append(want, moment{MS: want[len(want)-1].MS + float64(nova.FailedToNova.Milliseconds()), Nova: "rollback"})
		}
		got := slices.Clone(f.Moments)
		for _, moments := range [][]moment{got, want} {
			for i := range moments {
				moments[i].MS = float64(round(ms(moments[i].MS)).Microseconds()) / 1000
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, in %s %v", f.Kind, got, f.Origin, want)
		}
	}
}

// recorded are the moments of a recording's migration from compute1 to compute2.
func recorded(messages []recording.Message) []moment {
	var found []moment
	begun := false
	var zero time.Duration
	for _, m := range messages {
		n, err := wire.Decode(m.Body)
		if err != nil {
			continue
		}
		next := moment{}
		if e, err := wire.ParseHostEvent(n); err == nil {
			if e.Event == wire.Started {
				begun = true
				continue
			}
			next.Host, next.Event, next.Detail = source, e.Event, e.Detail
			if e.Host == "compute2" {
				next.Host = destination
			}
		} else if n.EventType == "instance.live_migration_rollback.start" {
			next.Nova = "rollback"
		} else {
			continue
		}
		if !begun {
			continue
		}
		if len(found) == 0 {
			zero = m.At()
		}
		next.MS = float64((m.At() - zero).Microseconds()) / 1000
		found = append(found, next)
	}
	return found
}

func TestSwitchoversAreThoseOfTheMeasurements(t *testing.T) {
	var want switchovers
	for _, name := range []string{"2025.1-series", "2025.1-c-then-b", "2025.1-kills", "2025.1-replug"} {
		text, err := os.ReadFile("../docs/measurements/" + name + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var sample struct {
				Scenario string
				Figures  struct {
					Arrival *float64 `json:"pause_to_arrival_ms"`
					Stopped *float64 `json:"pause_to_stopped_ms"`
					Nova    *float64 `json:"pause_to_nova_ms"`
					First   *float64 `json:"pause_to_first_ours_ms"`
				}
			}
			if err := json.Unmarshal([]byte(line), &sample); err != nil {
				t.Fatal(err)
			}
			f := sample.Figures
			if f.Arrival != nil && f.Stopped != nil && f.Nova != nil {
				want.Switchovers = append(want.Switchovers, switchover{*f.Arrival, *f.Stopped, *f.Nova})
			}
			if f.First != nil && strings.Contains("sdelfg", sample.Scenario) { // sent at the pause
				want.Reactions = append(want.Reactions, *f.First)
			}
		}
	}
	got := readSwitchovers()
	slices.Sort(want.Reactions)
	near := func(a, b float64) bool { return math.Abs(a-b) < 0.051 } // it is kept to 0.1 ms
	if !slices.EqualFunc(got.Reactions, want.Reactions, near) {
		t.Errorf("data/switchovers.json has %d reactions, docs/measurements %d", len(got.Reactions), len(want.Reactions))
	}
	left := slices.Clone(got.Switchovers)
	for _, w := range want.Switchovers {
		i := slices.IndexFunc(left, func(g switchover) bool {
			return near(g.Arrival, w.Arrival) && near(g.Stopped, w.Stopped) && near(g.Nova, w.Nova)
		})
		if i < 0 {
			t.Errorf("data/switchovers.json lacks %+v", w)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 || len(got.Switchovers) == 0 {
		t.Errorf("docs/measurements lack %+v", left)
	}
}

func TestLatencyIsDrawnFromItsQuantiles(t *testing.T) {
	for release, l := range Measured() {
		if err := l.validate(); err != nil {
			t.Errorf("%s: %v", release, err)
		}
		for kind, q := range l.Milliseconds {
			for _, c := range []struct{ q, ms float64 }{{0.5, q.P50}, {0.9, q.P90}, {0.99, q.P99}, {1, q.Max}} {
				if got := q.at(c.q); (got - ms(c.ms)).Abs() > time.Microsecond {
					t.Errorf("%s, %s: the %v quantile is %s, not %v ms", release, kind, c.q, got, c.ms)
				}
			}
			draws := rand.New(rand.NewPCG(1, 1))
			var sum time.Duration
			for range 100_000 {
				sum += q.at(draws.Float64())
			}
			if mean := sum / 100_000; (mean - q.mean()).Abs() > q.mean()/100 {
				t.Errorf("%s, %s: drawn %s on average, not %s", release, kind, mean, q.mean())
			}
		}
	}
}

func TestALatencyOfOnesOwnIsChecked(t *testing.T) {
	for text, want := range map[string]string{
		`{`:           "unexpected EOF",
		`{"color":1}`: `unknown field "color"`,
		`{"milliseconds":{"activate":{"p50":9,"p90":8,"p99":10,"max":11},"brew":{"p50":1,"p90":1,"p99":1,"max":1}}}`: `"activate": p50, p90, p99, max must be positive and rise`,
	} {
		if _, err := ReadLatency(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}
