package main

import (
	"context"
	"errors"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// letter is one message.
type letter struct {
	exchange, key string
	instance      string    // that it is about; empty if about several
	at            time.Time // when what it tells has happened
	// held is how long its sender has kept it beside the time since then, or,
	// where that is negative, that it has not kept it at all.
	held time.Duration
	// pack makes it ready for one send, at its age.
	pack func(age time.Duration) amqp.Publishing
}

// unheld marks a letter that was sent at once and has been in the broker since.
const unheld = time.Duration(-1)

func (l letter) ready() amqp.Publishing {
	if l.held == unheld {
		return l.pack(0)
	}
	return l.pack(time.Since(l.at) + l.held)
}

// after gives the same message as one that was held for longer.
func (l letter) after(held time.Duration) letter {
	l.held = held
	return l
}

// courier brings one sender's messages to the broker, in their order, each until
// the broker has confirmed it: what could not be sent while the broker was away
// is sent afterwards. What no queue takes is lost, as it would be.
type courier struct {
	dial func(context.Context) (*amqp.Connection, error)
	// begin prepares a session on its channel.
	begin   func(context.Context, *amqp.Channel) error
	account *account

	mu    sync.Mutex
	queue []letter
	wake  chan struct{}
	later sync.WaitGroup // letters that wait for their time
	hurry chan struct{}  // closed when they shall not wait any more
}

func newCourier(a *account, dial func(context.Context) (*amqp.Connection, error), begin func(context.Context, *amqp.Channel) error) *courier {
	return &courier{account: a, dial: dial, begin: begin, wake: make(chan struct{}, 1), hurry: make(chan struct{})}
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
	c.doAfter(delay, func() { c.send(l) })
}

// doAfter does later what sends letters.
func (c *courier) doAfter(delay time.Duration, send func()) {
	if delay <= 0 {
		send()
		return
	}
	c.later.Go(func() {
		select {
		case <-time.After(delay):
		case <-c.hurry:
		}
		send()
	})
}

// finish sends all that waits for its time, and flushes. It is called once.
func (c *courier) finish(ctx context.Context) error {
	close(c.hurry)
	c.later.Wait()
	return c.flush(ctx)
}

// flush returns when the broker has all that was sent.
func (c *courier) flush(ctx context.Context) error {
	for {
		if _, left := c.next(); !left {
			return nil
		}
		if sleep(ctx, 100*time.Millisecond); ctx.Err() != nil {
			return ctx.Err()
		}
	}
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
	returned := ch.NotifyReturn(make(chan amqp.Return, 1))
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
		message, sent := l.ready(), time.Now()
		taken, err := publish(ctx, ch, l.exchange, l.key, message)
		if err != nil {
			return err
		}
		if !taken {
			continue
		}
		select {
		case <-returned: // before it was confirmed
			c.account.unrouted.add(l.exchange, l.key, sent)
		default:
			c.account.confirmed(message.Body, l.exchange, l.key, l.instance, sent)
		}
		c.done()
	}
}

// confirmWithin bounds the wait for a confirm: one that never came would hold up all
// that follows. The message is then sent once more, on a new connection.
const confirmWithin = time.Minute

// publish sends a message and returns when the broker has said whether it has taken it.
func publish(ctx context.Context, ch *amqp.Channel, exchange, key string, m amqp.Publishing) (taken bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, confirmWithin)
	defer cancel()
	confirmation, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, true, false, m)
	if err != nil {
		return false, err
	}
	return confirmation.WaitContext(ctx)
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
