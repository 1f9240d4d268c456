// Package rollbacktest holds what tests of roll-backs need.
package rollbacktest

import (
	"context"
	"sync"

	"github.com/earlybind/earlybind/rollback"
)

// Journal is a journal in memory, which outlives the replicas of a test. The
// zero value is one that was read and is empty.
type Journal struct {
	mu      sync.Mutex
	held    map[[2]string]rollback.Held
	unread  bool
	written int
	err     error
}

var _ rollback.Journal = (*Journal)(nil)

// Held gives what was written down, and nothing while the journal is unread.
func (j *Journal) Held(id, host string) (*rollback.Held, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if held, ok := j.held[[2]string{id, host}]; ok && !j.unread {
		return &held, true
	}
	return nil, !j.unread
}

// WriteDown keeps it, or fails if [Journal.Fail] says so.
func (j *Journal) WriteDown(_ context.Context, id, host string, held rollback.Held) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.err != nil {
		return j.err
	}
	j.written++
	j.put(id, host, held)
	return nil
}

func (j *Journal) put(id, host string, held rollback.Held) {
	if j.held == nil {
		j.held = map[[2]string]rollback.Held{}
	}
	j.held[[2]string{id, host}] = held
}

// Put adds what another replica has written down.
func (j *Journal) Put(id, host string, held rollback.Held) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.put(id, host, held)
}

// SetUnread makes the journal one that has not been read yet, or has.
func (j *Journal) SetUnread(unread bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.unread = unread
}

// Fail makes every WriteDown fail; nil ends that.
func (j *Journal) Fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err = err
}

// Written is how often something was written down.
func (j *Journal) Written() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.written
}
