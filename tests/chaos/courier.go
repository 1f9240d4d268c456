package main

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// letter is one message; pack makes it ready for one send.
type letter struct {
	exchange, key string
	pack          func() amqp.Publishing
}

// courier brings one sender's messages to the broker, in their order, each until
// the broker has confirmed it: what could not be sent while the broker was away
// is sent afterwards.
type courier struct {
	dial func(context.Context) (*amqp.Connection, error)
	// begin prepares a session on its channel.
	begin func(context.Context, *amqp.Channel) error

	mu    sync.Mutex
	queue []letter
	wake  chan struct{}
}

func newCourier(dial func(context.Context) (*amqp.Connection, error), begin func(context.Context, *amqp.Channel) error) *courier {
	return &courier{dial: dial, begin: begin, wake: make(chan struct{}, 1)}
}

// send adds a letter.
func (c *courier) send(l letter) {
	c.mu.Lock()
	c.queue = append(c.queue, l)
	c.mu.Unlock()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// sendAfter adds a letter later.
func (c *courier) sendAfter(delay time.Duration, l letter) {
	if delay <= 0 {
		c.send(l)
		return
	}
	time.AfterFunc(delay, func() { c.send(l) })
}

// run serves session after session until the context ends.
func (c *courier) run(ctx context.Context) {
	for ctx.Err() == nil {
		_ = c.session(ctx) // the broker is away, or has been
		sleep(ctx, 500*time.Millisecond)
	}
}

var errClosed = errors.New("the connection is closed")

func (c *courier) session(ctx context.Context) error {
	conn, err := c.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) }()
	ctx, end := context.WithCancel(ctx)
	defer end()
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	chClosed := ch.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		select {
		case <-closed:
		case <-chClosed:
		case <-ctx.Done():
		}
		end()
	}()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	if err := c.begin(ctx, ch); err != nil {
		return err
	}
	for {
		l, ok := c.next()
		if !ok {
			select {
			case <-ctx.Done():
				return errClosed
			case <-c.wake:
			}
			continue
		}
		confirmation, err := ch.PublishWithDeferredConfirmWithContext(ctx, l.exchange, l.key, false, false, l.pack())
		if err != nil {
			return err
		}
		taken, err := confirmation.WaitContext(ctx)
		if err != nil {
			return err
		}
		if taken {
			c.done()
		}
	}
}

func (c *courier) next() (letter, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return letter{}, false
	}
	return c.queue[0], true
}

// done drops the first letter: the broker has it.
func (c *courier) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.queue = c.queue[1:]
}

// sleep waits, or until the context ends.
func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// sleepUntil waits for a moment, or until the context ends.
func sleepUntil(ctx context.Context, moment time.Time) { sleep(ctx, time.Until(moment)) }
