package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// account follows every message that the broker has confirmed into the consumers'
// queues to its outcome.
//
// What was routed, the broker says itself: all is sent with "mandatory", so that
// what no queue has taken is returned before it is confirmed (chaos has a virtual
// host of its own, where no other queue is bound to these exchanges). Done is what
// the consumer's log says it is about to acknowledge (message.settled). Parked and
// expired is what lies where the broker puts it: in the parking queue, and in the
// dead letters. In the end the consumers are stopped and the queues are read until
// they are empty: what is found there was never acknowledged. So a line without an
// acknowledgement shows as well as an acknowledgement without a line. The broker's
// own counters would say how many, but not which, and begin at 0 with each restart.
//
// A message is known by the SHA-256 of its body. Nova's, sent twice, is one message
// in two copies. A host's that is sent again because its confirmation was lost is
// another message: it has an id of its own.
type account struct {
	mu sync.Mutex
	of map[string]*fate

	unrouted unrouted
}

// fate is what has become of the copies of one message.
type fate struct {
	key                   string // routing key
	instance              string // that it is about, if it is one
	sent                  int    // confirmed
	done, parked, expired int
	toPark                int // the consumer's log says it is parked
	left                  int // found in a queue in the end
	dropped               int // by the broker, not for its age
}

// settled counts the copies that have an outcome.
func (f *fate) settled() int { return f.done + f.parked + f.expired }

func newAccount() *account { return &account{of: map[string]*fate{}} }

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// note changes the fate of one message.
func (a *account) note(digest, key string, change func(*fate)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, ok := a.of[digest]
	if !ok {
		f = &fate{}
		a.of[digest] = f
	}
	f.key = key
	change(f)
}

// confirmed notes a message that the broker has taken.
func (a *account) confirmed(body []byte, key, instance string) {
	a.note(digest(body), key, func(f *fate) { f.sent, f.instance = f.sent+1, instance })
}

// isTick tells by its routing key whether a message is one of the consumers' to
// themselves, which are not counted.
func isTick(key string) bool { return strings.HasPrefix(key, "consumer.tick") }

// settledLine takes a line of the consumers' log in: "exchange E, key K, sha256 D".
func (a *account) settledLine(saw, outcome string) {
	_, saw, _ = strings.Cut(saw, ", key ")
	key, digest, ok := strings.Cut(saw, ", sha256 ")
	if !ok || isTick(key) {
		return
	}
	a.note(digest, key, func(f *fate) {
		if outcome == "parked" {
			f.toPark++ // to be found where it is parked
		} else {
			f.done++
		}
	})
}

// open counts the messages of which a copy has no outcome yet, and names the
// instances that they are about.
func (a *account) open() (n int, instances map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	instances = map[string]bool{}
	for _, f := range a.of {
		if f.settled()+f.toPark < f.sent {
			n++
			instances[f.instance] = true
		}
	}
	return n, instances
}

// balance is what an account comes to: distinct messages by outcome, and what was
// there more than once apart. It is kept with the results.
type balance struct {
	Messages int `json:"messages"` // confirmed into the queues
	Done     int `json:"done"`
	Parked   int `json:"parked"`
	Expired  int `json:"expired"`
	Without  int `json:"without_outcome"`
	// Copies were sent beside the first; Again were settled although nothing but
	// their one copy was sent: its acknowledgement was lost with a session.
	Copies int `json:"copies"`
	Again  int `json:"settled_again"`
	// Unconfirmed were settled, but their sender has not heard that they arrived
	// and has sent another; Unrouted came while no queue was bound, at most for
	// UnboundMS; Misrouted did not.
	Unconfirmed int      `json:"unconfirmed"`
	Unrouted    int      `json:"unrouted"`
	UnboundMS   int64    `json:"unbound_ms,omitempty"`
	Misrouted   []string `json:"misrouted,omitempty"`

	Missing []string `json:"missing,omitempty"` // those without an outcome
}

// balance closes the account.
func (a *account) balance() balance {
	a.mu.Lock()
	defer a.mu.Unlock()
	var b balance
	var longest time.Duration
	b.Unrouted, b.Misrouted, longest = a.unrouted.balance()
	b.UnboundMS = longest.Milliseconds()
	for digest, f := range a.of {
		if f.sent == 0 {
			b.Unconfirmed++
			continue
		}
		b.Messages++
		b.Copies += f.sent - 1
		b.Again += max(0, f.settled()-f.sent)
		switch {
		case f.settled() < f.sent || f.left > 0 || f.dropped > 0:
			b.Without++
			b.Missing = append(b.Missing, fmt.Sprintf("%s %s: sent %d, done %d, parked %d, expired %d, dropped %d, left in a queue %d",
				f.key, digest, f.sent, f.done, f.parked, f.expired, f.dropped, f.left))
		case f.done > 0:
			b.Done++
		case f.parked > 0:
			b.Parked++
		default:
			b.Expired++
		}
	}
	slices.Sort(b.Missing)
	return b
}

// verdict is nil if every message has an outcome. The account must have seen
// the message that is parked and the one that expires in every run (see remains.go):
// one that cannot see them proves nothing.
func (b balance) verdict() error {
	faults := []error{
		listed(fmt.Sprintf("of %d messages %d have no outcome", b.Messages, b.Without), b.Missing),
		b.routedVerdict(),
	}
	if b.Parked == 0 || b.Expired == 0 {
		faults = append(faults, fmt.Errorf("the account is blind: %d messages are seen parked and %d expired, and at least one of each was sent", b.Parked, b.Expired))
	}
	return errors.Join(faults...)
}

// sum adds the accounts of several runs up.
func sum(all []balance) balance {
	var t balance
	for _, b := range all {
		t.Messages += b.Messages
		t.Done += b.Done
		t.Parked += b.Parked
		t.Expired += b.Expired
		t.Without += b.Without
		t.Copies += b.Copies
		t.Again += b.Again
		t.Unconfirmed += b.Unconfirmed
		t.Unrouted += b.Unrouted
		t.UnboundMS = max(t.UnboundMS, b.UnboundMS)
		t.Misrouted = append(t.Misrouted, b.Misrouted...)
		t.Missing = append(t.Missing, b.Missing...)
	}
	return t
}
