package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestWhatIsWrongIsNeverCountedAsRight(t *testing.T) {
	done := sample{Migration: "completed", Source: "a", Destination: "b", Guest: "b"}
	late, wrong, failed, fault, lost := done, done, done, done, done
	lost.Migration, lost.Guest = "error", ""
	late.Late, late.ToRight, late.Ours = true, 7, 3
	wrong.Late, wrong.Wrong = true, "no ACTIVE row"
	failed.Migration, failed.Guest = "error", "a"
	fault.Fault = "Neutron did not answer"
	got := table([]sample{done, done, late, wrong, failed, fault, lost})
	for _, row := range []string{
		"| succeeded | 5 | 2 | 1 | 1 | 1 | 0.0 / 7.0 | 1 |",
		"| failed by Nova | 2 | 1 | 0 | 0 | 1 | 0.0 / 0.0 | 0 |",
		"| all | 7 | 3 | 1 | 1 | 2 | 0.0 / 7.0 | 1 |",
	} {
		if !strings.Contains(got, row+"\n") {
			t.Errorf("no row %q in\n%s", row, got)
		}
	}
}

func TestAMigrationMetTheRestartsThatItOverlaps(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	r := &restarts{done: []restart{
		{"consumer1", at(0), at(9)}, {"rabbitmq", at(10), at(20)}, {"rabbitmq", at(22), at(25)}, {"publisher1", at(29), time.Time{}}, {neutron, at(31), at(40)},
	}}
	if got := r.since(at(15), at(30)); !slices.Equal(got, []string{"rabbitmq", "publisher1"}) {
		t.Errorf("%q", got)
	}
}
