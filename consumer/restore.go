package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// restore brings the port back to ACTIVE and bound on the host where its guest is.
func (w *worker) restore(ctx context.Context) {
	began := w.tools.clock()
	aim := w.aim
	host := aim.Goal.Host
	patience, cancel := w.tools.time.WithTimeout(binding.OnlyIf(ctx, func() bool { return w.stands(ctx, aim) }), restorePatience)
	defer cancel()
	stopped, handsOff := false, false // handsOff: rows of another migration were seen
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
		Came: w.aim.Goal.Mend,
		May:  func() bool { return !stop() && !handsOff && w.tools.may() },
		Report: func(t rollback.Taken) {
			stop()
			w.taken(t)
		},
		Journal: w.tools.journal.of(w.instance),
		Wake:    w.mail.wake,
		Clock:   w.tools.time,
	}
	parts := min(tellings+1, max(1, w.tools.upWithin/tellEvery))
	part := w.tools.upWithin / parts
	var wrong doubt
	for told := time.Duration(0); ; {
		err := rollback.Restore(patience, w.tools.neutron, w.port, host, w.aim.Other, options)
		if handsOff && errors.Is(err, rollback.ErrStopped) {
			err = fmt.Errorf("%w: the rows are wrong, and were another migration's", rollback.ErrHandsOff)
		}
		if handsOff = handsOff || errors.Is(err, rollback.ErrHandsOff); !errors.Is(err, rollback.ErrHandsOff) {
			wrong.why = ""
		}
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
		case errors.Is(err, rollback.ErrHandsOff) && !w.stays(&wrong, err.Error()):
			w.sayDoubt(&wrong)
			if w.pause(patience, look) {
				continue
			}
			if ctx.Err() != nil {
				return
			}
		}
		switch {
		case errors.Is(err, context.Canceled):
			return
		case errors.Is(err, port.ErrGone):
			w.gone(err)
			return
		case err == nil && told < parts-1 && !w.up(patience, part):
			if told++; w.tellAgain(patience, host) {
				continue
			}
		case err != nil:
			w.alarm(ctx, host, err)
			if !errors.Is(err, rollback.ErrHandsOff) {
				w.leave("its restore was given up: " + err.Error())
			}
		}
		w.finish(ctx, host, err == nil, part*(parts-told), w.look(ctx, w.read))
		return
	}
}

// taken writes a step of a restore to the log, and marks the port where a write may yet take effect.
func (w *worker) taken(t rollback.Taken) {
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
}

// tellAgain has Neutron tell the agent of the port again, where the rows are right
// and the port stays DOWN: only a changed profile does (run on Neutron 21.0.0 and
// 26.0.3). It gets the mark, which the next step of a restore takes out again, by
// this replica or by another. False where that is not to be.
func (w *worker) tellAgain(ctx context.Context, host string) bool {
	p, err := w.read(ctx)
	if right, _ := settled(p, host); err != nil || !right || p.Status == binding.PortActive || w.replaced() || !w.tools.may() {
		return false
	}
	w.leave("its agent is being told again")
	row, _ := p.Row(host)
	line := audit.Line{Event: audit.PortWritten, Port: w.port, Host: host, Decided: "tell the agent again", Why: "the rows are right and the port is " + p.Status, Outcome: "answered"}
	began := w.tools.clock()
	call, cancel := w.tools.time.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	line.Err = w.tools.neutron.SetProfile(call, w.port, rollback.Mark(row), p.Revision)
	line.Took = w.tools.clock() - began
	w.suspect(line.Err, line.Took)
	if line.Err != nil {
		line.Outcome = "failed"
	}
	w.report(line)
	return true
}
