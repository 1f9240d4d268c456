package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/turn"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// mendAfter is how long after Nova's word that it has finished on the destination rows may
// stay wrong before they are mended: all its writes to the port come before that word
// (nova/compute/manager.py, _post_live_migration_at_destination).
const mendAfter = 5 * time.Second

// unreadPatience is for how long a port whose rows were right is read again before an operator
// is told that it cannot be: Neutron was seen to take 12 s to start.
const unreadPatience = 30 * time.Second

// verify waits for Nova's end and reads until the rows are right, or mends them where
// that is allowed and Nova has said that it has finished, or has not activated what the
// guest, that has left its source, waits for. It will not where Neutron has answered its own
// activate with an error: the migration ends as "error", without a roll-back (_live_migration_operation
// in nova/virt/libvirt/driver.py, "Error monitoring migration"; seen as Neutron was restarted, 2025.1).
func (w *worker) verify(ctx context.Context) {
	began := w.tools.clock()
	host := w.aim.Goal.Host
	novaDone := w.aim.Goal.NovaDone
	var wrong doubt
	asked := false
	for {
		if w.replaced() {
			return
		}
		if w.aim.Goal.NovaDone && !novaDone {
			novaDone, began = true, w.tools.clock() // the last of its changes may be on their way
		}
		waited, bound, first := w.tools.clock()-began, verifyPatience, novaPatience
		if w.aim.Goal.NovaDone {
			bound, first = 2*novaPatience, 0
		} else if w.refused && w.aim.Goal.Mend {
			first = mendAfter // Nova's own may be refused as ours was
		}
		if waited < first {
			if !w.pause(ctx, first-waited) {
				return
			}
			continue
		}
		seen := w.look(ctx, w.glance)
		p, err := seen.Port, seen.err
		if ctx.Err() != nil {
			return // with the handover: what was not read says nothing of the rows
		}
		if errors.Is(err, errReplaced) {
			continue
		}
		right, why := false, ""
		if err == nil {
			right, why = settled(p, host)
		} else {
			why = err.Error()
		}
		stays := !right && err == nil && w.stays(&wrong, why)
		if right || err != nil {
			wrong = doubt{}
		}
		left := !right && err == nil && w.aim.Goal.Mend && !w.aim.Goal.NovaDone && awaited(p, w.aim.Other, host)
		if !right && err == nil && w.aim.Doubtful && w.aim.Goal.NovaDone && waited > mendAfter && !asked {
			// Nova's word may be of an earlier migration: where the guest is, its hosts know.
			asked = true
			w.askHosts("Nova has finished and the rows are wrong: " + why)
		} else if left && !asked {
			asked = true // they may know of a migration that has begun since
			w.askHosts("the guest has arrived, and Nova has not activated: " + why)
		}
		switch {
		case errors.Is(err, port.ErrGone):
			w.gone(err)
			return
		case right && w.tools.clock() >= w.unknown:
			w.finish(ctx, host, true, w.tools.upWithin, seen)
			return
		case !right && err == nil && w.aim.Goal.Mend && w.aim.Goal.NovaDone && waited > mendAfter:
			w.mend(ctx, p, "Nova has finished and the rows are wrong: "+why)
			return
		case left && stays:
			w.mend(ctx, p, "the guest has arrived, and Nova has not activated: "+why)
			return
		case !right && waited > bound && (err != nil || stays || waited > bound+restorePatience):
			w.alarm(ctx, host, errors.New(why))
			if w.aim.Goal.Mend || w.tools.settings.Repair == handover.RepairAll {
				w.leave("it was not right in the end: " + why)
			}
			w.finish(ctx, host, false, 0, seen)
			return
		}
		if !w.pause(ctx, min(look+waited/16, 15*look)) {
			return
		}
	}
}

// awaited tells whether a port is as Nova has prepared it for the migration: it waits for an activate.
func awaited(p port.Port, source, destination string) bool {
	active, _ := p.Active()
	row, _ := p.Row(destination)
	return p.ActiveRows() == 1 && active.Host == source && active.MigratingTo() == destination && row.Bound()
}

func (w *worker) askHosts(why string) {
	w.report(audit.Line{Event: audit.HostsAsked, Port: w.port, Host: w.aim.Goal.Host, Why: why})
	w.tools.ask(why)
}

