//go:build integration

package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
)

// What is parked can be looked at any number of times: nothing is lost, no order
// changes, and the content is shown by -raw alone.
func TestRabbitMQParked(t *testing.T) {
	built(t, "earlybind")
	t.Parallel()
	for _, queueType := range []string{"quorum", "classic"} {
		t.Run(queueType, func(t *testing.T) {
			t.Parallel()
			testParked(t, queueType)
		})
	}
}

func digest(body string) string {
	sum := sha256.Sum256([]byte(body))
	return hex.EncodeToString(sum[:])
}

// looks lists what is parked, as the program does, and gives the hashes in their order.
func (o operator) looks() []string {
	o.Helper()
	var hashes []string
	for _, in := range consumer.LookAtParked(o.Context(), o.settings(), func(p consumer.Parked, _ []byte) bool {
		hashes = append(hashes, p.SHA256)
		return false
	}) {
		must(o, in.Err)
		if in.Missing != 0 {
			o.Errorf("%d are missing", in.Missing)
		}
	}
	return hashes
}

func testParked(t *testing.T, queueType string) {
	b, cloud := newBroker(t), newFakeCloud(t)
	o := newOperator(b, queueType)
	o.says(1, "no consumer has ever run here: there is no queue earlybind.parked", "parked")
	nova := b.nova(false)
	r := startReplica(b, cloud.neutron, func(s *consumer.Settings) { s.QueueType = queueType })
	r.await("consumer.started", "outcome", "bound")
	r.await("consumer.active")
	o.says(0, "nothing is parked", "parked")

	var want []string // hashes
	// parks sends what cannot be understood, and waits for it to lie there.
	parks := func(bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			nova.send("notifications.info", []byte(body))
			want = append(want, digest(body))
		}
		eventually(t, "the messages to be parked", func() (bool, error) {
			return len(r.all("event", "message.parked")) == len(want), nil
		})
	}
	const secret = `{"oslo.version": "2.0", "oslo.message": "{\"token\": gAAAAA-hunter2"}`
	const binary = "\x1b[2J\x00\xff twice"
	parks(secret, binary)
	var many []string
	for i := range 300 {
		many = append(many, fmt.Sprintf("not JSON, %d", i))
	}
	parks(many...)
	parks(binary, "to be dropped", "to be dropped", "the last")
	lies := func(what string) {
		t.Helper()
		if got := o.looks(); !slices.Equal(got, want) {
			t.Fatalf("%s: there lie %d\n%s\nwant %d\n%s", what, len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
		}
	}

	out := o.says(0, "306 messages parked, ", "parked")
	for _, text := range []string{
		"not an oslo.messaging notification: inner message: broken JSON at byte 11\n",
		"from exchange nova, key notifications.info, no user\n",
		fmt.Sprintf("  %d bytes  sha256 %s\n", len(secret), want[0]),
	} {
		if !strings.Contains(out, text) {
			t.Errorf("%q is not in\n%s", text, out)
		}
	}
	listed := o.says(0, want[0], "parked", "-json")
	if n := strings.Count(listed, `"cell": "`); n != len(want) {
		t.Errorf("-json lists %d", n)
	}
	for _, shown := range []string{out, listed} {
		if strings.Contains(shown, "hunter2") || strings.Contains(shown, "not JSON") || strings.Contains(shown, "\x1b") {
			t.Errorf("the content is shown:\n%s", shown)
		}
	}
	if got := o.says(0, "", "parked", "-raw", want[1][:12]); got != binary {
		t.Errorf("-raw prints %q", got)
	}
	if got := o.says(0, "", "parked", "-raw", strings.ToUpper(want[0])); got != secret {
		t.Errorf("-raw prints %q", got)
	}
	o.says(1, "no message that is parked has a SHA-256 that begins with "+digest("nothing"), "parked", "-raw", digest("nothing"))

	t.Run("NothingIsLostByLooks", func(t *testing.T) {
		for i := range 22 { // RabbitMQ 4 drops a message that was returned 20 times, unless its queue says otherwise
			lies(fmt.Sprintf("after %d looks", i))
		}
		if queueType != "quorum" {
			return
		}
		ch := b.channel("earlybind")
		must(t, ch.Qos(1000, 0, false))
		deliveries, err := ch.Consume("earlybind.parked", "", false, false, false, false, nil)
		must(t, err)
		for range want {
			select {
			case d := <-deliveries:
				if count, _ := d.Headers["x-delivery-count"].(int64); count < 22 {
					t.Fatalf("it was returned %d times: these looks prove nothing", count)
				}
			case <-time.After(patience):
				t.Fatal("not all are delivered")
			}
		}
		must(t, ch.Close())
		ch = b.channel("earlybind")
		eventually(t, "them to be back", func() (bool, error) { return ready(t, ch, "earlybind.parked") == len(want), nil })
		lies("afterwards")
	})

	t.Run("ByTwoAtOnce", func(t *testing.T) {
		var looking sync.WaitGroup
		for range 4 {
			looking.Go(func() {
				if got := o.looks(); !slices.Equal(got, want) {
					t.Errorf("one of four sees %d of %d, or in another order", len(got), len(want))
				}
			})
		}
		looking.Wait()
		lies("afterwards")
	})

	t.Run("WhileMoreAreParked", func(t *testing.T) {
		stop := make(chan struct{})
		var looking sync.WaitGroup
		looking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					if got := o.looks(); len(got) > len(want)+10 {
						t.Errorf("%d lie there", len(got))
					}
				}
			}
		})
		before := slices.Clone(want)
		for i := range 10 {
			body := fmt.Sprintf("meanwhile, %d", i)
			nova.send("notifications.info", []byte(body))
			before = append(before, digest(body))
		}
		eventually(t, "them to be parked", func() (bool, error) { return len(r.all("event", "message.parked")) == len(before), nil })
		close(stop)
		looking.Wait()
		want = before
		lies("afterwards")
	})

	t.Run("OfOneThatIsKilled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		for _, in := range consumer.LookAtParked(ctx, o.settings(), func(consumer.Parked, []byte) bool {
			if seen++; seen == 20 {
				cancel() // closes the connection under it
				time.Sleep(100 * time.Millisecond)
			}
			return false
		}) {
			if in.Err == nil {
				t.Error("it knows nothing of its end")
			}
		}
		eventually(t, "the broker to give them back", func() (bool, error) {
			return ready(t, b.channel("earlybind"), "earlybind.parked") == len(want), nil
		})
		lies("afterwards")
	})

	t.Run("Drop", func(t *testing.T) {
		gone := digest("to be dropped")
		o.says(1, "no message that is parked has", "parked", "-drop", digest("nothing"))
		lies("afterwards")
		o.says(0, "dropped 2 messages", "parked", "-drop", gone)
		want = slices.DeleteFunc(want, func(hash string) bool { return hash == gone })
		lies("afterwards")
	})

	t.Run("ByAHost", func(t *testing.T) {
		host := o
		host.user = "earlybind-compute1"
		host.says(1, "ACCESS_REFUSED", "parked")
		host.says(1, "ACCESS_REFUSED", "parked", "-raw", want[0])
		lies("afterwards")
	})

	t.Run("OfAQueueWithoutThatLimit", func(t *testing.T) {
		r.stop()
		b.api(http.MethodDelete, b.path("queues")+"/earlybind.parked", nil, nil)
		_, err := b.channel("earlybind").QueueDeclare("earlybind.parked", true, false, false, false, amqp.Table{"x-queue-type": queueType})
		must(t, err)
		o.says(1, "the queue earlybind.parked is there with other arguments", "parked")
	})

	// The program's output is shown by operator.says; nothing of it may hold a secret.
	if strings.Contains(r.text(), "hunter2") {
		t.Error("the log holds the content")
	}
}
