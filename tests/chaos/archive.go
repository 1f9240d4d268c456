package main

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// anHour is how much older the oldest messages come than they are.
//
// What of an hour is real: a host's message says by itself that it was held for an
// hour (age_ms), and Nova's says nothing that is believed, however old; they come
// minutes late, after later handovers of the same instance and to replicas that
// have not seen what is newer. What is not: that hour does not pass. What changes in
// a consumer meanwhile is that it forgets (an instance after ten minutes without a
// handover, a handover after 45 of silence); one that has just taken over
// knows as little, and gets these messages too. More than an hour it cannot be: the
// queue keeps nothing longer (x-message-ttl), and a host's message lives ten
// minutes in it. What has really lain in the broker comes without a mark; that is
// played where it can happen, while no consumer is there to take it (absent):
// otherwise the consumer's tick, which comes back through the queue, would say how
// long it lay.
const anHour = time.Hour

// archive keeps what was sent of each instance that lives, to be sent again.
type archive struct {
	mu sync.Mutex
	of map[string][]sentLetter // by instance
}

type sentLetter struct {
	courier *courier
	letter  letter
}

// add keeps a letter of an instance.
func (a *archive) add(instance string, l sentLetter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.of == nil {
		a.of = map[string][]sentLetter{}
	}
	a.of[instance] = append(a.of[instance], l)
}

// draw gives up to n letters of an instance, or, if it is empty, of any.
func (a *archive) draw(rng *rand.Rand, instance string, n int) []sentLetter {
	a.mu.Lock()
	defer a.mu.Unlock()
	from := a.of[instance]
	if instance == "" {
		for _, one := range a.of {
			from = append(from, one...)
		}
	}
	if len(from) == 0 {
		return nil
	}
	var drawn []sentLetter
	for range n {
		drawn = append(drawn, from[rng.IntN(len(from))])
	}
	return drawn
}

// forget drops what was sent of an instance that is gone.
func (a *archive) forget(instance string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.of, instance)
}

// since gives the letters of an instance from a place in its stream on.
func (a *archive) since(instance string, place int) []sentLetter {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.of[instance][min(place, len(a.of[instance])):])
}

// length is the place in an instance's stream that comes next.
func (a *archive) length(instance string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.of[instance])
}
