package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
)

// keptEnded is of how many handovers that have ended a late line still counts: an answer,
// an alarm.
const keptEnded = 500

// Live is what logs say while they are written: which handovers go on, and how the last
// have ended. It reads as a [Builder] does, in bounded memory. Time is that of the lines.
type Live struct {
	b     *Builder
	tell  int
	going map[string][]*chain // by instance
	ended []*chain            // the last
	past  Totals              // of those before
	swept time.Time

	alarms  int
	acting  map[[2]string]string // replicas, by broker and share
	paused  map[string]string    // what is, by broker
	stopped []stop
}

// chain is the segments of one handover, in the order in which they began.
type chain struct {
	parts   []*segment
	outcome Outcome // once it has ended
	took    int     // lines and alarms that its last segment had then
}

func (c *chain) last() *segment { return c.parts[len(c.parts)-1] }

// again tells whether a handover that has ended was delivered again, as this one.
func (c *chain) again(ended *chain) bool {
	s, first := ended.last(), c.parts[0]
	return s.ended && s.instance == first.instance && s.goesOnIn(first)
}

// stop is what a breaker has stopped.
type stop struct {
	of      [2]string // broker and share
	replica string
	decided string
}

// Totals count handovers that have ended, and alarms.
type Totals struct {
	Right      int // migrated, or restored without a write of earlybind's
	Mended     int // right, after writes that put a port right
	NotRight   int
	Superseded int
	Unknown    int // whose end is not in the log
	Alarms     int
}

func (t *Totals) add(o Outcome) {
	switch {
	case o.Verdict == Right && o.Mended:
		t.Mended++
	case o.Verdict == Right:
		t.Right++
	case o.Verdict == NotRight:
		t.NotRight++
	case o.Verdict == Superseded:
		t.Superseded++
	default:
		t.Unknown++
	}
}

// Going is a handover that goes on.
type Going struct {
	Instance, RequestID, Source, Destination string
	Broker, Replica                          string // whose log had it last
	From                                     time.Time
	Phase                                    string
	PhaseFrom                                time.Time
	// Ports is how many it has, -1 where that is not known yet. The others count ports,
	// by what was last decided of them: commit, of these without an answer; restore,
	// verify, of these found right or gone; hold; observed.
	Ports                       int
	Commit, Unanswered          int
	Restore, Restored           int
	Verify, Verified            int
	Hold, Observed, Activated   int
	Decided, DecidedOn, Because string // the last decision, the host that it names, and why
	Alarms                      int
	Cut                         string // why nobody takes care of it now; empty if somebody does
}

// Outcome is a handover that has ended.
type Outcome struct {
	Handover
	Mended bool // earlybind wrote to put a port right
}

// Scene is what the logs say as of their last line.
type Scene struct {
	Lines    int
	From, To time.Time // the first line's, the last's; zero without any
	Going    []Going   // those with an alarm first, then the oldest first
	Ended    []Outcome // the last, in the order in which they ended
	Totals   Totals
	Acting   []string // replicas that act, with their broker and share where there are several
	Paused   []string // commits that an operator has paused
	Stopped  []string // commits that a breaker has stopped
}

// NewLive makes one that tells of the last handovers to end, so many, 500 at most.
func NewLive(tell int) *Live {
	return &Live{b: New(Options{}), tell: min(tell, keptEnded), going: map[string][]*chain{}, acting: map[[2]string]string{}, paused: map[string]string{}}
}

// Add takes the next line in, and gives the handovers that have ended by it.
func (l *Live) Add(e audit.Entry) (ended []Outcome) {
	l.b.Add(e)
	end := func(chains []*chain) {
		for _, c := range chains {
			ended = append(ended, l.end(c))
		}
	}
	for _, s := range l.b.segments {
		end(l.join(s))
	}
	l.b.segments, l.b.alarms = nil, nil // they would grow without end
	clear(l.b.finds)
	end(slices.DeleteFunc(slices.Clone(l.going[e.Handover.Instance]), func(c *chain) bool { return !c.last().ended }))
	l.late(e.Handover.Instance)
	if e.Event == audit.HandoverAlarm {
		l.alarms++
	}
	l.beside(e)
	if l.b.to.Sub(l.swept) > time.Minute {
		l.swept = l.b.to
		end(l.silent())
	}
	return ended
}

