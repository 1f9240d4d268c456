package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/timeline"
)

// takeOver is how long after a replica's last line of a handover another may go on with
// it, where no request id says that it is the same.
const takeOver = time.Hour

// handovers puts the segments together that are of one handover, in the order in which
// they began; of those that were asked for.
func (b *Builder) handovers() [][]*segment {
	byInstance := map[string][]*segment{}
	for _, s := range b.segments {
		byInstance[s.instance] = append(byInstance[s.instance], s)
	}
	var all [][]*segment
	for _, segments := range byInstance {
		slices.SortStableFunc(segments, func(x, y *segment) int { return x.first.Compare(y.first) })
		taken := map[*segment]bool{}
		for i, s := range segments {
			if taken[s] {
				continue
			}
			parts := []*segment{s}
			for _, next := range segments[i+1:] {
				if last := parts[len(parts)-1]; !taken[next] && last.goesOnIn(next) {
					taken[next] = true
					parts = append(parts, next)
				}
			}
			if slices.ContainsFunc(parts, func(s *segment) bool { return s.selected }) {
				all = append(all, parts)
			}
		}
	}
	slices.SortFunc(all, func(x, y []*segment) int {
		return cmp.Or(x[0].first.Compare(y[0].first), cmp.Compare(x[0].instance, y[0].instance))
	})
	return all
}

// goesOnIn tells whether next is what another session made of this handover: it has no end
// here, or it was delivered again, as its acknowledgements were lost.
func (s *segment) goesOnIn(next *segment) bool {
	same := s.requestID != "" && s.requestID == next.requestID
	switch another := s.session != next.session || s.nth != next.nth; {
	case s.ended && !(same && another), s.session == next.session && next.begun && !s.ended && s.cut == "":
		return false
	}
	named := audit.Handover{RequestID: next.requestID, Source: next.source, Destination: next.destination}
	return s.isOf(named) && (same || next.first.Sub(s.last) <= takeOver)
}

// handover tells what its parts say.
func (b *Builder) handover(parts []*segment) Handover {
	first, last := parts[0], parts[len(parts)-1]
	end := last
	for _, s := range slices.Backward(parts) {
		if s.ended && badness(s.outcome) >= badness(end.outcome) {
			end = s // of ends that are as bad the first: it was timed as it happened
		}
	}
	h := Handover{
		Instance: first.instance, Broker: first.session.broker, From: first.first, To: last.last,
		Outcome: end.outcome, Figures: end.figures, Flavor: end.flavor, sessions: len(parts),
	}
	h.Activated, h.tried = activatedIn(parts)
	keep := false
	for _, s := range parts {
		if name := s.session.replica.name; len(h.Replicas) == 0 || h.Replicas[len(h.Replicas)-1] != name {
			h.Replicas = append(h.Replicas, name)
		}
		h.RequestID = cmp.Or(h.RequestID, s.requestID)
		h.Source, h.Destination = cmp.Or(h.Source, s.source), cmp.Or(h.Destination, s.destination)
		h.Ports = max(h.Ports, s.heardOf, s.armed)
		h.Drivers = append(h.Drivers, s.drivers...)
		h.Alarms = append(h.Alarms, s.alarms...)
		h.paused = h.paused || s.paused
		h.kept = append(h.kept, s.kept...)
		keep = keep || b.told(s)
	}
	slices.Sort(h.Drivers)
	h.Drivers = slices.Compact(h.Drivers)
	if len(h.Drivers) > 1 { // which they are is told
		h.Drivers = slices.DeleteFunc(h.Drivers, func(driver string) bool { return driver == audit.DriverMixed })
	}
	slices.Sort(h.kept)
	h.kept = slices.Compact(h.kept)
	h.judge(parts)
	if keep || h.Verdict == NotRight || h.Verdict == Unknown {
		h.Timeline, h.PauseSeen = b.timeline(parts)
	}
	return h
}

var outcomesNotRight = map[string]string{
	wrong:     "a port was not right when it ended",
	"expired": "nothing was heard of it for 45 minutes: how it ended is not known",
}

// badness ranks outcomes, "" among them: the end is not in the log.
func badness(outcome string) int {
	switch outcome {
	case migrated, restored:
		return 0
	case superseded:
		return 1
	case wrong:
		return 4
	case "expired":
		return 3
	}
	return 2
}

