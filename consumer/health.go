package consumer

import (
	"fmt"
	"time"
)

// factBroker names what the board says of the session with the broker.
func (c *Consumer) factBroker() string { return "broker" + c.name }

// sayHow puts on the board how the session stands.
func (s *session) sayHow() {
	since, active := s.lease.queued()
	switch {
	case s.sender.blocked.Load():
		s.health.Lacks(s.factBroker(), "connected, but it blocks publishers, for want of memory or disk: nothing is written")
	case !active:
		s.health.Has(s.factBroker(), "connected; this replica stands by, the queue "+s.queues().events+" delivers to another")
	case s.lease.held() && s.halts.now().Unknown != "":
		s.health.Lacks(s.factBroker(), "connected; this replica acts, but it is not known what is paused, and nothing is activated early: "+s.halts.now().Unknown)
	case s.lease.held():
		s.health.Has(s.factBroker(), "connected; this replica acts")
	default:
		s.health.Lacks(s.factBroker(), fmt.Sprintf("connected, but the queue %s has not delivered for %s: nothing is written", s.queues().events, since.Round(time.Second)))
	}
}
