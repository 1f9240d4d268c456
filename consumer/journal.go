package consumer

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

const (
	// reviewEvery is how often the journal is looked through, and reviewMax how
	// seldom a port that stays wrong is tried again.
	reviewEvery = 5 * time.Second
	reviewMax   = time.Hour
)

// journal is what a session knows of the queue <queue>.journal: what no API can
// tell any more, and the ports that must be looked at until they are right.
//
// The queue is read by the replica that acts, on the connection that its main
// queue is read on, so that both move to another replica together. An entry
// stays unacknowledged, and so in the queue, until its port was read and found
// right.
type journal struct {
	// keep returns when the broker has the entry for good.
	keep func(context.Context, wire.JournalEntry) error

	mu      sync.Mutex
	read    bool // all that was in the queue has been delivered
	entries map[string]*note
	settled map[string]bool // entries that were settled before they were delivered
}

// note is an entry with what this session knows of it. Times are on the
// consumer's clock.
type note struct {
	wire.JournalEntry
	foreign bool          // another's, or a newer version's: kept in the queue for whom it is meant
	settle  func()        // acknowledges; nil until it was delivered
	back    func()        // gives it back to the queue, which delivers it again
	since   time.Duration // when it was delivered
	from    time.Duration // not to be settled before: a write may still take effect
	next    time.Duration // not to be reviewed before
	delay   time.Duration
	wrong   string // the host where the guest ran when the port was last found wrong
}

func newJournal(keep func(context.Context, wire.JournalEntry) error) *journal {
	return &journal{keep: keep, entries: map[string]*note{}, settled: map[string]bool{}}
}

// add takes an entry that was delivered at now. back gives it back to the queue.
func (j *journal) add(e wire.JournalEntry, now time.Duration, settle, back func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.settled[e.ID] {
		delete(j.settled, e.ID)
		settle()
		return
	}
	n := &note{JournalEntry: e, settle: settle, back: back, since: now}
	if before, known := j.entries[e.ID]; known {
		if before.settle != nil {
			settle() // written twice: the first is held
			return
		}
		n.from, n.next, n.delay, n.wrong = before.from, before.next, before.delay, before.wrong
	} else if e.Late {
		n.from, n.next = now+unknownWatch, now+unknownWatch
	}
	j.put(n)
}

// leave keeps in the queue what this replica is not to use: an entry of another
// user, or of a newer version. first is false where that was told before. id
// tells it from others.
func (j *journal) leave(id string, now time.Duration, settle, back func()) (first bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	n, known := j.entries[id]
	if known && n.settle != nil {
		n.settle() // the same bytes are there twice: one of them will do, and only one is renewed
	}
	j.entries[id] = &note{JournalEntry: wire.JournalEntry{ID: id}, foreign: true, settle: settle, back: back, since: now}
	return !known
}

// renew gives back what has been held for as long as that: see [Settings.HoldMessages]. It is
// known all the while, and delivered again at once.
func (j *journal) renew(now, holdFor time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range j.entries {
		if n.settle != nil && now-n.since >= holdFor {
			n.back()
			n.settle, n.back = nil, nil
		}
	}
}

// put keeps an entry and drops those that it replaces; j.mu is held.
func (j *journal) put(n *note) {
	j.entries[n.ID] = n
	for _, id := range n.Replaces {
		j.drop(id)
	}
}

// drop settles an entry, or has it settled when it is delivered; j.mu is held.
func (j *journal) drop(id string) {
	n, known := j.entries[id]
	delete(j.entries, id)
	if !known || n.settle == nil {
		j.settled[id] = true
		return
	}
	n.settle()
}

// full tells whether it is to take nothing more, but what replaces an entry.
func (j *journal) full() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.entries) >= journalMax
}

// complete tells that all that was in the queue has been delivered, and gives
// how much that was.
func (j *journal) complete() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.read = true
	return len(j.entries)
}

// known tells whether all that was in the queue has been delivered.
func (j *journal) known() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.read
}

// settler gives what ends the entries that a port has now, for when it is found
// right by a read that is still to come: an entry that is written after the read
// may tell of a write that the read has not seen.
func (j *journal) settler(port string, now time.Duration) (settle func()) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []string
	for id, n := range j.entries {
		if n.Port == port && now >= n.from {
			ids = append(ids, id)
		}
	}
	return func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		for _, id := range ids {
			if _, still := j.entries[id]; still {
				j.drop(id)
			}
		}
	}
}

// standing gives how many entries there are, and when the oldest was written, zero
// where that is not known; false as long as not all of them are known.
func (j *journal) standing() (n int, oldest time.Time, known bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, e := range j.entries {
		if oldest.IsZero() || !e.At.IsZero() && e.At.Before(oldest) {
			oldest = e.At
		}
	}
	return len(j.entries), oldest, j.read
}

