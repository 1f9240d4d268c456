package publisher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/publisher/metrics"
)

const (
	// window is how many messages may be on their way to the broker without
	// its confirmation: more than a drained host sends at once, since a quorum queue confirms
	// in batches, some ms late.
	window = 1024
	// confirmBound is how long the broker may confirm nothing while messages
	// wait for it; then the session is thrown away.
	confirmBound = 30 * time.Second
	// settledSession is how long a session must have lived for the delays to
	// start from the shortest again.
	settledSession = time.Minute
)

// sender empties the outbox into the broker. A session that fails is thrown away
// and the next one sends again all that was not confirmed.
type sender struct {
	host   string
	dial   dialer
	outbox *outbox
	wanted *statesWanted
	log    zerolog.Logger

	confirmBound time.Duration
	unroutable   bool // the last confirmed message found no queue
	discarded    int  // messages that found no queue, since the last that did

	board   *health.Board
	loop    *health.Loop // of a session
	metrics *metrics.Publisher
}

// run opens one session after the other until ctx ends.
func (s *sender) run(ctx context.Context) {
	delays := broker.Backoff()
	var log repeats
	for {
		var began time.Time
		link, err := s.dial(ctx)
		if err == nil {
			began = time.Now()
			log.reset()
			s.board.Has(factBroker, "connected")
			s.metrics.Connected(metrics.ToBroker)
			s.log.Info().Int("buffered", s.outbox.len()).Msg("broker connected")
			// A send waits while the broker does not read; the end must not.
			stop := context.AfterFunc(ctx, link.close)
			err = s.serve(ctx, link)
			stop()
			link.close()
		}
		if ctx.Err() != nil {
			return
		}
		s.board.Lacks(factBroker, err.Error())
		if !began.IsZero() && time.Since(began) > settledSession {
			delays.Reset()
		}
		delay := delays.NextBackOff()
		log.warn(s.log, err).Dur("retry_in_ms", delay).Int("buffered", s.outbox.len()).Msg("broker is away")
		wait(ctx, delay)
	}
}

// flight is a message between its sending and its confirmation.
type flight struct {
	message  *message
	tag      uint64
	id       string
	returned bool
}

// lostSome says in the log, once, how many messages the outbox had to drop.
func (s *sender) lostSome() bool {
	n := s.outbox.takeLost()
	if n > 0 {
		s.metrics.Dropped(n)
		s.log.Error().Int("dropped", n).Msg("messages were dropped: the buffer was full")
	}
	return n > 0
}

// session is the state of one session.
type session struct {
	*sender
	link    link
	flights []flight // in the order of sending
	blocked bool
	overdue *time.Timer // runs while messages wait for confirmation
}

// serve uses one session until it fails or ctx ends.
func (s *sender) serve(ctx context.Context, l link) error {
	one := &session{sender: s, link: l, overdue: time.NewTimer(s.confirmBound)}
	one.overdue.Stop()
	defer one.overdue.Stop()
	s.outbox.rewind()
	s.wanted.ask(s.lostSome())
	defer s.loop.Rest()
	for {
		s.loop.Beat()
		if err := one.sendAll(); err != nil {
			return err
		}
		s.loop.Rest() // nothing wakes it while there is nothing to do
		select {
		case <-s.outbox.ready:
		case n := <-l.news():
			s.loop.Beat()
			if err := one.hear(n); err != nil {
				return err
			}
		case <-one.overdue.C:
			return fmt.Errorf("no confirmation within %s for %d messages", s.confirmBound, len(one.flights))
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendAll sends what the window has room for, without waiting for confirmation.
func (s *session) sendAll() error {
	if s.lostSome() {
		s.wanted.ask(true)
	}
	for !s.blocked && len(s.flights) < window {
		m := s.outbox.next()
		if m == nil {
			return nil
		}
		p, err := m.pack(s.host, time.Now())
		if err != nil {
			return err // cannot be: the types marshal
		}
		s.loop.Rest() // the broker may read nothing for long
		tag, err := s.link.send(p)
		s.loop.Beat()
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		if len(s.flights) == 0 {
			s.overdue.Reset(s.confirmBound)
		}
		s.flights = append(s.flights, flight{message: m, tag: tag, id: p.id})
	}
	return nil
}

// hear takes one piece of the broker's news; an error ends the session.
func (s *session) hear(n any) error {
	switch n := n.(type) {
	case settled:
		return s.settle(n)
	case returned:
		for i := range s.flights {
			if s.flights[i].id == n.id {
				s.flights[i].returned = true
			}
		}
		if !s.unroutable {
			s.unroutable = true
			s.log.Warn().Str("why", n.why).Msg("no queue takes the messages: is there a consumer?")
		}
	case blocked:
		s.blocked = n.now
		if n.now {
			// The broker reads nothing now, so that confirmations may wait.
			s.overdue.Stop()
			s.board.Lacks(factBroker, "connected, but it blocks publishers: "+n.why)
			s.log.Warn().Str("why", n.why).Msg("broker blocks publishing")
			return nil
		}
		if len(s.flights) > 0 {
			s.overdue.Reset(s.confirmBound)
		}
		s.board.Has(factBroker, "connected")
		s.log.Info().Int("buffered", s.outbox.len()).Msg("broker unblocked")
	case requested:
		s.log.Info().Str("reason", n.reason).Msg("states requested")
		s.wanted.ask(false)
	case unheard:
		s.log.Warn().Err(n.err).Dur("retry_in_ms", queueAgain).Msg("requests cannot be heard: consumers get no list of domains when they ask; events are sent")
	case unreadable:
		s.log.Warn().Err(n.err).Int("size", n.size).Msg("request dropped: not understood")
	case lost:
		return n.err
	}
	return nil
}

// settle takes the confirmation of the oldest flight.
func (s *session) settle(n settled) error {
	if len(s.flights) == 0 || s.flights[0].tag != n.tag {
		return errors.New("a confirmation is missing")
	}
	if !n.taken {
		return errors.New("the broker refused a message")
	}
	f := s.flights[0]
	s.flights = s.flights[1:]
	if len(s.flights) == 0 {
		s.overdue.Stop()
	} else if !s.blocked {
		s.overdue.Reset(s.confirmBound)
	}
	s.outbox.confirm(f.message)
	switch {
	case f.returned:
		s.discarded++
	case s.unroutable:
		s.log.Info().Int("discarded", s.discarded).Msg("a queue takes the messages again")
		s.unroutable, s.discarded = false, 0
	}
	s.report(f)
	return nil
}

// atLayout is the layout of the callback's time in the log: RFC 3339, microseconds.
const atLayout = "2006-01-02T15:04:05.000000Z07:00"

// report counts a message that the broker has, and writes its one line.
func (s *session) report(f flight) {
	m := f.message
	s.metrics.Confirmed(m.kind(), time.Since(m.at), f.returned)
	line := s.log.Info().
		Int64("epoch", m.order().Epoch).
		Uint64("sequence", m.order().Sequence).
		Float64("confirmed_ms", float64(time.Since(m.at).Microseconds())/1000)
	if f.returned {
		line = line.Bool("unroutable", true)
	}
	if m.states != nil {
		line.Bool("reconnected", m.states.Reconnected).Int("domains", len(m.states.Domains)).Msg("host states published")
		return
	}
	line.Str("instance", m.event.Instance).
		Str("event", string(m.event.Event)).
		Str("detail", string(m.event.Detail)).
		Str("at", m.event.At.Format(atLayout)).
		Msg("host event published")
}
