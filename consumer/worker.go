package consumer

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/turn"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

const (
	// requestTimeout bounds one request to Neutron. Its slowest answer seen on
	// two cores was 2.6 s.
	requestTimeout = 15 * time.Second
	// novaPatience is how long Nova's own part is waited for before its absence
	// is taken for its end (notifications may be switched off). Nova's roll-back
	// was seen to take at most 1.2 s, its clean-up after success 2 s.
	novaPatience = 30 * time.Second
	// verifyPatience is how long rows that earlybind does not write may stay
	// wrong while Nova has not said that it is done: before 28.3.1 it cleans up
	// the source's storage first.
	verifyPatience = 10 * time.Minute
	// restorePatience is how long a restore is tried before an operator is told.
	restorePatience = 10 * time.Minute
	// unknownWatch is how long a port is watched after a write whose outcome is
	// unknown: Neutron finishes a request whose client has gone away.
	unknownWatch = time.Minute
	// tellings is how often at most an agent that has not reported a restored port
	// up is told of it again, at equal parts of the time that it has, each of at
	// least tellEvery: its loop takes 2 s and, with many ports, longer.
	tellings  = 2
	tellEvery = 5 * time.Second
	// look is the pause between two looks at a port that is waited for.
	look = time.Second
	// readAfter is about how long after an activate the port is read: an instance's others,
	// and Nova's own calls, come first. Neutron's API workers are few (two in the lab, and a
	// read is two requests of 50 ms).
	readAfter = time.Second
)

// worker brings one port to its goals, one after the other: never two requests
// at once for one port.
type worker struct {
	instance string
	port     string
	tools    *tools
	report   func(audit.Line)
	done     func(handover.PortDone)
	// committed tells when the activate was sent and answered.
	committed func(sent, answered time.Duration)
	mail      mailbox
	// before is the one that had the port in the instance's last handover, nil if none had:
	// it may wait for an answer. ended is closed when this one has had all of its own.
	before *worker
	ended  chan struct{}

	aim     handover.Aim  // the one at work
	unknown time.Duration // until when a write may still take effect, on the monotonic clock
	refused bool          // Neutron has answered the last commit with an error, or not at all
}

// tools are what every worker and actor of a session share.
type tools struct {
	neutron Neutron
	audit   func(audit.Line)
	clock   func() time.Duration
	// time has workers wait.
	time clock.Clock
	// may tells whether this replica may write now.
	may func() bool
	// halt tells what is paused now.
	halt func() handover.Halt
	// journal is what replicas leave to each other; doubt adds to it, now or
	// when there is a session again.
	journal *journal
	doubt   func(wire.JournalEntry)
	// unknownWatch is how long a port is watched that a write may still reach.
	unknownWatch time.Duration
	// upWithin is how long an agent has to report a port up.
	upWithin time.Duration
	// holdFor is how long a message is kept unacknowledged for a handover that goes
	// on. A handover that lasts longer is found again through its hosts' states.
	holdFor time.Duration
	// ask asks the publishers for their domains.
	ask      func(why string)
	settings handover.Settings
	breaker  *breaker
}

// insist asks Neutron until it answers, and tells each failure by the line; false
// when the context ends before.
func (t *tools) insist(ctx context.Context, line audit.Line, ask func(context.Context) error) bool {
	wait := broker.Backoff()
	for {
		call, cancel := t.time.WithTimeout(ctx, requestTimeout)
		err := ask(call)
		cancel()
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		}
		line.Outcome, line.Err = "failed", err
		t.audit(line)
		if !t.time.Wait(ctx, wait.NextBackOff(), nil) {
			return false
		}
	}
}

// run works until the context ends. A new aim replaces the one before at the
// next point between two requests.
func (w *worker) run(ctx context.Context) {
	defer close(w.ended)
	if w.before != nil {
		// Even if this handover ends meanwhile: the next one waits for this worker only.
		w.tools.time.Wait(context.WithoutCancel(ctx), clock.Forever, w.before.ended)
		w.unknown = max(w.unknown, w.before.unknown)
		w.before = nil
	}
	for {
		if !w.pause(ctx, clock.Forever) {
			return
		}
		for {
			aim, ok := w.mail.take()
			if !ok {
				break
			}
			w.aim = aim
			switch w.aim.Goal.Kind {
			case handover.GoalCommit:
				w.commit(ctx)
			case handover.GoalRestore:
				w.restore(turn.As(ctx, turn.Restoring))
			case handover.GoalVerify:
				w.verify(ctx)
			}
		}
	}
}

// replaced tells whether a new aim waits; one that only says that Nova is done
// is taken in place.
func (w *worker) replaced() bool {
	next, same, waits := w.mail.takeIf(func(next handover.Aim) bool { return !isOther(next, w.aim) })
	if same {
		w.aim = next
	}
	return waits
}

func isOther(a, than handover.Aim) bool {
	return a.Goal.Kind != than.Goal.Kind || a.Goal.Host != than.Goal.Host
}

// stands tells whether an aim may still be written for: its handover goes on, no other aim
// waits, and this replica holds the lease. It is asked right before a request is sent, by the
// goroutine that makes its connection, and again before it is sent anew with a new token.
func (w *worker) stands(ctx context.Context, aim handover.Aim) bool {
	return ctx.Err() == nil && !w.mail.holds(func(next handover.Aim) bool { return isOther(next, aim) }) && w.tools.may()
}

