package consumer

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/wire"
)

// openJournal begins to read the journal. An entry is held for as long as its port
// is not right, and one that is not delivered is not known, nor is the mark behind it: so
// the prefetch is more than there ever are. (Without one a quorum queue delivers 2000.)
func (s *session) openJournal(ctx context.Context) error {
	var err error
	if s.journalled, err = openFeed(s.conn, s.queues().journal, s.replica+" journal", journalPrefetch); err != nil {
		return err
	}
	s.marked = s.clock()
	return s.markJournal(ctx)
}

// markJournal sends a mark through the journal, until one has come back: what is
// before it was in the queue. A journal that is full takes none until an entry is
// settled; what it holds is known as it is delivered, and what it lacks is waited
// for.
func (s *session) markJournal(ctx context.Context) error {
	if !s.active || s.journal.known() || s.sender.blocked.Load() {
		return nil
	}
	err := s.sender.journalMark(ctx, s.clock())
	s.hearJournal(err)
	if errors.Is(err, errNotKept) || errors.Is(err, errNoTurn) {
		return nil
	}
	return err
}

// hearJournal hears how a write to the journal went. That it takes nothing more is
// said once, until it has taken something again.
func (c *Consumer) hearJournal(err error) {
	switch {
	case err == nil:
		c.journalFull.Store(false)
	case errors.Is(err, errNotKept) && !c.journalFull.Swap(true):
		c.log.Record(audit.Line{
			Event: audit.HandoverAlarm, Kind: audit.AlarmJournal, Saw: "queue " + c.queues().journal, Err: err,
			Why:     "the journal is full, or the broker has no room for it: no row is deleted to be made anew",
			Decided: "see the lines port.verified with \"the journal:\" for the ports that it holds, and mend them by docs/repair.md",
		})
	}
}

// deliverJournal takes one message of the journal, which only earlybind's own
// user writes to.
func (s *session) deliverJournal(ctx context.Context, d amqp.Delivery) error {
	settle, back := func() { _ = d.Ack(false) }, func() { _ = d.Nack(false, true) } // they fail only with the session
	n, err := wire.Decode(d.Body)
	switch {
	case err != nil:
		return s.park(ctx, d, err)
	case d.UserId != s.settings.AMQPUser:
		s.leaveInJournal(d, fmt.Errorf("it came from user %q", d.UserId), settle, back)
		return nil
	case n.EventType == wire.EventTick:
		t, err := wire.ParseTick(n)
		if err == nil && t.Replica == s.replica && t.SentNS >= int64(s.marked) && !s.journal.known() {
			s.log.Record(audit.Line{Event: audit.JournalRead, Outcome: "read", Figures: map[string]int64{"entries": int64(s.journal.complete())}})
		}
		settle()
		return nil
	}
	e, err := wire.ParseJournalEntry(n)
	switch {
	case errors.Is(err, wire.ErrUnknownSchema):
		s.leaveInJournal(d, err, settle, back)
		return nil
	case err != nil:
		return s.park(ctx, d, err)
	}
	if !s.part.has(e.Instance) { // there was another number of shares
		return s.moveEntry(ctx, d, s.part.whose(e.Instance), settle, back)
	}
	s.journal.add(e, s.clock(), settle, back)
	return nil
}

// moveEntry moves an entry to the journal of the share that its instance falls to.
// Where that is full it is left here, and comes again.
func (s *session) moveEntry(ctx context.Context, d amqp.Delivery, to share, settle, back func()) error {
	err := s.sender.keep(ctx, s.settings.queuesOf(to).journal, s.sender.again(d))
	switch {
	case errors.Is(err, errNotKept), errors.Is(err, errNoTurn):
		s.leaveInJournal(d, fmt.Errorf("it is to be moved to the share %s: %w", to, err), settle, back)
	case err != nil:
		return fmt.Errorf("move an entry of the journal to the share %s: %w", to, err)
	default:
		settle()
	}
	return nil
}

// leaveInJournal keeps an entry for the version, or the user, that it is meant
// for: the profile in it may exist nowhere else.
func (s *session) leaveInJournal(d amqp.Delivery, why error, settle, back func()) {
	if s.journal.leave(hash(d.Body), s.clock(), settle, back) {
		s.log.Record(audit.Line{Event: audit.JournalRead, Saw: "sha256 " + hash(d.Body), Outcome: "an entry is left where it is", Err: why})
	}
}

// writeDoubts writes what is doubted to the journal: beside the ticks, which would have to wait
// for the broker's word on each entry.
func (s *session) writeDoubts(ctx context.Context, loop *health.Loop) error {
	err := s.doubts.flush(func(e wire.JournalEntry) error {
		loop.Beat()
		return s.writeDoubt(ctx, e)
	})
	if err == nil || errors.Is(err, errNotKept) || errors.Is(err, errNoTurn) || s.sender.blocked.Load() {
		// Room, a turn, or a broker that reads again, is waited for.
		return nil
	}
	return fmt.Errorf("write to the journal: %w", err)
}

func (s *session) writeDoubt(ctx context.Context, e wire.JournalEntry) error {
	err := errNotKept
	if !s.journal.full() {
		err = s.sender.journal(ctx, e)
	}
	s.hearJournal(err)
	return err
}
