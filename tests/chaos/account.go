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
// queues to its outcome, in each share: each has queues of its own, and settles every message.
//
// What was routed, the broker says itself: all is sent with "mandatory", so that
// what no queue has taken is returned before it is confirmed (chaos has a virtual
// host of its own, where no other queue is bound to them, but for ticks). Done is what
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
	shares int

	mu      sync.Mutex
	of      map[inShare]*fate
	journal journalAccount

	unrouted unrouted
}

// inShare is a message in one share.
type inShare struct {
	share  int
	digest string
}

// fate is what has become of the copies of one message in one share.
type fate struct {
	key                   string // routing key
	instance              string // that it is about, if it is one
	sent                  int    // confirmed
	done, parked, expired int
	toPark                int // the consumer's log says it is parked
	left                  int // found in a queue in the end
	dropped               int // by the broker, not for its age
	// novas is when the copies were sent, if they are Nova's and there are several shares.
	novas []time.Time
}

// settled counts the copies that have an outcome.
func (f *fate) settled() int { return f.done + f.parked + f.expired }

func newAccount(shares int) *account {
	return &account{shares: shares, of: map[inShare]*fate{}, journal: newJournalAccount(), unrouted: unrouted{spells: make([][]unbound, shares)}}
}

func digest(body []byte) string {
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// note changes the fate of one message in a share.
func (a *account) note(share int, digest, key string, change func(*fate)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f, ok := a.of[inShare{share, digest}]
	if !ok {
		f = &fate{}
		a.of[inShare{share, digest}] = f
	}
	f.key = key
	change(f)
}

// confirmed notes a message that the broker has taken, into the queue of some share at least,
// when it was sent through that exchange.
func (a *account) confirmed(body []byte, exchange, key, instance string, sent time.Time) {
	for share := 1; share <= a.shares; share++ {
		a.note(share, digest(body), key, func(f *fate) {
			f.sent, f.instance = f.sent+1, instance
			if exchange == "nova" && a.shares > 1 {
				f.novas = append(f.novas, sent)
			}
		})
	}
}

// lacks counts the copies without an outcome in a share; spared are those of them that its queue may
// not have been given, as it was not bound to Nova's exchange while another share's was.
func (a *account) lacks(share int, f *fate) (n, spared int) {
	if n = max(0, f.sent-f.settled()); n == 0 {
		return 0, 0
	}
	for _, sent := range f.novas {
		if spared < n && a.unrouted.unbound(share, sent) {
			spared++
		}
	}
	return n, spared
}

// found notes what lies where it was parked: by the share whose log says so.
func (a *account) found(digest, key string) {
	by := 1
	a.mu.Lock()
	for share := 1; share <= a.shares; share++ {
		if f, ok := a.of[inShare{share, digest}]; ok && f.toPark > 0 {
			by = share
		}
	}
	a.mu.Unlock()
	a.note(by, digest, key, func(f *fate) { f.parked++ })
}

// isTick tells by its routing key whether a message is one of the consumers' to
// themselves, which are not counted.
func isTick(key string) bool { return strings.HasPrefix(key, "consumer.tick") }

// settledMessage reads which message a line of the consumers' log settles: "exchange E, key K, sha256 D".
func settledMessage(l auditLine) (key, digest string, ok bool) {
	_, saw, _ := strings.Cut(l.Saw, ", key ")
	key, digest, ok = strings.Cut(saw, ", sha256 ")
	return key, digest, ok && l.Event == "message.settled"
}

// line takes a line of the consumers' log in.
func (a *account) line(l auditLine) {
	if l.Event == "port.verified" && strings.HasPrefix(l.Why, "the journal: ") {
		a.mu.Lock()
		a.journal.seen[l.Port] = true
		a.mu.Unlock()
	}
	key, digest, ok := settledMessage(l)
	if !ok || isTick(key) {
		return
	}
	a.note(shareNamed(l.Share), digest, key, func(f *fate) {
		if l.Outcome == "parked" {
			f.toPark++ // to be found where it is parked
		} else {
			f.done++
		}
	})
}

// open counts the messages of which a copy has no outcome yet, in each share, and names the
// instances that they are about. unsure are those that the share's queue may not have been given.
func (a *account) open() (n, unsure int, instances map[string]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	instances = map[string]bool{}
	for at, f := range a.of {
		switch lacks, spared := a.lacks(at.share, f); {
		case lacks-f.toPark > spared:
			n++
			instances[f.instance] = true
		case lacks-f.toPark > 0:
			unsure++
		}
	}
	return n, unsure, instances
}

// balance is what an account comes to: distinct messages by outcome, of each share, and what was
// there more than once apart. It is kept with the results.
type balance struct {
	Shares   int `json:"shares,omitempty"` // samples of November 2026 and before have none, and one share
	Messages int `json:"messages"`         // confirmed into the queues; with shares once for each
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
	// Unshared were taken by some share's queue while another's was not bound: for each of those.
	Unshared int `json:"unshared,omitempty"`

	Missing []string `json:"missing,omitempty"` // those without an outcome

	// JournalPorts were looked at as the journals held them; JournalLeft is what the journals hold in the end,
	// but JournalKept, which is of ports that are there still.
	JournalPorts int      `json:"journal_ports,omitempty"`
	JournalKept  int      `json:"journal_kept,omitempty"`
	JournalLeft  []string `json:"journal_left,omitempty"`
}

// balance closes the account.
func (a *account) balance() balance {
	a.mu.Lock()
	defer a.mu.Unlock()
	b := balance{Shares: a.shares}
	b.JournalPorts, b.JournalKept, b.JournalLeft = a.journal.balance()
	var longest time.Duration
	b.Unrouted, b.Misrouted, longest = a.unrouted.balance()
	b.UnboundMS = longest.Milliseconds()
	for at, f := range a.of {
		if f.sent == 0 {
			b.Unconfirmed++
			continue
		}
		_, spared := a.lacks(at.share, f)
		b.Unshared += spared
		sent := f.sent - spared
		if sent == 0 && f.left+f.dropped == 0 {
			continue // no queue of this share has had it
		}
		b.Messages++
		b.Copies += max(0, sent-1)
		b.Again += max(0, f.settled()-sent)
		switch {
		case f.settled() < sent || f.left > 0 || f.dropped > 0:
			b.Without++
			b.Missing = append(b.Missing, fmt.Sprintf("%s %s, share %d: sent %d, done %d, parked %d, expired %d, dropped %d, left in a queue %d",
				f.key, at.digest, at.share, sent, f.done, f.parked, f.expired, f.dropped, f.left))
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
		b.journalVerdict(),
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
		t.Shares = max(t.Shares, b.Shares)
		t.Unshared += b.Unshared
		t.JournalPorts += b.JournalPorts
		t.JournalKept += b.JournalKept
		t.JournalLeft = append(t.JournalLeft, b.JournalLeft...)
	}
	return t
}
