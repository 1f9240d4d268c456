package publisher

import (
	"fmt"
	"slices"
	"testing"

	"github.com/earlybind/earlybind/wire"
)

func newsOf(instance string, event wire.Event, detail wire.Detail) lifecycle {
	return lifecycle{instance: instance, event: event, detail: detail}
}

// show writes the cache as "state/reason" and what else is true.
func (d *domains) show(instance string) string {
	one, ok := d.byID[instance]
	if !ok {
		return "gone"
	}
	s := one.condition.state + "/" + one.condition.reason
	if one.incoming {
		s += " incoming"
	}
	if !one.persistent {
		s += " transient"
	}
	return s
}

func TestEventsKeepTheCache(t *testing.T) {
	for _, tc := range []struct {
		name   string
		before *reading
		events []lifecycle
		want   []string // after each event
	}{
		{"boot and shutdown", nil, []lifecycle{
			newsOf(one, wire.Defined, "added"), newsOf(one, wire.Started, "booted"), newsOf(one, wire.Shutdown, "guest"),
			newsOf(one, wire.Stopped, "shutdown"), newsOf(one, wire.Undefined, "removed"),
		}, []string{"shutoff/unknown", "running/booted", "shutdown/unknown", "shutoff/shutdown", "gone"}},
		{"incoming, success", nil, []lifecycle{
			newsOf(one, wire.Started, wire.Migrated), newsOf(one, wire.Defined, "added"), newsOf(one, wire.Resumed, wire.Migrated),
		}, []string{"paused/migration incoming transient", "paused/migration incoming", "running/migrated"}},
		{"incoming, fails", nil, []lifecycle{
			newsOf(one, wire.Started, wire.Migrated), newsOf(one, wire.Stopped, wire.Failed),
		}, []string{"paused/migration incoming transient", "gone"}},
		{"incoming, comes up paused", nil, []lifecycle{
			newsOf(one, wire.Started, wire.Migrated), newsOf(one, wire.Suspended, wire.Paused),
		}, []string{"paused/migration incoming transient", "paused/user transient"}},
		{"incoming, post-copy", nil, []lifecycle{
			newsOf(one, wire.Started, wire.Migrated), newsOf(one, wire.Resumed, wire.PostCopy), newsOf(one, wire.Resumed, wire.Migrated),
		}, []string{"paused/migration incoming transient", "running/postcopy transient", "running/migrated transient"}},
		{"incoming over a definition left behind, fails", &reading{instance: one, condition: condition{"shutoff", "migrated"}, persistent: true}, []lifecycle{
			newsOf(one, wire.Started, wire.Migrated), newsOf(one, wire.Stopped, wire.Failed),
		}, []string{"paused/migration incoming", "gone"}},
		{"incoming, fails after its definition", nil, []lifecycle{
			newsOf(one, wire.Started, wire.Migrated), newsOf(one, wire.Defined, "added"), newsOf(one, wire.Stopped, wire.Failed),
		}, []string{"paused/migration incoming transient", "paused/migration incoming", "gone"}},
		{"outgoing, success", ptr(runningOn(one)), []lifecycle{
			newsOf(one, wire.Suspended, wire.Migrated), newsOf(one, wire.Stopped, wire.Migrated),
		}, []string{"paused/migration", "gone"}},
		{"outgoing, definition removed first", ptr(runningOn(one)), []lifecycle{
			newsOf(one, wire.Suspended, wire.Migrated), newsOf(one, wire.Undefined, "removed"), newsOf(one, wire.Stopped, wire.Migrated),
		}, []string{"paused/migration", "paused/migration transient", "gone"}},
		{"undefined when gone already", nil, []lifecycle{newsOf(one, wire.Undefined, "removed")}, []string{"gone"}},
		{"outgoing, fails", ptr(runningOn(one)), []lifecycle{
			newsOf(one, wire.Suspended, wire.Migrated), newsOf(one, wire.Resumed, wire.Unpaused),
		}, []string{"paused/migration", "running/unpaused"}},
		{"outgoing, post-copy", ptr(runningOn(one)), []lifecycle{
			newsOf(one, wire.Suspended, wire.Migrated), newsOf(one, wire.Suspended, wire.PostCopy), newsOf(one, wire.Suspended, wire.PostCopyFailed),
		}, []string{"paused/migration", "paused/postcopy", "paused/postcopy_failed"}},
		{"first seen at its suspension", nil, []lifecycle{
			newsOf(one, wire.Suspended, wire.Migrated), newsOf(one, wire.Resumed, wire.Migrated),
		}, []string{"paused/migration", "running/migrated"}},
		{"others", ptr(runningOn(one)), []lifecycle{
			newsOf(one, pmSuspended, "memory"), newsOf(one, wire.Started, "wakeup"), newsOf(one, wire.Suspended, "ioerror"),
			newsOf(one, crashed, "panicked"), newsOf(one, "unknown-77", "unknown-1"),
		}, []string{"pmsuspended/unknown", "running/wakeup", "paused/ioerror", "crashed/panicked", "crashed/panicked"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := newDomains()
			if tc.before != nil {
				d.beginReading()
				d.endReading([]reading{*tc.before})
			}
			for i, e := range tc.events {
				d.apply(e)
				if got := d.show(one); got != tc.want[i] {
					t.Errorf("after %s/%s: got %q, want %q", e.event, e.detail, got, tc.want[i])
				}
			}
		})
	}
}

