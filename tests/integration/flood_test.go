//go:build integration

package integration

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// How a round of the flood goes.
const (
	pausesARound = 20  // host events that are timed, of each kind
	underway     = 500 // notifications that a sender has sent and the broker not confirmed
	floodGoal    = 2.0 // times the quiet median, at most
)

// BenchmarkFlood times host events from their publish to the request at Neutron
// that they lead to: while nothing else goes on, and while Nova sends notifications
// of other kinds than live migrations. Both are in every round, in turn.
//
//	make flood
func BenchmarkFlood(b *testing.B) {
	for _, c := range []struct {
		name string
		rate int // notifications a second; 0: as fast as RabbitMQ takes them from one sender
	}{{"200 a second", 200}, {"1000 a second", 1000}, {"as fast as can be", 0}} {
		b.Run(c.name, func(b *testing.B) {
			f := newFlooded(b)
			var quiet, flooded []time.Duration
			sent, took := 0, time.Duration(0)
			for b.Loop() {
				f.settle()
				quiet = append(quiet, f.pauses()...)
				began := time.Now()
				stop := f.flood(c.rate)
				flooded = append(flooded, f.pauses()...)
				sent, took = sent+stop(), took+time.Since(began)
			}
			slices.Sort(quiet)
			slices.Sort(flooded)
			before, during := median(quiet), median(flooded)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(before.Microseconds())/1000, "quiet-ms")
			b.ReportMetric(float64(during.Microseconds())/1000, "flooded-ms")
			b.ReportMetric(float64(during)/float64(before), "times(goal:2)")
			b.ReportMetric(float64(sent)/took.Seconds(), "notifications/s")
			b.Logf("%s: %d + %d pauses; quiet p50 %v, p95 %v; flooded p50 %v, p95 %v, at most %v; %.2f times, the goal is %.0f",
				c.name, len(quiet), len(flooded), before, quiet[len(quiet)*95/100], during, flooded[len(flooded)*95/100],
				flooded[len(flooded)-1], float64(during)/float64(before), floodGoal)
		})
	}
}

func median(sorted []time.Duration) time.Duration { return sorted[len(sorted)/2] }

// flooded is a consumer that activates when a guest pauses, and who speaks to it.
type flooded struct {
	*broker
	cloud    cloud
	replica  *replica
	nova     *nova
	from, to *host
	other    []captured // notifications that are none of earlybind's business
}

func newFlooded(t testing.TB) *flooded {
	t.Helper()
	b, cloud := newBroker(t), newFakeCloud(t)
	f := &flooded{broker: b, cloud: cloud, nova: b.nova(false), other: readCaptured(t, "testdata/nova-zed-unrelated.jsonl")}
	f.replica = startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.Policy = handover.PolicySuspended })
	f.replica.await("consumer.active")
	f.replica.await("consumer.started", "outcome", "bound")
	f.from, f.to = b.host(source), b.host(dest)
	return f
}

// settle waits until no notification waits any more.
func (f *flooded) settle() {
	ch := f.channel("earlybind")
	eventually(f, "the notifications to be taken in", func() (bool, error) {
		return ready(f, ch, "earlybind.notifications") <= 1, nil
	})
}

// pauses has guests paused one after the other, each in a migration that is armed,
// and gives the time from each event's publish to the first activate.
func (f *flooded) pauses() (took []time.Duration) {
	for range pausesARound {
		g := f.cloud.guest(f)
		f.to.says(g.id, wire.Started, wire.Migrated)
		f.replica.await("handover.armed", "instance", g.id)
		paused := f.from.says(g.id, wire.Suspended, wire.Migrated)
		var sent time.Time
		eventually(f, "the ports to be activated", func() (bool, error) {
			n := 0
			for _, a := range f.cloud.activates(dest) {
				if slices.Contains(g.ports, a.PortID) {
					if n++; sent.IsZero() || a.Began.Before(sent) {
						sent = a.Began
					}
				}
			}
			return n == len(g.ports), nil
		})
		took = append(took, sent.Sub(paused))
		f.to.says(g.id, wire.Resumed, wire.Migrated)
		f.from.says(g.id, wire.Stopped, wire.Migrated)
		f.nova.takesOver(g)
	}
	return took
}

// flood sends notifications until it is stopped, and tells then how many. It
// returns when they have been coming for a second.
func (f *flooded) flood(rate int) (stop func() int) {
	ctx, cancel := context.WithCancel(f.Context())
	ch := f.channel("openstack")
	confirmed := ch.NotifyPublish(make(chan amqp.Confirmation, underway))
	may := make(chan struct{}, underway)
	sent, running := 0, sync.WaitGroup{}
	running.Go(func() { // ends with the channel
		for range confirmed {
			<-may
		}
	})
	running.Go(func() {
		defer ch.Close()
		every := time.NewTicker(10 * time.Millisecond)
		defer every.Stop()
		began := time.Now()
		for ctx.Err() == nil {
			if rate > 0 && sent >= int(time.Since(began).Seconds()*float64(rate)) {
				<-every.C
				continue
			}
			n := f.other[sent%len(f.other)]
			may <- struct{}{}
			if err := ch.Publish("nova", n.RoutingKey, false, false, amqp.Publishing{
				ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Body: []byte(n.Body),
			}); err != nil {
				f.Errorf("the flood: %v", err)
				return
			}
			sent++
		}
	})
	<-time.After(time.Second)
	return func() int {
		cancel()
		running.Wait()
		return sent
	}
}