func (w *worker) commit(ctx context.Context) {
	aim := w.aim
	host := aim.Goal.Host
	paused := func() string { return w.tools.halt().Refuse(aim.Other, host) }
	line := audit.Line{Event: audit.PortWritten, Port: w.port, Host: host, Decided: "activate"}
	switch {
	case w.replaced():
		return
	case w.tools.clock() > aim.Deadline:
		line.Event, line.Decided, line.Why = audit.PortObserved, "", "the deadline passed before the request was sent"
		w.report(line)
		return
	case !w.tools.may():
		line.Event, line.Decided, line.Why = audit.PortObserved, "", "this replica no longer holds the lease"
		w.report(line)
		return
	}
	if why := paused(); why != "" {
		line.Event, line.Decided, line.Why = audit.PortObserved, "", why
		w.report(line)
		return
	}
	sent := w.tools.clock()
	// Its answer is waited for even when the session ends meanwhile: Neutron
	// finishes a request whose client has gone away.
	call, cancel := w.tools.time.WithTimeout(turn.As(context.WithoutCancel(ctx), turn.Committing), requestTimeout)
	call = binding.OnlyIf(call, func() bool { return w.tools.clock() <= aim.Deadline && w.stands(ctx, aim) && paused() == "" })
	err := w.tools.neutron.Activate(call, w.port, host)
	cancel()
	answered := w.tools.clock()
	line.Took = answered - sent
	line.Outcome, line.Err = "activated", err
	switch {
	case errors.Is(err, binding.ErrAlreadyActive):
		line.Outcome, line.Err = "was ACTIVE already", nil
	case errors.Is(err, binding.ErrWithheld):
		line.Event, line.Decided, line.Outcome = audit.PortObserved, "", ""
		line.Why = cmp.Or(paused(), "the deadline passed, another aim came, or the lease was lost, while the request was being made")
		w.report(line)
		return
	case err != nil:
		line.Outcome = "failed"
	}
	w.refused = line.Outcome == "failed"
	w.suspect(err, line.Took)
	w.report(line)
	if !w.refused {
		w.committed(sent, answered)
	}
	if ctx.Err() != nil {
		return // the handover has ended meanwhile
	}
	// A 200 can lie and a 500 can come after the row has become ACTIVE. Nothing waits for the
	// read but the log, and Neutron may have other activates to answer.
	if !w.pause(ctx, w.tools.time.Spread(readAfter)) || w.replaced() {
		return
	}
	p, err := w.glance(ctx)
	if errors.Is(err, errReplaced) {
		w.replaced() // this very aim may have come again
		return
	}
	verified := audit.Line{Event: audit.PortVerified, Port: w.port, Host: host, Err: err}
	if err == nil {
		verified.Saw = p.Describe()
		verified.Outcome = rightness(p, host)
	}
	w.report(verified)
}

// suspect remembers a write that may still take effect, and leaves to whoever
// acts by then a port that this process was late to write: it was frozen, or
// lost its lease, between the decision and the answer.
func (w *worker) suspect(err error, took time.Duration) {
	if errors.Is(err, binding.ErrWithheld) {
		return // it was not sent
	}
	if binding.MayStillHappen(err) {
		w.unknown = w.tools.clock() + w.tools.unknownWatch
	}
	if took > leaseFor || !w.tools.may() {
		e := wire.JournalEntry{Instance: w.instance, Port: w.port, Late: true, Why: "a write was answered late, when another replica may have taken over"}
		if held, _ := w.tools.journal.of(w.instance).Held(w.port, w.aim.Goal.Host); held != nil {
			e.Host, e.VNICType, e.Profile = w.aim.Goal.Host, held.VNICType, held.Profile
		}
		w.tools.doubt(e)
	}
}

// leave has the port looked at until it is right, by whoever acts.
func (w *worker) leave(why string) {
	if !w.tools.journal.holds(w.port) {
		w.tools.doubt(wire.JournalEntry{Instance: w.instance, Port: w.port, Why: why})
	}
}

func (w *worker) read(ctx context.Context) (port.Port, error) {
	ctx, cancel := w.tools.time.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return w.tools.neutron.Read(ctx, w.port)
}

// errReplaced is that a read was ended for another aim. That one may be gone again when the worker
// looks: it was replaced itself.
var errReplaced = errors.New("another aim has come")

// glance is read until another aim comes, with errReplaced then: its turn is after all activates', of
// which there are many where a host is drained, and what the aim is for may go before them.
func (w *worker) glance(ctx context.Context) (port.Port, error) {
	until, cancel := context.WithCancel(ctx)
	defer cancel()
	aim, ended := w.aim, make(chan struct{})
	forget := w.mail.watch(func(next handover.Aim) bool { return isOther(next, aim) }, sync.OnceFunc(func() { close(ended); cancel() }))
	defer forget()
	p, err := w.read(until)
	select {
	case <-ended:
		if err != nil && ctx.Err() == nil {
			err = errReplaced
		}
	default:
	}
	return p, err
}

// pause waits for d, for a new aim, or for the end; false at the end.
func (w *worker) pause(ctx context.Context, d time.Duration) bool {
	return w.tools.time.Wait(ctx, d, w.mail.wake)
}
