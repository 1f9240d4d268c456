package consumer

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"pgregory.net/rapid"
)

// brokersChannel is what RabbitMQ has of a channel: it closes one on which a delivery is settled that
// is not outstanding (rabbit_channel: "unknown delivery tag").
type brokersChannel struct {
	mu          sync.Mutex
	outstanding map[uint64]bool
	frames      int
	told        []string
	fault       error
}

func (c *brokersChannel) Ack(tag uint64, multiple bool) error {
	return c.settle(tag, multiple, "ack")
}

func (c *brokersChannel) Nack(tag uint64, multiple, requeue bool) error {
	return c.settle(tag, multiple, fmt.Sprintf("nack, requeue %t", requeue))
}

func (c *brokersChannel) Reject(tag uint64, requeue bool) error { return c.Nack(tag, false, requeue) }

func (c *brokersChannel) settle(tag uint64, multiple bool, how string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames++
	if !c.outstanding[tag] {
		c.fault = fmt.Errorf("%s of %d, which is not outstanding", how, tag)
	}
	for _, t := range slices.Sorted(maps.Keys(c.outstanding)) {
		if t == tag || multiple && t < tag {
			delete(c.outstanding, t)
			c.told = append(c.told, fmt.Sprintf("%d %s", t, how))
		}
	}
	return c.fault
}

// has tells whether a delivery is outstanding; waits, how many are besides those that are held.
func (c *brokersChannel) has(tag uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.outstanding[tag]
}

func (c *brokersChannel) waits(held int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.outstanding) - held
}

func (c *brokersChannel) delivers(a *acks, tag uint64) amqp.Delivery {
	c.mu.Lock()
	c.outstanding[tag] = true
	c.mu.Unlock()
	return a.take(amqp.Delivery{Acknowledger: c, DeliveryTag: tag})
}

// Whatever the turn in which deliveries are settled or given back: nothing is told that was not
// settled, and everything that was is told in time, once and as it was settled.
func TestModelWhatIsSettledIsToldAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := &brokersChannel{outstanding: map[uint64]bool{}}
		a := newAcks(c)
		open := map[uint64]amqp.Delivery{}
		var want []string
		settle := func(tag uint64, back bool) {
			how := "ack"
			if back {
				how = "nack, requeue true"
				_ = open[tag].Nack(false, true)
			} else {
				_ = open[tag].Ack(false)
			}
			delete(open, tag)
			want = append(want, fmt.Sprintf("%d %s", tag, how))
		}
		turns := rapid.IntRange(1, 400).Draw(t, "turns")
		endsAt := rapid.IntRange(0, 2*turns).Draw(t, "is ended at")
		for tag := uint64(1); tag <= uint64(turns); tag++ {
			open[tag] = c.delivers(a, tag)
			switch rapid.IntRange(0, 30).Draw(t, "what becomes of it") {
			case 0: // it is held
			case 1:
				settle(tag, true)
			default:
				settle(tag, false)
			}
			switch rapid.IntRange(0, 30).Draw(t, "and then") {
			case 0:
				a.flush() // as the timer does, at any time
			case 1, 2:
				if len(open) > 0 {
					settle(rapid.SampledFrom(slices.Sorted(maps.Keys(open))).Draw(t, "held"), rapid.Bool().Draw(t, "back"))
				}
			}
			if int(tag) == endsAt {
				a.end()
			}
			for held := range open {
				if !c.has(held) {
					t.Fatalf("%d was told, and is held", held)
				}
			}
			if waits := c.waits(len(open)); waits >= ackTogether || waits > 0 && int(tag) >= endsAt && endsAt > 0 {
				t.Fatalf("%d wait to be told", waits)
			}
		}
		a.flush() // as the timer does, at any time
		slices.Sort(want)
		slices.Sort(c.told)
		if c.fault != nil || c.waits(len(open)) != 0 || !slices.Equal(c.told, want) {
			t.Fatalf("%v; %d wait, %d held; told %q, want %q", c.fault, c.waits(len(open)), len(open), c.told, want)
		}
	})
}

// What is settled as it comes is told together; while one is held, each by itself.
func TestWhatIsSettledAsItComesIsToldTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &brokersChannel{outstanding: map[uint64]bool{}}
		a := newAcks(c)
		wantFrames := func(after string, n int) {
			t.Helper()
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.frames != n || c.fault != nil {
				t.Errorf("after %s: %d frames, %v; want %d", after, c.frames, c.fault, n)
			}
		}
		tag := uint64(0)
		settles := func(n int) {
			for range n {
				tag++
				_ = c.delivers(a, tag).Ack(false)
			}
		}
		settles(10 * ackTogether)
		wantFrames("640", 10)
		settles(1)
		wantFrames("one more", 10)
		time.Sleep(ackWithin)
		synctest.Wait()
		wantFrames("its time", 11)
		tag++
		held := c.delivers(a, tag)
		settles(5)
		wantFrames("five beside a held one", 16)
		_ = held.Ack(false)
		settles(ackTogether - 1)
		wantFrames("it and 63 more", 17)
		tag++
		_ = c.delivers(a, tag).Nack(false, true)
		settles(ackTogether)
		wantFrames("64 after one that was given back", 19)
		settles(1)
		a.end()
		wantFrames("the end", 20)
		settles(2)
		wantFrames("two after it", 22)
	})
}

// A session's notifications are settled so, and what waits to be told when it gives its queues back is told.
func TestASessionLeavesNoNotificationThatItHasSettled(t *testing.T) {
	onRabbit(t, newNeutron(), func(t *testing.T, r *rabbit, acts *replicaOn) {
		other := encoded(t, "compute."+dst, "compute.instance.update", map[string]string{"instance_id": guest})
		comes := func(n, held int) {
			t.Helper()
			for range n {
				r.publish("nova", "notifications.info", "openstack", other)
			}
			synctest.Wait()
			if got := r.holds("earlybind.notifications"); got != held {
				t.Errorf("after %d notifications of others %d are outstanding, want %d", n, got, held)
			}
		}
		comes(ackTogether+3, 3)
		pass(ackWithin)
		comes(0, 0)
		comes(3, 3)
		acts.stop()
		comes(0, 0)
	})
}
