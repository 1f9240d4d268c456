// Package health tells whether a program lives and whether it is ready, from
// what its parts say of themselves on a [Board].
//
// A program lives while each of its loops comes round: a loop that is stuck
// never will again, and the program is to be started anew. It is ready while it
// lives and lacks nothing that its work needs of others. A server that is away
// makes it unready only: to start the program anew would not bring it back.
//
// [Judge] decides; [Serve] answers over HTTP, and [Manager] tells systemd.
package health

import (
	"maps"
	"sync"
	"time"
)

// Turn is how often a loop that has nothing to do comes round, so that its
// silence says something.
const Turn = 5 * time.Second

// Board is where the parts of a program say how they are. It is safe for
// concurrent use; a nil Board takes everything and keeps nothing.
type Board struct {
	began time.Time

	mu    sync.Mutex
	beats map[*Loop]time.Duration // of the loops that do not rest: the last one, since began
	facts map[string]Fact

	changed chan struct{}
}

// NewBoard makes an empty one.
func NewBoard() *Board {
	return &Board{began: time.Now(), beats: map[*Loop]time.Duration{}, facts: map[string]Fact{}, changed: make(chan struct{}, 1)}
}

// Changed gives something whenever a fact has changed since it last gave something; for one reader.
func (b *Board) Changed() <-chan struct{} { return b.changed }

// Fact is what a part says of something that the work needs.
type Fact struct {
	Lacks bool
	Says  string // how it stands, for people
}

// Has says that what is named is there, and how it stands.
func (b *Board) Has(name, says string) { b.put(name, Fact{Says: says}) }

// Lacks says that what is named is not there, and why.
func (b *Board) Lacks(name, why string) { b.put(name, Fact{Lacks: true, Says: why}) }

func (b *Board) put(name string, f Fact) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if old, known := b.facts[name]; known && old == f {
		return
	}
	b.facts[name] = f
	select {
	case b.changed <- struct{}{}:
	default: // the last change was not looked at yet
	}
}

// Loop is one loop of a program. It is watched from its first beat on.
type Loop struct {
	board *Board
	name  string
	bound time.Duration
}

// Loop names a loop that comes round at least once within bound, the longest
// that one round of it may rightly take.
func (b *Board) Loop(name string, bound time.Duration) *Loop { return &Loop{b, name, bound} }

// Beat says that the loop has come round.
func (l *Loop) Beat() {
	if l.board == nil {
		return
	}
	l.board.mu.Lock()
	defer l.board.mu.Unlock()
	l.board.beats[l] = time.Since(l.board.began)
}

// Rest says that the loop has ended, or waits for something that may rightly
// take for ever. It is not watched until its next beat.
func (l *Loop) Rest() {
	if l.board == nil {
		return
	}
	l.board.mu.Lock()
	defer l.board.mu.Unlock()
	delete(l.board.beats, l)
}

// Facts gives the last word on each thing.
func (b *Board) Facts() map[string]Fact {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.facts)
}

// Verdict judges what the board holds now.
func (b *Board) Verdict() Verdict {
	b.mu.Lock()
	defer b.mu.Unlock()
	beats := make([]Beat, 0, len(b.beats))
	for l, at := range b.beats {
		beats = append(beats, Beat{Loop: l.name, Bound: l.bound, At: at})
	}
	return Judge(beats, b.facts, time.Since(b.began))
}
