package handover

import (
	"slices"

	"github.com/earlybind/earlybind/wire"
)

// Phase is where a handover stands.
//
// How evidence leads from phase to phase (rows: what is learnt, columns: the
// phase; "." = stays). Left is final once the source has said so (STOPPED/MIGRATED)
// after its pause.
// Told by Nova alone, or by a list of the source that lacks the domain, it is
// taken back by a sign of failure or of the guest's end on the destination. Everything else can still be corrected by what the
// hosts say. A Failed whose only sign is that the destination has gone becomes
// Failing where the table says Contradicted: the guest arrived and has gone. Where neither the
// guest's start on the destination nor its arrival was heard of, its end there is not believed. A Failing
// whose only sign is a RESUMED of the source is taken back by a pause that proves later and
// by Nova's taking over, and Failed once Nova rolls back. Left becomes Failing where Nova alone
// tells of the migration, and both hosts list the guest on the source after Nova's end.
//
//	                    Watching  Paused    PostCopy  Arrived       Failing       Failed        Contradicted  Lost
//	paused              Paused    .         .         .             .             .             .             .
//	post-copy           PostCopy  PostCopy  .         PostCopy      Lost          Lost          Lost          .
//	post-copy failed    Lost      Lost      Lost      Lost          Lost          Lost          Lost          .
//	source resumed      Failing   Failed    Lost      Contradicted  Failed        .             .             .
//	source died         Failed    Failed    Lost      Contradicted  Failed        .             .             .
//	source left         Left      Left      Left      Left          Left          Left          Left          Left
//	arrived             Arrived   Arrived   .         .             Contradicted  Contradicted  .             .
//	destination gone    Failed    Failed    Lost      Failing       Failed        .             Failed        .
//	Nova takes over     Left      Left      Left      Left          .             .             .             .
//	Nova rolls back     Failing   Failing   Lost      Contradicted  .             .             .             .
//
// Which libvirt event or notification teaches what, and how that was learnt, is
// said where the inputs are read: [HostSign] and [NovaSign].
type Phase int8

// The phases, and what is allowed in them.
const (
	// Watching: the guest runs on the source. Arm.
	Watching Phase = iota
	// Paused: the guest stands still while an outgoing migration runs; mostly
	// the switchover. It can still fail. Policy suspended commits.
	Paused
	// PostCopy: the source can never run again. Commit, never restore.
	PostCopy
	// Arrived: the guest is on the destination, past the point of no return.
	// Policies suspended and resumed commit.
	Arrived
	// Left: success is certain, Nova takes over. Commit nothing, verify, and mend what
	// is wrong when Nova has finished: a restore may have come too late to be stopped.
	Left
	// Failing: the migration may have failed, but no event of a host says where the
	// guest is: Nova alone speaks of it, the guest has gone from the destination
	// after it had arrived, or the source has resumed it and its pause was not heard of; or
	// Nova alone says that the guest has left, and the hosts list it on the source.
	// Ask the hosts, and change nothing but rows that are wrong for a guest that both then
	// list as one that has stayed.
	Failing
	// Failed: a host says so. Commit nothing, restore the source.
	Failed
	// Contradicted: evidence of a guest on both sides. Flip nothing, alarm.
	Contradicted
	// Lost: post-copy failed; the guest may be nowhere. Flip nothing, alarm.
	Lost
)

var phaseNames = [...]string{"watching", "paused", "postcopy", "arrived", "left", "failing", "failed", "contradicted", "lost"}

func (p Phase) String() string { return phaseNames[p] }

// evidence is all that was learnt of one handover. Every field is monotone: a
// mark keeps its extreme, a flag once set stays, a set only grows; but for
// [Handover.from], which forgets what was taken for the source's word and was not.
type evidence struct {
	paused      lowest       // SUSPENDED/MIGRATED on the source
	resumed     highest      // any RESUMED on the source
	running     highest      // the source's libvirt reads "running"; news only after a pause
	died        highest      // STOPPED on the source, not by migration
	halted      highest      // SUSPENDED on the source, but by a migration: by a user, an I/O error
	left        highest      // STOPPED/MIGRATED on the source
	absent      highest      // the source's libvirt does not know the domain any more
	started     lowest       // STARTED/MIGRATED on the destination, or incoming there
	incoming    highest      // the last of these
	arrived     highest      // RESUMED, or SUSPENDED/PAUSED, on the destination
	gone        highest      // STOPPED on the destination, or its libvirt does not know the domain
	missed      []wire.Order // the destination's libvirt was away before these
	postCopy    bool         // SUSPENDED/POSTCOPY on the source
	postFailed  bool         // SUSPENDED/POSTCOPY_FAILED on the source
	torn        bool         // the same on the destination
	novaPost    bool         // Nova takes over
	novaPostEnd bool         // Nova has finished on the destination
	rollback    bool         // Nova rolls back
	rollbackEnd bool         // Nova's roll-back has finished
	leftOver    bool         // found long after the migration had ended

	replug map[string]bool // ports that the source said, at the pause, that it can plug in again
}

