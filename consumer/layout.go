package consumer

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// declareLayout makes sure that all replicas divide the instances into as many
// shares: else an instance would fall to two. Who declares the queue with another
// number is refused by the broker.
func (s Settings) declareLayout(ch *amqp.Channel, q queues) error {
	_, err := ch.QueueDeclare(q.layout, true, false, false, false, amqp.Table{
		"x-queue-type": s.QueueType, "x-max-length": int64(max(s.Shares, 1)),
	})
	if wasMadeOtherwise(err) {
		return fmt.Errorf("EARLYBIND_SHARES=%d is not what the queues here were made for, or EARLYBIND_QUEUE_TYPE is not (docs/brokers.md says how to change them): %w", s.Shares, err)
	}
	if err != nil {
		return fmt.Errorf("declare queue %s: %w", q.layout, err)
	}
	return nil
}

// findBeyond refuses to begin while there is a journal of more shares than there are
// now: nobody would read it.
func (s Settings) findBeyond(conn *amqp.Connection) error {
	// A channel of its own: a passive declaration of what is not there closes it.
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	next := max(s.Shares, 1) + 1
	beyond := s.queuesOf(share{number: next, of: next}).journal
	q, err := ch.QueueDeclarePassive(beyond, true, false, false, false, nil)
	var fault *amqp.Error
	switch {
	case errors.As(err, &fault) && fault.Code == amqp.NotFound:
		return nil
	case err != nil:
		return fmt.Errorf("look for queue %s: %w", beyond, err)
	}
	return fmt.Errorf("EARLYBIND_SHARES=%d, but the queue %s is there, with %d entries: docs/brokers.md says how to change the number of shares", s.Shares, beyond, q.Messages)
}
