package consumer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

const (
	// lookAgain is about how long a session waits for another that looks at what is
	// paused, which takes some milliseconds.
	lookAgain = 30 * time.Millisecond
	// lookPatience is for how long what is not found out is not told: another may have
	// held it, or its last message be on its way back to the queue.
	lookPatience = 2 * time.Second
)

// halts is what is paused, as this replica knows it. It outlives a session; a new one
// commits nothing until it has found out what is paused by then.
type halts struct {
	mu       sync.Mutex
	is       handover.Halt
	order    string // the last one, for the log; empty if it is not known
	revision int64
	told     bool // that something is
}

func (h *halts) now() handover.Halt {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.is
}

// doubt is told that it is not known what is paused; it tells whether that is new.
func (h *halts) doubt(why string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed := h.is.Unknown != why
	h.is, h.order, h.revision = handover.Halt{Unknown: why}, "", 0
	return changed
}

// take takes what is paused as of its revision, unless a later one is known. It tells
// whether it is what holds now, and whether that is news.
func (h *halts) take(w wire.Halt) (holds, news bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.is.Unknown == "" && w.Revision <= h.revision {
		return w.Revision == h.revision, false
	}
	h.is, h.order, h.revision = haltOf(w), w.Order, w.Revision
	return true, true
}

// haltOf is what the core is told.
func haltOf(w wire.Halt) handover.Halt {
	return handover.Halt{All: w.All, Hosts: w.Hosts, Why: saidBy(w.By, w.Why)}
}

// saidBy tells who gave an order, and why.
func saidBy(by, why string) string {
	switch {
	case by == "":
		return why
	case why == "":
		return "by " + by
	}
	return "by " + by + ": " + why
}

// sayHalt says what is paused; that nothing is, only where something was.
func (c *Consumer) sayHalt(err error) {
	c.halts.mu.Lock()
	h, order, told := c.halts.is, c.halts.order, c.halts.told
	c.halts.told = h.Any()
	c.halts.mu.Unlock()
	line := audit.Line{Event: audit.ConsumerPaused, Saw: order, Decided: h.String(), Why: h.Why, Err: err}
	if !h.Any() {
		if !told {
			return
		}
		line.Event, line.Decided = audit.ConsumerResumed, "what is yet to be committed is; what was observed meanwhile stays so"
	}
	c.log.Record(line)
}

// heed keeps the session to what is paused: it finds out what the broker keeps, takes
// each order that comes, and gives its word for it. It has a goroutine of its own, so
// that an order waits for nothing.
func (s *session) heed(ctx context.Context, orders feed, kept retained, broken func(error)) {
	look := time.After(0)
	began := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look:
			look = nil
			var h wire.Halt
			// The session goes on meanwhile: it may have ports to restore.
			err := tellingSilence(ctx, s.doubtHalt, func() (err error) {
				h, err = kept.read(func(h wire.Halt) error { return s.sender.keepHalt(ctx, h) })
				return err
			})
			switch {
			case err == nil:
				s.obey(ctx, h)
				continue
			case ctx.Err() != nil:
				return // the next session may have found out already
			}
			if time.Since(began) >= lookPatience {
				s.doubtHalt(err)
			}
			look = time.After(lookAgain/2 + rand.N(lookAgain))
			if !errors.Is(err, errBusy) {
				look = time.After(lookPatience / 4)
			}
		case d, ok := <-orders.deliveries:
			if !ok {
				broken(orders.ended(ctx))
				return
			}
			if s.order(ctx, d) {
				look = nil
			}
			_ = d.Ack(false) // fails only with the session
		}
	}
}

// order takes an order; true if it tells what is paused.
func (s *session) order(ctx context.Context, d amqp.Delivery) bool {
	h, err := s.settings.readOrder(d)
	switch {
	case errors.Is(err, errRefused):
		s.refuse(err)
		return false
	case err != nil: // of this user's: it has paused something
		s.doubtHalt(err)
		return true
	}
	s.obey(ctx, h)
	return true
}

// doubtHalt is told that it is not known what is paused, and says so where that is news.
func (s *session) doubtHalt(why error) {
	if s.halts.doubt(why.Error()) {
		s.sayHalt(why)
	}
}

// obey goes by what is paused, says so, and gives its word.
func (s *session) obey(ctx context.Context, w wire.Halt) {
	holds, news := s.halts.take(w)
	if news {
		s.sayHalt(nil)
	}
	if !holds || w.Revision == 0 {
		return
	}
	o := wire.Obeys{Schema: wire.SchemaVersion, Revision: w.Revision, Replica: s.replica}
	if !s.part.only() {
		o.Share = s.part.String()
	}
	// Fails only with the session.
	_ = s.sender.publish(ctx, s.queues().paused, keyObeys, wire.EventObeys, o, tickExpiry)
}

// keepHalt has the broker keep what is paused, and tell it to every session.
func (s *sender) keepHalt(ctx context.Context, h wire.Halt) error {
	m, err := s.notification(wire.EventPaused, h)
	if err != nil {
		return err
	}
	if err := s.keep(ctx, s.queues.paused, m); err != nil {
		return fmt.Errorf("keep what is paused: %w", err)
	}
	return nil
}
