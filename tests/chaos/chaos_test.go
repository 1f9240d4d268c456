package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/tests/results"
)

func TestEveryRecordingHasAnOutcome(t *testing.T) {
	streams, err := readStreams("../../handover/testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, names := range recordings {
		for _, name := range names {
			s := streams[name]
			if s.paused < 0 || s.decided < s.paused {
				t.Errorf("%s: paused at %s, decided at %s", name, s.paused, s.decided)
			}
			if (s.postCopy != never) != strings.Contains(name, "postcopy") {
				t.Errorf("%s: post-copy at %s", name, s.postCopy)
			}
			for i, m := range s.moments {
				if m.at < 0 || i > 0 && (m.at < s.moments[i-1].at || m.at-s.moments[i-1].at > longestGap) {
					t.Errorf("%s: moment %d is at %s", name, i, m.at)
				}
				if !m.returned && (m.event == "" || m.detail == "" || m.detail == "unknown") {
					t.Errorf("%s: moment %d is %s/%s", name, i, m.event, m.detail)
				}
			}
		}
	}
}

// A seed gives the same handovers again, half of them failing, and every fault.
func TestPlans(t *testing.T) {
	const n = 1000
	fails := outcomes(7, n)
	if got := outcomes(7, n); !slices.Equal(got, fails) {
		t.Error("another order")
	}
	failed, met := 0, map[fault]int{}
	for i, f := range fails {
		if f {
			failed++
		}
		p := draw(7, i, f)
		if q := draw(7, i, f); q.stream != p.stream || !slices.Equal(q.faults, p.faults) || q.stagger != p.stagger || q.rng.Uint64() != p.rng.Uint64() {
			t.Errorf("handover %d is drawn otherwise the second time", i)
		}
		for _, one := range p.faults {
			met[one]++
		}
		if !f && p.has(again) {
			t.Error("a success is followed at once")
		}
		if p.stagger < -300e6 || p.stagger > 300e6 || p.stagger%25e6 != 0 {
			t.Errorf("stagger %s", p.stagger)
		}
	}
	if failed != n/2 {
		t.Errorf("%d fail", failed)
	}
	for _, one := range []fault{race, duplicates, late, lost, again} {
		if met[one] < 30 {
			t.Errorf("%s: %d times", one, met[one])
		}
	}
}

func TestTableAndVerdict(t *testing.T) {
	records := []record{
		{Right: true, AtOnce: true, Faults: []fault{calm}},
		{Right: true, ToRightMS: 1500, Fails: true, Faults: []fault{race, kill}},
	}
	if err := verdict(records); err != nil {
		t.Error(err)
	}
	records = append(records, record{Faults: []fault{race}})
	if err := verdict(records); err == nil || !strings.Contains(err.Error(), "1 ended wrong") {
		t.Errorf("%v", err)
	}
	if err := verdict([]record{{Right: true, Hurt: []string{"x"}}}); err == nil {
		t.Error("what hurts Nova is let pass")
	}
	want := string(race) + " 2 0 1 1 0 0 0 1.5 / 1.5"
	if text := strings.Join(strings.Fields(table(records)), " "); !strings.Contains(text, want) {
		t.Errorf("%q lacks %q", text, want)
	}
}

// What is in the file is not played again.
func TestResume(t *testing.T) {
	name := t.TempDir() + "/results.jsonl"
	file, err := results.Open[record](name)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []record{{Release: "zed", Seed: 3, Number: 1}, {Release: "2025.1", Seed: 4, Number: 2}} {
		if err := file.Save(r); err != nil {
			t.Fatal(err)
		}
	}
	file.Close()
	records, err := load(name, "2025.1")
	if err != nil || len(records) != 1 || records[0].Number != 2 {
		t.Errorf("%+v, %v", records, err)
	}
	s := settings{results: name}
	if err := s.chooseSeed(records); err != nil || s.seed != 4 {
		t.Errorf("seed %d, %v", s.seed, err)
	}
	s.seed = 5
	if s.chooseSeed(records) == nil {
		t.Error("another seed is taken")
	}
}
