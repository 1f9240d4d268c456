package handover

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/port"
)

// decide compares what is known with what was decided before.
func (h *Handover) decide(s Settings, bars Bars, paused Halt, now time.Duration) []Decision {
	phase := h.phase()
	var out []Decision
	if h.arm && (!h.asking || !h.prepared() && phase <= Arrived) {
		h.asking = true
		out = append(out, Arm{})
	}
	h.arm = false
	h.asked = h.asked && (phase == Failing || phase == Failed)
	if (phase == Watching || phase == Paused) && h.arrived.known() && !h.arrived.Before(h.incoming.Order) && h.doubtful() && !h.wondered {
		// A destination that was frozen thaws, and runs a guest that the source may have resumed long ago: only
		// its list will tell (libvirt-events/e8, after the restore).
		h.wondered = true
		out = append(out, AskHosts{Why: "the destination's libvirt was away: its word that the guest has arrived is doubted"})
	}
	switch phase {
	case Paused, PostCopy, Arrived:
		out = append(out, h.commit(s, bars, paused, phase, now)...)
	case Left:
		out = append(out, h.explain(s)...)
		for p := range h.each() {
			goal := Goal{Kind: GoalVerify, Host: h.Destination, NovaDone: h.novaPostEnd, Mend: h.landed() && h.mends(s, p)}
			for _, d := range h.aim(p, goal, "the guest has left the source") {
				aim := d.(Aim)
				aim.Doubtful = !h.landed()
				out = append(out, aim)
			}
		}
	case Failing:
		if !h.belied() { // which the hosts have said
			out = append(out, h.ask("the migration may have failed and no host has said where the guest is")...)
		}
		out = append(out, h.fail(s)...)
	case Failed:
		if h.unnamed() {
			out = append(out, h.ask("the migration has failed, and only Neutron's rows say from where")...)
		}
		out = append(out, h.restore(s)...)
	case Contradicted, Lost:
		if h.alarmed != phase {
			h.alarmed = phase
			alarm := Alarm{Why: alarms[phase], Ports: slices.Sorted(maps.Keys(h.moved))}
			if len(alarm.Ports) > 0 {
				alarm.Why += "; these ports were moved: " + strings.Join(alarm.Ports, ", ")
			}
			out = append(out, alarm)
		}
		out = append(out, h.aimAll(Goal{Kind: GoalHold}, alarms[phase])...)
	}
	return out
}

// ask has the hosts asked, once, where the guest is.
func (h *Handover) ask(why string) []Decision {
	if h.asked {
		return nil
	}
	h.asked = true
	return []Decision{AskHosts{Why: why}}
}

// fail aims the ports of a migration that Nova says has failed, and of which no event of a
// host does. Where both hosts list the guest as one that has stayed, rows are restored that
// are wrong for a guest on the source whatever goes on; those that are as Nova prepares them
// are not touched, since Nova's word alone can be late or forged.
func (h *Handover) fail(s Settings) []Decision {
	var out []Decision
	for p := range h.each() {
		active, has := p.Active()
		wrong := !has || active.Host != h.Source || !active.Bound()
		kind := h.goals[p.ID].Kind
		switch {
		case wrong && h.stayed() && h.mends(s, p):
			out = append(out, h.aim(p, Goal{Kind: GoalRestore, Host: h.Source, NovaDone: h.rollbackEnd}, "Nova rolls back, and the hosts list the guest on the source alone")...)
		case h.rollbackEnd:
			out = append(out, h.aim(p, Goal{Kind: GoalVerify, Host: h.Source, NovaDone: true}, "Nova has rolled back")...)
		case h.belied():
			out = append(out, h.aim(p, Goal{Kind: GoalVerify, Host: h.Source, NovaDone: true}, "Nova says that the guest has left, and the hosts list it on the source alone: Nova's word is of an earlier migration")...)
		case kind == GoalCommit || kind == GoalRestore:
			out = append(out, h.aim(p, Goal{Kind: GoalHold}, "the migration may have failed and no host has said where the guest is")...)
		}
	}
	return out
}

var alarms = map[Phase]string{
	Contradicted: "the guest was reported on both hosts",
	Lost:         "post-copy has failed: the guest may be on no host",
}

// prepared tells whether every port was found ready to be committed.
func (h *Handover) prepared() bool {
	for p := range h.each() {
		if ok, _ := prepared(p, h.Source, h.Destination); !ok {
			return false
		}
	}
	return h.armed
}

