//go:build integration

package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/rollback"
)

// situations are what a failed migration can leave; each is made from a port
// that was migrating.
var situations = []struct {
	name string
	make func(*migration)
}{
	{"DestinationActive", func(m *migration) { m.activate(dest) }},
	{"SourceActiveUnbound", func(m *migration) { m.activate(dest); m.activate(source) }},
	{"SourceActiveUnboundDestinationDeleted", func(m *migration) { m.activate(dest); m.activate(source); m.del(dest) }},
	{"NoneActive", func(m *migration) { m.activate(dest); m.del(dest) }},
	{"NoneActiveDestinationInactive", (*migration).deactivateBoth},
	// Where no row can be made elsewhere, the source's is deleted and made anew.
	{"NoneActiveAndNoDestination", func(m *migration) { m.activate(dest); m.del(dest); m.to = "" }},
	{"NoneActiveDestinationWithoutAgent", func(m *migration) {
		m.to = "earlybind-no-such-host"
		m.announce(m.to)
		m.activate(dest)
		m.del(dest)
	}},
	{"MigratingToLeft", func(m *migration) { m.del(dest) }},
	{"MigratingToAndDestinationLeft", func(*migration) {}},
}

// deactivateBoth leaves two INACTIVE rows and none that is ACTIVE, by way of a
// host that has no agent: a create there answers 500 and makes a row all the
// same.
func (m *migration) deactivateBoth() {
	m.del(source)
	err := binding.Create(m.Context(), m.client, m.id, binding.CreateOpts{Host: "earlybind-no-such-host", Profile: object(m, profile)}).Err
	if !errors.Is(err, binding.ErrNotBindable) {
		m.Fatalf("create on a host without an agent: %v", err)
	}
	m.post(source, object(m, m.profile))
	m.del("earlybind-no-such-host")
	if _, active := m.read().Active(); active {
		m.Fatalf("a row is still ACTIVE: %+v", m.read())
	}
}

// cut ends a restore's context after its n-th write was answered, or while that
// write is under way.
type cut struct{ after, during int }

var noCut = cut{}

// restore restores until done or cut. It gives how many writes were begun.
func (m *migration) restore(novaDone func() bool, c cut) (writes int, err error) {
	ctx, cancel := context.WithTimeout(m.Context(), patience)
	defer cancel()
	err = rollback.Restore(ctx, m.neutron, m.id, source, m.to, rollback.Options{
		NovaDone: func() (done, presumed bool) { return novaDone(), false },
		Journal:  m.notes,
		May: func() bool {
			if writes++; writes == c.during {
				time.AfterFunc(30*time.Millisecond, cancel) // a write takes 30 to 500 ms
			}
			return true
		},
		Report: func(t rollback.Taken) {
			m.Logf("%s %s (%s) %v in %s", t.Action, t.Host, t.Why, t.Err, t.Took.Round(time.Millisecond))
			if t.Took > 0 && writes == c.after {
				cancel()
			}
		},
	})
	return writes, err
}

func novaIsDone() bool { return true }

// How it meets Nova's own roll-back, TestNeutronRaces shows.
func TestNeutronRestore(t *testing.T) {
	net := newNetwork(t)
	for _, s := range situations {
		t.Run(s.name, func(t *testing.T) {
			besideOthers(t)
			m := migrating(t, net)
			s.make(m)
			_, err := m.restore(novaIsDone, noCut)
			must(t, err)
			m.wantRestored()
		})
	}
	// A replica is killed between two steps, or in one, which Neutron finishes all
	// the same. Another replica starts from scratch.
	for _, s := range situations {
		t.Run("CutAfterEveryStep/"+s.name, func(t *testing.T) {
			besideOthers(t)
			cutEveryStep(t, net, s.make, func(step int) cut { return cut{after: step} })
		})
	}
	for _, s := range situations {
		t.Run("CutInEveryStep/"+s.name, func(t *testing.T) {
			besideOthers(t)
			cutEveryStep(t, net, s.make, func(step int) cut { return cut{during: step} })
		})
	}
}

// cutEveryStep cuts a restore at its first step, then one of the same situation
// at its second, until one is done before the cut.
func cutEveryStep(t *testing.T, net network, situation func(*migration), at func(step int) cut) {
	for step := 1; ; step++ {
		m := migrating(t, net)
		situation(m)
		writes, err := m.restore(novaIsDone, at(step))
		if writes < step {
			must(t, err)
			return
		}
		if err != nil && !errors.Is(err, context.Canceled) { // the last write may be answered before it is cut
			t.Fatalf("cut at step %d: %v", step, err)
		}
		_, err = m.restore(novaIsDone, noCut)
		must(t, err)
		// Once more, as the consumer does after a write whose answer it has not
		// seen: that one may have taken effect since.
		_, err = m.restore(novaIsDone, noCut)
		must(t, err)
		m.wantRestored()
	}
}
