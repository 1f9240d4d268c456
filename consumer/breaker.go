package consumer

import (
	"sync"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
)

// breaker is the one [handover.Breaker] of a replica, for the actors of its
// sessions. It outlives a session: what has gone wrong has not become better by a
// new connection to the broker.
type breaker struct {
	clock func() time.Duration
	mu    sync.Mutex
	core  *handover.Breaker
}

func newBreaker(failures int, pause time.Duration, clock func() time.Duration) *breaker {
	return &breaker{clock: clock, core: handover.NewBreaker(failures, pause)}
}

// step has an instance take an input under the bars as they stand. A trial that
// it begins is taken before the next instance looks.
func (b *breaker) step(i *handover.Instance, in handover.Input) []handover.Decision {
	b.mu.Lock()
	defer b.mu.Unlock()
	i.Heed(b.core.Bars())
	decisions := i.Step(in)
	for _, d := range decisions {
		if t, ok := d.(handover.Try); ok {
			b.core.Take(t)
		}
	}
	return decisions
}

// judge takes a verdict, and gives the audit line of what changes by it.
func (b *breaker) judge(v handover.Verdict) (audit.Line, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change, ok := b.core.Judge(v, b.clock(), time.Now())
	if !ok {
		return audit.Line{}, false
	}
	line := audit.Line{Event: audit.CommitsResumed, Decided: change.String(), Why: change.Why}
	if change.Stopped {
		line.Event = audit.CommitsStopped
		line.Figures = map[string]int64{"bad": int64(change.Bar.Bad), "stopped_ms": change.Pause.Milliseconds()}
	}
	return line, true
}

// stopped counts the pairs of hosts and the drivers whose commits are stopped, or let
// through on trial only.
func (b *breaker) stopped() (pairs, drivers int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.core.Bars() {
		if c.Driver != "" {
			drivers++
		} else {
			pairs++
		}
	}
	return pairs, drivers
}

// abandon forgets the trials of a session that has ended.
func (b *breaker) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.core.Abandon()
}
