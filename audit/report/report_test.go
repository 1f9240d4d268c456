package report

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/replay"
)

var update = flag.Bool("update", false, "write the golden files anew")

const recordings = "../../recordings"

var policies = []handover.Policy{handover.PolicyObserve, handover.PolicyAuto, handover.PolicySuspended}

// logs are what a consumer has written of each recording, under each policy; each hour
// another one, each of instances of its own.
var logs = func() map[string][]audit.Entry {
	files, err := filepath.Glob(filepath.Join(recordings, "*.jsonl"))
	if err != nil || len(files) == 0 {
		panic(fmt.Sprint("no recordings: ", err))
	}
	out := map[string][]audit.Entry{}
	began := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	for i, file := range files {
		for j, policy := range policies {
			name := strings.TrimSuffix(filepath.Base(file), ".jsonl") + " " + policy.String()
			began = began.Add(time.Hour)
			out[name] = replayed(file, policy, began, fmt.Sprintf("%02d%02d", i, j))
		}
	}
	return out
}()

func replayed(file string, policy handover.Policy, began time.Time, mark string) []audit.Entry {
	in, err := os.Open(file)
	if err != nil {
		panic(err)
	}
	defer in.Close()
	header, messages, err := recording.Read(in)
	if err != nil {
		panic(err)
	}
	var lines []audit.Entry
	own := func(id string) string {
		if len(id) < 4 {
			return id
		}
		return mark + id[4:]
	}
	_, err = replay.Run(context.Background(), header, messages, replay.Options{Policy: policy, Audit: func(at time.Duration, l audit.Line) {
		if l.Port != "" {
			l.Why = strings.ReplaceAll(l.Why, l.Port, own(l.Port))
			l.Port = own(l.Port)
		}
		l.Handover.Instance = own(l.Handover.Instance)
		lines = append(lines, audit.Entry{Line: l, Time: began.Add(at), Replica: "r1"})
	}})
	if err != nil {
		panic(err)
	}
	return lines
}

func names() []string {
	var names []string
	for name := range logs {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		if len(logs[a]) == 0 || len(logs[b]) == 0 {
			return len(logs[a]) - len(logs[b])
		}
		return logs[a][0].Time.Compare(logs[b][0].Time)
	})
	return names
}

func whole() []audit.Entry {
	var all []audit.Entry
	for _, name := range names() {
		all = append(all, logs[name]...)
	}
	return all
}

func of(o Options, lines ...audit.Entry) Report {
	b := New(o)
	for _, e := range lines {
		b.Add(e)
	}
	return b.Report(audit.Skipped{})
}

// brokenRules gives the rules that are, by name.
func brokenRules(r Report) []string {
	var names []string
	for _, rule := range r.Rules {
		if rule.Broken > 0 {
			names = append(names, fmt.Sprint(rule.Name, rule.Cases))
		}
	}
	return names
}

