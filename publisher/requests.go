package publisher

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

const (
	// queueBound is how long a session waits for its queue for requests before it goes on
	// without.
	queueBound = 5 * time.Second
	// queueAgain is how long after a failure the queue is tried to be had again.
	queueAgain = 30 * time.Second
	// queueMax bounds how many requests wait, each the same question; queueTTL for how long;
	// queueExpires how long the queue is there without a reader: RabbitMQ deletes one that goes
	// with its consumer only when it has seen that one go, so not where the broker was away then.
	queueMax     = 16
	queueTTL     = time.Minute
	queueExpires = time.Hour
)

// hearRequests has the host's queue for requests heard, on a channel of its own. The queue
// lives on one node of a cluster. While that node is away a queue cannot be had whose name it
// has (up to RabbitMQ 3.10 the broker answers queue.delete with 404, "home node ... is down or
// inaccessible"; one that is frozen does not answer): then events are sent nevertheless, and the
// queue is tried again. An error is that the broker does not allow it, which is a fault of
// its settings.
func (l *amqpLink) hearRequests(queue string) error {
	opened := make(chan error, 1)
	go l.listen(queue, opened)
	bound := time.NewTimer(queueBound)
	defer bound.Stop()
	select {
	case err := <-opened:
		if forbidden(err) {
			return err
		}
	case <-bound.C:
		l.hear(unheard{fmt.Errorf("queue %s: no answer within %s", queue, queueBound)})
	}
	return nil
}

// listen tells what the queue brings, until the session ends or the queue is taken away. It
// says once whether the first attempt has succeeded.
func (l *amqpLink) listen(queue string, opened chan<- error) {
	for began, again := time.Now(), false; ; again = true {
		requests, err := l.openQueue(queue)
		if !again {
			opened <- err
		}
		switch {
		case forbidden(err) && !again:
			return
		case err != nil:
			if !l.hear(unheard{err}) {
				return
			}
			select {
			case <-time.After(queueAgain):
			case <-l.closing:
				return
			}
			continue
		case again || time.Since(began) > queueBound:
			// The session has started with states before anybody could ask for them.
			l.hear(requested{"the queue for requests is there"})
		}
		for d := range requests {
			if r, err := readRequest(d.Body); err != nil {
				l.hear(unreadable{err, len(d.Body)})
			} else {
				l.hear(requested{r.Reason})
			}
		}
		l.hear(lost{errors.New("the queue for requests was taken away: does another publisher run for this host?")})
		return
	}
}

// hear hands news to the pump; false if the session has ended.
func (l *amqpLink) hear(n any) bool {
	select {
	case l.heard <- n:
		return true
	case <-l.closing:
		return false
	}
}

func (l *amqpLink) openQueue(queue string) (<-chan amqp.Delivery, error) {
	ch, err := l.conn.Channel()
	if err != nil {
		return nil, err
	}
	return takeOverQueue(ch, queue)
}

func forbidden(err error) bool {
	var fault *amqp.Error
	return errors.As(err, &fault) && fault.Code == amqp.AccessRefused
}

// takeOverQueue makes the host's queue for requests anew and consumes it. It is
// deleted first: the broker may take half a minute to see that the last session
// has gone silently, and until then would give that one every second request.
// For the same reason the queue is not exclusive: the new session would be
// refused for that time. It is durable, since brokers to come will have no
// transient queues that are not exclusive, and goes with its consumer. Requests
// need no acknowledgement: every session starts with states.
func takeOverQueue(ch *amqp.Channel, name string) (<-chan amqp.Delivery, error) {
	if _, err := ch.QueueDelete(name, false, false, false); err != nil {
		return nil, fmt.Errorf("queue %s: delete: %w", name, err)
	}
	bounds := amqp.Table{
		"x-max-length": int64(queueMax), "x-message-ttl": queueTTL.Milliseconds(), "x-expires": queueExpires.Milliseconds(),
	}
	if _, err := ch.QueueDeclare(name, true, true, false, false, bounds); err != nil {
		return nil, fmt.Errorf("queue %s: declare: %w", name, err)
	}
	if err := ch.QueueBind(name, "#", wire.ExchangeRequests, false, nil); err != nil {
		return nil, fmt.Errorf("queue %s: bind to %s: %w", name, wire.ExchangeRequests, err)
	}
	requests, err := ch.Consume(name, "", true, false, false, false, nil)
	if err != nil {
		return nil, fmt.Errorf("queue %s: consume: %w", name, err)
	}
	return requests, nil
}