// commit aims every port at the destination that its policy allows to go now.
//
// An activate can do harm in four ways, and each is kept out here. The worker
// does so once more right before the request: an aim that was replaced is not
// sent, nor one whose deadline has passed.
//
//   - The migration has failed. Every sign of failure leads out of the phases
//     that commit: Paused, PostCopy and Arrived. The way back is a sign that
//     proves older than the pause; a port that was aimed elsewhere meanwhile is
//     then held.
//   - Nova's own activate is due, and ours can make it fail. The source says so
//     (STOPPED/MIGRATED), or Nova (live_migration._post, .post.dest): phase Left,
//     which commits nothing on any Neutron. Nova activates on SUSPENDED/POSTCOPY
//     too. There, and where none of this is heard, two activates at once do no
//     harm from Neutron 23.0.0 on, and on an older one nothing is committed at
//     all (ConcurrentActivateSafe).
//   - What is known is old, and the migration's end is on its way. The deadline
//     is FreshFor after the latest sign that the guest stands still on the source
//     or has arrived. A sign of unknown age, a duplicate and a list of domains do
//     not move it. Both hosts must have spoken by a publisher: of one without, no
//     failure would be heard.
//   - Neutron disagrees: the rows must be as Nova has prepared them.
//
// What is in doubt, what an operator has paused ([Halt]) and what the [Breaker] has barred is
// left to Nova.
func (h *Handover) commit(s Settings, bars Bars, paused Halt, phase Phase, now time.Duration) []Decision {
	var out []Decision
	for p := range h.each() {
		if goal, aimed := h.goals[p.ID]; aimed {
			if goal.Kind == GoalRestore || goal.Kind == GoalVerify {
				out = append(out, h.aim(p, Goal{Kind: GoalHold}, "the sign of failure was older than the pause")...)
			}
			continue
		}
		policy, why := policyFor(s, p, h.Source, h.Destination, h.replug[p.ID])
		if policy == PolicyResumed && phase == Paused {
			continue
		}
		reason := h.refuse(s, policy, why, p, now)
		if reason == "" {
			reason = h.doubts(phase)
		}
		if reason == "" {
			reason = h.halt(paused, p)
		}
		if reason == "" {
			reason = h.barred(bars, p, now)
		}
		if reason != "" {
			if !h.observed[p.ID] {
				put(&h.observed, p.ID, true)
				out = append(out, Observe{Port: p.ID, Why: reason})
			}
			continue
		}
		tries, onTrial := h.try(bars, p)
		out = append(out, tries...)
		goal := Goal{Kind: GoalCommit, Host: h.Destination}
		put(&h.goals, p.ID, goal)
		put(&h.commits, p.ID, commitment{driver: p.Driver})
		put(&h.moved, p.ID, true)
		out = append(out, Aim{Port: p.ID, Goal: goal, Other: h.Source, Deadline: h.deadline, Why: "guest is " + phase.String() + "; " + why + onTrial})
	}
	return out
}

// doubts gives what speaks against a commit although it proves no failure;
// empty if nothing does.
func (h *Handover) doubts(phase Phase) string {
	switch {
	case phase == Paused && h.arrived.known():
		return "the destination's libvirt was away: its word that the guest has arrived is doubted"
	case h.gone.known() && !h.started.known():
		return "the destination does not have the guest, and its start there was not heard of"
	case h.sincePause(h.absent):
		return "the source does not have the guest any more: it has left, and Nova's own activate is due, or it has died"
	}
	return ""
}

// halt gives the reason why a port's commit is paused; empty if it is not. What was
// paused when it was due stays so when commits are resumed: they are for handovers whose
// moment is still to come.
func (h *Handover) halt(paused Halt, p port.Port) string {
	if why := paused.Refuse(h.Source, h.Destination); why != "" && h.keptBack[p.ID] == "" {
		put(&h.keptBack, p.ID, why)
	}
	return h.keptBack[p.ID]
}

// barred gives the reason why the breaker stops a port's commit; empty if it
// does not.
func (h *Handover) barred(bars Bars, p port.Port, now time.Duration) string {
	for _, c := range h.circuits(p.Driver) {
		if reason := bars.refuse(c, h.trials[c], now); reason != "" {
			return reason
		}
	}
	return ""
}

// try takes the trial of each circuit that waits for one, and says so for the
// log.
func (h *Handover) try(bars Bars, p port.Port) (tries []Decision, why string) {
	for _, c := range h.circuits(p.Driver) {
		if _, waits := bars[c]; !waits {
			continue
		}
		why += "; on trial for commits " + c.String()
		if !h.trials[c] {
			put(&h.trials, c, true)
			tries = append(tries, Try{Circuit: c})
		}
	}
	return tries, why
}

// explain tells, of every port that was neither committed nor observed when the
// guest had left, why it was not activated.
func (h *Handover) explain(s Settings) []Decision {
	var out []Decision
	for p := range h.each() {
		if _, aimed := h.goals[p.ID]; aimed || h.observed[p.ID] {
			continue
		}
		put(&h.observed, p.ID, true)
		policy, why := policyFor(s, p, h.Source, h.Destination, h.replug[p.ID])
		if policy != PolicyObserve {
			why = h.whyMissed(p)
		}
		out = append(out, Observe{Port: p.ID, Why: why})
	}
	return out
}

// whyMissed gives the reason why a port that could have been committed was not
// before the guest left the source.
func (h *Handover) whyMissed(p port.Port) string {
	if ok, reason := h.publishersKnown(); !ok {
		return reason
	}
	if ok, reason := prepared(p, h.Source, h.Destination); !ok {
		return reason
	}
	return "the guest had left the source before its arrival was heard of"
}