// The reports of what a consumer wrote of the recordings; read them before they change.
func TestGolden(t *testing.T) {
	var thaws string
	for _, e := range logs["destination-thaws suspended"] {
		thaws = e.Handover.Instance
	}
	for name, c := range map[string]struct {
		options Options
		lines   []audit.Entry
	}{
		"all": {Options{}, whole()}, "instance": {Options{Instance: thaws}, whole()},
		"hours":    {Options{Since: whole()[0].Time, Until: whole()[0].Time.Add(3 * time.Hour)}, whole()},
		"observed": {Options{}, observed()},
	} {
		o := c.options
		r := of(o, c.lines...)
		var text, page bytes.Buffer
		if err := errors.Join(Text(&text, r, o), HTML(&page, r, o, "test")); err != nil {
			t.Fatal(err)
		}
		machine, err := json.MarshalIndent(r, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		for ext, got := range map[string][]byte{"txt": text.Bytes(), "html": page.Bytes(), "json": machine} {
			if name == "all" && ext == "json" {
				continue // the others have the same parts
			}
			file := filepath.Join("testdata", "golden", name+"."+ext)
			if *update {
				if err := os.WriteFile(file, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s is not as it was: go test ./audit/report -update, and read what has changed", file)
			}
		}
	}
}

// notFine are the recordings in which a guest was lost or ran twice, and those where Nova 31
// gave up without rolling back: where earlybind has moved nothing, its rows stay as they
// are, and an alarm says so.
var notFine = []string{
	"post-copy-failed", "destination-thaws", "lab-runs-on-both", "source-qemu-killed",
	"lab-source-libvirtd-killed", "lab-source-libvirtd-restarted", "lab-network-cut",
}

func TestEveryRecordingKeepsTheRules(t *testing.T) {
	for name, lines := range logs {
		r := of(Options{}, lines...)
		if got := brokenRules(r); got != nil || r.Counts.Unknown > 0 {
			t.Errorf("%s: %v, %+v", name, got, r.Counts)
		}
		if !r.Fine() && !slices.ContainsFunc(notFine, func(ended string) bool { return strings.Contains(name, ended) }) {
			t.Errorf("%s: not fine: %+v", name, r.Handovers)
		}
	}
	r := of(Options{}, whole()...)
	for _, rule := range r.Rules {
		if rule.Held == 0 && rule.Name != "hold" && rule.Name != "wrong-alarm" {
			t.Errorf("the rule %s was never judged", rule.Name)
		}
	}
}

// A log that begins or ends anywhere breaks no rule by that.
func TestALogThatIsCutAnywhereBreaksNoRule(t *testing.T) {
	for name, lines := range logs {
		for i := range lines {
			if got := brokenRules(of(Options{}, lines[:i]...)); got != nil {
				t.Errorf("%s, the first %d lines: %v", name, i, got)
			}
			if got := brokenRules(of(Options{}, lines[i:]...)); got != nil {
				t.Errorf("%s, all but the first %d lines: %v", name, i, got)
			}
		}
	}
}

// Two replicas' logs tell the same however they are mixed; each one's lines stay in order.
func TestReplicasLogsMixedInAnyWay(t *testing.T) {
	all := whole()
	var one, two []audit.Entry
	for i, name := range names() {
		for _, e := range logs[name] {
			if i%2 == 0 {
				one = append(one, e)
				continue
			}
			e.Replica = "r2"
			e.Time = e.Time.Add(-7 * time.Minute) // its clock is late
			two = append(two, e)
		}
	}
	want := of(Options{}, append(slices.Clone(one), two...)...)
	if want.Counts.Handovers != of(Options{}, all...).Counts.Handovers {
		t.Errorf("%+v", want.Counts)
	}
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		a, b := one, two
		var mixed []audit.Entry
		for len(a)+len(b) > 0 {
			if len(b) == 0 || len(a) > 0 && random.IntN(2) == 0 {
				mixed, a = append(mixed, a[0]), a[1:]
			} else {
				mixed, b = append(mixed, b[0]), b[1:]
			}
		}
		got := of(Options{}, mixed...)
		x, _ := json.Marshal(got)
		y, _ := json.Marshal(want)
		if !bytes.Equal(x, y) || len(got.Log.Notes) > 0 {
			t.Errorf("seed %d: %v\n%.2000s\n%.2000s", seed, got.Log.Notes, x, y)
		}
	}
}

// Right handovers whose lines were let go make the same report as those that were kept.
func TestWhatIsLetGoIsNotMissed(t *testing.T) {
	var many []audit.Entry
	for i := range 3 * keptRecent {
		for _, e := range logs["success suspended"] {
			e.Handover.Instance = fmt.Sprintf("instance-%d", i)
			e.Time = e.Time.Add(time.Duration(i) * time.Minute)
			many = append(many, e)
		}
	}
	b := New(Options{})
	for _, e := range many {
		b.Add(e)
	}
	kept := 0
	for _, s := range b.segments {
		if s.lines != nil || s.ports != nil {
			kept++
		}
	}
	courses := len(b.replicas["r1"].sessions[[2]string{}].instances)
	if kept > keptRecent || courses > keptRecent {
		t.Errorf("the lines of %d handovers and %d instances were kept", kept, courses)
	}
	r := b.Report(audit.Skipped{})
	if r.Counts.Right != 3*keptRecent || len(brokenRules(r)) > 0 || r.Gains[0].Outage.Count != 3*keptRecent {
		t.Errorf("%+v, %v", r.Counts, brokenRules(r))
	}
}
