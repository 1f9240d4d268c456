package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
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
	// statusPatience is how long an agent has to report a port up; ML2/OVS'
	// was seen to take 0.3 to 2.2 s.
	statusPatience = 15 * time.Second
	// look is the pause between two looks at a port that is waited for.
	look = time.Second
)

// worker brings one port to its goals, one after the other: never two requests
// at once for one port.
type worker struct {
	port   string
	tools  *tools
	report func(audit.Line)
	done   func(handover.PortDone)
	// committed tells when the activate was sent and answered.
	committed func(sent, answered time.Duration)
	mail      mailbox
	aim       handover.Aim  // the one at work
	unknown   time.Duration // until when a write may still take effect, on the monotonic clock
}

// tools are what every worker and actor of a session share.
type tools struct {
	neutron Neutron
	audit   func(audit.Line)
	clock   func() time.Duration
	// may tells whether this replica may write now.
	may func() bool
	// ask asks the publishers for their domains.
	ask      func(why string)
	settings handover.Settings
}

// run works until the context ends. A new aim replaces the one before at the
// next point between two requests.
func (w *worker) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.mail.wake:
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
				w.restore(ctx)
			case handover.GoalVerify:
				w.verify(ctx)
			}
		}
	}
}

// replaced tells whether a new aim waits; one that only says that Nova is done
// is taken in place.
func (w *worker) replaced() bool {
	next, same, waits := w.mail.takeIf(func(next handover.Aim) bool {
		return next.Goal.Kind == w.aim.Goal.Kind && next.Goal.Host == w.aim.Goal.Host
	})
	if same {
		w.aim = next
	}
	return waits
}

func (w *worker) commit(ctx context.Context) {
	host := w.aim.Goal.Host
	line := audit.Line{Event: audit.PortWritten, Port: w.port, Host: host, Decided: "activate"}
	switch {
	case w.replaced():
		return
	case w.tools.clock() > w.aim.Deadline:
		line.Event, line.Decided, line.Why = audit.PortObserved, "", "the deadline passed before the request was sent"
		w.report(line)
		return
	case !w.tools.may():
		line.Event, line.Decided, line.Why = audit.PortObserved, "", "this replica no longer holds the lease"
		w.report(line)
		return
	}
	sent := w.tools.clock()
	// Its answer is waited for even when the session ends meanwhile: Neutron
	// finishes a request whose client has gone away.
	call, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	err := w.tools.neutron.Activate(call, w.port, host)
	cancel()
	answered := w.tools.clock()
	line.Took = answered - sent
	line.Outcome, line.Err = "activated", err
	switch {
	case errors.Is(err, binding.ErrAlreadyActive):
		line.Outcome, line.Err = "was ACTIVE already", nil
	case err != nil:
		line.Outcome = "failed"
	}
	if line.Outcome != "failed" {
		w.committed(sent, answered)
	}
	w.suspect(err)
	w.report(line)
	if ctx.Err() != nil {
		return // the handover has ended meanwhile
	}
	// A 200 can lie and a 500 can come after the row has become ACTIVE.
	p, err := w.read(ctx)
	verified := audit.Line{Event: audit.PortVerified, Port: w.port, Host: host, Err: err}
	if err == nil {
		verified.Saw = describe(p)
		verified.Outcome = rightness(p, host)
	}
	w.report(verified)
}

func (w *worker) restore(ctx context.Context) {
	began := w.tools.clock()
	source := w.aim.Goal.Host
	patience, cancel := context.WithTimeout(ctx, restorePatience)
	defer cancel()
	stopped := false
	stop := func() bool {
		if !stopped && w.replaced() {
			stopped = true
			cancel()
		}
		return stopped
	}
	options := rollback.Options{
		NovaDone: func() (done, presumed bool) {
			stop()
			told := w.aim.Goal.NovaDone
			return told || w.tools.clock()-began > novaPatience, !told
		},
		May: func() bool { return !stop() && w.tools.may() },
		Report: func(t rollback.Taken) {
			stop()
			w.suspect(t.Err)
			line := audit.Line{Event: audit.PortWritten, Port: w.port, Host: t.Host, Decided: t.Action.String(), Why: t.Why, Err: t.Err, Took: t.Took, Outcome: "answered"}
			if t.Action == rollback.Wait || t.Action == rollback.Done {
				line.Event, line.Outcome = audit.PortVerified, ""
			}
			if t.Err != nil {
				line.Outcome = "failed"
			}
			w.report(line)
		},
		Wake: w.mail.wake,
	}
	for {
		err := rollback.Restore(patience, w.tools.neutron, w.port, source, w.aim.Destination, options)
		switch {
		case stopped:
			return
		case errors.Is(err, rollback.ErrStopped):
			// The lease is away, perhaps for a moment.
			if w.pause(patience, look) {
				continue
			}
			err = patience.Err()
		case err == nil && w.tools.clock() < w.unknown:
			// A write may still take effect: look again until it can not.
			if w.pause(patience, 5*look) {
				continue
			}
			err = patience.Err()
		}
		switch {
		case errors.Is(err, context.Canceled):
			return
		case err != nil:
			w.alarm(source, err)
		}
		w.finish(ctx, source, err == nil)
		return
	}
}

