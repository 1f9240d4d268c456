package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/broker"
)

// RabbitMQ has no look at a queue that takes nothing: what is shown is delivered, and then
// returned. Three things follow, each seen on RabbitMQ 4.0.5 (TestRabbitMQParked):
//
//   - A quorum queue counts each return, and drops a message that was returned more often
//     than the queue's x-delivery-limit says; 20 times where it says nothing (RabbitMQ 4).
//     The parking queue is declared with a limit that no number of looks reaches, and one
//     that was made otherwise is not looked at.
//   - What is returned to a quorum queue stands before what was never delivered, and behind
//     what was returned before. basic.nack, of several or of some fifty one by one, returns
//     them in another order; the end of their channel returns them as they were. So a look
//     takes all, and ends its channel. The order matters: the first goes first when the
//     queue is full, and a queue looks only there for what has expired.
//   - Meanwhile they are away, and another who looks would miss them: there is a lock.

const (
	// lookSilence is after what silence of the broker no more is waited for, once all has
	// come that it counted; lookWait if not: the rest has expired meanwhile, or was taken by
	// a program that knows no lock.
	lookSilence = 300 * time.Millisecond
	lookWait    = 5 * time.Second
	// lookPrefetch is more than the parking queue holds.
	lookPrefetch = 2 * parkedMax
)

// Parked is a message that could not be understood, without its content.
type Parked struct {
	At       time.Time `json:"at,omitzero"` // when it was parked, in whole seconds, on its replica's clock
	Reason   string    `json:"reason"`
	Bytes    int       `json:"bytes"`
	SHA256   string    `json:"sha256"`   // of its content, in hex
	Exchange string    `json:"exchange"` // that it came through
	Key      string    `json:"routing_key"`
	User     string    `json:"user,omitempty"` // that the broker has validated, if any
}

// ParkedIn is what lay in the parking queue of one cell.
type ParkedIn struct {
	Cell     string   // its broker
	Messages []Parked // the oldest first
	// Missing is how many more there were when the look began: they have expired
	// meanwhile, or another program has taken them.
	Missing int
	// Dropped is how many were dropped.
	Dropped int
	Err     error // nothing, or not all, is known; what was to be dropped may lie there still
}

// LookAtParked shows look each message of the parking queues of all cells, one after
// the other, the oldest of each first, and leaves it there unless look says to drop it.
// What is parked meanwhile may be shown. Who looks at the same time waits for 20 s at most.
func LookAtParked(ctx context.Context, s Settings, look func(p Parked, content []byte) (drop bool)) []ParkedIn {
	var all []ParkedIn
	for _, cell := range s.PerCell() {
		in := cell.lookAtParked(ctx, look)
		in.Cell = cell.AMQPUrls.String()
		all = append(all, in)
	}
	return all
}

func (s Settings) lookAtParked(ctx context.Context, look func(Parked, []byte) bool) (in ParkedIn) {
	name := ReplicaName()
	conn, err := broker.Dial(ctx, s.Settings, "earlybind parked "+name)
	if err != nil {
		return ParkedIn{Err: err}
	}
	defer closeConnection(conn) // gives back what was not settled
	// amqp091-go's calls know no context; closing ends them.
	defer context.AfterFunc(ctx, func() { closeConnection(conn) })()

	queue := s.queuesOf(share{}).parked
	there, err := exists(conn, queue)
	if err == nil && !there {
		err = noConsumerHasRun(queue)
	}
	if err != nil {
		return ParkedIn{Err: err}
	}
	err = inTurn(ctx, func() error {
		return locked(conn, queue, func(ch *amqp.Channel) error {
			if err := declareQueue(ch, queue, s.ParkedArgs()); err != nil {
				return err
			}
			looks, err := conn.Channel()
			if err != nil {
				return err
			}
			in, err = lookThrough(ctx, looks, queue, name, look)
			// What was not acknowledged goes back.
			return errors.Join(err, looks.Close(), back(ctx, ch, queue, len(in.Messages)-in.Dropped))
		})
	})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	in.Err = err
	return in
}

// lookThrough is to be called under the lock, with a channel that is closed then.
func lookThrough(ctx context.Context, ch *amqp.Channel, queue, tag string, look func(Parked, []byte) bool) (in ParkedIn, err error) {
	was, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		return in, fmt.Errorf("look for queue %s: %w", queue, err)
	}
	all, err := feedOn(ch, queue, tag, lookPrefetch)
	if err != nil {
		return in, err
	}
	for {
		in.Missing = max(was.Messages-len(in.Messages), 0)
		wait := lookSilence
		if in.Missing > 0 {
			wait = lookWait
		}
		select {
		case d, ok := <-all.deliveries:
			if !ok {
				return in, all.ended(ctx)
			}
			p := parkedOf(d)
			in.Messages = append(in.Messages, p)
			if !look(p, d.Body) {
				continue
			}
			if err := d.Ack(false); err != nil {
				return in, err
			}
			in.Dropped++
		case <-time.After(wait):
			// The broker takes what comes through a channel one after the other.
			if _, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil); err != nil {
				return in, fmt.Errorf("look through queue %s: %w", queue, err)
			}
			return in, nil
		}
	}
}

// back waits for so many messages to be in the queue again, so that the next one who
// looks misses none. Some may have expired.
func back(ctx context.Context, ch *amqp.Channel, queue string, n int) error {
	for began := time.Now(); ; {
		is, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		if err != nil {
			return fmt.Errorf("give back what was looked at in queue %s: %w", queue, err)
		}
		if is.Messages >= n || time.Since(began) > lookWait {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// parkedOf reads what [sender.park] has written.
func parkedOf(d amqp.Delivery) Parked {
	header := func(name string) string {
		text, _ := d.Headers["earlybind-"+name].(string)
		return text
	}
	return Parked{
		At: d.Timestamp.UTC(), Reason: header("reason"), Bytes: len(d.Body), SHA256: hash(d.Body),
		Exchange: header("exchange"), Key: header("routing-key"), User: header("user-id"),
	}
}
