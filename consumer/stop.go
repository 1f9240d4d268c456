package consumer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/wire"
)

// finishRestores is how long a consumer that is to stop within drain goes on
// for the sake of the restores that are under way. What follows takes as long as
// the last answers of Neutron and the broker's goodbye.
func finishRestores(drain time.Duration) time.Duration {
	return max(0, drain-requestTimeout-closeWithin)
}

// stopping is told once that the replica is to stop.
func (s *session) stopping(within time.Duration) {
	line := audit.Line{Event: audit.ConsumerStopping, Decided: "to give the queue to another replica"}
	if s.registry.restoring() {
		line.Decided = fmt.Sprintf("to give the queue to another replica when the restores under way have ended, after %s at most", within)
	}
	s.log.Record(line)
}

// letGo writes nothing more and gives the queues to another replica, with what had come and
// was not taken. A session that ends for any other reason than its connection must not keep
// them while it waits for the answers to its writes.
func (s *session) letGo() error {
	if s.gone {
		return nil
	}
	s.gone = true
	s.lease.drop()
	hangs := time.AfterFunc(closeWithin, s.hangUp)
	defer hangs.Stop()
	// The notifications first: whoever gets the events opens them.
	return errors.Join(s.notifications.giveBack(), s.events.giveBack())
}

// leaveJournal gives the journal to another replica, which makes no restore before it has read
// it. What this one has written down is in it, and nothing is begun any more.
func (s *session) leaveJournal() {
	if s.journalled.channel == nil {
		return
	}
	hangs := time.AfterFunc(closeWithin, s.hangUp)
	defer hangs.Stop()
	_ = s.journalled.channel.Close() // fails only with the connection
}

// release gives the queue to another replica, with the messages of every instance
// that nothing is under way for, and returns when the writes that are under way
// have been answered; each instance's messages go back when its own have. Nothing
// new is sent meanwhile.
//
// The journal goes too. stop ends what the session has started.
func (s *session) release(stop context.CancelFunc) error {
	began := s.clock()
	if err := s.letGo(); err != nil {
		return err
	}
	stop()
	s.leaveJournal()
	s.registry.wait()
	s.writing.Wait()
	err := s.doubts.flush(func(e wire.JournalEntry) error { return s.writeDoubt(context.Background(), e) })
	s.log.Record(audit.Line{Event: audit.ConsumerStopped, Outcome: "the queue is given back, every write is answered", Took: s.clock() - began, Err: err})
	return nil
}
