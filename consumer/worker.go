package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
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
	// look is the pause between two looks at a port that is waited for.
	look = time.Second
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
	aim       handover.Aim  // the one at work
	unknown   time.Duration // until when a write may still take effect, on the monotonic clock
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
	// journal is what replicas leave to each other; doubt adds to it, now or
	// when there is a session again.
	journal *journal
	doubt   func(wire.JournalEntry)
	// unknownWatch is how long a port is watched that a write may still reach.
	unknownWatch time.Duration
	// upWithin is how long an agent has to report a port up.
	upWithin time.Duration
	// ask asks the publishers for their domains.
	ask      func(why string)
	settings handover.Settings
	breaker  *breaker
}

// run works until the context ends. A new aim replaces the one before at the
// next point between two requests.
func (w *worker) run(ctx context.Context) {
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
	call = binding.OnlyIf(call, func() bool { return w.tools.clock() <= w.aim.Deadline && w.tools.may() })
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
		line.Why = "the deadline passed, or the lease was lost, while the request was being made"
		w.report(line)
		return
	case err != nil:
		line.Outcome = "failed"
	}
	if line.Outcome != "failed" {
		w.committed(sent, answered)
	}
	w.suspect(err, line.Took)
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
	patience, cancel := w.tools.time.WithTimeout(binding.OnlyIf(ctx, func() bool { return ctx.Err() == nil && w.tools.may() }), restorePatience)
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
			if t.Action.Writes() {
				w.suspect(t.Err, t.Took)
			}
			line := audit.Line{Event: audit.PortWritten, Port: w.port, Host: t.Host, Decided: t.Action.String(), Why: t.Why, Err: t.Err, Took: t.Took, Outcome: "answered"}
			if t.Action == rollback.Wait || t.Action == rollback.Done {
				line.Event, line.Outcome = audit.PortVerified, ""
			}
			if t.Err != nil {
				line.Outcome = "failed"
			}
			if t.Action == rollback.WriteDown {
				line.Saw = t.Held.String()
			}
			w.report(line)
		},
		Journal: w.tools.journal.of(w.instance),
		Wake:    w.mail.wake,
		Clock:   w.tools.time,
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
		case errors.Is(err, port.ErrGone):
			w.gone(err)
			return
		case err != nil:
			w.alarm(ctx, source, err)
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
			right, why = settled(p, host)
		} else {
			why = err.Error()
		}
		switch {
		case errors.Is(err, port.ErrGone):
			w.gone(err)
			return
		case right && w.tools.clock() >= w.unknown:
			w.finish(ctx, host, true)
			return
		case !right && waited > bound:
			w.alarm(ctx, host, errors.New(why))
			w.finish(ctx, host, false)
			return
		}
		if !w.pause(ctx, min(look+waited/16, 15*look)) {
			return
		}
	}
}

// finish waits for the port's agent, reads the port a last time, writes what was
// found and reports the goal as done.
func (w *worker) finish(ctx context.Context, host string, right bool) {
	goal := w.aim.Goal
	up := right && w.up(ctx)
	p, err := w.read(ctx)
	if err == nil && right {
		var why string
		if right, why = settled(p, host); !right {
			w.alarm(ctx, host, errors.New("the rows were right and have changed since: "+why))
		}
	}
	line := audit.Line{Event: audit.PortVerified, Port: w.port, Host: host, Decided: goal.Kind.String(), Err: err}
	if err == nil {
		line.Saw = describe(p)
		line.Outcome = rightness(p, host)
	}
	w.report(line)
	if right && !up && err == nil && ctx.Err() == nil && !w.replaced() {
		w.report(audit.Line{
			Event: audit.HandoverAlarm, Port: w.port, Host: host,
			Why:     fmt.Sprintf("the rows are right, but the agent on %s has not reported the port up within %s", host, w.tools.upWithin),
			Decided: "to mend it on ML2/OVS, for a plain tap, on " + host + ": " + plug(p, w.instance) + "; else a hard reboot of the instance (docs/repair.md)",
		})
	}
	if right && err == nil {
		w.tools.journal.settle(w.port)
	}
	w.done(handover.PortDone{Port: w.port, Goal: w.aim.Goal, Right: right, Up: up, Now: w.tools.clock()})
}

