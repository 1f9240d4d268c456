//go:build integration

package integration

import (
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/wire"
)

// ask has a replica stop and gives what is closed when it has.
func (r *replica) ask() <-chan struct{} {
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		r.stop()
	}()
	return stopped
}

func wantStopped(t testing.TB, stopped <-chan struct{}, want bool) {
	t.Helper()
	select {
	case <-stopped:
		if !want {
			t.Error("it has stopped before its write was answered")
		}
	default:
		if want {
			t.Error("it has not stopped")
		}
	}
}

// twoReplicas starts one that acts and one that stands by.
func twoReplicas(b *broker, c cloud) (acts, standsBy *replica) {
	b.Helper()
	suspended := func(s *consumer.Settings) { s.Policy = handover.PolicySuspended }
	acts = startReplica(b, c.neutron, suspended)
	acts.await("consumer.active")
	standsBy = startReplica(b, c.neutron, suspended)
	standsBy.await("consumer.started")
	return acts, standsBy
}

// holdActivates has Neutron hold its answers to that many activates until answer
// is called; arrived tells of each.
func (c cloud) holdActivates(t testing.TB, n int) (arrived <-chan struct{}, answer func()) {
	came, held := make(chan struct{}, n), make(chan struct{})
	answer = sync.OnceFunc(func() { close(held) })
	t.Cleanup(answer)
	c.fake.Inject(bindingtest.Fault{Op: binding.OpActivate, Times: n, Arrived: func() { came <- struct{}{} }, Until: held})
	return came, answer
}

// awaitArrival waits for the next of them.
func awaitArrival(t testing.TB, arrived <-chan struct{}) {
	t.Helper()
	select {
	case <-arrived:
	case <-time.After(patience):
		t.Fatal("Neutron was not asked to activate a row")
	}
}

func wantBoard(t testing.TB, board *health.Board, says string) {
	t.Helper()
	eventually(t, "the board to say "+says, func() (bool, error) {
		v := board.Verdict()
		return v.Ready() && strings.Contains(v.String(), says), nil
	})
}

// pair are two guests whose handovers are armed. Neutron has got the activates of one and
// answers them when answer is called.
type pair struct {
	written, quiet guest
	src, dst       *host
	answer         func()
}

func twoGuests(b *broker, c cloud, acts *replica) pair {
	b.Helper()
	p := pair{written: c.guest(b), quiet: c.guest(b), src: b.host(source), dst: b.host(dest)}
	nova := b.nova(false)
	for _, g := range []guest{p.written, p.quiet} {
		nova.prepares(g)
		p.dst.says(g.id, wire.Started, wire.Migrated)
		acts.await("handover.armed", "instance", g.id, "outcome", "armed")
	}
	var arrived <-chan struct{}
	arrived, p.answer = c.holdActivates(b, len(p.written.ports))
	p.src.says(p.written.id, wire.Suspended, wire.Migrated)
	for range p.written.ports {
		awaitArrival(b, arrived)
	}
	return p
}

// goOn wants a replica to go on with both, to the same end.
func (p pair) goOn(by *replica) {
	by.Helper()
	for _, g := range []guest{p.written, p.quiet} {
		p.dst.says(g.id, wire.Resumed, wire.Migrated)
		p.src.says(g.id, wire.Stopped, wire.Migrated)
		by.await("port.decided", "instance", g.id, "decided", "verify")
	}
}

// A replica that is to stop while Neutron is slow to answer a write gives the
// queue away at once, with the messages of the instances that it writes nothing
// for; those of the write come when it is answered.
func TestRabbitMQReplicaThatStopsHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	b, c := newBroker(t), newFakeCloud(t)
	acts, standsBy := twoReplicas(b, c)
	wantBoard(t, acts.board, "this replica acts")
	wantBoard(t, standsBy.board, "this replica stands by")

	two := twoGuests(b, c, acts)

	stopped := acts.ask()
	standsBy.await("consumer.active")
	standsBy.await("journal.read")
	standsBy.await("handover.begun", "instance", two.quiet.id)
	wantStopped(t, stopped, false)
	if early := standsBy.all("event", "handover.begun", "instance", two.written.id); len(early) != 0 {
		t.Errorf("two replicas have the instance whose write is under way: %v", early)
	}
	two.answer()
	<-stopped
	acts.await("consumer.stopped")
	standsBy.await("handover.begun", "instance", two.written.id)
	two.goOn(standsBy)
}

// The same where a session ends because one of its three connections is lost: the one that the
// queue is read through lives, and must keep neither it nor the journal while an answer of
// Neutron is waited for.
func TestRabbitMQReplicaThatCannotSendHandsOverAtOnce(t *testing.T) {
	t.Parallel()
	b, c := newBroker(t), newFakeCloud(t)
	acts, standsBy := twoReplicas(b, c)
	sender := b.connection("earlybind-consumer " + acts.name + " sender")
	two := twoGuests(b, c, acts)

	b.closeNamed(sender)
	standsBy.await("consumer.active")
	standsBy.await("journal.read")
	standsBy.await("handover.begun", "instance", two.quiet.id)
	if lost := acts.all("event", "consumer.lost"); len(lost) != 0 {
		t.Errorf("its session had ended before: %v", lost)
	}
	two.answer()
	acts.await("consumer.lost")
	standsBy.await("handover.begun", "instance", two.written.id)
	two.goOn(standsBy)
}

// A restore that is under way is finished by the replica that is to stop, as far
// as the drain allows.
func TestRabbitMQReplicaThatStopsFinishesItsRestore(t *testing.T) {
	t.Parallel()
	b, c := newBroker(t), newFakeCloud(t)
	nova := b.nova(false)
	acts, standsBy := twoReplicas(b, c)
	g := c.guest(t)
	src, dst := b.host(source), b.host(dest)
	nova.prepares(g)
	dst.says(g.id, wire.Started, wire.Migrated)
	acts.await("handover.armed", "instance", g.id, "outcome", "armed")
	src.says(g.id, wire.Suspended, wire.Migrated)
	for _, p := range g.ports {
		acts.await("port.verified", "port", p, "outcome", "rows right")
	}
	nova.rollsBack(g)
	arrived, answer := c.holdActivates(t, 1)
	nova.hasRolledBack(g)
	src.says(g.id, wire.Resumed, wire.Migrated)
	awaitArrival(t, arrived)

	stopped := acts.ask()
	acts.await("consumer.stopping")
	answer()
	<-stopped
	acts.await("handover.ended", "instance", g.id, "outcome", "restored")
	acts.await("consumer.stopped")
	standsBy.await("consumer.active")
	if begun := standsBy.all("event", "handover.begun"); len(begun) != 0 {
		t.Errorf("the handover began again: %v", begun)
	}
}

// A replica that stands by stops at once.
func TestRabbitMQReplicaThatStandsByStopsAtOnce(t *testing.T) {
	t.Parallel()
	b, c := newBroker(t), newFakeCloud(t)
	acts, standsBy := twoReplicas(b, c)
	standsBy.stop()
	standsBy.await("consumer.stopped")
	wantBoard(t, acts.board, "this replica acts")
}

// Not in parallel: it looks at the goroutines of the whole process.
func TestRabbitMQReplicaThatHasStoppedLeavesNothingRunning(t *testing.T) {
	b, c := newBroker(t), newFakeCloud(t)
	before := goleak.IgnoreCurrent()
	r := startReplica(b, c.neutron, nil)
	r.await("journal.read")
	r.stop()
	goleak.VerifyNone(t, before)
}
