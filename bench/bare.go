package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// used is what a consumer has needed.
type used struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"` // seconds
}

// ackTogether is the consumer's (consumer/acks.go).
const ackTogether = 64

// bare is this program as the consumer that decodes nothing: it takes count
// messages off a queue, acknowledges them as earlybind does where it holds none, ackTogether with a frame, and prints how long
// that took. With a count of 0 it holds the connection and does nothing.
func bare(ctx context.Context, r *rabbit, queue string, count int) error {
	ch, closeAll, err := r.channel(ctx, "admin")
	if err != nil {
		return err
	}
	defer closeAll()
	if count == 0 {
		fmt.Println("connected")
		<-ctx.Done()
		return nil
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return err
	}
	began := time.Now() // connected, as earlybind is when it is said to be active
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	taken := 0
	var d amqp.Delivery
	for d = range deliveries {
		if taken++; taken%ackTogether == 0 || taken == count {
			if err := d.Ack(true); err != nil {
				return err
			}
		}
		if taken == count {
			return json.NewEncoder(os.Stdout).Encode(used{Seconds: time.Since(began).Seconds()})
		}
	}
	return fmt.Errorf("the delivery ended after %d of %d", taken, count)
}
