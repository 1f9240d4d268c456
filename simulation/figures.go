package simulation

import (
	"cmp"
	"slices"
	"time"
)

// figures are what is counted while a run goes on.
type figures struct {
	all, drained group
	requests     map[string]int           // to Neutron, by who
	kinds        map[string]int           // of the consumer's
	busy         map[string]time.Duration // its workers, by who, while migrations begin
	queued       []time.Duration          // of each request while migrations begin
	messages     int
	alarms       map[string]int // by kind
	harms        map[string]int // to Nova, by kind
	observed     map[string]int // by reason
	decided      int            // activates
	failed       int            // writes
	mostAtOnce   int            // requests of the consumer
	handovers    level
}

func newFigures() figures {
	return figures{
		requests: map[string]int{}, kinds: map[string]int{}, busy: map[string]time.Duration{}, alarms: map[string]int{}, harms: map[string]int{}, observed: map[string]int{},
		all: newGroup(), drained: newGroup(),
	}
}

// group is what is counted of all migrations, or of a drained host's.
type group struct {
	migrations, failing, wrong int
	outcomes                   map[string]int
	late                       int // ports
	activated                  int
	sent, answered             []time.Duration // from the pause
	reacted, queued            []time.Duration
	told                       []time.Duration
	restores                   []time.Duration // from the failure
	unmoved                    int             // ports of failed migrations that were right all the time
	first, last                time.Duration   // of the pauses, and of what came after them
}

func newGroup() group { return group{outcomes: map[string]int{}} }

// of gives the group whose late ports are counted; the drained are counted in both.
func (f *figures) of(j *journey) *group {
	if j.drained {
		return &f.drained
	}
	return &f.all
}

// add counts a journey that is over.
func (f *figures) add(j *journey, right func(*portRun) bool) {
	f.all.add(j, right)
	if j.drained {
		f.drained.add(j, right)
	}
}

func (g *group) add(j *journey, right func(*portRun) bool) {
	g.migrations++
	if j.fails != nil {
		g.failing++
	}
	g.outcomes[cmp.Or(j.outcome, "none")]++
	g.told = append(g.told, j.told...)
	if j.paused > 0 && (g.first == 0 || j.paused < g.first) {
		g.first = j.paused
	}
	for _, p := range j.ports {
		if !right(p) {
			g.wrong++
		}
		if p.answered > 0 {
			g.activated++
			g.sent = append(g.sent, p.sent-j.paused)
			g.answered = append(g.answered, p.answered-j.paused)
			g.queued = append(g.queued, p.queued)
			from := j.paused
			if j.arrived > 0 && p.sent >= j.arrived {
				from = j.arrived
			}
			g.reacted = append(g.reacted, p.sent-from)
		}
		switch {
		case j.fails == nil:
			g.last = max(g.last, p.onDestination)
		case p.moved && !p.wrong:
			g.restores = append(g.restores, p.right-j.failed)
			g.last = max(g.last, p.right)
		case !p.moved:
			g.unmoved++
		}
	}
}

// level is a count over time.
type level struct {
	now, most int
	since     time.Duration
	area      float64 // count times seconds
}

func (f *figures) change(at time.Duration, by int) {
	l := &f.handovers
	l.area += float64(l.now) * (at - l.since).Seconds()
	l.now, l.since = l.now+by, at
	l.most = max(l.most, l.now)
}

// Spread is how a time is spread, in milliseconds.
type Spread struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

func spread(times []time.Duration) Spread {
	if len(times) == 0 {
		return Spread{}
	}
	slices.Sort(times)
	// The smallest that is not exceeded by so many.
	at := func(q float64) float64 {
		i := min(int(q*float64(len(times))), len(times)-1)
		return float64(times[i].Microseconds()) / 1000
	}
	return Spread{Count: len(times), P50: at(0.5), P95: at(0.95), P99: at(0.99), Max: at(1)}
}
