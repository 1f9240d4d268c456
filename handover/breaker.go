package handover

import (
	"fmt"
	"maps"
	"time"
)

// Breaker stops commits where they have ended badly. It counts by [Circuit],
// each on its own, and takes the [Verdict] of every handover in which a port was
// committed. It is one state for all instances, pure as the rest of this
// package: it has no clock and is not safe for concurrent use.
//
// The rule, for one circuit:
//
//	            good verdict           bad verdict                          none (cut off)
//	closed      counts from 0 again    the FAILURES-th in a row: barred     .
//	                                   for PAUSE
//	barred      .                      .                                    .
//	on trial    closed, counts from 0  barred for twice as long as before,  the next handover
//	                                   at most 24 h                         is the trial
//
// Barred: nothing is committed. When the time is over, the next handover that
// would commit is the trial, and no other commits until its verdict. The verdict
// of a handover that was committed before the bar changes nothing.
type Breaker struct {
	failures int
	pause    time.Duration
	row      map[Circuit]int // bad verdicts since the last good one
	bars     Bars            // replaced, never changed: they are handed out
}

// MaxPause is for how long a circuit is barred at most.
const MaxPause = 24 * time.Hour

// NewBreaker bars a circuit after so many bad verdicts in a row (0: never), for
// pause the first time.
func NewBreaker(failures int, pause time.Duration) *Breaker {
	return &Breaker{failures: failures, pause: pause, row: map[Circuit]int{}}
}

// Circuit is what is counted by: a pair of hosts, or a mechanism driver.
type Circuit struct {
	Source, Destination string
	Driver              string
}

func (c Circuit) String() string {
	if c.Driver != "" {
		return "of mechanism driver " + c.Driver
	}
	return "from " + c.Source + " to " + c.Destination
}

// Bars are the circuits whose commits are stopped. They do not change: what
// [Breaker.Bars] gives later is another map.
type Bars map[Circuit]Bar

// Bar is why and how long the commits of a circuit are stopped.
type Bar struct {
	Until time.Duration // on the caller's monotonic clock
	At    time.Time     // the same moment for people; it decides nothing
	Bad   int           // bad verdicts in a row
	Tried bool          // a handover commits as the trial
	pause time.Duration
}

// refuse gives the reason why a circuit is not committed now, empty if it may
// be. tried: the handover that asks is the trial.
func (b Bars) refuse(c Circuit, tried bool, now time.Duration) string {
	bar, barred := b[c]
	switch {
	case barred && now < bar.Until:
		return fmt.Sprintf("commits %s are stopped until %s after %d bad outcomes", c, bar.at(), bar.Bad)
	case barred && bar.Tried && !tried:
		return fmt.Sprintf("commits %s are stopped after %d bad outcomes, but for one handover on trial", c, bar.Bad)
	}
	return ""
}

func (b Bar) at() string { return b.At.UTC().Format("2006-01-02T15:04:05Z") }

// Bars gives what is stopped now.
func (b *Breaker) Bars() Bars { return b.bars }

// Take notes that a handover has begun to commit as the trial.
func (b *Breaker) Take(t Try) { b.tried(t.Circuit, true) }

// Abandon forgets the trials that are under way: the handovers have ended
// without a verdict.
func (b *Breaker) Abandon() {
	for c := range b.bars {
		b.tried(c, false)
	}
}

// Change is a circuit that the breaker has opened or closed.
type Change struct {
	Circuit Circuit
	Stopped bool
	Bar     Bar           // of a circuit that is stopped
	Pause   time.Duration // for how long
	Why     string
}

func (c Change) String() string {
	if !c.Stopped {
		return "commits " + c.Circuit.String() + " are resumed"
	}
	return fmt.Sprintf("commits %s are stopped until %s; then one handover is let through on trial", c.Circuit, c.Bar.at())
}

// Judge takes a verdict at now, which for people is at. It tells whether
// commits were stopped or resumed by it.
func (b *Breaker) Judge(v Verdict, now time.Duration, at time.Time) (Change, bool) {
	bar, barred := b.bars[v.Circuit]
	if b.failures <= 0 || barred != v.Trial {
		return Change{}, false
	}
	switch v.Result {
	case Good:
		delete(b.row, v.Circuit)
		if barred {
			b.bars = maps.Clone(b.bars)
			delete(b.bars, v.Circuit)
		}
		return Change{Circuit: v.Circuit, Why: "the handover on trial has ended well"}, barred
	case Bad:
		b.row[v.Circuit]++
		if b.row[v.Circuit] < b.failures {
			return Change{}, false
		}
		pause := b.pause
		if barred {
			pause = min(2*bar.pause, MaxPause)
		}
		bar = Bar{Until: now + pause, At: at.Add(pause), Bad: b.row[v.Circuit], pause: pause}
		b.set(v.Circuit, bar)
		return Change{
			Circuit: v.Circuit, Stopped: true, Bar: bar, Pause: pause,
			Why: fmt.Sprintf("%d bad outcomes in a row; the last: %s", bar.Bad, v.Why),
		}, true
	default:
		b.tried(v.Circuit, false)
		return Change{}, false
	}
}

func (b *Breaker) tried(c Circuit, tried bool) {
	if bar, ok := b.bars[c]; ok && bar.Tried != tried {
		bar.Tried = tried
		b.set(c, bar)
	}
}

func (b *Breaker) set(c Circuit, bar Bar) {
	bars := maps.Clone(b.bars)
	if bars == nil {
		bars = Bars{}
	}
	bars[c] = bar
	b.bars = bars
}