// waits tells whether an entry is to be looked at now.
func (j *journal) waits(now time.Duration) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range j.entries {
		if n.due(now) {
			return true
		}
	}
	return false
}

func (n *note) due(now time.Duration) bool { return !n.foreign && now >= n.next }

// due gives, at most once per port, the entries that are to be looked at now,
// and puts them off. Of a port's it gives the one that tells where a restore was to lead.
func (j *journal) due(now time.Duration) []wire.JournalEntry {
	j.mu.Lock()
	defer j.mu.Unlock()
	of := map[string]int{} // a port's place in due
	var due []wire.JournalEntry
	for _, n := range j.entries {
		if !n.due(now) {
			continue
		}
		n.delay = min(max(2*n.delay, reviewEvery), reviewMax)
		n.next = now + n.delay
		switch i, known := of[n.Port]; {
		case !known:
			of[n.Port] = len(due)
			due = append(due, n.JournalEntry)
		case due[i].Home == "":
			due[i] = n.JournalEntry
		}
	}
	return due
}

// stillWrong notes that a port was found wrong while its guest ran on host, and
// tells whether it was so at the look before: a list of domains can be older
// than the rows that were read after it.
func (j *journal) stillWrong(port, host string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	again := false
	for _, n := range j.entries {
		if n.Port == port {
			again = again || n.wrong == host
			n.wrong = host
		}
	}
	return again
}

// holds tells whether there is an entry of a port.
func (j *journal) holds(port string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range j.entries {
		if n.Port == port {
			return true
		}
	}
	return false
}

// of is the journal of one instance's restores.
func (j *journal) of(instance string) rollback.Journal { return instanceJournal{j, instance} }

type instanceJournal struct {
	*journal
	instance string
}

func (j instanceJournal) Held(port, host string) (*rollback.Held, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, n := range j.entries {
		if n.Port == port && n.Host == host {
			return &rollback.Held{VNICType: n.VNICType, Profile: n.Profile}, true
		}
	}
	return nil, j.read
}

// WriteDown replaces what was written down of the same row before: a plan asks
// for it only where that is of an earlier migration.
func (j instanceJournal) WriteDown(ctx context.Context, port, host string, held rollback.Held) error {
	e := wire.JournalEntry{
		Schema: wire.SchemaVersion, ID: rand.Text(), Instance: j.instance, Port: port, Host: host,
		VNICType: held.VNICType, Profile: held.Profile, Why: "the row is deleted to be made anew",
		Replaces: j.ids(port, host),
	}
	if len(e.Replaces) == 0 && j.full() {
		return errNotKept
	}
	if err := j.keep(ctx, e); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, delivered := j.entries[e.ID]; !delivered {
		j.put(&note{JournalEntry: e})
	}
	return nil
}

// ids gives the entries of a row.
func (j *journal) ids(port, host string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []string
	for id, n := range j.entries {
		if n.Port == port && n.Host == host {
			ids = append(ids, id)
		}
	}
	return ids
}

// doubts are the ports of writes that this process was late with: it was frozen
// between its decision and the answer, and another replica may have taken over,
// finished and looked away meanwhile. They outlive a session; each is written to
// the journal as soon as there is one.
type doubts struct {
	mu      sync.Mutex
	entries []wire.JournalEntry
}

// add has an entry written, unless one of the same waits.
func (d *doubts) add(e wire.JournalEntry) {
	e.Schema, e.ID = wire.SchemaVersion, rand.Text()
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.entries, func(waits wire.JournalEntry) bool {
		return waits.Instance == e.Instance && waits.Port == e.Port && waits.Host == e.Host && waits.Home == e.Home && waits.Late == e.Late
	}) {
		return
	}
	d.entries = append(d.entries, e)
}

// take gives what is waiting, and forgets it.
func (d *doubts) take() []wire.JournalEntry {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := d.entries
	d.entries = nil
	return waiting
}

// first gives the one that has waited longest.
func (d *doubts) first() (e wire.JournalEntry, waits bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.entries) == 0 {
		return wire.JournalEntry{}, false
	}
	return d.entries[0], true
}

// flush hands over what is waiting; an entry waits until it is written.
func (d *doubts) flush(write func(wire.JournalEntry) error) error {
	for e, waits := d.first(); waits; e, waits = d.first() {
		if err := write(e); err != nil {
			return err
		}
		d.drop(e.ID)
	}
	return nil
}

func (d *doubts) drop(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries = slices.DeleteFunc(d.entries, func(e wire.JournalEntry) bool { return e.ID == id })
}
