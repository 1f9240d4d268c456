package consumer

import (
	"errors"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

// review looks at the ports of the journal that are due.
func (r *registry) review(j *journal) {
	for _, e := range j.due(r.tools.clock()) {
		host, alone := r.runsOn(e.Instance)
		without := r.without(e.Instance)
		r.wg.Go(func() {
			select {
			case r.reviewing <- struct{}{}:
				defer func() { <-r.reviewing }()
				r.look(j, e, host, alone, without)
			case <-r.ctx.Done():
			}
		})
	}
}

// look reads a port of the journal. One that is right where its guest runs alone,
// that is gone or that is another's by now, is settled. One that is found wrong
// twice in a row is mended as a left-over, unless its rows show a migration. Where the
// guest is on no host, as it has died, what a restore has forgotten is deleted, and a port that a
// restore has left half-way is brought back, see stranded. without holds the hosts that say that they do not have the guest.
func (r *registry) look(j *journal, e wire.JournalEntry, host string, alone bool, without map[string]bool) {
	settle := j.settler(e.Port, r.tools.clock())
	call, cancel := r.tools.time.WithTimeout(r.ctx, requestTimeout)
	defer cancel()
	p, err := r.tools.neutron.Read(call, e.Port)
	line := audit.Line{Event: audit.PortVerified, Handover: audit.Handover{Instance: e.Instance}, Port: e.Port, Host: host, Why: "the journal: " + e.Why, Err: err}
	right := false
	if err == nil {
		line.Saw, line.Outcome = p.Describe(), "the guest is not known to run on one host alone: nothing is changed"
		if alone {
			right, _ = settled(p, host)
			line.Outcome = rightness(p, host)
		}
	}
	home, isStranded := stranded(p, e.Home)
	forgotten, isForgotten := rollback.Forgotten(p)
	isForgotten = isForgotten && err == nil && !alone
	gone := errors.Is(err, port.ErrGone) || err == nil && p.Device != e.Instance
	if gone {
		line.Outcome = "gone"
	}
	r.tools.audit(line)
	switch {
	case right, gone:
		settle()
	case err == nil && alone && !inMigration(p, host) && j.stillWrong(e.Port, host):
		r.report(e.Instance, p, handover.LeftOver{Host: host, Alone: true}, false)
	case err == nil && isStranded && without[home] && writes(r.tools.settings) && j.stillWrong(e.Port, home):
		r.report(e.Instance, p, handover.LeftOver{Host: home}, true)
	case isForgotten && writes(r.tools.settings) && j.stillWrong(e.Port, forgotten.Host) && r.tools.may():
		line := audit.Line{
			Event: audit.PortWritten, Handover: line.Handover, Port: e.Port, Host: forgotten.Host, Decided: rollback.Delete.String(),
			Why: "a restore has made this row and not deleted it", Outcome: "answered",
		}
		if line.Err = r.tools.neutron.Delete(binding.OnlyIf(call, r.tools.may), e.Port, forgotten.Host); line.Err != nil {
			line.Outcome = "failed"
		}
		r.tools.audit(line)
	}
}

// report has a left-over mended on its host.
func (r *registry) report(instance string, p port.Port, input handover.LeftOver, dead bool) {
	input.Other, input.Now = otherHost([]port.Port{p}, input.Host), r.tools.clock()
	select {
	case r.leftOvers <- found{instance, input, dead}:
	case <-r.ctx.Done():
	}
}

// stranded gives the host that a restore which was cut off was to bring a port back to, where what it has left shows it,
// home being what the journal says of that: its row announces where the migration was to lead, and is not ACTIVE and bound.
// It is alone (Nova's PUT of the port answers 404 then, run on Neutron 21.0.0 and 26.0.3), or the other row is
// the destination's: one that the restore has made ([rollback.Plan]), or any, where the journal names the host.
func stranded(p port.Port, home string) (host string, is bool) {
	switch len(p.Rows) {
	case 1:
		r := p.Rows[0]
		return r.Host, !r.Active && r.MigratingTo() != ""
	case 2:
		for i, r := range p.Rows {
			other := p.Rows[1-i]
			known := r.Host == home || rollback.Made(other)
			if known && r.MigratingTo() == other.Host && (!r.Active || !r.Bound() && !other.Active) {
				return r.Host, true
			}
		}
	}
	return "", false
}

// writes tells whether repair may change anything at all.
func writes(s handover.Settings) bool {
	return s.Repair == handover.RepairAll || s.Repair == handover.RepairOwn && s.Policy != handover.PolicyObserve
}
