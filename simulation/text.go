package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Text draws the report.
func (r Report) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d; policy %s; %d hosts; migrations begin for %.4g min; %d ports each; %.4g %% fail\n",
		r.Seed, r.Policy, r.Hosts, r.Minutes, r.Ports, r.Failing)
	fmt.Fprintf(&b, "Neutron: %d workers; an activate takes %.0f ms (mean, alone), %.4g times what was measured: %s\n",
		r.Workers, r.ActivateMean, r.Scale, r.Latency)
	if r.AtOnce > 0 {
		fmt.Fprintf(&b, "at most %d requests of the consumer at once, restores first\n", r.AtOnce)
	}
	for _, l := range r.Loads {
		b.WriteString(l.text())
	}
	if !r.Right() {
		b.WriteString("\nNOT RIGHT: see \"not ended\" and \"wrong in the end\"\n")
	}
	return b.String()
}

func (l Load) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%.6g migrations per minute: %d, of which %d fail; not ended: %d\n", l.PerMinute, l.All.Migrations, l.All.Failing, l.NotEnded)
	n := l.Neutron
	fmt.Fprintf(&b, "  Neutron's workers        %5.1f %% busy: %s; with Nova alone %.1f %%\n",
		100*n.Utilisation, percents(n.Shares), 100*l.Alone.Utilisation)
	c := l.Consumer
	fmt.Fprintf(&b, "  consumer                 %.3g messages/s, its session %.2f %% busy; %.3g cores; handovers at once: mean %.3g, most %d; requests at once: most %d\n",
		c.PerSecond, 100*c.Session, c.Cores, c.Handovers, c.MostHandovers, c.MostRequests)
	fmt.Fprintf(&b, "  it asks per migration    %s\n", each(c.Requests, l.All.Migrations))
	fmt.Fprintf(&b, "  %-34s %7s %9s %9s %9s %9s\n", "milliseconds", "count", "p50", "p95", "p99", "max")
	row(&b, "any request waits for a worker", n.Queue)
	row(&b, "the same, with Nova alone", l.Alone.Queue)
	l.All.rows(&b)
	l.All.counts(&b)
	if l.Drained != nil {
		fmt.Fprintf(&b, "  of the drained host: %d migrations, %d fail; from the first pause to the last row: %.0f ms\n",
			l.Drained.Migrations, l.Drained.Failing, l.Drained.TookMS)
		l.Drained.rows(&b)
		l.Drained.counts(&b)
	}
	counted(&b, "ports left to Nova", l.Left)
	counted(&b, "alarms", l.Alarms)
	counted(&b, "Nova's calls failed", l.NovaFailed)
	return b.String()
}

func (g Group) rows(b *strings.Builder) {
	row(b, "activate: pause to sent", g.Sent)
	row(b, "activate: what it waits for to sent", g.Reacted)
	row(b, "activate: waits for a worker", g.Queued)
	row(b, "activate: pause to answered", g.Answered)
	row(b, "pause to row ACTIVE", g.Active)
	row(b, "the same, with Nova alone", g.ActiveNova)
	row(b, "lead: earlier than Nova alone", g.Lead)
	row(b, "lead_ms, as the log tells it", g.LeadTold)
	row(b, "restore: failure to right", g.Restores)
}

func (g Group) counts(b *strings.Builder) {
	fmt.Fprintf(b, "  handovers: %s; ports activated %d, past their deadline %d (%.2f %%), later than with Nova alone %d, wrong in the end %d\n",
		list(g.Outcomes), g.Activated, g.Late, 100*g.LateShare, g.Later, g.RowsWrong)
}

func row(b *strings.Builder, name string, s Spread) {
	if s.Count == 0 {
		return
	}
	fmt.Fprintf(b, "  %-34s %7d %9.0f %9.0f %9.0f %9.0f\n", name, s.Count, s.P50, s.P95, s.P99, s.Max)
}

func counted(b *strings.Builder, name string, counts map[string]int) {
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(b, "  %s: %d: %s\n", name, counts[what], what)
	}
}

func list(counts map[string]int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %d", what, counts[what]))
	}
	return strings.Join(parts, ", ")
}

// each gives counts per migration.
func each(counts map[string]int, migrations int) string {
	var parts []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%s %.1f", what, float64(counts[what])/float64(max(migrations, 1))))
	}
	return strings.Join(parts, ", ")
}

func percents(shares map[string]float64) string {
	var parts []string
	for _, who := range slices.Sorted(maps.Keys(shares)) {
		parts = append(parts, fmt.Sprintf("%s %.1f %%", who, 100*shares[who]))
	}
	return strings.Join(parts, ", ")
}