func TestReadingTellsIncomingFromOutgoing(t *testing.T) {
	for _, reason := range []string{"migration", "starting_up"} {
		paused := condition{"paused", reason}
		d := newDomains()
		d.beginReading()
		d.endReading([]reading{{instance: one, condition: paused}, {instance: two, condition: paused, persistent: true}})
		if a, b := d.show(one), d.show(two); a != "paused/"+reason+" incoming transient" || b != "paused/"+reason {
			t.Errorf("got %q, %q", a, b)
		}
	}
}

func TestReadingKeepsThatADomainIsIncoming(t *testing.T) {
	d := newDomains()
	d.apply(newsOf(one, wire.Started, wire.Migrated))
	d.apply(newsOf(one, wire.Defined, "added"))
	d.beginReading()
	d.endReading([]reading{{instance: one, condition: pausedForMigration, persistent: true}})
	if got := d.show(one); got != "paused/migration incoming" {
		t.Errorf("got %q", got)
	}
}

// Every event that comes during a reading wins over the reading, whether the
// reading saw its effect or not.
func TestEventDuringAReadingWins(t *testing.T) {
	for _, tc := range []struct {
		events []lifecycle
		want   string
	}{
		{[]lifecycle{newsOf(one, wire.Suspended, wire.Migrated)}, "paused/migration"},
		{[]lifecycle{newsOf(one, wire.Suspended, wire.Migrated), newsOf(one, wire.Resumed, wire.Unpaused)}, "running/unpaused"},
		{[]lifecycle{newsOf(one, wire.Stopped, wire.Migrated), newsOf(one, wire.Undefined, "removed")}, "gone"},
	} {
		for _, saw := range [][]reading{{runningOn(one)}, {}} {
			t.Run(fmt.Sprint(tc.want, len(saw)), func(t *testing.T) {
				d := newDomains()
				d.beginReading()
				d.endReading([]reading{runningOn(one)})
				d.beginReading()
				for _, e := range tc.events {
					d.apply(e)
				}
				d.endReading(saw)
				if got := d.show(one); got != tc.want {
					t.Errorf("got %q", got)
				}
				if tc.want != "gone" && d.owner(one) != ownedByNova {
					t.Error("forgot that it is Nova's")
				}
				if d.since != nil || d.reading {
					t.Error("the reading has not ended")
				}
			})
		}
	}
}

func TestReadingForgetsDomainsThatAreGoneAndKeepsOwners(t *testing.T) {
	d := newDomains()
	d.beginReading()
	d.endReading([]reading{runningOn(one), runningOn(two)})
	d.beginReading()
	d.endReading([]reading{{instance: two, condition: condition{"running", "booted"}, persistent: true}})
	if d.show(one) != "gone" || d.owner(two) != ownedByNova {
		t.Errorf("got %q, owner %v", d.show(one), d.owner(two))
	}
	if set := d.ofNova(); len(set) != 1 || !set[two] {
		t.Errorf("got %v", set)
	}
}

func TestStatesListAllButForeignDomains(t *testing.T) {
	d := newDomains()
	d.apply(newsOf(two, wire.Started, "booted"))
	d.apply(newsOf(one, wire.Started, wire.Migrated))
	d.apply(newsOf(three, wire.Started, "booted"))
	d.learn(three, foreign)
	d.learn("gone meanwhile", foreign)
	want := []wire.DomainState{
		{Instance: one, State: "paused", Reason: "migration", Incoming: true},
		{Instance: two, State: "running", Reason: "booted"},
	}
	if got := d.states(); !slices.Equal(got, want) {
		t.Errorf("got %+v", got)
	}
}

func ptr[T any](v T) *T { return &v }
