// Package watch shows what audit logs say while they are written: which handovers go on,
// what each waits for, and how the last have ended.
//
//	follow   logs as they grow, to lines
//	frame    what the lines say (audit/report, Live) to text: pure
//	changes  the same, one line per change: pure
//	screen   text onto a terminal, in place
package watch

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit/report"
	"github.com/earlybind/earlybind/internal/timeline"
)

// Size is that of a terminal, in characters; 0 is without a bound.
type Size struct{ Width, Height int }

// styles of text, as ECMA-48 has them (SGR).
const (
	bold   = "1"
	dim    = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
)

// span is text of one style; "" is none.
type span struct{ text, style string }

// line is what stands in one.
type line []span

func (l *line) add(style, format string, args ...any) {
	*l = append(*l, span{timeline.Plain(fmt.Sprintf(format, args...)), style})
}

// Frame draws what logs say, as of now, in at most so many lines of at most so many
// characters. The last has no line feed.
func Frame(s report.Scene, now time.Time, size Size, colour bool) string {
	head := heading(s, now)
	going := make([][]line, len(s.Going))
	for i, g := range s.Going {
		going[i] = goingLines(g, now)
	}
	ended := make([][]line, len(s.Ended))
	for i := range s.Ended { // the newest first
		ended[i] = outcomeLines(s.Ended[len(s.Ended)-1-i], now)
	}
	const titles = 4 // with a blank line before each
	if size.Height > 0 {
		room := max(size.Height-len(head)-titles, 0)
		least := min(rows(ended), room/3)
		going = fit(going, room-least)
		ended = fit(ended, room-rows(going))
	}
	lines := append(head, nil, title("In flight", len(s.Going), "none"))
	lines = append(lines, flat(going)...)
	lines = append(lines, nil, title("Last outcomes, with the lead over Nova", len(s.Ended), "none yet"))
	lines = append(lines, flat(ended)...)
	if size.Height > 0 && len(lines) > size.Height {
		lines = lines[:size.Height]
	}
	var b strings.Builder
	for i, l := range lines {
		if i > 0 {
			b.WriteByte('\n')
		}
		l.draw(&b, size.Width, colour)
	}
	return b.String()
}

func title(text string, n int, none string) line {
	if n == 0 {
		return line{{text, bold}, {": " + none, ""}}
	}
	return line{{text, bold}}
}

func rows(blocks [][]line) (n int) {
	for _, b := range blocks {
		n += len(b)
	}
	return n
}

func flat(blocks [][]line) (lines []line) {
	for _, b := range blocks {
		lines = append(lines, b...)
	}
	return lines
}

// fit leaves out what there is no room for, and says how much.
func fit(blocks [][]line, room int) [][]line {
	if rows(blocks) <= room {
		return blocks
	}
	used := 0
	for i, b := range blocks {
		if used+len(b)+1 > room { // the line that says so
			if room == 0 {
				return nil
			}
			return append(blocks[:i:i], []line{{{fmt.Sprintf("  … and %d more", len(blocks)-i), dim}}})
		}
		used += len(b)
	}
	return blocks
}

// draw writes a line, cut to a width.
func (l line) draw(b *strings.Builder, width int, colour bool) {
	room := width
	for _, s := range l {
		text := []rune(s.text)
		if width > 0 {
			if len(text) > room {
				text = append(text[:max(room-1, 0):max(room-1, 0)], []rune("…")[:min(room, 1)]...)
			}
			room -= len(text)
		}
		switch {
		case len(text) == 0:
		case colour && s.style != "":
			b.WriteString("\x1b[" + s.style + "m" + string(text) + "\x1b[0m")
		default:
			b.WriteString(string(text))
		}
	}
}