func (h *Handover) judge(parts []*segment) {
	last := parts[len(parts)-1]
	if why := outcomesNotRight[h.Outcome]; why != "" {
		h.Why = append(h.Why, why)
	}
	switch n := len(h.Alarms); n {
	case 0:
	case 1:
		h.Why = append(h.Why, "there was an alarm")
	default:
		h.Why = append(h.Why, fmt.Sprintf("there were %d alarms", n))
	}
	for _, s := range parts {
		for _, broken := range s.tally.broken {
			text := ruleTexts[broken.rule]
			why := fmt.Sprintf("it breaks the rule %s (%s): %s", text.name, text.says, broken.what)
			if broken.port != "" {
				why += ", port " + broken.port
			}
			h.Why = append(h.Why, why)
		}
	}
	switch {
	case len(h.Why) > 0:
		h.Verdict = NotRight
	case h.Outcome == migrated, h.Outcome == restored:
		h.Verdict = Right
	case h.Outcome == superseded:
		h.Verdict = Superseded
	case h.Outcome == "":
		h.Verdict = Unknown
		h.Why = append(h.Why, cmp.Or(last.cut, "its end is not in the log"))
	default:
		h.Verdict = Unknown
		h.Why = append(h.Why, "the outcome "+h.Outcome+" is not known here: a newer earlybind reads it")
	}
}

func (c *Counts) add(h Handover) {
	c.Handovers++
	c.Outcomes[h.Outcome]++
	switch h.Verdict {
	case Right:
		c.Right++
	case NotRight:
		c.NotRight++
	case Superseded:
		c.Superseded++
	case Unknown:
		c.Unknown++
	}
}

// timeline draws the lines, in milliseconds from the guest's pause; where none was seen,
// from the first line.
func (b *Builder) timeline(parts []*segment) (moments []timeline.Moment, paused bool) {
	zero := parts[0].first
	for i := len(parts) - 1; i >= 0; i-- {
		for _, e := range parts[i].lines {
			if e.Phase == "paused" || e.Phase == "postcopy" {
				zero, paused = e.Time, true
				break
			}
		}
	}
	for i, s := range parts {
		if i > 0 {
			moments = append(moments, timeline.Moment{MS: since(zero, s.first), Who: "earlybind", What: "another session goes on with it: " + s.session.replica.name})
		}
		for _, e := range s.lines {
			if b.options.Port != "" && e.Port != "" && e.Port != b.options.Port {
				continue
			}
			who, what := timeline.OfLog(e.Line)
			moments = append(moments, timeline.Moment{MS: since(zero, e.Time), Who: who, What: what})
		}
		if s.cut != "" {
			moments = append(moments, timeline.Moment{MS: since(zero, s.last), Who: "(log)", What: s.cut})
		}
	}
	return moments, paused
}

func since(zero, t time.Time) float64 { return float64(t.Sub(zero).Microseconds()) / 1000 }

// later tells of handovers that are not right what was heard afterwards.
func (b *Builder) later(handovers []Handover) {
	after := map[string]Handover{} // by instance, the last that was right
	for i := len(handovers) - 1; i >= 0; i-- {
		h := &handovers[i]
		if h.Verdict == Right {
			if _, ok := after[h.Instance]; !ok {
				after[h.Instance] = *h
			}
			continue
		}
		if next, ok := after[h.Instance]; ok && (h.Verdict == NotRight || h.Verdict == Unknown) && next.From.After(h.From) {
			h.Since = fmt.Sprintf("a later migration of the instance ended %s, every port right, at %s", next.Outcome, next.To.UTC().Format(time.DateTime))
			continue
		}
		var found []string
		for _, a := range h.Alarms {
			if s, ok := b.finds[a.Port]; ok && s.left == nil && s.at.After(a.Time) {
				found = append(found, fmt.Sprintf("port %s was found right (%s) at %s", a.Port, s.outcome, s.at.UTC().Format(time.DateTime)))
			}
		}
		slices.Sort(found)
		h.Since = strings.Join(slices.Compact(found), "; ")
	}
}

// sentence puts what a line says into words.
func sentence(e audit.Entry) string {
	var parts []string
	if e.Port != "" {
		parts = append(parts, "port "+e.Port)
	}
	for _, part := range []string{e.Host, e.Outcome, e.Why, e.Saw, e.Decided} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	if e.Err != nil {
		parts = append(parts, e.Err.Error())
	}
	return strings.Join(parts, "; ")
}

func saidOf(lines []audit.Entry) []Said {
	var out []Said
	for _, e := range lines {
		out = append(out, Said{Time: e.Time, Who: e.Replica, What: string(e.Event) + ": " + sentence(e)})
	}
	return out
}