// refuse gives the reason why a port is not committed; empty if it is.
func (h *Handover) refuse(s Settings, policy Policy, why string, p port.Port, now time.Duration) string {
	if policy == PolicyObserve {
		return why
	}
	if !s.ConcurrentActivateSafe {
		return "Neutron is older than 23.0.0, or does not show that it is not: two activates at once could fail Nova's"
	}
	if ok, reason := h.publishersKnown(); !ok {
		return reason
	}
	if now > h.deadline {
		return "the sign is too old, or its age is unknown"
	}
	if ok, reason := prepared(p, h.Source, h.Destination); !ok {
		return reason
	}
	return ""
}

// restore aims the ports at the source that repair covers, and has the others
// read; all, as long as the rows alone say which host that is: what an earlier migration has
// left wrong would be restored. Repair by ownership goes by what was committed, and by policy: what
// earlybind may commit, a process that was killed may have committed.
func (h *Handover) restore(s Settings) []Decision {
	var out []Decision
	for p := range h.each() {
		goal := Goal{Kind: GoalVerify, Host: h.Source, NovaDone: h.rollbackEnd || h.leftOver}
		if h.mends(s, p) && !h.unnamed() {
			goal.Kind, goal.Mend = GoalRestore, h.came
		}
		out = append(out, h.aim(p, goal, "the migration has failed")...)
	}
	return out
}

// mends tells whether repair covers a port. Where our activate can make another's
// fail, what is found long after, as a left-over or when Nova has finished, is told
// and not touched: another migration may begin.
func (h *Handover) mends(s Settings, p port.Port) bool {
	_, own := h.commits[p.ID]
	own = own || s.ConcurrentActivateSafe && mayBeOurs(s, p, h.Source, h.Destination)
	late := h.leftOver || h.phase() == Left
	return s.Repair == RepairAll && (s.ConcurrentActivateSafe || !late) || s.Repair == RepairOwn && own
}

func (h *Handover) aimAll(g Goal, why string) []Decision {
	var out []Decision
	for p := range h.each() {
		out = append(out, h.aim(p, g, why)...)
	}
	return out
}

func (h *Handover) aim(p port.Port, g Goal, why string) []Decision {
	if h.goals[p.ID] == g || g.Host == "" && g.Kind != GoalHold {
		return nil // has it, or nobody has said yet which host that is
	}
	put(&h.goals, p.ID, g)
	other := h.Destination
	if g.Host == h.Destination {
		other = h.Source
	}
	if g.Kind == GoalRestore {
		put(&h.moved, p.ID, true)
		// Nobody has named it: the rows do. For a commit that is not enough.
		other = cmp.Or(other, announcedBy(p, g.Host))
	}
	return []Decision{Aim{Port: p.ID, Goal: g, Other: other, Why: why}}
}

// unfinished gives the ports that were committed, or were to be restored, and have
// not come to an end: they still are, or nothing is written to them any more and no
// alarm has named them yet.
func (h *Handover) unfinished() []string {
	var ports []string
	for id, goal := range h.goals {
		open := goal.Kind == GoalCommit || goal.Kind == GoalRestore || goal.Kind == GoalHold && h.moved[id] && h.alarmed == Watching
		if done, ok := h.done[id]; open && (!ok || done.Goal != goal) {
			ports = append(ports, id)
		}
	}
	slices.Sort(ports)
	return ports
}

// restoring gives the hosts to which ports are being restored, by port.
func (h *Handover) restoring() map[string]string {
	homes := map[string]string{}
	for id, goal := range h.goals {
		if goal.Kind == GoalRestore {
			homes[id] = goal.Host
		}
	}
	return homes
}

// outcome tells whether the handover is over: the guest's place is settled and
// every port's last goal was reached or given up.
func (h *Handover) outcome() (Outcome, bool) {
	phase := h.phase()
	if phase != Left && phase != Failed && phase != Failing || !h.armed {
		return "", false
	}
	right := true
	for p := range h.each() {
		done, ok := h.done[p.ID]
		if !ok || done.Goal != h.goals[p.ID] {
			return "", false
		}
		right = right && done.Right
	}
	switch {
	case !right:
		return OutcomeWrong, true
	case phase == Left:
		return OutcomeMigrated, true
	case h.belied():
		return OutcomeSuperseded, true
	default:
		return OutcomeRestored, true
	}
}

// nowOf gives the time that an input carries, on the caller's clock.
func nowOf(in Input) time.Duration {
	switch in := in.(type) {
	case HostSign:
		return in.Now
	case NovaSign:
		return in.Now
	case Rows:
		return in.Now
	case Activated:
		return in.Now
	case LeftOver:
		return in.Now
	case PortDone:
		return in.Now
	case Muted:
		return in.Now
	}
	return 0
}

// announcedBy is the destination that a port's row on its source announces and has a row
// for.
func announcedBy(p port.Port, source string) string {
	row, _ := p.Row(source)
	if _, prepared := p.Row(row.MigratingTo()); !prepared {
		return ""
	}
	return row.MigratingTo()
}
