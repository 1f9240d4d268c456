package main

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/tests/duel"
	"github.com/earlybind/earlybind/tests/results"
)

func TestTable(t *testing.T) {
	apart := 12.0
	found := []duel.Result{
		{Case: "r2", StaggerMS: -25, Right: true, AtOnce: true, ApartMS: &apart},
		{Case: "r2", StaggerMS: 0, Right: true, TimeToRightMS: 300},
		{Case: "r2", StaggerMS: 300, Right: true, Refused: true, AtOnce: true},
	}
	if err := verdict(found); err != nil {
		t.Error(err)
	}
	found = append(found, duel.Result{Case: "r2", StaggerMS: 25, Hurt: []string{"x"}})
	if err := verdict(found); err == nil || !strings.Contains(err.Error(), "1 ended wrong and 1 hurt Nova") {
		t.Errorf("%v", err)
	}
	text := strings.Join(strings.Fields(table(duel.Cases, found)), " ")
	for _, want := range []string{"-25..+25 3 1 1 1 1 0 300 / 300 12 / 12 / 12", "+225..+300 1 1 0 0 0 1 0 / 0 -", "all 4 2 1 1 1 1 0 / 300"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
}

func TestGroupsHoldEveryStagger(t *testing.T) {
	for stagger := -farthest; stagger <= farthest; stagger += step {
		in := 0
		for _, g := range groups {
			if ms := int(stagger.Milliseconds()); g[0] <= ms && ms <= g[1] {
				in++
			}
		}
		if in != 1 {
			t.Errorf("%s is in %d groups", stagger, in)
		}
	}
}

// What is in the file is not fought again.
func TestResume(t *testing.T) {
	name := t.TempDir() + "/results.jsonl"
	file, err := results.Open[line](name)
	if err != nil {
		t.Fatal(err)
	}
	for release, r := range map[string]duel.Result{"zed": {Case: "r3"}, "2025.1": {Case: "r3", StaggerMS: 25}} {
		if err := file.Save(line{release, r}); err != nil {
			t.Fatal(err)
		}
	}
	file.Close()
	found, err := load(name, "2025.1")
	if err != nil || len(found) != 1 {
		t.Fatalf("%+v, %v", found, err)
	}
	cases, err := choose("r3")
	if err != nil {
		t.Fatal(err)
	}
	jobs := missing(cases, found, 2)
	if len(jobs) != 25*2-1 {
		t.Errorf("%d duels are missing", len(jobs))
	}
	if _, err := choose("r3,x"); err == nil {
		t.Error("an unknown case is taken")
	}
}
