//go:build integration

package integration

import (
	"fmt"
	"hash/fnv"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/wire"
)

// shares is how many there are here.
const shares = 4

// sharesOf gives those that a process acts for, as it says.
func sharesOf(p *process) map[string]bool {
	acts := map[string]bool{}
	for _, line := range p.all() {
		name, _ := line["share"].(string)
		switch line["event"] {
		case "consumer.active":
			acts[name] = true
		case "consumer.gives_up":
			delete(acts, name)
		}
	}
	return acts
}

// Two processes divide four shares between them, whichever came first; each instance
// has one that acts for it, and when one is killed the other acts for all.
func TestRabbitMQSharesSpreadOverReplicas(t *testing.T) {
	program := built(t, "earlybind-consumer")
	t.Parallel() // it waits a minute: a write of the one that is killed might still take effect
	const guests = 12
	b, cloud := newBroker(t), newFakeCloud(t)
	nova := b.nova(true)
	start := func() *process {
		return startProcess(b, program, append(cloud.credentials(t),
			"EARLYBIND_AMQP_URLS="+b.url(), "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD="+b.password,
			"EARLYBIND_POLICY=suspended", "EARLYBIND_UP_WITHIN=5s", fmt.Sprintf("EARLYBIND_SHARES=%d", shares)))
	}
	first := start()
	eventually(t, "the first process to act for all", func() (bool, error) { return len(sharesOf(first)) == shares, nil })
	second := start()
	began := time.Now()
	within(t, 2*time.Minute, "the processes to act for as many each", func() (bool, error) {
		return len(sharesOf(first)) == shares/2 && len(sharesOf(second)) == shares/2, nil
	})
	t.Logf("spread within %.1f s", time.Since(began).Seconds())

	poison := "not a notification " + b.vhost
	nova.send("notifications.info", []byte(poison))

	from, to := b.host(source), b.host(dest)
	var all []guest
	by := map[string]*process{}
	for range guests {
		g := cloud.guest(t)
		all = append(all, g)
		nova.prepares(g)
		to.says(g.id, wire.Started, wire.Migrated)
		eventually(t, "a process to arm "+g.id, func() (bool, error) {
			for _, p := range []*process{first, second} {
				if len(p.all("event", "handover.armed", "instance", g.id)) > 0 {
					by[g.id] = p
				}
			}
			return by[g.id] != nil, nil
		})
		from.says(g.id, wire.Suspended, wire.Migrated)
		for _, id := range g.ports {
			by[g.id].await("port.written", "port", id, "outcome", "activated")
		}
	}
	count := map[*process]int{}
	for _, g := range all {
		count[by[g.id]]++
		other := first
		if by[g.id] == first {
			other = second
		}
		if lines := other.all("instance", g.id); len(lines) > 0 {
			t.Errorf("two processes know of one instance: %v", lines)
		}
	}
	if count[first] == 0 || count[second] == 0 {
		t.Errorf("%d of %d instances fall to the first", count[first], guests)
	}
	wantActivatedOnce(t, cloud, all)

	killed := time.Now()
	first.signal(syscall.SIGKILL)
	eventually(t, "the second process to act for all", func() (bool, error) { return len(sharesOf(second)) == shares, nil })
	t.Logf("taken over within %.1f s", time.Since(killed).Seconds())
	for _, g := range all {
		to.says(g.id, wire.Resumed, wire.Migrated)
		from.says(g.id, wire.Stopped, wire.Migrated)
		nova.takesOver(g)
	}
	for _, g := range all {
		second.awaitFor(aMinuteMore, "handover.ended", "instance", g.id, "outcome", "migrated")
		wantRight(t, cloud, g, dest)
	}
	wantActivatedOnce(t, cloud, all)
	if parked := get(t, b.channel("earlybind"), "earlybind.parked"); string(parked.Body) != poison {
		t.Errorf("parked %q", parked.Body)
	}
	if n := ready(t, b.channel("earlybind"), "earlybind.parked"); n != 0 {
		t.Errorf("parked %d times more", n)
	}
}

func wantActivatedOnce(t testing.TB, c cloud, guests []guest) {
	t.Helper()
	activated := map[string]int{}
	for _, a := range c.activates(dest) {
		activated[a.PortID]++
	}
	for _, g := range guests {
		for _, id := range g.ports {
			if activated[id] != 1 {
				t.Errorf("port %s was activated %d times", id, activated[id])
			}
		}
	}
}

// Another number of shares is refused until whoever runs earlybind has made room for
// it; then nothing of the journal is forgotten.
func TestRabbitMQSharesAreChangedOnPurpose(t *testing.T) {
	t.Parallel()
	b, cloud := newBroker(t), newFakeCloud(t)
	start := func(n int) *replica {
		return startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.Shares = n })
	}
	refused := func(r *replica, why string) {
		t.Helper()
		eventually(t, "the replica to be refused: "+why, func() (bool, error) {
			for _, line := range r.all("event", "consumer.lost") {
				if text, _ := line["error"].(string); strings.Contains(text, why) {
					return true, nil
				}
			}
			return false, nil
		})
	}
	one := start(1)
	one.await("consumer.active")
	four := start(shares)
	refused(four, "EARLYBIND_SHARES=4 is not what the queues here were made for")
	if lines := four.all("event", "consumer.active"); len(lines) > 0 {
		t.Errorf("two layouts at once: %v", lines)
	}
	four.stop()

	ch := b.channel("earlybind")
	_, err := ch.QueueDelete("earlybind.layout", false, false, false) // too early
	must(t, err)
	refused(one, "the queue earlybind.layout is gone")
	one.stop()

	instance := newUUID()
	for ; shareOf(instance) != 3; instance = newUUID() {
	}
	n, err := wire.NewNotification("earlybind-consumer:test", wire.EventJournal, wire.JournalEntry{
		Schema: wire.SchemaVersion, ID: newUUID(), Instance: instance, Port: newUUID(), Why: "test",
	}, newUUID(), time.Now())
	must(t, err)
	body, err := n.Encode()
	must(t, err)
	publish(t, ch, "earlybind.journal", "kept", amqp.Publishing{DeliveryMode: amqp.Persistent, UserId: "earlybind", Body: body})
	_, err = ch.QueueDelete("earlybind.layout", false, false, false)
	must(t, err)
	four = start(shares)
	for number := range shares {
		four.await("journal.read", "share", fmt.Sprintf("%d of %d", number+1, shares))
	}
	four.stop()
	for queue, want := range map[string]int{"earlybind.journal": 0, "earlybind.2.journal": 0, "earlybind.3.journal": 1, "earlybind.4.journal": 0} {
		eventually(t, fmt.Sprintf("%s to hold %d", queue, want), func() (bool, error) { return ready(t, ch, queue) == want, nil })
	}

	_, err = ch.QueueDelete("earlybind.layout", false, false, false)
	must(t, err)
	refused(start(2), "the queue earlybind.3.journal is there, with 1 entries")
}

// shareOf is what consumers go by.
func shareOf(instance string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(instance))
	return int(h.Sum32()%shares) + 1
}
