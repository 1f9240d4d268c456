package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/earlybind/earlybind/internal/timeline"
)

// Text draws a report for people. Handovers are told in full where the options that it
// was made with ask for something; else those that are not right, in short.
func Text(w io.Writer, r Report, o Options) error {
	t := &text{}
	if o.asks() {
		t.told(r)
	} else {
		t.whole(r)
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// text gathers lines. Whatever comes from the log loses what a terminal would act on.
type text struct{ b strings.Builder }

func (t *text) line(format string, args ...any) {
	t.b.WriteString(timeline.Plain(fmt.Sprintf(format, args...)) + "\n")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") }

func (t *text) whole(r Report) {
	t.log(r.Log)
	t.line("")
	t.counts(r)
	t.notRight(r)
	t.alarms(r)
	t.gains(r)
	t.prospects(r)
	t.rules(r.Rules)
	t.events(r.Events)
}

func (t *text) log(l Log) {
	between := ""
	if l.Lines > 0 {
		between = fmt.Sprintf(", %s to %s UTC", stamp(l.From), stamp(l.To))
	}
	t.line("%s of the audit log%s; %s", l.count(), between, count(len(l.Replicas), "replica"))
	if others := l.Skipped.Text + l.Skipped.JSON; others > 0 {
		t.line("beside them %s of something else: %d plain text, %d JSON", count(others, "line"), l.Skipped.Text, l.Skipped.JSON)
	}
	for _, note := range l.Notes {
		t.line("note: %s", note)
	}
}

// count counts lines, those of the time that was asked for first.
func (l Log) count() string {
	if l.Outside > 0 {
		return fmt.Sprintf("of that time %d of %s", l.Lines-l.Outside, count(l.Lines, "line"))
	}
	return count(l.Lines, "line")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (t *text) counts(r Report) {
	c := r.Counts
	t.line("Handovers: %d", c.Handovers)
	if c.Handovers == 0 {
		return
	}
	t.line("  %6d right: %d migrated, %d restored to their source", c.Right, count1(r, migrated), count1(r, restored))
	if c.Superseded > 0 {
		t.line("  %6d gave way to another migration of the instance, with nothing left to be done", c.Superseded)
	}
	t.line("  %6d not right", c.NotRight)
	if c.Unknown > 0 {
		t.line("  %6d whose end is not in the log", c.Unknown)
	}
}

// count1 counts the handovers that are right and ended so.
func count1(r Report, outcome string) int {
	n := 0
	for _, h := range r.Handovers {
		if h.Verdict == Right && h.Outcome == outcome {
			n++
		}
	}
	return n
}

func (t *text) notRight(r Report) {
	for _, part := range []struct {
		verdict Verdict
		title   string
	}{{NotRight, "Not right"}, {Unknown, "End not in the log"}} {
		title := part.title
		for _, h := range r.Handovers {
			if h.Verdict != part.verdict {
				continue
			}
			if title != "" {
				t.line("")
				t.line("%s (earlybind audit -instance UUID tells all of one)", title)
				title = ""
			}
			t.short(h)
		}
	}
}

// short tells a handover without its timeline.
func (t *text) short(h Handover) {
	t.head(h)
	for _, why := range h.Why {
		t.line("    %s", why)
	}
	for _, a := range h.Alarms {
		t.alarm(a)
	}
	if h.Since != "" {
		t.line("    since then: %s", h.Since)
	}
}

func (t *text) head(h Handover) {
	request := ""
	if h.RequestID != "" {
		request = ", " + h.RequestID
	}
	t.line("  %s  instance %s, %s -> %s: %s%s", stamp(h.From), h.Instance, cmp.Or(h.Source, "?"), cmp.Or(h.Destination, "?"), cmp.Or(h.Outcome, "no end"), request)
}

func (t *text) alarm(a Alarm) {
	of := "alarm"
	if a.Port != "" {
		of = "port " + a.Port
	}
	t.line("    %s: %s", of, a.Why)
	if a.Saw != "" {
		t.line("      found: %s", a.Saw)
	}
	if a.Do != "" {
		t.line("      to do: %s", a.Do)
	}
}

func (t *text) alarms(r Report) {
	if len(r.Alarms) > 0 {
		t.line("")
		t.line("Alarms of no handover")
		for _, a := range r.Alarms {
			t.line("  %s  instance %s", stamp(a.Time), cmp.Or(a.Instance, "-"))
			t.alarm(a)
		}
	}
	if len(r.Journal) > 0 {
		t.line("")
		t.line("Ports of the journal that were last found so")
		for _, l := range r.Journal {
			t.line("  %s  instance %s, port %s: %s (%s)", stamp(l.Time), l.Instance, l.Port, l.Found, l.Why)
		}
	}
}

func (t *text) gains(r Report) {
	t.line("")
	if len(r.Gains) == 0 {
		t.line("Gain: no migration has succeeded in this log")
		return
	}
	t.line("Gain, in ms")
	for _, g := range r.Gains {
		t.line("  %-24s %s, %d with a port that earlybind activated", g.Driver, count(g.Migrated, "migration"), g.Early)
		for _, row := range g.rows() {
			if row.Spread.Count > 0 {
				t.line("    %-44s p50 %6d   p99 %6d   most %6d   of %d", row.Name, row.Spread.P50, row.Spread.P99, row.Spread.Max, row.Spread.Count)
			}
		}
		for _, line := range g.caveat() {
			t.line("      %s", line)
		}
	}
	for _, note := range gainNotes(r.Gains) {
		t.line("  %s", note)
	}
	for _, g := range r.grids() {
		t.grid(g)
	}
}

// grid draws a line for each gain.
func (t *text) grid(g grid) {
	t.line("")
	t.line("Gain by %s, in ms: p50/p99/most of how many", g.Of)
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "  %s\tmigrations\tearly\t%s\n", g.Of, strings.Join(g.Heads, "\t"))
	for _, l := range g.Lines {
		fmt.Fprintf(w, "  %s\t%d\t%d", timeline.Plain(l.Name), l.Migrated, l.Early)
		for _, s := range l.Spreads {
			cell := "-"
			if s.Count > 0 {
				cell = fmt.Sprintf("%d/%d/%d of %d", s.P50, s.P99, s.Max, s.Count)
			}
			fmt.Fprintf(w, "\t%s", cell)
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush() // into memory
	for line := range strings.Lines(b.String()) {
		t.line("%s", strings.TrimRight(line, " \n"))
	}
	if note := g.Note(); note != "" {
		t.line("  %s", note)
	}
}

// prospects tells what switching on would gain, and by which setting.
func (t *text) prospects(r Report) {
	if len(r.Prospects) == 0 {
		return
	}
	t.line("")
	t.line("What switching on would gain: migrations in which nothing was activated early; their would-be lead, in ms")
	for _, p := range r.Prospects {
		t.line("  %-24s %s%s", p.Driver, count(p.Migrations, "migration"), because(p.why()))
		for _, row := range p.rows() {
			w := row.Would
			if w.Lead.Count == 0 {
				t.line("    %-10s none tells what the lead would have been", row.Policy)
				continue
			}
			t.line("    %-10s p50 %6d   p99 %6d   most %6d   of %d; %d would have had none, %d do not tell", row.Policy, w.Lead.P50, w.Lead.P99, w.Lead.Max, w.Lead.Count, w.None, w.Unknown)
		}
		if p.FailedPaused > 0 {
			t.line("    beside them %d failed after the guest's pause: with suspended their ports would have been moved and brought back", p.FailedPaused)
		}
		for _, says := range p.says() {
			t.line("    %s", says)
		}
	}
	for _, note := range r.prospectNotes() {
		t.line("  %s", note)
	}
	if !switchable(r.Prospects) {
		return
	}
	t.line("  To switch on, one of these in the settings of every consumer, in place of EARLYBIND_POLICY=observe if that is there (docs/settings.md), restarted one after the other:")
	for _, way := range waysOn(r.Prospects) {
		t.line("    %-24s %s", way[0], way[1])
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return "; why not: " + why
}

func (t *text) rules(rules []Rule) {
	t.line("")
	t.line("The log's own rules")
	for _, r := range rules {
		state := "held"
		switch {
		case r.Broken > 0:
			state = "BROKEN"
		case r.Held == 0:
			state = "-"
		}
		notes := fmt.Sprintf("%d times", r.Held)
		if r.Broken > 0 {
			notes += fmt.Sprintf(", broken %d", r.Broken)
		}
		if r.Unjudged > 0 {
			notes += fmt.Sprintf(", not judged %d: the log begins or ends there", r.Unjudged)
		}
		t.line("  %-6s  %s (%s)", state, r.Says, notes)
		for _, c := range r.Cases {
			of := "instance " + c.Instance
			if c.Port != "" {
				of += ", port " + c.Port
			}
			t.line("          %s  %s: %s", stamp(c.Time), of, c.What)
		}
	}
}

func (t *text) events(events []Happening) {
	if len(events) == 0 {
		return
	}
	t.line("")
	t.line("Beside the handovers")
	for _, e := range events {
		t.line("  %-17s %6d, the last %s  %s", e.Event, e.Count, stamp(e.Last), shortened(e.What, 160))
	}
}

func shortened(s string, most int) string {
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return s
}

// told tells handovers in full.
func (t *text) told(r Report) {
	for _, note := range r.Log.Notes {
		t.line("note: %s", note)
	}
	for i, h := range r.Handovers {
		if i > 0 || len(r.Log.Notes) > 0 {
			t.line("")
		}
		t.full(h)
	}
	if len(r.Beside) > 0 {
		t.line("")
		t.line("Outside of handovers")
		for _, s := range r.Beside {
			t.line("  %s  %s", stamp(s.Time), s.What)
		}
	}
}

var verdictWords = map[Verdict]string{
	Right: "right", NotRight: "NOT RIGHT", Superseded: "gave way to another migration of the instance, with nothing left to be done",
	Unknown: "how it ended is not known",
}

func (t *text) full(h Handover) {
	t.head(h)
	flavor := ""
	if h.Flavor != "" {
		flavor = ", flavour " + h.Flavor
	}
	t.line("    %s; %s%s, %d activated early; by %s", verdictWords[h.Verdict], count(h.Ports, "port"), flavor, h.Activated, strings.Join(h.Replicas, ", then "))
	for _, why := range h.Why {
		t.line("    %s", why)
	}
	moments := slices.Clone(h.Timeline)
	for i := range moments {
		moments[i].Who, moments[i].What = timeline.Plain(moments[i].Who), timeline.Plain(moments[i].What)
	}
	t.b.WriteString(timeline.Text(moments))
	for _, name := range slices.Sorted(maps.Keys(h.Figures)) {
		t.line("%12d   %s", h.Figures[name], name)
	}
	for _, a := range h.Alarms {
		t.alarm(a)
	}
	if h.Since != "" {
		t.line("    since then: %s", h.Since)
	}
}
