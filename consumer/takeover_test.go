package consumer

import (
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// A replica that has just taken over is told by the hosts' lists how far they have
// come: events of an earlier migration that come an hour late are not those of the
// one that runs.
func TestAfterATakeOverOldEventsAreNotThoseOfTheMigrationThatRuns(t *testing.T) {
	rollOut(t, handover.PolicySuspended, func(t *testing.T, s *site) {
		source, destination := publishers()
		old := *source
		source.sent = 50
		source.lists(t, s, false, wire.DomainState{Instance: guest, State: "running", Reason: "booted"})
		destination.lists(t, s, false)
		s.says(t, "live_migration.pre.start", dst)
		old.event(t, s, wire.Suspended, wire.Migrated)
		old.event(t, s, wire.Resumed, wire.Migrated)
		pass(time.Second)
		for _, l := range s.of(audit.PortDecided) {
			t.Errorf("%s: %s, because %s", l.Port, l.Decided, l.Why)
		}
		destination.event(t, s, wire.Started, wire.Migrated)
		source.event(t, s, wire.Suspended, wire.Migrated)
		pass(time.Second)
		if got := s.last(t, audit.PortDecided); got.Decided != "commit" {
			t.Errorf("the migration that runs: %+v", got)
		}
	})
}

// What another session has taken in comes again, maybe after the lists.
func TestAfterATakeOverTheHandoverThatRunsIsFoundAgain(t *testing.T) {
	rollOut(t, handover.PolicySuspended, func(t *testing.T, s *site) {
		s.redelivers = true
		source, destination := publishers()
		first, second := *source, *destination
		source.sent, destination.sent = 50, 50
		source.lists(t, s, false, wire.DomainState{Instance: guest, State: "running", Reason: "unpaused"})
		destination.lists(t, s, false)
		second.event(t, s, wire.Started, wire.Migrated)
		first.event(t, s, wire.Suspended, wire.Migrated)
		first.event(t, s, wire.Resumed, wire.Migrated)
		pass(time.Second)
		if got := s.last(t, audit.PortDecided); got.Decided != "restore" {
			t.Errorf("%+v", got)
		}
	})
}