func heading(s report.Scene, now time.Time) []line {
	var first, totals line
	first.add(bold, "earlybind watch")
	if s.Lines == 0 {
		first.add("", "  %s UTC  no line of an audit log yet", now.UTC().Format(time.DateTime))
		return []line{first, {{"it is what a consumer writes to its standard output, at EARLYBIND_LOG_LEVEL=info: is that what is read?", ""}}}
	}
	first.add("", "  %s UTC, from %s on", now.UTC().Format(time.DateTime), sinceWhen(s.From, now))
	switch len(s.Acting) {
	case 0:
		first.add("", "; no line says which consumer acts")
	case 1:
		first.add("", "; acting: %s", s.Acting[0])
	default:
		first.add("", "; acting: %s", strings.Join(s.Acting, ", "))
	}
	t := s.Totals
	totals.add(styleOf(t.Right, green), "%d right", t.Right)
	for _, c := range []struct {
		n     int
		style string
		what  string
		shown bool
	}{
		{t.Mended, yellow, "repaired", true},
		{t.NotRight, red, "not right", true},
		{t.Superseded, "", "superseded", t.Superseded > 0},
		{t.Unknown, yellow, "without an end", t.Unknown > 0},
	} {
		if c.shown {
			totals.add("", ", ")
			totals.add(styleOf(c.n, c.style), "%d %s", c.n, c.what)
		}
	}
	totals.add("", "; ")
	totals.add(styleOf(t.Alarms, red), "%s", counted(t.Alarms, "alarm"))
	lines := []line{first, totals}
	for _, p := range s.Paused {
		lines = append(lines, line{{"paused: " + timeline.Plain(p), yellow}})
	}
	for _, p := range s.Stopped {
		lines = append(lines, line{{timeline.Plain(p), yellow}})
	}
	return lines
}

// styleOf is a count's: none where there is nothing.
func styleOf(n int, style string) string {
	if n == 0 {
		return ""
	}
	return style
}

// sinceWhen leaves out the day if it is today.
func sinceWhen(t, now time.Time) string {
	if t.UTC().Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.UTC().Format(time.TimeOnly)
	}
	return t.UTC().Format(time.DateTime)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ago is how long something is, for people.
func ago(from, now time.Time) string {
	d := now.Sub(from)
	switch {
	case d < time.Second: // or of a clock that is ahead
		return "0 s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d h", d/time.Hour)
}

// between names the hosts, as far as they are known.
func between(source, destination string) string {
	return cmp.Or(source, "?") + " -> " + cmp.Or(destination, "?")
}

// goingLines tells of one that goes on: who it is, and where it stands.
func goingLines(g report.Going, now time.Time) []line {
	var who, where line
	who.add("", "  %s  %s", g.Instance, between(g.Source, g.Destination))
	if g.Alarms > 0 {
		who.add(red, "  %s", strings.ToUpper(counted(g.Alarms, "alarm")))
	}
	who.add("", "  %s, begun %s, %s ago", portsOf(g), sinceWhen(g.From, now), ago(g.From, now))
	where.add("", "    ")
	where.add(phaseStyle(g), "%s", cmp.Or(g.Phase, "phase not known"))
	where.add("", " for %s, waits for %s; %s", ago(g.PhaseFrom, now), waits(g), decided(g))
	return []line{who, where}
}

func phaseStyle(g report.Going) string {
	switch g.Phase {
	case "failing", "contradicted", "lost":
		return red
	case "failed", "paused", "postcopy":
		return yellow
	}
	return ""
}

func portsOf(g report.Going) string {
	if g.Ports < 0 {
		return "ports not read yet"
	}
	text := counted(g.Ports, "port")
	if g.Activated > 0 {
		text += fmt.Sprintf(" (%d early)", g.Activated)
	}
	return text
}

