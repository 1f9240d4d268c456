package main

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// floor is the least that can be done with the same parts: bare amqp091-go
// publishes the bytes that a publisher sends, as a publisher does (persistent,
// mandatory, confirmed, with an expiry and a user), to a queue like the
// consumer's; what comes out of it sends one bare PUT per port with net/http on a
// warm connection. Nothing is encoded, decoded, decided or logged.
type floor struct {
	out  *amqp.Channel
	sink *sink
	http *http.Client
	body []byte
	stop func()

	sent, delivered atomic.Int64 // the last message's moments, in ns since 1970
}

const floorName = "bench-floor"

const (
	// prefetch is the consumer's.
	prefetch = 10_000
	// atOnce is EARLYBIND_NEUTRON_AT_ONCE, as shipped.
	atOnce = 32
)

func newFloor(ctx context.Context, r *rabbit, s *sink, body []byte) (*floor, error) {
	in, closeIn, err := r.channel(ctx, "admin")
	if err != nil {
		return nil, err
	}
	out, closeOut, err := r.channel(ctx, "admin")
	if err != nil {
		closeIn()
		return nil, err
	}
	f := &floor{
		out: out, sink: s, body: body,
		// As many connections as the consumer has requests under way.
		http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce, MaxConnsPerHost: atOnce}},
		stop: func() { closeOut(); closeIn() },
	}
	deliveries, err := f.declare(in)
	if err == nil {
		err = out.Confirm(false)
	}
	if err != nil {
		f.stop()
		return nil, err
	}
	confirms := out.NotifyPublish(make(chan amqp.Confirmation, 64))
	go func() {
		for range confirms { // until the connection ends
		}
	}()
	go func() {
		for d := range deliveries {
			f.delivered.Store(time.Now().UnixNano())
			go f.activate(d)
		}
	}()
	// Its connections are open from then on, as the consumer's are by its reads.
	return f, f.warm(ctx)
}

// declare makes a queue as the consumer declares its own.
func (f *floor) declare(ch *amqp.Channel) (<-chan amqp.Delivery, error) {
	if err := ch.ExchangeDeclare(floorName, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return nil, err
	}
	if _, err := ch.QueueDeclare(floorName, true, false, false, false, queueLikeOurs); err != nil {
		return nil, err
	}
	if err := ch.QueueBind(floorName, "#", floorName, false, nil); err != nil {
		return nil, err
	}
	if err := ch.Qos(prefetch, 0, false); err != nil {
		return nil, err
	}
	return ch.Consume(floorName, "", false, false, false, false, nil)
}

// queueLikeOurs are the arguments of the consumer's queue (consumer/topology.go).
var queueLikeOurs = amqp.Table{
	"x-queue-type":             "quorum",
	"x-single-active-consumer": true,
	"x-message-ttl":            time.Hour.Milliseconds(),
	"x-max-length-bytes":       int64(256 << 20),
	"x-delivery-limit":         int64(1000),
}

func (f *floor) activate(d amqp.Delivery) {
	var ports sync.WaitGroup
	for _, port := range portsOf(d.MessageId) {
		ports.Go(func() { f.put(port) })
	}
	ports.Wait()
	_ = d.Ack(false)
}

func (f *floor) put(port string) {
	f.do(http.MethodPut, "/v2.0/ports/"+port+"/bindings/"+destination+"/activate")
}

func (f *floor) do(method, path string) {
	request, err := http.NewRequest(method, f.sink.url+path, nil)
	if err != nil {
		return
	}
	request.Header.Set("X-Auth-Token", "a-token-of-the-sink")
	request.Header.Set("Accept", "application/json")
	response, err := f.http.Do(request)
	if err != nil {
		return // it does not arrive, which is noticed
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

func (f *floor) warm(ctx context.Context) error {
	_, err := f.pause(ctx, newInstance(1, atOnce))
	return err
}

// arm does what the floor can have of [rig.arm]: a message comes through the queue, and
// the ports are read, so that broker, goroutines and connections are as warm as the
// consumer's before a pause.
func (f *floor) arm(ctx context.Context, instance string) error {
	if _, err := f.send(ctx, instance[:32]+"0000"); err != nil {
		return err
	}
	f.do(http.MethodGet, "/v2.0/ports?device_id="+instance)
	var ports sync.WaitGroup
	for _, port := range portsOf(instance) {
		ports.Go(func() { f.do(http.MethodGet, "/v2.0/ports/"+port+"/bindings") })
	}
	ports.Wait()
	return nil
}

// send publishes a message about an instance and tells when it began to.
func (f *floor) send(ctx context.Context, instance string) (time.Time, error) {
	at := time.Now()
	f.sent.Store(at.UnixNano())
	_, err := f.out.PublishWithDeferredConfirmWithContext(ctx, floorName, "libvirt."+source+".suspended."+instance, true, false, amqp.Publishing{
		ContentType:     "application/json",
		ContentEncoding: "utf-8",
		DeliveryMode:    amqp.Persistent,
		Expiration:      strconv.FormatInt((10 * time.Minute).Milliseconds(), 10),
		MessageId:       instance, // 36 bytes; the publisher's have 26
		Type:            "libvirt.domain.suspended",
		UserId:          "admin",
		Body:            f.body,
	})
	return at, err
}

// deliveredAfter gives how long the last message has taken to the floor's consumer.
func (f *floor) deliveredAfter() time.Duration {
	return time.Duration(f.delivered.Load() - f.sent.Load())
}

// pause does what [rig.pause] does.
func (f *floor) pause(ctx context.Context, instance string) ([]time.Duration, error) {
	at, err := f.send(ctx, instance)
	if err != nil {
		return nil, err
	}
	return f.sink.collectOne(ctx, instance, at)
}
