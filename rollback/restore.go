package rollback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/earlybind/earlybind/port"
)

// Neutron is what a roll-back needs of the API.
type Neutron interface {
	// Read gives the port with all its rows.
	Read(ctx context.Context, id string) (port.Port, error)
	// Activate makes the row on host the ACTIVE one.
	Activate(ctx context.Context, id, host string) error
	// SetProfile replaces the profile of the port's ACTIVE row, if the port is
	// still at that revision.
	SetProfile(ctx context.Context, id string, profile map[string]any, revision int) error
	// Create makes a row on host: INACTIVE if the port has an ACTIVE row,
	// else ACTIVE.
	Create(ctx context.Context, id, host, vnic string, profile map[string]any) error
	// Delete removes the row on host, ACTIVE or not.
	Delete(ctx context.Context, id, host string) error
}

// Taken is one step as it went, for the audit log.
type Taken struct {
	Step
	Err  error
	Took time.Duration
}

// Options are the caller's part in a [Restore].
type Options struct {
	// NovaDone gives the situation's NovaDone and Presumed at the time of each
	// plan.
	NovaDone func() (done, presumed bool)
	// May is asked immediately before each write: false ends the roll-back
	// with ErrStopped (ownership lost, another migration shows).
	May func() bool
	// Report is told of every step that was taken.
	Report func(Taken)
	// Wake ends a pause early, since something has changed. May be nil.
	Wake <-chan struct{}
}

// The ends of a roll-back that did not get the rows right.
var (
	ErrHandsOff = errors.New("hands off")
	ErrStopped  = errors.New("stopped")
)

// callBound bounds one request. The slowest answer seen on two cores was 2.6 s.
const callBound = 15 * time.Second

// pace is how long to wait between two looks: short at first, since Nova's own
// roll-back deletes the destination's row within 37 to 1160 ms of its start,
// then growing to at most 5 s.
func pace() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 100 * time.Millisecond
	b.Multiplier = 1.6
	b.MaxInterval = 5 * time.Second
	return b
}

// Restore carries the plan out until the rows are right. It ends with nil when
// they are, with an error that wraps [ErrHandsOff] or [ErrStopped], or with
// the context's.
//
// A step that fails is not an end: the rows are read again and the plan made
// anew, since a 500 can come after the row has changed and a 200 before it has.
func Restore(ctx context.Context, n Neutron, id, source, destination string, o Options) error {
	wait := pace()
	var last Step
	var why string // the rows are not right yet
	for {
		p, err := read(ctx, n, id)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %s", ctx.Err(), why)
		}
		if err != nil {
			why = "the rows could not be read: " + err.Error()
			o.Report(Taken{Step: Step{Action: Wait, Why: "the rows could not be read"}, Err: err})
		} else {
			done, presumed := o.NovaDone()
			step := Plan(Situation{Port: p, Source: source, Destination: destination, NovaDone: done, Presumed: presumed})
			switch step.Action {
			case Done:
				o.Report(Taken{Step: step})
				return nil
			case HandsOff:
				return fmt.Errorf("%w: %s", ErrHandsOff, step.Why)
			case Wait:
				why = step.Why
			default:
				if !o.May() {
					return ErrStopped
				}
				start := time.Now()
				err := take(ctx, n, p, step)
				why = step.Why
				if err != nil {
					why = step.Action.String() + ": " + err.Error()
				}
				o.Report(Taken{Step: step, Err: err, Took: time.Since(start)})
				again := step.Action == last.Action && step.Host == last.Host
				last = step
				if err == nil && !again {
					wait.Reset()
					continue
				}
			}
		}
		if err := pause(ctx, wait.NextBackOff(), o.Wake); err != nil {
			return fmt.Errorf("%w: %s", err, why)
		}
	}
}

func read(ctx context.Context, n Neutron, id string) (port.Port, error) {
	ctx, cancel := context.WithTimeout(ctx, callBound)
	defer cancel()
	return n.Read(ctx, id)
}

// take sends one request and waits for its answer even when the roll-back is to
// end meanwhile: Neutron finishes a request whose client has gone away, and the
// next writer had better not meet it.
func take(ctx context.Context, n Neutron, p port.Port, s Step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callBound)
	defer cancel()
	switch s.Action {
	case Activate:
		return n.Activate(ctx, p.ID, s.Host)
	case Rebind:
		return n.SetProfile(ctx, p.ID, s.Profile, p.Revision)
	case Create:
		return n.Create(ctx, p.ID, s.Host, s.VNIC, s.Profile)
	case Delete:
		return n.Delete(ctx, p.ID, s.Host)
	default:
		return fmt.Errorf("not a step: %s", s.Action)
	}
}

func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	case <-wake:
		return nil
	}
}