// mend brings the rows right for a guest that has come.
func (w *worker) mend(ctx context.Context, p port.Port, why string) {
	w.report(audit.Line{Event: audit.PortDecided, Port: w.port, Host: w.aim.Goal.Host, Saw: p.Describe(), Decided: handover.GoalRestore.String(), Why: why})
	w.restore(turn.As(ctx, turn.Restoring))
}

// reading is what was read of the port, and what ends the entries that the journal had
// of it before.
type reading struct {
	port.Port
	err    error
	settle func()
}

func (w *worker) look(ctx context.Context, read func(context.Context) (port.Port, error)) reading {
	settle := w.tools.journal.settler(w.port, w.tools.clock())
	p, err := read(ctx)
	return reading{p, err, settle}
}

func (r reading) up() bool { return r.err == nil && r.Status == binding.PortActive }

// finish gives the port's agent that long since the port was seen, writes what was found
// at last and reports the goal as done.
func (w *worker) finish(ctx context.Context, host string, right bool, patience time.Duration, seen reading) {
	goal := w.aim.Goal
	for began := w.tools.clock(); right && !seen.up() && !errors.Is(seen.err, port.ErrGone) && !w.replaced(); {
		bound := patience
		if seen.err != nil {
			bound += unreadPatience
		}
		if w.tools.clock()-began >= bound || !w.pause(ctx, min(look, bound)) {
			break
		}
		if next := w.look(ctx, w.glance); !errors.Is(next.err, errReplaced) {
			seen = next
		}
	}
	if right && !w.convinced(ctx, host, &seen) {
		return
	}
	p, err := seen.Port, seen.err
	if errors.Is(err, port.ErrGone) {
		w.gone(err)
		return
	}
	anew := err == nil && right && inMigration(p, host)
	if err == nil && right && !anew {
		var why string
		if right, why = settled(p, host); !right {
			why = "the rows were right and have changed since: " + why
			w.alarm(ctx, host, errors.New(why))
			if goal.Kind == handover.GoalRestore || goal.Mend || w.tools.settings.Repair == handover.RepairAll {
				w.leave(why)
			}
		}
	}
	up := right && seen.up()
	line := audit.Line{Event: audit.PortVerified, Port: w.port, Host: host, Decided: goal.Kind.String(), Err: err}
	if err == nil {
		line.Saw = p.Describe()
		line.Outcome = rightness(p, host)
	}
	if anew {
		line.Outcome, line.Why = "rows right", "they were, and Nova prepares a new migration"
	}
	w.report(line)
	if right && err != nil && ctx.Err() == nil && !w.replaced() {
		const why = "the rows were right, and how the port stands since could not be read"
		w.report(audit.Line{Event: audit.HandoverAlarm, Kind: audit.AlarmDown, Port: w.port, Host: host, Why: why, Err: err, Decided: "look at the port's rows and status when Neutron answers (docs/repair.md)"})
		if goal.Kind == handover.GoalRestore || goal.Mend {
			w.leave(why)
		}
	}
	if right && !up && err == nil && ctx.Err() == nil && !w.replaced() {
		w.report(audit.Line{
			Event: audit.HandoverAlarm, Kind: audit.AlarmDown, Port: w.port, Host: host,
			Why:     fmt.Sprintf("the rows are right, but the agent on %s has not reported the port up within %s", host, w.tools.upWithin),
			Decided: "to mend it on ML2/OVS, for a plain tap, on " + host + ": " + plug(p, w.instance) + "; else a hard reboot of the instance (docs/repair.md)",
		})
	}
	if right && err == nil {
		seen.settle()
	}
	w.done(handover.PortDone{Port: w.port, Goal: w.aim.Goal, Right: right, Up: up, Now: w.tools.clock()})
}

// doubt is since when a port has been found wrong by a replica that held its lease.
type doubt struct {
	since time.Duration
	why   string // it is; empty where it was not found so
	said  bool   // that it is waited for
}

// stays tells whether an operator may be told that a port, which is found wrong, is. It may stand
// as another migration has left it, of which this replica has not heard: the lease lasts for
// leaseFor after the broker's last word. So it has to be wrong in the same way for longer than that, by one
// that holds the lease: then a tick has come back that was sent after the port was first found so, and
// before it, in the same queue, what the hosts had said by then. A migration that they speak of
// replaces the aim or ends the handover.
func (w *worker) stays(d *doubt, why string) bool {
	now := w.tools.clock()
	if d.why != why || !w.tools.may() {
		d.since, d.why = now, why
	}
	return now-d.since > leaseFor
}

