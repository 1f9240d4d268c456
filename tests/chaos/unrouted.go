package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// unrouted follows what the broker has confirmed and no queue has taken. That may be
// Nova's alone, and only while its exchange has no binding: the exchange is not durable
// (amqp_durable_queues is off, as Nova ships it), so that a restart of the broker takes it and its bindings
// away. Nova declares it anew with what it has to say, and a consumer, which must not
// make it, binds when it finds it: it looks each 5 s (bindNova of package consumer). What
// Nova says in between is lost, in any cloud with one broker: nobody hears of it, and the handovers
// have to end right without it. The hosts' exchange and the queues are durable.
//
// With shares each has a queue that is bound by itself. What comes when some are is not returned, and
// those that are not yet are not given it; see [account.lacks].
type unrouted struct {
	mu     sync.Mutex
	spells [][]unbound // of each share
	lost   []returned
}

// boundWithin is how long the consumers may be without their session and their binding
// once Nova's exchange is there.
const boundWithin = time.Minute

// unbound is a time in which no queue need be bound to Nova's exchange.
type unbound struct {
	since time.Time // Nova has found that its exchange is gone, and makes it
	until time.Time // a consumer says that it has bound its queue; zero until then
}

// returned is what no queue has taken.
type returned struct {
	exchange, key string
	at            time.Time // before it was sent
}

// unbinds tells that the exchange is not there.
func (u *unrouted) unbinds(since time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i := range u.spells {
		u.spells[i] = append(u.spells[i], unbound{since: since})
	}
}

// bound tells that a consumer says it has bound a share's queue.
func (u *unrouted) bound(share int, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.spells[share-1]
	for i := range of {
		if s := &of[i]; s.until.IsZero() && !at.Before(s.since) {
			s.until = at
		}
	}
}

// unbound tells whether a share's queue need not have been bound at a time.
func (u *unrouted) unbound(share int, at time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return anyHas(u.spells[share-1], at)
}

func anyHas(spells []unbound, at time.Time) bool {
	return slices.ContainsFunc(spells, func(s unbound) bool { return s.has(at) })
}

// add notes a message that the broker has confirmed and no queue has.
func (u *unrouted) add(exchange, key string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.lost = append(u.lost, returned{exchange, key, at})
}

// balance counts what was lost, names what should not have been, and gives the longest
// time for which Nova's exchange had no binding.
func (u *unrouted) balance() (n int, wrong []string, longest time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, r := range u.lost {
		if r.exchange != "nova" || slices.ContainsFunc(u.spells, func(of []unbound) bool { return !anyHas(of, r.at) }) {
			wrong = append(wrong, fmt.Sprintf("%s exchange %s, key %s", r.at.UTC().Format(stampFormat), r.exchange, r.key))
		}
	}
	for _, of := range u.spells {
		for _, s := range of {
			if !s.until.IsZero() {
				longest = max(longest, s.until.Sub(s.since))
			}
		}
	}
	return len(u.lost), wrong, longest
}

func (s unbound) has(at time.Time) bool {
	return !at.Before(s.since) && (s.until.IsZero() || at.Before(s.until)) && at.Before(s.since.Add(boundWithin))
}

// routedVerdict is nil if nothing was lost that a queue should have taken.
func (b balance) routedVerdict() error {
	return listed(fmt.Sprintf("%d messages were taken by no queue though one was bound", len(b.Misrouted)), b.Misrouted)
}
