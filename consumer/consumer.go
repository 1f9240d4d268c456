package consumer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/consumer/metrics"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/health"
)

// Consumer is one replica, of one share of one cell.
type Consumer struct {
	settings Settings
	core     handover.Settings
	neutron  Neutron
	log      audit.Log
	dial     func(ctx context.Context, s broker.Settings, names ...string) ([]*amqp.Connection, error)
	replica  string
	clock    func() time.Duration
	breaker  *breaker
	halts    halts
	part     share
	balance  *balance
	name     string // on the board: empty, or the cell and the share where there are several
	health   *health.Board
	metrics  *metrics.Cell
	serving  atomic.Pointer[session] // nil while there is none

	refusals refusals
	// journalFull: the journal took nothing when last written to.
	journalFull atomic.Bool
	doubts      doubts
}

// Replica is what the consumers of one process have in common.
type Replica struct {
	Name    string // unique: [ReplicaName]
	Neutron Neutron
	// ConcurrentActivateSafe tells what Neutron allows ([handover.Settings.ConcurrentActivateSafe]).
	ConcurrentActivateSafe bool
	Log                    audit.Log
	Board                  *health.Board
	Metrics                *metrics.Consumer // nil: none
}

// New makes the replica's consumer of one cell, and of all its shares.
func New(s Settings, r Replica) *Consumer {
	start := time.Now()
	clock := func() time.Duration { return time.Since(start) }
	return &Consumer{
		settings: s,
		core:     s.core(r.ConcurrentActivateSafe),
		neutron:  r.Neutron,
		log:      r.Log,
		dial:     broker.DialTogether,
		replica:  r.Name,
		clock:    clock,
		breaker:  newBreaker(s.BreakerFailures, s.BreakerPause, clock),
		balance:  &balance{clock: clock},
		health:   r.Board,
	}
}

func (c *Consumer) queues() queues { return c.settings.queuesOf(c.part) }

// ReplicaName names this process: unique per start, and telling where it runs.
func ReplicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "consumer"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])
}

// Run serves session after session until the context ends. It then has drain to
// return: restores that are under way are finished as far as that allows, and the
// answers to writes are waited for, while another replica acts already. It says
// on the board how it stands.
func (c *Consumer) Run(ctx context.Context, drain time.Duration) error {
	wait := broker.Backoff()
	c.health.Lacks(c.factBroker(), "not connected yet")
	var err error
	defer func() { c.giveUp(err) }()
	for {
		var began time.Time // of the session; zero if it was not set up
		if err = c.serve(ctx, drain, func() { began = time.Now() }); ctx.Err() != nil {
			return nil
		}
		if !began.IsZero() && time.Since(began) > settledSession {
			wait.Reset()
		}
		if errors.Is(err, errGivenUp) {
			wait.Reset()
			continue // to wait for it behind the others
		}
		c.health.Lacks(c.factBroker(), err.Error())
		delay := wait.NextBackOff()
		c.log.Record(audit.Line{Event: audit.ConsumerLost, Err: err, Decided: "to connect again", Figures: map[string]int64{"delay_ms": delay.Milliseconds()}})
		select {
		case <-ctx.Done():
			err = nil // it was told
			return nil
		case <-time.After(delay):
		}
	}
}

// giveUp tells what a stop has left: that its session was lost before the drain had
// ended, and the ports that should have been written to the journal.
func (c *Consumer) giveUp(err error) {
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, errGivenUp) {
		c.log.Record(audit.Line{Event: audit.ConsumerLost, Err: err, Decided: "to stop; another replica takes over"})
	}
	for _, e := range c.doubts.take() {
		c.log.Record(audit.Line{
			Event: audit.HandoverAlarm, Kind: audit.AlarmJournal, Handover: audit.Handover{Instance: e.Instance}, Port: e.Port, Host: e.Host,
			Why:     "it is not in the journal, and this replica stops: " + e.Why,
			Decided: "look at its rows, and mend them by docs/repair.md",
		})
	}
}

// maxRefusals bounds how many refusals are said and remembered: a host that has been broken
// into chooses in whose name it speaks.
const maxRefusals = 1000

// refusals are the reasons that were said.
type refusals struct {
	mu   sync.Mutex
	said map[string]bool
}

// first tells whether a reason is to be said: once each, and no more than there is room for.
// last: it is the last one.
func (r *refusals) first(reason string) (yes, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.said[reason] || len(r.said) >= maxRefusals {
		return false, false
	}
	if r.said == nil {
		r.said = map[string]bool{}
	}
	r.said[reason] = true
	return true, len(r.said) == maxRefusals
}

// refuse counts a message whose sender is not believed, and says so once per reason.
// Every share refuses it; one of them counts it and says so.
func (c *Consumer) refuse(reason error) {
	why := reasonOf(reason)
	if !c.part.has(why) {
		return
	}
	c.metrics.Refused(kindOf(reason))
	yes, last := c.refusals.first(why)
	if !yes {
		return
	}
	line := audit.Line{Event: audit.HostRefused, Kind: kindOf(reason), Why: why, Decided: "its messages are dropped"}
	if last {
		line.Decided += "; whatever else is refused from now on is only counted"
	}
	c.log.Record(line)
}