// sayDoubt tells, once, that a port that is found wrong is looked at again.
func (w *worker) sayDoubt(d *doubt) {
	if d.said {
		return
	}
	d.said = true
	w.report(audit.Line{
		Event: audit.PortVerified, Port: w.port, Host: w.aim.Goal.Host, Decided: "wait",
		Why: "wrong, unless another migration has begun that is not heard of yet: " + d.why,
	})
}

// convinced reads a port whose rows were right, and are not, until they are again, or those of a
// new migration, or stay wrong; false where another aim, or the handover's end, comes first.
func (w *worker) convinced(ctx context.Context, host string, seen *reading) bool {
	var wrong doubt
	for began := w.tools.clock(); seen.err == nil; {
		right, why := settled(seen.Port, host)
		if right || inMigration(seen.Port, host) {
			return true
		}
		stays := w.stays(&wrong, "the rows were right and have changed since: "+why)
		switch {
		case w.replaced():
			return false
		case stays, w.tools.clock()-began > restorePatience:
			return true
		}
		w.sayDoubt(&wrong)
		if !w.pause(ctx, look) {
			return false
		}
		next := w.look(ctx, w.glance)
		switch {
		case ctx.Err() != nil:
			return false
		case next.err == nil, errors.Is(next.err, port.ErrGone):
			*seen = next
		default:
			wrong.why = "" // it has not been seen to be so for long
		}
	}
	return true
}

// plug is the command that plugs a plain tap in again: ML2/OVS' agent takes it
// off br-int when the binding has moved away, and does not bring it back (run on
// Neutron 21.0.0 and 26.0.3). It goes to Neutron's dead VLAN first, isolated there as
// os-vif has it (vif_plug_ovs/ovs.py, Launchpad bug 2069543), until the agent has wired it.
func plug(p port.Port, instance string) string {
	tap := "tap" + p.ID[:min(len(p.ID), 11)]
	return "ovs-vsctl --may-exist add-port br-int " + tap + " tag=4095 vlan_mode=trunk trunks=4095 -- set Interface " + tap +
		" external_ids:iface-id=" + p.ID + " external_ids:attached-mac=" + p.MAC +
		" external_ids:vm-uuid=" + instance + " external_ids:iface-status=active"
}

// up waits until the port's agent has reported it up; false when it has not in
// time, or another aim waits.
func (w *worker) up(ctx context.Context, patience time.Duration) bool {
	for began := w.tools.clock(); ; {
		p, err := w.read(ctx)
		switch {
		case err == nil && p.Status == binding.PortActive:
			return true
		case w.tools.clock()-began >= patience, w.replaced(), !w.pause(ctx, min(look, patience)):
			return false
		}
	}
}

// gone ends the goal of a port that was deleted: there is nothing to be right.
func (w *worker) gone(err error) {
	w.report(audit.Line{Event: audit.PortVerified, Port: w.port, Decided: w.aim.Goal.Kind.String(), Outcome: "gone", Why: err.Error()})
	w.tools.journal.settler(w.port, w.tools.clock())()
	w.done(handover.PortDone{Port: w.port, Goal: w.aim.Goal, Right: true, Up: true, Now: w.tools.clock()})
}

// alarm tells an operator what is wrong with the port, and the next request
// that would mend it.
func (w *worker) alarm(ctx context.Context, host string, err error) {
	line := audit.Line{
		Event: audit.HandoverAlarm, Kind: audit.AlarmRows, Port: w.port, Host: host, Why: err.Error(),
		Decided: fmt.Sprintf("to see it: openstack port show %s, and GET /v2.0/ports/%s/bindings; to mend it, once no migration of the instance runs: the sequence for what is found in docs/repair.md", w.port, w.port),
	}
	if p, err := w.read(ctx); err == nil {
		held, read := w.tools.journal.of(w.instance).Held(w.port, host)
		step := rollback.Plan(rollback.Situation{Port: p, Source: host, Destination: otherHost([]port.Port{p}, host), NovaDone: true, Held: held, Unread: !read})
		line.Saw = p.Describe()
		if request := step.Request(w.port); request != "" {
			line.Decided = "to mend it, once no migration of the instance runs and the guest is on " + host + ": " + request + ", then read the rows again and go on by docs/repair.md"
		}
	}
	w.report(line)
}