// late looks whether the last line was of the instance's last handover to end.
func (l *Live) late(instance string) {
	for _, c := range slices.Backward(l.ended) {
		if c.parts[0].instance != instance {
			continue
		}
		if s := c.last(); len(s.lines)+len(s.alarms) != c.took {
			c.outcome, c.took = l.outcome(c), len(s.lines)+len(s.alarms)
		}
		return
	}
}

// join puts a new segment to the handover that it goes on with, and gives those of the
// instance that it ends.
func (l *Live) join(s *segment) (ended []*chain) {
	for _, c := range l.going[s.instance] {
		if c.last().goesOnIn(s) {
			c.parts = append(c.parts, s)
			return nil
		}
	}
	ended = slices.Clone(l.going[s.instance])
	l.going[s.instance] = append(l.going[s.instance], &chain{parts: []*segment{s}})
	return ended
}

// silent gives those of which nothing was heard for long.
func (l *Live) silent() (ended []*chain) {
	for _, chains := range l.going {
		for _, c := range chains {
			if l.b.to.Sub(c.last().last) > silence {
				ended = append(ended, c)
			}
		}
	}
	slices.SortFunc(ended, func(x, y *chain) int { return x.parts[0].first.Compare(y.parts[0].first) })
	return ended
}

func (l *Live) end(c *chain) Outcome {
	s := c.last()
	if course := s.session.instances[s.instance]; course != nil && course.open == s {
		l.b.leave(course)
	}
	of := slices.DeleteFunc(l.going[s.instance], func(other *chain) bool { return other == c })
	if l.going[s.instance] = of; len(of) == 0 {
		delete(l.going, s.instance)
	}
	if i := slices.IndexFunc(l.ended, c.again); i >= 0 {
		c.parts = append(slices.Clone(l.ended[i].parts), c.parts...)
		l.ended = slices.Delete(l.ended, i, i+1)
	}
	c.outcome, c.took = l.outcome(c), len(s.lines)+len(s.alarms)
	if l.ended = append(l.ended, c); len(l.ended) > keptEnded {
		l.past.add(l.ended[0].outcome)
		l.ended = l.ended[1:]
	}
	return c.outcome
}

func (l *Live) outcome(c *chain) Outcome {
	return Outcome{l.b.handover(c.parts), slices.ContainsFunc(c.parts, (*segment).mended)}
}

// mended tells whether a write has put a port right: one after a restore was decided,
// but for the answer to a commit from before.
func (s *segment) mended() bool {
	restoring := map[string]string{}
	for _, e := range s.lines {
		switch host := restoring[e.Port]; {
		case e.Event == audit.PortDecided && e.Decided == restore:
			restoring[e.Port] = e.Host
		case e.Event == audit.PortWritten && host != "" && e.Outcome != "failed" && (e.Decided != activate || e.Host == host):
			return true
		}
	}
	return false
}

// beside takes in what is said of the consumers.
func (l *Live) beside(e audit.Entry) {
	of := [2]string{e.Broker, e.Share}
	switch e.Event {
	case audit.ConsumerActive:
		l.acting[of] = e.Replica
		// Each replica counts for itself, and forgets with its process.
		l.stopped = slices.DeleteFunc(l.stopped, func(s stop) bool { return s.of == of && s.replica != e.Replica })
	case audit.ConsumerLost, audit.ConsumerStopped:
		if l.acting[of] == e.Replica {
			delete(l.acting, of)
		}
	case audit.ConsumerPaused:
		what := e.Decided
		if e.Why != "" {
			what += ", " + e.Why
		}
		if e.Err != nil {
			what += ": " + e.Err.Error()
		}
		l.paused[e.Broker] = what
	case audit.ConsumerResumed:
		delete(l.paused, e.Broker)
	case audit.CommitsStopped, audit.CommitsResumed:
		circuit, _, _ := strings.Cut(e.Decided, " are ") // see handover.Change
		l.stopped = slices.DeleteFunc(l.stopped, func(s stop) bool {
			return s.of == of && s.replica == e.Replica && strings.HasPrefix(s.decided, circuit+" are ")
		})
		if e.Event == audit.CommitsStopped {
			l.stopped = append(l.stopped, stop{of, e.Replica, e.Decided})
		}
	}
}

