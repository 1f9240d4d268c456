package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	core "github.com/earlybind/earlybind/handover"
)

// ending is a handover that a replica says has ended.
type ending struct {
	request, source, destination, outcome string
	at                                    time.Time // as the replica wrote it
	taken                                 bool      // it has no request id, and is some handover's
}

// Every handover has its end told; see findEnds for when. Where the line has Nova's request
// id, that says whose it is. One that no notification told of has none: it is the
// earliest one's of the same instance, the same way, that has no other end.

// endOf gives how a handover ended, if that is told by now. In the quiet at the end of a
// run, what was told of a migration that went on counts too.
func (c *consumers) endOf(p played, instance string, quiet bool) (ending, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.indexOfEnd(p, instance, quiet)
	if i < 0 {
		return ending{}, false
	}
	e := &c.ends[instance][i]
	e.taken = true
	return *e, true
}

// hasEnded tells whether the end of a handover is told by now.
func (c *consumers) hasEnded(p played, instance string, quiet bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.indexOfEnd(p, instance, quiet) >= 0
}

// indexOfEnd finds a handover's end among its instance's; -1 if it is not there. One that
// an old message of another migration has superseded while its own went on is heard of
// again, mostly, and its end told.
func (c *consumers) indexOfEnd(p played, instance string, quiet bool) int {
	ends := c.ends[instance]
	over := func(e ending) bool { return e.outcome != string(core.OutcomeSuperseded) || e.at.After(p.ended) }
	i := slices.IndexFunc(ends, func(e ending) bool { return e.request == p.request && over(e) })
	if i < 0 {
		i = slices.IndexFunc(ends, func(e ending) bool {
			return e.request == "" && !e.taken && over(e) && e.at.After(p.began) && goesLike(e.source, p.source) && goesLike(e.destination, p.destination)
		})
	}
	if i < 0 && quiet {
		i = slices.IndexFunc(ends, func(e ending) bool { return e.request == p.request })
	}
	return i
}

// goesLike tells whether a line's host, which may be unknown, can be a migration's.
func goesLike(said, host string) bool { return said == "" || said == host }

// unended is a handover of which the end was not told while it was watched.
type unended struct {
	played
	in     *instance
	j      judgement
	record record
}

// keepOpen puts a handover aside until its end is told.
func (g *game) keepOpen(o unended) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open = append(g.open, o)
}

// findEnds looks for the ends that came later than they were waited for, and records
// those handovers. It is called when all is quiet and every message has its outcome.
//
// Why they come late: a replica that takes over finds messages that another has acted on
// and watches the port for a minute (unknownWatch of package consumer) before it says that
// the rows are right. Consumers are lost here more often than each minute, and each one begins
// that minute anew. The next migration of the instance ends such a handover as
// superseded; the last one of an instance ends in the quiet after the last fault.
func (g *game) findEnds(save func(record) error) {
	g.mu.Lock()
	all := g.open
	g.open = nil
	g.mu.Unlock()
	slices.SortFunc(all, func(a, b unended) int { return a.began.Compare(b.began) })
	for _, o := range all {
		r := o.record
		e, ok := g.consumers.endOf(o.played, o.in.id, true)
		switch {
		case ok:
			r.ends(o.played, e)
		case r.Refused:
			r.NoEnd = noneBegan
		default:
			r.NoEnd = g.consumers.whyNoEnd(o.played, o.in.id)
			story, err := g.keepStory(o.played, o.in, o.j)
			if err != nil {
				g.fail("%v", err)
			}
			r.Story = cmp.Or(r.Story, story)
		}
		if err := save(r); err != nil {
			g.fail("%v", err)
		}
	}
}

// ends notes the end that was told of a handover.
func (r *record) ends(p played, e ending) {
	r.Outcome, r.ToEndMS = e.outcome, e.at.Sub(p.ended).Milliseconds()
}

// noEnd is why no end was told of a handover.
type noEnd string

const (
	// noneBegan: Nova's migration did not begin.
	noneBegan noEnd = "the migration was refused"
	// notSeen: no line tells of one with this request id. Its notifications were lost,
	// and what the hosts said was too, or was taken for another migration's; or one that a
	// replica had taken over, by its hosts' word alone, was given an earlier request's id by an
	// old notification: then the end that is told after its last line has that id.
	notSeen noEnd = "not told apart from another migration"
	// leftOpen: one was begun with this request id, or given it, and goes on. That is a
	// fault of the consumers.
	leftOpen noEnd = "begun, and not ended"
)

// whyNoEnd reads what was written about an instance.
func (c *consumers) whyNoEnd(p played, instance string) noEnd {
	open := false
	for _, line := range c.about(instance) {
		switch {
		case strings.Contains(line, p.request):
			open = true
		case strings.Contains(line, `"event":"handover.ended"`): // nothing of the instance goes on
			open = false
		}
	}
	if open {
		return leftOpen
	}
	return notSeen
}

// awaitEnds waits until no handover is left open.
func (g *game) awaitEnds(ctx context.Context, until time.Time) {
	for time.Now().Before(until) && ctx.Err() == nil && g.anyOpen() {
		sleep(ctx, look)
	}
}

func (g *game) anyOpen() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.ContainsFunc(g.open, func(o unended) bool {
		return !g.consumers.hasEnded(o.played, o.in.id, true) && g.consumers.whyNoEnd(o.played, o.in.id) == leftOpen
	})
}

// endVerdict is nil if none that was begun is left open.
func endVerdict(records []record) error {
	var without []string
	for _, r := range records {
		if r.NoEnd == leftOpen {
			without = append(without, fmt.Sprintf("%s: %s", r, r.NoEnd))
		}
	}
	return listed(fmt.Sprintf("%d handovers have no end that was told", len(without)), without)
}
