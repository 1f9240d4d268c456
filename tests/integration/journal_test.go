//go:build integration

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/wire"
)

// stalled is the real Neutron as one replica sees it: no row can be made on the
// destination, so that the only way back is to delete the source's row; and the
// replica freezes at one of its writes, before it is sent or after it was
// answered, until it is thawed.
type stalled struct {
	consumer.Neutron
	at     string // delete, create, profile; empty for never
	answer bool   // freeze after the answer
	frozen chan struct{}
	thaw   chan struct{}
	once   sync.Once
}

func newStalled(n consumer.Neutron, at string, answer bool) *stalled {
	return &stalled{Neutron: n, at: at, answer: answer, frozen: make(chan struct{}), thaw: make(chan struct{})}
}

func (s *stalled) call(name string, f func() error) error {
	freeze := func(now bool) {
		if now && name == s.at {
			s.once.Do(func() { close(s.frozen); <-s.thaw })
		}
	}
	freeze(!s.answer)
	err := f()
	freeze(s.answer)
	return err
}

func (s *stalled) Create(ctx context.Context, id, host, vnic string, profile map[string]any) error {
	if host == dest {
		return rollback.ErrRefused
	}
	return s.call("create", func() error { return s.Neutron.Create(ctx, id, host, vnic, profile) })
}

func (s *stalled) Delete(ctx context.Context, id, host string) error {
	return s.call("delete", func() error { return s.Neutron.Delete(ctx, id, host) })
}

func (s *stalled) SetProfile(ctx context.Context, id string, profile map[string]any, revision int) error {
	return s.call("profile", func() error { return s.Neutron.SetProfile(ctx, id, profile, revision) })
}

// A replica freezes in the midst of making a row anew, at each of its writes.
// What the row held is in the journal: the next replica finishes, and the first
// does no harm when it thaws.
func TestNeutronRestoreThroughTheJournal(t *testing.T) {
	net := newNetwork(t)
	for _, c := range []struct {
		at     string
		answer bool
	}{{"delete", false}, {"delete", true}, {"create", false}, {"create", true}, {"profile", false}, {"profile", true}} {
		name := "FrozenBefore/" + c.at
		if c.answer {
			name = "FrozenAfter/" + c.at
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, m := newBroker(t), migrating(t, net)
			m.activate(dest)
			m.del(dest)
			nova := b.nova(false)
			slow := newStalled(m.neutron, c.at, c.answer)
			thawed := sync.OnceFunc(func() { close(slow.thaw) })
			defer thawed()
			first := startReplica(b, slow, restoring)
			first.await("journal.read")
			second := startReplica(b, newStalled(m.neutron, "", false), restoring)
			connection := b.connection("earlybind-consumer " + first.name)

			g := guest{id: m.read().Device, request: "req-" + newUUID()}
			from, to := b.host(source), b.host(dest)
			nova.prepares(g)
			to.says(g.id, wire.Started, wire.Migrated)
			from.says(g.id, wire.Suspended, wire.Migrated)
			from.says(g.id, wire.Resumed, wire.Unpaused)
			nova.rollsBack(g)
			nova.hasRolledBack(g)

			<-slow.frozen
			b.closeNamed(connection)
			second.await("journal.read")
			eventually(t, "the second replica to restore the port", func() (bool, error) {
				p := m.read()
				right, _ := p.RightOn(source)
				row, _ := p.Row(source)
				return right && row.Profile[rollback.MadeHere] == nil, nil
			})
			m.wantRestored()

			thawed()
			first.await("port.written", "decided", map[string]string{"delete": "delete", "create": "create", "profile": "rebind"}[c.at], "port", m.id)
			eventually(t, "the port to be right after the thaw", func() (bool, error) {
				p := m.read()
				right, _ := p.RightOn(source)
				row, _ := p.Row(source)
				return right && row.Profile[rollback.MadeHere] == nil, nil
			})
			m.wantRestored()
		})
	}
}

// restoring are settings under which a port is restored and its agent is not
// waited for: nothing plugs these ports in.
func restoring(s *consumer.Settings) {
	s.Policy, s.Repair, s.UpWithin = handover.PolicySuspended, handover.RepairAll, 1
}

func TestRabbitMQJournal(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	if read := startReplica(b, newFakeCloud(t).neutron, nil).await("journal.read"); read["entries"] != 0.0 {
		t.Errorf("%v", read)
	}

	t.Run("HostsDoNotWriteToIt", func(t *testing.T) {
		ch := b.channel("earlybind-compute1")
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		must(t, ch.Publish("earlybind.journal", "kept", false, false, amqp.Publishing{}))
		if err := refusal(t, closed); err.Code != amqp.AccessRefused {
			t.Errorf("got %v", err)
		}
	})
}

// What an earlier replica has written down comes back digit for digit.
func TestRabbitMQJournalKeepsAProfileExactly(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	c := newFakeCloud(t)
	g := c.guest(t)
	id := g.ports[0]
	e := wire.JournalEntry{
		Schema: wire.SchemaVersion, ID: newUUID(), Instance: g.id, Port: id, Host: source, VNICType: "direct", Profile: object(t, profile), Why: "test",
	}
	// The row is gone, as after a crash between the delete and the create.
	for _, host := range []string{source, dest} {
		c.fake.DeleteRow(id, host)
	}
	declaring := startReplica(b, c.neutron, restoring)
	declaring.await("consumer.active")
	declaring.stop()
	n, err := wire.NewNotification("earlybind-consumer:test", wire.EventJournal, e, newUUID(), time.Now())
	must(t, err)
	body, err := n.Encode()
	must(t, err)
	publish(t, b.channel("earlybind"), "earlybind.journal", "kept", amqp.Publishing{
		DeliveryMode: amqp.Persistent, UserId: "earlybind", Body: body,
	})

	nova := b.nova(false)
	r := startReplica(b, c.neutron, restoring)
	if read := r.await("journal.read"); read["entries"] != 1.0 {
		t.Errorf("%v", read)
	}
	from, to := b.host(source), b.host(dest)
	nova.prepares(g)
	to.says(g.id, wire.Started, wire.Migrated)
	from.says(g.id, wire.Suspended, wire.Migrated)
	from.says(g.id, wire.Resumed, wire.Unpaused)
	nova.rollsBack(g)
	nova.hasRolledBack(g)
	r.await("port.written", "decided", "rebind", "port", id)
	var row binding.Binding
	eventually(t, "the row to have its profile back", func() (bool, error) {
		var has bool
		row, has = binding.RowOn(c.fake.Rows(id), source)
		if !has {
			return false, errors.New("no row")
		}
		return row.Profile[rollback.MadeHere] == nil, nil
	})
	raw, err := json.Marshal(row.Profile)
	must(t, err)
	if row.VNICType != "direct" || !reflect.DeepEqual(object(t, string(raw)), object(t, profile)) {
		t.Errorf("%s %s", row.VNICType, raw)
	}
}