// plug is the command that plugs a plain tap in again: ML2/OVS' agent takes it
// off br-int when the binding has moved away, and does not bring it back (run on
// Neutron 21.0.0 and 26.0.3). It goes to Neutron's dead VLAN first, as os-vif has
// it, until the agent has wired it.
func plug(p port.Port, instance string) string {
	tap := "tap" + p.ID[:min(len(p.ID), 11)]
	return "ovs-vsctl --may-exist add-port br-int " + tap + " tag=4095 -- set Interface " + tap +
		" external_ids:iface-id=" + p.ID + " external_ids:attached-mac=" + p.MAC +
		" external_ids:vm-uuid=" + instance + " external_ids:iface-status=active"
}

// up waits until the port's agent has reported it up; false when it has not in
// time, or another aim waits.
func (w *worker) up(ctx context.Context) bool {
	for began := w.tools.clock(); ; {
		p, err := w.read(ctx)
		switch {
		case err == nil && p.Status == binding.PortActive:
			return true
		case w.tools.clock()-began >= w.tools.upWithin, w.replaced(), !w.pause(ctx, min(look, w.tools.upWithin)):
			return false
		}
	}
}

// gone ends the goal of a port that was deleted: there is nothing to be right.
func (w *worker) gone(err error) {
	w.report(audit.Line{Event: audit.PortVerified, Port: w.port, Decided: w.aim.Goal.Kind.String(), Outcome: "gone", Why: err.Error()})
	w.tools.journal.settle(w.port)
	w.done(handover.PortDone{Port: w.port, Goal: w.aim.Goal, Right: true, Up: true, Now: w.tools.clock()})
}

// alarm tells an operator what is wrong with the port, and the next request
// that would mend it.
func (w *worker) alarm(ctx context.Context, host string, err error) {
	line := audit.Line{
		Event: audit.HandoverAlarm, Port: w.port, Host: host, Why: err.Error(),
		Decided: fmt.Sprintf("to see it: openstack port show %s, and GET /v2.0/ports/%s/bindings; to mend it, once no migration of the instance runs: the sequence for what is found in docs/repair.md", w.port, w.port),
	}
	if p, err := w.read(ctx); err == nil {
		held, read := w.tools.journal.of(w.instance).Held(w.port, host)
		step := rollback.Plan(rollback.Situation{Port: p, Source: host, Destination: otherHost([]port.Port{p}, host), NovaDone: true, Held: held, Unread: !read})
		line.Saw = describe(p)
		if request := step.Request(w.port); request != "" {
			line.Decided = "to mend it, once no migration of the instance runs and the guest is on " + host + ": " + request + ", then read the rows again and go on by docs/repair.md"
		}
	}
	w.report(line)
}

// suspect remembers a write that may still take effect, and leaves to whoever
// acts by then a port that this process was late to write: it was frozen, or
// lost its lease, between the decision and the answer.
func (w *worker) suspect(err error, took time.Duration) {
	if binding.MayStillHappen(err) {
		w.unknown = w.tools.clock() + w.tools.unknownWatch
	}
	if took > leaseFor || !w.tools.may() {
		e := wire.JournalEntry{Instance: w.instance, Port: w.port, Why: "a write was answered late, when another replica may have taken over"}
		if held, _ := w.tools.journal.of(w.instance).Held(w.port, w.aim.Goal.Host); held != nil {
			e.Host, e.VNICType, e.Profile = w.aim.Goal.Host, held.VNICType, held.Profile
		}
		w.tools.doubt(e)
	}
}

func (w *worker) read(ctx context.Context) (port.Port, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return w.tools.neutron.Read(ctx, w.port)
}

// pause waits for d, for a new aim, or for the end; false at the end.
func (w *worker) pause(ctx context.Context, d time.Duration) bool {
	return w.tools.time.Wait(ctx, d, w.mail.wake)
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
