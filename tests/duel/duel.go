package duel

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/rollback/rollbacktest"
	"github.com/earlybind/earlybind/simulated/nova"
)

// duel is one meeting of our calls with Nova's.
type duel struct {
	*Lane
	ctx     context.Context //nolint:containedctx // one duel's
	stagger time.Duration   // of Nova's calls behind ours
	port    string
	ours    recorded
	nova    nova.Network
	record  *record
	notes   rollbacktest.Journal // no process dies here

	late   atomic.Int64 // ns
	atOnce atomic.Bool
	mu     sync.Mutex
	harms  []nova.Harm
}

// aim sets the moment at which ours begins; Nova begins stagger later.
func (d *duel) aim(zero time.Time) {
	d.record.mu.Lock()
	defer d.record.mu.Unlock()
	for i := range d.record.entries {
		d.record.entries[i].AtMS -= ms(zero.Sub(d.record.zero))
	}
	d.record.zero, d.record.fight = zero, zero.Add(min(0, d.stagger))
}

// meet runs both sides, each from its moment on, and returns when both are done.
func (d *duel) meet(ours, novas func()) {
	var both sync.WaitGroup
	both.Go(func() { d.wait(0); ours() })
	both.Go(func() { d.wait(d.stagger); novas() })
	both.Wait()
}

// wait returns at a moment after zero.
func (d *duel) wait(after time.Duration) {
	moment := d.record.zero.Add(after)
	d.sleep(time.Until(moment))
	late := int64(time.Since(moment))
	for {
		seen := d.late.Load()
		if late <= seen || d.late.CompareAndSwap(seen, late) {
			return
		}
	}
}

func (d *duel) sleep(pause time.Duration) {
	select {
	case <-d.ctx.Done():
	case <-time.After(pause):
	}
}

// between draws a pause.
func (d *duel) between(low, high time.Duration) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	return low + time.Duration(d.rng.Int64N(int64(high-low)))
}

// novaMust keeps what hurts Nova.
func (d *duel) novaMust(harms []nova.Harm) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.harms = append(d.harms, harms...)
	return len(harms) == 0
}

// prepared turns harms during the preparation into an error: nobody races yet.
func prepared(steps ...[]nova.Harm) error {
	var faults []error
	for _, harms := range steps {
		for _, h := range harms {
			faults = append(faults, h)
		}
	}
	return errors.Join(faults...)
}

// commit does what the consumer's worker does for a commit: one activate, and a
// read whatever was answered.
func (d *duel) commit() {
	_ = d.ours.Activate(d.ctx, d.port, d.m.Destination) // the rows tell
	_, _ = d.ours.Read(d.ctx, d.port)
}

// ending is how a restore hears of the world.
type ending struct {
	novaDone chan struct{} // closed when Nova has said that its roll-back has ended
	wake     chan struct{}
	stopped  atomic.Bool
	cancel   context.CancelFunc
}

func (d *duel) newEnding() (*ending, context.Context) {
	ctx, cancel := context.WithCancel(d.ctx)
	return &ending{novaDone: make(chan struct{}), wake: make(chan struct{}, 1), cancel: cancel}, ctx
}

// rolledBack tells the restore that Nova has said so; from then on it has
// RepairWithin.
func (e *ending) rolledBack() {
	close(e.novaDone)
	e.wake <- struct{}{}
	time.AfterFunc(RepairWithin, e.cancel)
}

func (e *ending) isNovaDone() bool {
	select {
	case <-e.novaDone:
		return true
	default:
		return false
	}
}

// stop tells the restore that another migration has shown.
func (e *ending) stop() {
	e.stopped.Store(true)
	e.cancel()
}

// restore runs the real one, and once more if Nova's end was heard after it, as
// the consumer's worker does: the end is a goal of its own.
func (d *duel) restore(ctx context.Context, e *ending) {
	for {
		told := e.isNovaDone()
		_ = rollback.Restore(ctx, d.ours, d.port, d.m.Source, d.m.Destination, rollback.Options{
			NovaDone: func() (done, presumed bool) { return e.isNovaDone(), false },
			May:      func() bool { return !e.stopped.Load() },
			Report:   func(rollback.Taken) {},
			Journal:  &d.notes,
			Wake:     e.wake,
		}) // the rows tell
		if told || ctx.Err() != nil {
			return
		}
		select {
		case <-e.novaDone:
		case <-ctx.Done():
		}
	}
}

// glance looks whether the rows are right as soon as Nova has done its part of
// the race.
func (d *duel) glance(guest string) {
	if p, err := d.arena.Ours.Read(d.ctx, d.port); err == nil {
		right, _ := p.RightOn(guest)
		d.atOnce.Store(right)
	}
}

// judge looks at the port until it is right or RepairWithin is over, and says how
// it went.
func (d *duel) judge(guest string) Result {
	last := d.record.lastOf(novas)
	result := Result{LateMS: ms(time.Duration(d.late.Load())), AtOnce: d.atOnce.Load()}
	if apart, ok := d.record.apart(); ok {
		result.ApartMS = &apart
	}
	for {
		result.Right, result.Why = d.look(guest)
		since := time.Since(last)
		if !result.AtOnce {
			result.TimeToRightMS = ms(since)
		}
		if result.Right || since > RepairWithin || d.ctx.Err() != nil {
			break
		}
		d.sleep(100 * time.Millisecond)
	}
	for _, h := range d.harms {
		if h.Hurts() {
			result.Hurt = append(result.Hurt, h.Error())
		} else {
			result.Refused = true
		}
	}
	return result
}

func (d *duel) look(guest string) (bool, string) {
	p, err := d.arena.Ours.Read(d.ctx, d.port)
	if err != nil {
		return false, err.Error()
	}
	return Judge(p, guest)
}
