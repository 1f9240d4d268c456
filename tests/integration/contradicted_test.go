//go:build integration

package integration

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// contradiction is a migration whose port was activated early on the real Neutron, and whose guest comes to run
// on both hosts.
type contradiction struct {
	*migration
	by       *replica
	nova     *nova
	guest    guest
	from, to *host
}

// committed makes one, up to the early activation.
func committed(t *testing.T, net network, upWithin time.Duration) contradiction {
	t.Helper()
	b := newBroker(t)
	c := contradiction{migration: migrating(t, net), nova: b.nova(false)}
	c.by = startReplica(b, c.neutron, func(s *consumer.Settings) {
		s.Policy, s.UpWithin = handover.PolicySuspended, upWithin // nothing plugs the port in
	})
	c.by.await("journal.read")
	c.guest = guest{id: c.read().Device, request: "req-" + newUUID(), ports: []string{c.id}}
	c.from, c.to = b.host(source), b.host(dest)
	c.nova.prepares(c.guest)
	c.to.says(c.guest.id, wire.Started, wire.Migrated)
	c.by.await("handover.armed", "instance", c.guest.id)
	c.from.says(c.guest.id, wire.Suspended, wire.Migrated)
	c.by.await("port.written", "port", c.id, "outcome", "activated")
	c.wantActive(dest)
	return c
}

// lists has a host list the guest as it is there; reconnected: after its libvirt was away.
func (c contradiction) lists(h *host, reconnected bool, d wire.DomainState) {
	c.Helper()
	h.Sequence++
	d.Instance = c.guest.id
	list := wire.HostStates{Schema: wire.SchemaVersion, Host: h.name, Order: h.Order, Reconnected: reconnected, Domains: []wire.DomainState{d}}
	h.send(wire.EventStates, list.RoutingKey(), list)
}

// thaws has the destination's libvirt come back, and resume the guest.
func (c contradiction) thaws() {
	c.Helper()
	c.lists(c.to, true, wire.DomainState{State: "paused", Reason: "migration", Incoming: true})
	c.to.says(c.guest.id, wire.Resumed, wire.Migrated)
}

// rollsBack is Nova's roll-back, as far as it concerns the port.
func (c contradiction) rollsBack() {
	c.Helper()
	c.nova.rollsBack(c.guest)
	c.del(dest)
	c.nova.hasRolledBack(c.guest)
}

// is tells how Neutron has the port: its revision grows with every change of the port or of its rows.
func (c contradiction) is() string {
	c.Helper()
	p := c.read()
	return fmt.Sprintf("revision %d, %s", p.Revision, p.Describe())
}

// stays wants the port to be as it was, for that long.
func (c contradiction) stays(as string, span time.Duration) {
	c.Helper()
	looks := 0
	for till := time.Now().Add(span); time.Now().Before(till); looks++ {
		if is := c.is(); is != as {
			c.Fatalf("the port has changed: %s\nit was: %s", is, as)
		}
	}
	c.Logf("%d looks: %s", looks, as)
}

// isTakenIn waits until the replica has read all that was sent before, of the hosts and of Nova.
func (c contradiction) isTakenIn() {
	c.Helper()
	byHost, byNova := newUUID(), guest{id: newUUID(), request: "req-" + newUUID()}
	c.to.says(byHost, wire.Started, wire.Migrated)
	c.nova.prepares(byNova)
	c.by.await("handover.begun", "instance", byHost)
	c.by.await("handover.begun", "instance", byNova.id)
}

// wantOneAlarm wants one that says that the guest runs on both, and no goal or request that writes after it.
// It gives how many others there are.
func (c contradiction) wantOneAlarm() (others int) {
	c.Helper()
	all := c.by.all("instance", c.guest.id)
	isAlarm := func(line map[string]any) bool { return line["event"] == "handover.alarm" && line["kind"] == "guest" }
	at := slices.IndexFunc(all, isAlarm)
	for i, line := range all {
		switch {
		case i > at && (line["event"] == "port.written" || line["event"] == "port.decided" && line["decided"] != "hold"):
			c.Errorf("after the alarm: %v", line)
		case i > at && isAlarm(line):
			c.Errorf("one more alarm: %v", line)
		case line["event"] == "handover.alarm" && i != at:
			others++
		}
	}
	return others
}

