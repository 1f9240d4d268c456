// Package live records what a consumer would read off RabbitMQ. It reads from a queue of
// its own, which is bounded and goes away with its connection: other queues are not
// touched, and get what they would have got. Once it sends something: it asks the hosts
// for their domains.
package live

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/wire"
)

const (
	// queueBytes and queueTTL bound what the broker keeps for a recorder that is slow.
	queueBytes = 64 << 20
	queueTTL   = 10 * time.Minute
	// closeWithin bounds the closing of the connection.
	closeWithin = 5 * time.Second
)

// Record writes a recording until the context ends, and gives how many messages it
// holds. The header is given what the settings say. When the connection is lost
// there is an error: messages are lost with the queue. What was written until then is
// whole.
func Record(ctx context.Context, s consumer.Settings, r recording.Recorder, h recording.Header, to io.Writer) (written int, err error) {
	conn, err := broker.Dial(ctx, s.Settings, "earlybind record")
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(closeWithin)) }()
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	ch, err := conn.Channel()
	if err != nil {
		return 0, err
	}
	queue, err := bind(ch, s)
	if err != nil {
		return 0, err
	}
	deliveries, err := ch.Consume(queue, "", true, true, false, false, nil)
	if err != nil {
		return 0, fmt.Errorf("consume %s: %w", queue, err)
	}
	began := time.Now()
	h.Began, h.NovaExchange, h.Topics, h.HostUserPrefix = began.UTC(), s.NovaExchange, s.NotificationTopics, s.HostUserPrefix
	w, err := recording.NewWriter(to, h)
	if err != nil {
		return 0, err
	}
	if err := askStates(ctx, conn, s.AMQPUser); err != nil {
		return 0, err
	}
	for {
		select {
		case <-ctx.Done():
			return written, nil
		case d, ok := <-deliveries:
			if !ok {
				return written, fmt.Errorf("the connection to the broker was lost, and messages with it: %w", whyClosed(closed))
			}
			m, wanted := r.Take(recording.Delivery{
				At: time.Since(began), Exchange: d.Exchange, Key: d.RoutingKey, User: d.UserId, Redelivered: d.Redelivered, Body: d.Body,
			})
			if !wanted {
				continue
			}
			if err := w.Write(m); err != nil {
				return written, err
			}
			written++
		}
	}
}

// askStates asks the publishers for their domains, as a consumer does that becomes active:
// without their answers a replay would know less than a consumer that has run for a while.
func askStates(ctx context.Context, conn *amqp.Connection, user string) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.ExchangeDeclarePassive(wire.ExchangeRequests, amqp.ExchangeTopic, false, false, false, false, nil); err != nil {
		return fmt.Errorf("exchange %s: is it there: %w", wire.ExchangeRequests, err)
	}
	m, err := consumer.StatesRequest("earlybind-record", user, "a recording begins")
	if err != nil {
		return err
	}
	return ch.PublishWithContext(ctx, wire.ExchangeRequests, wire.KeyStatesRequest, false, false, m)
}

func whyClosed(closed <-chan *amqp.Error) error {
	if err, ok := <-closed; ok {
		return err
	}
	return errors.New("no reason given")
}

// bind makes the recorder's own queue and binds it. Both exchanges must be there: they
// are Nova's and the consumer's to make. The queue's name begins as the consumer's
// queues do, since that is what its user may make.
func bind(ch *amqp.Channel, s consumer.Settings) (string, error) {
	queue := s.Queue + ".record." + rand.Text()
	if _, err := ch.QueueDeclare(queue, false, true, true, false, amqp.Table{
		"x-max-length-bytes": int64(queueBytes), "x-message-ttl": queueTTL.Milliseconds(),
	}); err != nil {
		return "", fmt.Errorf("declare queue %s: %w", queue, err)
	}
	keys := map[string][]string{wire.ExchangeEvents: {"libvirt.#"}}
	for _, topic := range s.NotificationTopics {
		keys[s.NovaExchange] = append(keys[s.NovaExchange], topic+".info", topic+".error")
	}
	for exchange, bound := range keys {
		if err := ch.ExchangeDeclarePassive(exchange, amqp.ExchangeTopic, false, false, false, false, nil); err != nil {
			return "", fmt.Errorf("exchange %s: is it there, and may this user read it: %w", exchange, err)
		}
		for _, key := range bound {
			if err := ch.QueueBind(queue, key, exchange, false, nil); err != nil {
				return "", fmt.Errorf("bind queue %s to exchange %s: %w", queue, exchange, err)
			}
		}
	}
	return queue, nil
}
