package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/wire"
)

const (
	// answerWithin is how long hosts' answers are waited for. A publisher answers as soon as
	// it has the question and libvirt's list.
	answerWithin = 5 * time.Second
	// hangUpWithin bounds the closing of the connection.
	hangUpWithin = 5 * time.Second
)

// AskPublishers asks the publishers of every cell's hosts for their domains, as a consumer
// does, and answers when all the hosts have answered, 5 s later at the latest: hosts that
// have no publisher are missing, and so are those whose word a consumer would refuse. It
// makes an exclusive queue of its own, which goes with its connection. An error is that of
// a broker that could not be asked.
func AskPublishers(ctx context.Context, s consumer.Settings, hosts []string) (Guests, error) {
	cells, err := each(ctx, s.PerCell(), func(ctx context.Context, cell consumer.Settings) (Guests, error) {
		guests, err := askCell(ctx, cell, hosts)
		if err != nil {
			return nil, fmt.Errorf("RabbitMQ at %s: %w", cell.AMQPUrls, err)
		}
		return guests, nil
	})
	if err != nil {
		return nil, err
	}
	all := Guests{}
	for _, guests := range cells {
		maps.Copy(all, guests)
	}
	return all, nil
}

func askCell(ctx context.Context, s consumer.Settings, hosts []string) (Guests, error) {
	conn, err := broker.Dial(ctx, s.Settings, "earlybind doctor")
	if err != nil {
		return nil, err
	}
	hangUp := func() { _ = conn.CloseDeadline(time.Now().Add(hangUpWithin)) }
	defer hangUp()
	// amqp091-go's calls know no context; closing ends them.
	defer context.AfterFunc(ctx, hangUp)()
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	answers, err := hear(ch, s.Queue+".doctor."+rand.Text()[:8])
	if err != nil {
		return nil, err
	}
	question, err := consumer.StatesRequest("earlybind-doctor", s.AMQPUser, "earlybind doctor asks where the guests are")
	if err != nil {
		return nil, err
	}
	if err := ch.PublishWithContext(ctx, wire.ExchangeRequests, wire.KeyStatesRequest, false, false, question); err != nil {
		return nil, err
	}
	over := time.NewTimer(answerWithin)
	defer over.Stop()
	guests := Guests{}
	for !guests.answered(hosts) {
		select {
		case d, ok := <-answers:
			if !ok {
				return nil, errors.Join(errors.New("the connection was lost"), ctx.Err())
			}
			if a, is := s.ReadAnswer(d.UserId, d.Body); is && a.Refused == nil {
				guests[a.Host] = a.States.Domains
			}
		case <-over.C:
			return guests, nil
		}
	}
	return guests, nil
}

// hear has a queue of our own hear the publishers' lists.
func hear(ch *amqp.Channel, queue string) (<-chan amqp.Delivery, error) {
	if _, err := ch.QueueDeclare(queue, false, true, true, false, amqp.Table{"x-queue-type": "classic"}); err != nil {
		return nil, err
	}
	if err := ch.QueueBind(queue, wire.KeyStates, wire.ExchangeEvents, false, nil); err != nil {
		return nil, err
	}
	return ch.Consume(queue, "", true, true, false, false, nil)
}