// verify waits for Nova's end and reads until the rows are right.
func (w *worker) verify(ctx context.Context) {
	began := w.tools.clock()
	host := w.aim.Goal.Host
	for {
		if w.replaced() {
			return
		}
		waited, bound := w.tools.clock()-began, verifyPatience
		if w.aim.Goal.NovaDone {
			bound = 2 * novaPatience
		}
		if !w.aim.Goal.NovaDone && waited < novaPatience {
			if !w.pause(ctx, novaPatience-waited) {
				return
			}
			continue
		}
		p, err := w.read(ctx)
		right, why := false, ""
		if err == nil {
			right, why = p.RightOn(host)
		} else {
			why = err.Error()
		}
		switch {
		case right && w.tools.clock() >= w.unknown:
			w.finish(ctx, host, true)
			return
		case !right && waited > bound:
			w.alarm(host, errors.New(why))
			w.finish(ctx, host, false)
			return
		}
		if !w.pause(ctx, min(look+waited/16, 15*look)) {
			return
		}
	}
}

// finish reads the port a last time, waits for its agent, writes what was found
// and reports the goal as done.
func (w *worker) finish(ctx context.Context, host string, right bool) {
	goal := w.aim.Goal
	p, err := w.read(ctx)
	for waited := time.Duration(0); err == nil && right && p.Status != binding.PortActive && waited < statusPatience; waited += look {
		if w.replaced() || !w.pause(ctx, look) {
			break
		}
		p, err = w.read(ctx)
	}
	if err == nil && right {
		var why string
		if right, why = p.RightOn(host); !right {
			w.alarm(host, errors.New("the rows were right and have changed since: "+why))
		}
	}
	line := audit.Line{Event: audit.PortVerified, Port: w.port, Host: host, Decided: goal.Kind.String(), Err: err}
	if err == nil {
		line.Saw = describe(p)
		line.Outcome = rightness(p, host)
		if right && p.Status != binding.PortActive {
			line.Why = "the rows are right, but the agent on " + host + " has not reported the port up"
		}
	}
	w.report(line)
	w.done(handover.PortDone{Port: w.port, Goal: w.aim.Goal, Right: right, Now: w.tools.clock()})
}

func (w *worker) alarm(host string, err error) {
	w.report(audit.Line{
		Event: audit.HandoverAlarm, Port: w.port, Host: host, Why: err.Error(),
		Decided: fmt.Sprintf("to see it: openstack port show %s; to mend it, once no migration of the instance runs: GET /v2.0/ports/%s/bindings, then the sequence for what is found in docs/repair.md", w.port, w.port),
	})
}

// suspect remembers a write that may still take effect.
func (w *worker) suspect(err error) {
	if errors.Is(err, binding.ErrNoAnswer) && binding.OutcomeUnknown(err) {
		w.unknown = w.tools.clock() + unknownWatch
	}
}

func (w *worker) read(ctx context.Context) (port.Port, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return w.tools.neutron.Read(ctx, w.port)
}

// pause waits for d, for a new aim, or for the end; false at the end.
func (w *worker) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-w.mail.wake:
	}
	return true
}

func rightness(p port.Port, host string) string {
	if right, why := p.RightOn(host); !right {
		return "rows wrong: " + why
	}
	return "rows right"
}

// describe puts a port into words: its rows and its status, which are two
// things.
func describe(p port.Port) string {
	text := "port status " + p.Status + "; rows:"
	for _, r := range p.Rows {
		status := "INACTIVE"
		if r.Active {
			status = "ACTIVE"
		}
		text += fmt.Sprintf(" %s %s %s", r.Host, status, r.VIFType)
		if to := r.MigratingTo(); to != "" {
			text += " migrating_to=" + to
		}
		text += ";"
	}
	return text
}
