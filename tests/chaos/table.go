package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

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
	return fmt.Sprintf(`messages that the broker has confirmed into the consumers' queues, in %d runs, of each of %d shares
  distinct                 %8d
    done                   %8d
    parked                 %8d
    expired                %8d
    without an outcome     %8d
  counted apart
    sent again             %8d   further copies of the same message
    settled again          %8d   the acknowledgement was lost with the session
    never confirmed        %8d   settled, but sent again by its sender, who could not know
    into no queue          %8d   Nova's, while no queue was bound: at most %.1f s
    not into all shares'   %8d   Nova's, while a share's queue was not bound and another's was
  the journals: %d ports were looked at, %d entries are left of ports that could not be removed, %d without a reason
`, len(balances), max(b.Shares, 1), b.Messages, b.Done, b.Parked, b.Expired, b.Without, b.Copies, b.Again, b.Unconfirmed, b.Unrouted, float64(b.UnboundMS)/1000, b.Unshared, b.JournalPorts, b.JournalKept, len(b.JournalLeft))
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

// listed is an error that names up to 20 of what is wrong; nil if nothing is.
func listed(what string, wrong []string) error {
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s:\n  %s", what, strings.Join(wrong[:min(20, len(wrong))], "\n  "))
}

// ends says how the handovers have ended, by what the consumers have told, and when.
func ends(records []record) string {
	told, late := map[string]int{}, 0
	var why []string
	for _, r := range records {
		if r.Outcome == "" {
			why = append(why, string(cmp.Or(r.NoEnd, "not asked why")))
			continue
		}
		told[r.Outcome]++
		if time.Duration(r.ToEndMS)*time.Millisecond > endWithin {
			late++
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "the ends that the consumers have told, of %d handovers\n", len(records))
	for _, outcome := range slices.Sorted(maps.Keys(told)) {
		fmt.Fprintf(&b, "  %-22s %8d\n", outcome, told[outcome])
	}
	fmt.Fprintf(&b, "  %-22s %8d\n", fmt.Sprintf("of them after %.0f s", endWithin.Seconds()), late)
	fmt.Fprintf(&b, "  %-22s %8d\n", "none was told", len(why))
	for _, reason := range slices.Compact(slices.Sorted(slices.Values(why))) {
		n := 0
		for _, w := range why {
			if w == reason {
				n++
			}
		}
		fmt.Fprintf(&b, "    %-38s %d\n", reason, n)
	}
	return b.String()
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