// A port was activated early, and then both hosts report that they run the guest (libvirt-events/e8): one alarm
// says so, and nothing is written to Neutron any more, whatever comes after it, until one of the two is gone.
func TestNeutronGuestThatRunsOnBothHosts(t *testing.T) {
	t.Parallel() // it mostly waits
	net := newNetwork(t)
	const why = "the guest was reported on both hosts"
	stayed := wire.DomainState{State: "running", Reason: "migration_canceled"}

	// later is all that can still be heard of both guests.
	later := func(c contradiction) {
		c.Helper()
		c.nova.rollsBack(c.guest)
		c.nova.hasRolledBack(c.guest)
		c.nova.takesOver(c.guest)
		for range 2 {
			c.from.says(c.guest.id, wire.Resumed, wire.Migrated)
			c.to.says(c.guest.id, wire.Resumed, wire.Migrated)
			c.lists(c.from, false, stayed)
			c.lists(c.to, false, wire.DomainState{State: "running", Reason: "migrated"})
		}
		c.isTakenIn()
	}
	// wantHeld waits for the alarm, and sends what can still come.
	wantHeld := func(c contradiction, active string) {
		c.Helper()
		alarm := c.by.await("handover.alarm", "instance", c.guest.id, "kind", "guest")
		if alarm["why"] != why+"; these ports were moved: "+c.id {
			c.Errorf("%v", alarm)
		}
		was := c.is()
		c.wantActive(active)
		later(c)
		c.stays(was, 5*time.Second)
		if others := c.wantOneAlarm(); others != 0 {
			c.Errorf("%d other alarms", others)
		}
		// The guest on the destination is gone: now it is known where it is.
		c.to.says(c.guest.id, wire.Stopped, wire.Failed)
		eventually(c, "the port to be restored", func() (bool, error) {
			right, _ := c.read().RightOn(source)
			return right, nil
		})
	}

	t.Run("BeforeARestore", func(t *testing.T) {
		t.Parallel()
		c := committed(t, net, time.Minute)
		c.to.says(c.guest.id, wire.Resumed, wire.Migrated)
		c.by.await("evidence.seen", "instance", c.guest.id, "host", dest, "saw", "libvirt: resumed/migrated")
		c.from.says(c.guest.id, wire.Resumed, wire.Migrated)
		wantHeld(c, dest)
	})
	t.Run("InTheRestore", func(t *testing.T) {
		t.Parallel()
		c := committed(t, net, time.Minute)
		c.from.says(c.guest.id, wire.Resumed, wire.Migrated)
		c.by.await("port.written", "port", c.id, "decided", "rebind", "outcome", "answered") // now it waits for Nova
		c.thaws()
		wantHeld(c, source)
	})
	for name, thaws := range map[string]func(contradiction){
		"AfterTheRestore": func(c contradiction) { c.to.says(c.guest.id, wire.Resumed, wire.Migrated) },
		// With the guest in the destination's list another handover begins; the source lists it when it is asked.
		"AfterTheRestoreAndItsList": func(c contradiction) {
			c.thaws()
			c.by.await("hosts.asked", "instance", c.guest.id)
			c.lists(c.from, false, stayed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := committed(t, net, time.Second)
			c.from.says(c.guest.id, wire.Resumed, wire.Migrated)
			c.rollsBack()
			c.by.await("handover.ended", "instance", c.guest.id, "outcome", "restored")
			was := c.is()
			thaws(c)
			if alarm := c.by.await("handover.alarm", "instance", c.guest.id, "kind", "guest"); alarm["why"] != why {
				c.Errorf("%v", alarm)
			}
			later(c)
			c.stays(was, 5*time.Second)
			c.wantRestored()
			if others := c.wantOneAlarm(); others != 1 { // that nothing has plugged it in
				c.Errorf("%d other alarms", others)
			}
		})
	}
}
