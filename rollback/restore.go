package rollback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/port"
)

// Neutron is what a roll-back needs of the API.
type Neutron interface {
	// Read gives the port with all its rows; an error that wraps
	// [port.ErrGone] where there is no such port.
	Read(ctx context.Context, id string) (port.Port, error)
	// Activate makes the row on host the ACTIVE one.
	Activate(ctx context.Context, id, host string) error
	// SetProfile replaces the profile of the port's ACTIVE row, if the port is
	// still at that revision.
	SetProfile(ctx context.Context, id string, profile map[string]any, revision int) error
	// Rebind binds the port's ACTIVE row if it is unbound, and changes nothing.
	Rebind(ctx context.Context, id string) error
	// Create makes a row on host: INACTIVE if the port has an ACTIVE row,
	// else ACTIVE. An error wraps [ErrRefused] where Neutron itself has said no.
	Create(ctx context.Context, id, host, vnic string, profile map[string]any) error
	// Delete removes the row on host, ACTIVE or not.
	Delete(ctx context.Context, id, host string) error
}

// Journal keeps what a row held until its port is right again, where neither a
// crash of this process nor one of its host loses it.
type Journal interface {
	// Held gives what was written down of the port's row on host, by whichever
	// replica; read is false while that is not known yet.
	Held(id, host string) (held *Held, read bool)
	// WriteDown returns when it is durable.
	WriteDown(ctx context.Context, id, host string, held Held) error
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
	// Came is the situation's.
	Came bool
	// May is asked immediately before each write: false ends the roll-back
	// with ErrStopped (ownership lost, another migration shows).
	May func() bool
	// Report is told of every step that was taken.
	Report  func(Taken)
	Journal Journal
	// Wake ends a pause early, since something has changed. May be nil.
	Wake <-chan struct{}
	// Clock is clock.Real() if nil.
	Clock clock.Clock
}

// The ends of a roll-back that did not get the rows right.
var (
	ErrHandsOff = errors.New("hands off")
	ErrStopped  = errors.New("stopped")
)

// ErrRefused marks the answer of a Neutron that will not do it; one that is away
// refuses nothing.
var ErrRefused = errors.New("refused")

// refusals is after how many rows that Neutron would not make on the destination
// the other way back is taken.
const refusals = 3

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
	b.RandomizationFactor = 0 // the clock spreads
	return b
}

// Restore carries the plan out until the rows are right. It ends with nil when
// they are, with an error that wraps [ErrHandsOff], [ErrStopped] or
// [port.ErrGone], or with the context's.
//
// A step that fails is not an end: the rows are read again and the plan made
// anew, since a 500 can come after the row has changed and a 200 before it has.
func Restore(ctx context.Context, n Neutron, id, source, destination string, o Options) error {
	wait, now := pace(), o.Clock
	if now == nil {
		now = clock.Real()
	}
	var last Step
	var why string  // the rows are not right yet
	var refused int // rows that Neutron would not make on the destination
	for {
		var asked time.Duration // by Neutron, to wait
		p, err := read(ctx, now, n, id)
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %s", ctx.Err(), why)
		}
		if errors.Is(err, port.ErrGone) {
			return err
		}
		if err != nil {
			why = "the rows could not be read: " + err.Error()
			asked = retryAfter(err)
			o.Report(Taken{Step: Step{Action: Wait, Why: "the rows could not be read"}, Err: err})
		} else {
			done, presumed := o.NovaDone()
			held, known := o.Journal.Held(id, source)
			step := Plan(Situation{
				Port: p, Source: source, Destination: destination, NovaDone: done, Presumed: presumed, Came: o.Came,
				Held: held, Unread: !known, NoDetour: refused >= refusals,
			})
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
				start := now.Now()
				err := take(ctx, now, n, o.Journal, p, step)
				why = step.Why
				if errors.Is(err, ErrRefused) && step.Action == Create && step.Host == destination {
					refused++
				}
				if err != nil {
					why = step.Action.String() + ": " + err.Error()
					asked = retryAfter(err)
				}
				o.Report(Taken{Step: step, Err: err, Took: now.Now() - start})
				again := step.Action == last.Action && step.Host == last.Host
				if err == nil {
					last = step // one that failed is not what did not help
				}
				if err == nil && !again {
					wait.Reset()
					continue
				}
			}
		}
		if !now.Wait(ctx, max(now.Spread(wait.NextBackOff()), asked), o.Wake) {
			return fmt.Errorf("%w: %s", ctx.Err(), why)
		}
	}
}

func read(ctx context.Context, c clock.Clock, n Neutron, id string) (port.Port, error) {
	ctx, cancel := c.WithTimeout(ctx, callBound)
	defer cancel()
	return n.Read(ctx, id)
}

// take sends one request and waits for its answer even when the roll-back is to
// end meanwhile: Neutron finishes a request whose client has gone away, and the
// next writer had better not meet it.
func take(ctx context.Context, c clock.Clock, n Neutron, j Journal, p port.Port, s Step) error {
	ctx, cancel := c.WithTimeout(context.WithoutCancel(ctx), callBound)
	defer cancel()
	switch s.Action {
	case WriteDown:
		return j.WriteDown(ctx, p.ID, s.Host, s.Held)
	case Activate:
		return n.Activate(ctx, p.ID, s.Host)
	case Rebind:
		if row, _ := p.Row(s.Host); sameJSON(row.Profile, s.Profile) || len(row.Profile)+len(s.Profile) == 0 {
			return n.Rebind(ctx, p.ID) // the profile stays
		}
		return n.SetProfile(ctx, p.ID, s.Profile, p.Revision)
	case Create:
		return n.Create(ctx, p.ID, s.Host, s.VNIC, s.Profile)
	case Delete:
		return n.Delete(ctx, p.ID, s.Host)
	default:
		return fmt.Errorf("not a step: %s", s.Action)
	}
}

// longestAsked bounds what Neutron, or a load balancer in front of it, may ask to
// wait: a guest is without network meanwhile.
const longestAsked = 15 * time.Second

// retryAfter is how long an answer asks to wait (429, 503), 0 if it does not.
func retryAfter(err error) time.Duration {
	var e interface{ RetryAfter() time.Duration }
	if !errors.As(err, &e) {
		return 0
	}
	return min(e.RetryAfter(), longestAsked)
}
