package main

import (
	"fmt"
	"slices"
	"strings"
)

// summary compares the tour's samples in a few lines.
func summary(samples []*sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%-4s %-9s %-11s %14s %14s %14s %10s\n", "", "rows", "migration", "first activate", "all ACTIVE", "source stopped", "silence")
	for _, m := range samples {
		rows := "right"
		if !m.RowsRight {
			rows = "WRONG"
		}
		fmt.Fprintf(&b, "(%s)  %-9s %-11s %14s %14s %14s %8.2f s\n", m.Scenario, rows, m.Migration,
			ms(m.Figures.PauseToFirstOurs), ms(m.Figures.AllActive), ms(m.Figures.PauseToStopped), float64(m.SilenceMS)/1000)
	}
	a, b2 := find(samples, "a"), find(samples, "b")
	if a != nil && b2 != nil && a.Figures.AllActive != nil && b2.Figures.AllActive != nil {
		fmt.Fprintf(&b, "\nlead: from the pause to every port ACTIVE took %s ms with Nova alone (a) and %s ms with earlybind (b): %.0f ms earlier\n",
			ms(a.Figures.AllActive), ms(b2.Figures.AllActive), *a.Figures.AllActive-*b2.Figures.AllActive)
	}
	return b.String()
}

// statistics sums up a long run.
func statistics(samples []*sample, keys, release string) string {
	var b strings.Builder
	for _, r := range keys {
		var right, faults, early, conflict, conflicted, failed, n int
		var callback, allActive, nova, silence, answering []float64
		for _, m := range samples {
			if m.Scenario != string(r) || m.Release != release {
				continue
			}
			n++
			if m.RowsRight {
				right++
			}
			if m.Fault != "" {
				faults++
			}
			f := m.Figures
			if f.PauseToLastOurs != nil && (f.PauseToStopped == nil || *f.PauseToLastOurs < *f.PauseToStopped) {
				early++
			}
			conflict += f.NovaConflict
			if f.NovaConflict > 0 {
				conflicted++
			}
			failed += f.NovaFailed
			callback = appendIf(callback, f.PauseToFirstOurs)
			allActive = appendIf(allActive, f.AllActive)
			nova = appendIf(nova, f.PauseToNova)
			silence = append(silence, float64(m.SilenceMS))
			answering = appendIf(answering, f.FailedToAnswering)
		}
		fmt.Fprintf(&b, "(%s) %d samples: rows right %d; with a FAULT %d; every activate before the source's STOPPED %d; Nova's activate got 409 %d times in %d migrations, failed %d times\n",
			string(r), n, right, faults, early, conflict, conflicted, failed)
		fmt.Fprintf(&b, "    ms from the pause, p50/p95/max: first activate %s; all ACTIVE %s; Nova takes over %s; longest silence %s\n",
			quantiles(callback), quantiles(allActive), quantiles(nova), quantiles(silence))
		if len(answering) > 0 {
			fmt.Fprintf(&b, "    ms from the source's RESUMED until every address answers for good, p50/p95/max: %s, in %d of %d\n",
				quantiles(answering), len(answering), n)
		}
	}
	return b.String()
}

func appendIf(list []float64, v *float64) []float64 {
	if v == nil {
		return list
	}
	return append(list, *v)
}

func quantiles(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[min(len(v)-1, int(q*float64(len(v))))] }
	return fmt.Sprintf("%.0f/%.0f/%.0f", at(.5), at(.95), v[len(v)-1])
}

func ms(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", *v)
}

func find(samples []*sample, key string) *sample {
	for _, m := range samples {
		if m.Scenario == key {
			return m
		}
	}
	return nil
}