// decided tells what was decided of the ports; why, of the last.
func decided(g report.Going) string {
	var parts []string
	count := func(n int, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	count(g.Commit, "commit of %s, %d answered", counted(g.Commit, "port"), g.Commit-g.Unanswered)
	count(g.Restore, "restore of %s, %d right", counted(g.Restore, "port"), g.Restored)
	count(g.Verify, "verify of %s, %d right", counted(g.Verify, "port"), g.Verified)
	count(g.Hold, "hold of %s", counted(g.Hold, "port"))
	count(g.Observed, "observe of %s", counted(g.Observed, "port"))
	if len(parts) == 0 {
		return "nothing decided yet"
	}
	if g.Because != "" {
		parts[len(parts)-1] += " (" + g.Because + ")"
	}
	return strings.Join(parts, ", ")
}

// waits tells what a handover waits for; package handover, Phase, has what leads on
// from where.
func waits(g report.Going) string {
	switch {
	case g.Cut != "":
		return "a replica that goes on with it: " + g.Cut
	case g.Phase == "contradicted":
		return "the hosts to agree where the guest runs"
	case g.Phase == "lost":
		return "an operator: post-copy has failed"
	case g.Ports < 0:
		return "Neutron to tell its ports"
	case g.Unanswered > 0:
		return "Neutron's answer"
	case g.Restored < g.Restore:
		return fmt.Sprintf("%s to be right on %s", counted(g.Restore-g.Restored, "port"), cmp.Or(g.Source, "the source"))
	}
	switch g.Phase {
	case "watching":
		return "the guest's pause on " + cmp.Or(g.Source, "its source")
	case "paused":
		return "the guest to run on " + cmp.Or(g.Destination, "its destination")
	case "postcopy":
		return "the rest of its memory to follow"
	case "arrived":
		return "its end on " + cmp.Or(g.Source, "the source")
	case "failing":
		return "a host to tell where the guest runs"
	case "left":
		if g.Verified < g.Verify {
			return "Nova to finish, then for the rows to be read"
		}
	}
	return "its end"
}

// outcomeLines tells of one that has ended, and why it is not right.
func outcomeLines(o report.Outcome, now time.Time) []line {
	verdict, style := verdictOf(o)
	early, would := "-", lead(o.Handover)
	if ms, told := o.Lead(); told {
		early, would = fmt.Sprintf("%d ms", ms), late(ms)
	}
	var first line
	first.add("", "  %s  ", sinceWhen(o.To, now))
	first.add(style, "%-10s %-9s", cmp.Or(o.Outcome, "no end"), verdict)
	first.add("", " %9s  %s  %s  %s", early, between(o.Source, o.Destination), o.Instance, outcomePorts(o))
	if would != "" {
		first.add("", "  %s", would)
	}
	lines := []line{first}
	if o.Verdict == report.NotRight || o.Verdict == report.Unknown {
		for _, a := range o.Alarms {
			lines = append(lines, line{{timeline.Plain("      alarm: " + strings.TrimSpace(portOf(a)+" "+a.Why)), ""}})
		}
		for _, why := range o.Why {
			if !ofAlarms(why) {
				lines = append(lines, line{{timeline.Plain("      " + why), ""}})
			}
		}
	}
	return lines
}

// ofAlarms tells whether a reason says only that there were alarms.
func ofAlarms(why string) bool {
	return strings.HasPrefix(why, "there w") && (strings.HasSuffix(why, " alarm") || strings.HasSuffix(why, " alarms"))
}

func portOf(a report.Alarm) string {
	if a.Port == "" {
		return ""
	}
	return "port " + a.Port + ":"
}

func verdictOf(o report.Outcome) (text, style string) {
	switch {
	case o.Verdict == report.Right && o.Mended:
		return "repaired", yellow
	case o.Verdict == report.Right:
		return "right", green
	case o.Verdict == report.NotRight:
		return "NOT RIGHT", red
	case o.Verdict == report.Superseded:
		return "", ""
	}
	return "", yellow
}

func outcomePorts(o report.Outcome) string {
	text := counted(o.Ports, "port")
	if o.Activated > 0 {
		text += fmt.Sprintf(" (%d early)", o.Activated)
	}
	return text
}

// lead tells how much earlier than Nova the destination was ACTIVE, as [report.Handover.Lead] counts it, or would have
// been; empty if it is not known. docs/audit.md has the figures.
func lead(h report.Handover) string {
	if ms, told := h.Lead(); told {
		return strings.TrimSpace(fmt.Sprintf("lead %d ms %s", ms, late(ms)))
	}
	if _, answered := h.Figures["lead_ms"]; answered {
		return "no gain: was ACTIVE already"
	}
	var would []string
	for _, policy := range []string{"resumed", "suspended"} {
		switch ms, told := h.Figures["would_lead_"+policy+"_ms"]; {
		case told && ms > 0:
			would = append(would, fmt.Sprintf("%d ms (%s)", ms, policy))
		case told:
			would = append(would, fmt.Sprintf("none (%s)", policy))
		}
	}
	if len(would) == 0 {
		return ""
	}
	return "lead would be " + strings.Join(would, ", ")
}

// late explains a lead that is none.
func late(ms int64) string {
	if ms < 0 {
		return "(Nova was first, or Neutron slow)"
	}
	return ""
}
