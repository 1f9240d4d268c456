package duel

import (
	"errors"
	"time"

	"github.com/earlybind/earlybind/simulated/nova"
)

// How long Nova takes between its steps, as far as a case depends on it: from
// the conductor's rows to the notification of pre (0.3 to 0.7 s, measured), from
// there to the end of a short migration, and from the last DELETE of a roll-back
// to its notification at a consumer.
const (
	preAfter      = 300 * time.Millisecond
	preBefore     = 700 * time.Millisecond
	migratesAfter = 500 * time.Millisecond
	endHeardAfter = 50 * time.Millisecond
)

// Case is one kind of duel.
type Case struct {
	Key, Title string
	// TwoActivates: we and Nova activate the same row, which hurts Nova on a
	// Neutron before 23.0.0. There earlybind does not do it unless it is told
	// that the fix was backported.
	TwoActivates bool

	prepare func(*duel) error
	fight   func(*duel) (guest string) // says where the guest is in the end
}

// Cases are all of them.
var Cases = []Case{
	{
		Key: "r1", Title: "success: our activate of the destination against Nova's show and activate", TwoActivates: true,
		prepare: begun,
		fight: func(d *duel) string {
			d.meet(d.commit, func() { d.novaMust(d.nova.MigrateInstanceStart(d.ctx, d.m)) })
			return d.migrated()
		},
	},
	{
		Key: "r2", Title: "failure after a commit: our restore against Nova's roll-back",
		prepare: committed,
		fight: func(d *duel) string {
			e, ctx := d.newEnding()
			d.meet(func() { d.restore(ctx, e) }, func() { d.rollBack(e) })
			return d.m.Source
		},
	},
	{
		Key: "r3", Title: "failure during a commit: our activate of the destination and restore against Nova's roll-back",
		prepare: begun,
		fight: func(d *duel) string {
			e, ctx := d.newEnding()
			d.meet(func() { d.commit(); d.restore(ctx, e) }, func() { d.rollBack(e) })
			return d.m.Source
		},
	},
	{
		Key: "r4", Title: "our restore against a new migration to the same host, which succeeds",
		prepare: rolledBack,
		fight: func(d *duel) string {
			if !d.again() {
				return d.m.Source
			}
			d.novaMust(d.nova.MigrateInstanceStart(d.ctx, d.m))
			return d.migrated()
		},
	},
	{
		Key: "r5", Title: "our restore against a new migration to the same host, which fails as well",
		prepare: rolledBack,
		fight: func(d *duel) string {
			if !d.again() {
				return d.m.Source
			}
			e, ctx := d.newEnding()
			d.aim(time.Now().Add(max(0, -d.stagger)))
			d.meet(func() { d.restore(ctx, e) }, func() { d.rollBack(e) })
			return d.m.Source
		},
	},
}

// begun: Nova's conductor has made the destination's row, and pre was.
func begun(d *duel) error {
	return prepared(d.nova.BindPortsToHost(d.ctx, d.m), d.nova.SetUpMigration(d.ctx, d.m))
}

// committed: and we have activated it.
func committed(d *duel) error {
	return errors.Join(begun(d), d.ours.Activate(d.ctx, d.port, d.m.Destination))
}

// rolledBack: and Nova has deleted it, so that the port has no ACTIVE row.
func rolledBack(d *duel) error {
	return errors.Join(committed(d), prepared(d.nova.TearDownDestination(d.ctx, d.m)))
}

// migrated is the rest of Nova's part in a success.
func (d *duel) migrated() string {
	d.glance(d.m.Destination)
	if d.novaMust(d.nova.MigrateInstanceFinish(d.ctx, d.m)) {
		d.novaMust(d.nova.TearDownSource(d.ctx, d.m))
	}
	return d.m.Destination
}

// rollBack is Nova's, and what is heard of its end.
func (d *duel) rollBack(e *ending) {
	d.novaMust(d.nova.TearDownDestination(d.ctx, d.m))
	d.glance(d.m.Source)
	d.sleep(endHeardAfter)
	e.rolledBack()
}

// again has our restore of the last migration meet a new one, until the guest is
// about to arrive; false if the new one was refused. The restore hears of it
// when pre is announced and is told to stop.
func (d *duel) again() bool {
	e, ctx := d.newEnding()
	e.rolledBack()
	begins := false
	d.meet(func() { d.restore(ctx, e) }, func() {
		d.m.RequestID = nova.NewRequestID()
		if begins = d.novaMust(d.nova.BindPortsToHost(d.ctx, d.m)); !begins {
			return
		}
		d.sleep(d.between(preAfter, preBefore))
		e.stop()
		d.novaMust(d.nova.SetUpMigration(d.ctx, d.m))
		d.sleep(migratesAfter)
	})
	return begins
}
