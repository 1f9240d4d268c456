package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/tests/results"
)

// table has a line for each fault, for failed, for successful and for all
// handovers. A handover that met several faults counts for each of them. Refused
// are migrations that a row of an earlier one kept from beginning.
func table(records []record) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-26s %7s %10s %13s %6s %10s %8s %7s %16s\n", "fault", "rounds", "right at", "right after", "wrong", "hurt Nova", "refused", "alarms", "s to right")
	fmt.Fprintf(&b, "%-26s %7s %10s %13s %6s %10s %8s %7s %16s\n", "", "", "once", "repair", "", "", "", "", "p50 / p99")
	for _, f := range allFaults {
		b.WriteString(row(string(f), records, func(r record) bool { return slices.Contains(r.Faults, f) }))
	}
	b.WriteString(row("all failed migrations", records, func(r record) bool { return r.Fails }))
	b.WriteString(row("all successful ones", records, func(r record) bool { return !r.Fails }))
	b.WriteString(row("all", records, func(record) bool { return true }))
	return b.String()
}

// statement says what has become of the messages, in all runs that came to their
// end.
func statement(balances []balance) string {
	b := sum(balances)
	return fmt.Sprintf(`messages that the broker has confirmed into the consumers' queue, in %d runs
  distinct                 %8d
    done                   %8d
    parked                 %8d
    expired                %8d
    without an outcome     %8d
  counted apart
    sent again             %8d   further copies of the same message
    settled again          %8d   the acknowledgement was lost with the session
    never confirmed        %8d   settled, but sent again by its sender, who could not know
    into no queue          %8d   confirmed while no queue was bound
`, len(balances), b.Messages, b.Done, b.Parked, b.Expired, b.Without, b.Copies, b.Again, b.Unconfirmed, b.Unrouted)
}

func row(name string, records []record, counts func(record) bool) string {
	var t results.Tally
	alarms := 0
	for _, r := range records {
		if !counts(r) {
			continue
		}
		t.Add(r.Right, r.AtOnce, len(r.Hurt) > 0, r.Refused, float64(r.ToRightMS)/1000)
		if r.Alarms > 0 {
			alarms++
		}
	}
	return fmt.Sprintf("%-26s %7d %10d %13d %6d %10d %8d %7d %16s\n", name, t.Rounds, t.AtOnce, t.Later, t.Wrong, t.Hurt, t.Refused, alarms,
		results.Quantiles(t.ToRight, "%.1f", .5, .99))
}

// verdict is nil if every port has ended right and Nova was never hurt; else it says of
// each that did not what is known, since of a CI's output the last lines may be all that is kept.
func verdict(records []record) error {
	wrong, hurt, collisions := 0, 0, 0
	var each strings.Builder
	for _, r := range records {
		if !r.Right || len(r.Hurt) > 0 {
			fmt.Fprintf(&each, "\n  %s", r)
		}
		if !r.Right {
			wrong++
		}
		if len(r.Hurt) > 0 {
			hurt++
		}
		if r.Collision {
			collisions++
		}
	}
	if wrong+hurt == 0 {
		return nil
	}
	return fmt.Errorf("of %d handovers %d ended wrong and %d hurt Nova, %d of them with a 5xx%s", len(records), wrong, hurt, collisions, &each)
}