// doubtful: the destination's libvirt was away after STARTED, so that its
// RESUMED proves nothing (a frozen one was seen to resume the guest 25 s after
// the source had: both ran).
func (e evidence) doubtful() bool {
	return e.started.known() && slices.ContainsFunc(e.missed, func(o wire.Order) bool {
		return !o.Before(e.started.Order) && !e.arrived.Before(o)
	})
}

// resumedSincePause: the guest runs on the source after the switchover. Where the
// pause was not heard of, a RESUMED does not count that follows a user's pause, or that of
// an I/O error; nor
// one older than the source's list of its domains, which may be an earlier
// migration's, delivered late to a replica that knows nothing of that one. The
// destination's end or Nova will tell.
func (e evidence) resumedSincePause() bool {
	switch {
	case !e.resumed.known():
		return false
	case e.paused.known():
		return e.paused.Before(e.resumed.Order)
	case e.halted.known() && e.halted.Before(e.resumed.Order):
		return false
	default:
		return !e.running.known() || !e.resumed.Before(e.running.Order)
	}
}

// sincePause tells whether a mark of the source is of this migration: an older one
// than its pause is of one before.
func (e evidence) sincePause(m highest) bool {
	return m.known() && (!e.paused.known() || e.paused.Before(m.Order))
}

// landed tells whether a host has said, and not Nova alone, that the guest has come
// to the destination and left the source.
func (e evidence) landed() bool {
	return e.sincePause(e.left) || e.arrived.known() && !e.arrived.Before(e.incoming.Order)
}

// ended tells whether the guest is no more on the destination. One that has not been there, for
// all that is known, has not: its STARTED may be yet to come. Where that is lost, its arrival tells.
func (e evidence) ended() bool {
	there := e.incoming
	if !there.known() {
		there = e.arrived
	}
	return e.gone.known() && there.known() && there.Before(e.gone.Order)
}

// phase reads the evidence; see the table at [Phase].
func (e evidence) phase() Phase {
	resumed := e.resumedSincePause()
	// A RESUMED whose pause was not heard of may be a user's, and the guest be about to leave:
	// a restore would undo Nova's own activate.
	stirred := resumed && !e.paused.known()
	back := resumed && (e.paused.known() || e.rollback) || e.running.known() && e.paused.known() && e.paused.Before(e.running.Order)
	gone := e.ended()
	came := e.arrived.known() && !e.arrived.Before(e.incoming.Order)
	// What a thawed destination lets run after it has listed no guest runs on both, if the source has gone on.
	since := came && gone && back && e.gone.Before(e.arrived.Order)
	arrived := came && !gone || since
	// A guest that stops after it has arrived proves nothing about the source;
	// before that the destination's end is the migration's.
	vanished := gone && came && !since
	// The source's libvirt reads "running" after Nova's roll-back: the RESUMED that
	// was heard of is this migration's, whichever of the two came first.
	settled := e.rollbackEnd && e.resumed.known() && e.running.known() && !arrived
	failed := back || settled || gone && !vanished || e.sincePause(e.died) || e.leftOver
	left := e.sincePause(e.left) || e.sincePause(e.absent) && arrived
	// The guest runs on the destination, and the source lists it as running without ever having
	// paused it: it has resumed it, or the destination's libvirt was away.
	both := arrived && (e.resumed.known() || e.doubtful()) && e.running.known() && !e.paused.known()

	switch {
	case left, e.novaPost && !failed && !e.rollback:
		return Left
	case e.postFailed, e.torn, e.postCopy && (failed || stirred || gone || e.rollback):
		return Lost
	case arrived && (failed || stirred || e.rollback), both:
		return Contradicted
	case failed:
		return Failed
	case e.rollback, vanished, stirred:
		return Failing
	case e.postCopy:
		return PostCopy
	case arrived && !e.doubtful():
		return Arrived
	case e.paused.known():
		return Paused
	default:
		return Watching
	}
}
