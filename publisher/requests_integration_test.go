//go:build integration

package publisher

import (
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

// The second session of a host takes the queue from the first, as after a
// connection whose end the broker has not seen.
func TestRealQueueIsTakenOver(t *testing.T) {
	r := newRabbit(t)
	first := openLink(t, r.settings)
	second := openLink(t, r.settings)
	if err := expectNews[lost](t, first).err; !strings.Contains(err.Error(), "taken away") {
		t.Errorf("got %v", err)
	}
	for range 5 {
		if err := r.ch.Publish(wire.ExchangeRequests, "states", false, false, amqp.Publishing{Body: []byte(request(t))}); err != nil {
			t.Fatal(err)
		}
		expectNews[requested](t, second)
	}
}

// A queue for requests that cannot be had (here somebody else has it alone; after the loss of
// a node up to RabbitMQ 3.10 a 404) keeps no event back, and is had when it can be.
func TestRealEventsAreSentWithoutTheQueueForRequests(t *testing.T) {
	r := newRabbit(t)
	holder, err := r.ch.QueueDeclare(wire.PublisherQueue(r.settings.Host), false, false, true, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	log := &logBuffer{}
	stop := r.start(t, log)
	defer stop()
	if _, first := r.arrival(t); first.states == nil {
		t.Errorf("got %+v", first)
	}
	if _, err := r.ch.QueueDelete(holder.Name, false, false, false); err != nil {
		t.Fatal(err)
	}
	for range 2 { // as soon as it can be asked, and when it is
		select {
		case d := <-r.arrivals:
			if n, err := wire.Decode(d.Body); err != nil || n.EventType != wire.EventStates {
				t.Errorf("got %v, %v", n.EventType, err)
			}
		case <-time.After(queueAgain + patience):
			t.Fatal("nothing arrived")
		}
		if err := r.ch.Publish(wire.ExchangeRequests, "states", false, false, amqp.Publishing{Body: []byte(request(t))}); err != nil {
			t.Fatal(err)
		}
	}
	// Only here: the line may come after the first states.
	lines := log.lines(t, "requests cannot be heard: consumers get no list of domains when they ask; events are sent")
	if len(lines) != 1 || !strings.Contains(lines[0]["error"].(string), "RESOURCE_LOCKED") {
		t.Errorf("lines %v", lines)
	}
}