// Of tells of the handovers of an instance that go on.
func (l *Live) Of(instance string) []Going {
	var all []Going
	for _, c := range l.going[instance] {
		all = append(all, goingOf(c))
	}
	return all
}

// Now tells what the logs say by now.
func (l *Live) Now() Scene {
	s := Scene{Lines: l.b.lines, From: l.b.from, To: l.b.to, Totals: l.past}
	for _, chains := range l.going {
		for _, c := range chains {
			s.Going = append(s.Going, goingOf(c))
		}
	}
	slices.SortFunc(s.Going, func(x, y Going) int {
		return cmp.Or(-cmp.Compare(min(x.Alarms, 1), min(y.Alarms, 1)), x.From.Compare(y.From), cmp.Compare(x.Instance, y.Instance))
	})
	for i, c := range l.ended {
		s.Totals.add(c.outcome)
		if i >= len(l.ended)-l.tell {
			s.Ended = append(s.Ended, c.outcome)
		}
	}
	s.Totals.Alarms = l.alarms
	s.Acting = named(l.acting)
	for _, broker := range slices.Sorted(maps.Keys(l.paused)) {
		s.Paused = append(s.Paused, ofWhat(l.paused[broker], broker))
	}
	for _, stop := range l.stopped {
		s.Stopped = append(s.Stopped, ofWhat(stop.decided, stop.of[0], stop.of[1]))
	}
	return s
}

// named names replicas, each once, with what they act for.
func named(acting map[[2]string]string) (all []string) {
	for _, key := range slices.SortedFunc(maps.Keys(acting), func(x, y [2]string) int {
		return cmp.Or(cmp.Compare(x[0], y[0]), cmp.Compare(x[1], y[1]))
	}) {
		all = append(all, ofWhat(acting[key], key[0], key[1]))
	}
	return all
}

// ofWhat puts what it is of behind a text: a broker, a share; those that have no name are
// the only ones, or the first.
func ofWhat(text string, names ...string) string {
	names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
	if len(names) == 0 {
		return text
	}
	return text + " (" + strings.Join(names, ", ") + ")"
}

func goingOf(c *chain) Going {
	first, s := c.parts[0], c.last()
	g := Going{
		Instance: s.instance, Broker: s.session.broker, Replica: s.session.replica.name, From: first.first, PhaseFrom: first.first,
		Ports: -1, Cut: s.cut,
	}
	g.Activated, _ = activatedIn(c.parts)
	for _, part := range c.parts {
		g.RequestID = cmp.Or(g.RequestID, part.requestID)
		g.Source, g.Destination = cmp.Or(part.source, g.Source), cmp.Or(part.destination, g.Destination)
		g.Alarms += len(part.alarms)
		if part.armed >= 0 {
			g.Ports = part.armed
		}
	}
	observed := map[string]bool{}
	for _, e := range s.lines {
		if e.Phase != "" && e.Phase != g.Phase {
			g.Phase, g.PhaseFrom = e.Phase, e.Time
		}
		switch e.Event {
		case audit.PortDecided:
			g.Decided, g.DecidedOn, g.Because = e.Decided, e.Host, e.Why
			delete(observed, e.Port)
		case audit.PortObserved:
			g.Decided, g.DecidedOn, g.Because = "observe", "", e.Why
			observed[e.Port] = true
		}
	}
	g.Observed = len(observed)
	for id, p := range s.ports {
		done := 0
		if p.verified && !strings.HasPrefix(p.found, "rows wrong") {
			done = 1
		}
		switch {
		case observed[id]:
		case p.goal == commit:
			g.Commit++
			if p.waiting {
				g.Unanswered++
			}
		case p.goal == restore:
			g.Restore++
			g.Restored += done
		case p.goal == verify:
			g.Verify++
			g.Verified += done
		case p.goal == hold:
			g.Hold++
		}
	}
	return g
}

// Say puts a line that is of no handover into words.
func Say(e audit.Entry) string { return strings.TrimSpace(string(e.Event) + ": " + sentence(e)) }
