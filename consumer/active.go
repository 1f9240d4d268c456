package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/wire"
)

// errGivenUp ends a session whose share another replica is to act for.
var errGivenUp = errors.New("the share was given up")

// ticked takes a tick. This session's own tells that the queue serves it; another
// replica's, how many shares that acts for.
func (s *session) ticked(ctx context.Context, t wire.Tick) error {
	if t.Replica == s.replica {
		lapsed := s.active && !s.lease.held()
		s.lease.renew(time.Duration(t.SentNS))
		if lapsed && s.lease.held() {
			// A queue that has lost its leader may have served another for a while, and told
			// this session nothing of it.
			s.registry.tools.ask("the queue serves this replica again")
		}
		return s.becomeActive(ctx)
	}
	s.rival, s.rivalHolds = t.Replica, t.Shares
	return nil
}

// becomeActive is called when the queue of events serves this replica: the
// notifications and the journal are read too, and what was missed is asked for.
func (s *session) becomeActive(ctx context.Context) error {
	if s.active {
		return nil
	}
	s.active = true
	s.balance.begins()
	s.loop.Rest() // the broker may take its time to open the others
	s.log.Record(audit.Line{Event: audit.ConsumerActive, Why: "the queue " + s.queues().events + " delivers to this replica"})
	// Their leaders can be on a node that is frozen, while the events' is not: this replica
	// would be served on, and act on nothing.
	hangs := time.AfterFunc(setUpWithin, s.hangUp)
	defer hangs.Stop()
	var err error
	if s.notifications, err = openFeed(s.nova, s.queues().notifications, s.replica+" notifications", s.part.portion(prefetch)); err != nil {
		return err
	}
	s.notifications.acks = newAcks(s.notifications.channel)
	if err := s.openJournal(ctx); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	s.registry.tools.ask("a consumer has become active")
	return nil
}

// givesUp tells that this share is to be given to a replica that acts for fewer.
func (s *session) givesUp() bool {
	rival := s.rival
	s.rival = ""
	if rival == "" || s.part.only() || !s.active || s.registry.busy() {
		return false
	}
	mine, yes := s.balance.giveUp(s.rivalHolds)
	if yes {
		s.log.Record(audit.Line{
			Event: audit.ConsumerGivesUp, Decided: "to give up the share " + s.part.String(),
			Why: fmt.Sprintf("this replica acts for %d shares, %s for %d", mine, rival, s.rivalHolds),
		})
	}
	return yes
}

// noLongerActs is called at the session's end.
func (s *session) noLongerActs() {
	if s.active {
		s.balance.ends()
	}
}
