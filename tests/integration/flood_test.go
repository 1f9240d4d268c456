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
// of other kinds than live migrations. Both are in every round, in turn. The floor is
// the time from the same publish to the delivery of that same event from a queue of
// the same kind to a consumer that does nothing: what RabbitMQ takes, flooded too.
//
//	make flood
func BenchmarkFlood(b *testing.B) {
	for _, c := range []struct {
		name string
		rate int // notifications a second; 0: as fast as RabbitMQ takes them from one sender
	}{{"200 a second", 200}, {"1000 a second", 1000}, {"3000 a second", 3000}, {"5000 a second", 5000}, {"as fast as can be", 0}} {
		b.Run(c.name, func(b *testing.B) {
			f := newFlooded(b)
			var quiet, flooded timed
			sent, took := 0, time.Duration(0)
			for b.Loop() {
				f.settle()
				f.pauses(&quiet)
				began := time.Now()
				stop := f.flood(c.rate)
				f.pauses(&flooded)
				sent, took = sent+stop(), took+time.Since(began)
			}
			before, during := median(quiet.took), median(flooded.took)
			bare, bareFlooded := median(quiet.floor), median(flooded.floor)
			times := float64(during) / float64(before)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(milliseconds(before), "quiet-ms")
			b.ReportMetric(milliseconds(during), "flooded-ms")
			b.ReportMetric(times, "times(goal:2)")
			b.ReportMetric(milliseconds(bare), "quiet-floor-ms")
			b.ReportMetric(milliseconds(bareFlooded), "flooded-floor-ms")
			b.ReportMetric(float64(during)/float64(bareFlooded), "of-floor")
			b.ReportMetric(float64(sent)/took.Seconds(), "notifications/s")
			b.Logf("%s: %d + %d pauses; quiet p50 %v, p95 %v, floor %v; flooded p50 %v, p95 %v, at most %v, floor %v; %.2f times, the goal is %.0f",
				c.name, len(quiet.took), len(flooded.took), before, quiet.took[len(quiet.took)*95/100], bare,
				during, flooded.took[len(flooded.took)*95/100], slices.Max(flooded.took), bareFlooded, times, floodGoal)
			// Whatever else keeps the machine busy: an event that stood behind notifications was 4 times as late.
			if times > floodGoal && during > time.Duration(floodGoal*float64(bareFlooded)) {
				b.Errorf("%.2f times, and %.2f times what RabbitMQ takes", times, float64(during)/float64(bareFlooded))
			}
		})
	}
}

// timed are the times of pauses: from the event's publish to the first activate, and to a bare consumer's delivery.
type timed struct{ took, floor []time.Duration }

// median sorts them.
func median(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2]
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// flooded is a consumer that activates when a guest pauses, and who speaks to it.
type flooded struct {
	*broker
	cloud    cloud
	replica  *replica
	nova     *nova
	from, to *host
	other    []captured       // notifications that are none of earlybind's business
	bare     <-chan time.Time // when the source's pauses came to a consumer that does nothing
}

func newFlooded(t testing.TB) *flooded {
	t.Helper()
	b, cloud := newBroker(t), newFakeCloud(t)
	f := &flooded{broker: b, cloud: cloud, nova: b.nova(false), other: readCaptured(t, "testdata/nova-zed-unrelated.jsonl")}
	f.replica = startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.Policy = handover.PolicySuspended })
	f.replica.await("consumer.active")
	f.replica.await("consumer.started", "outcome", "bound")
	f.from, f.to = b.host(source), b.host(dest)
	f.bare = f.bareConsumer()
	return f
}

// bareConsumer reads the source's pauses from a queue that is like that of the events, on a connection of its own.
func (f *flooded) bareConsumer() <-chan time.Time {
	ch := f.channel("earlybind")
	const queue = "earlybind.floor"
	_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-queue-type": "quorum", "x-single-active-consumer": true})
	must(f, err)
	must(f, ch.QueueBind(queue, wire.HostEvent{Host: source, Event: wire.Suspended, Instance: "*"}.RoutingKey(), wire.ExchangeEvents, false, nil))
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	must(f, err)
	came := make(chan time.Time, 1)
	go func() { // ends with the channel
		for d := range deliveries {
			came <- time.Now()
			_ = d.Ack(false) // fails only with the channel
		}
	}()
	return came
}

// settle waits until no notification waits any more.
func (f *flooded) settle() {
	ch := f.channel("earlybind")
	eventually(f, "the notifications to be taken in", func() (bool, error) {
		return ready(f, ch, "earlybind.notifications") <= 1, nil
	})
}

// pauses has guests paused one after the other, each in a migration that is armed,
// and adds the times from each event's publish on.
func (f *flooded) pauses(to *timed) {
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
		to.took = append(to.took, sent.Sub(paused))
		to.floor = append(to.floor, (<-f.bare).Sub(paused))
		f.to.says(g.id, wire.Resumed, wire.Migrated)
		f.from.says(g.id, wire.Stopped, wire.Migrated)
		f.nova.takesOver(g)
	}
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
