package consumer

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
)

// Consumer is one replica.
type Consumer struct {
	settings Settings
	core     handover.Settings
	neutron  Neutron
	log      audit.Log
	replica  string
	clock    func() time.Duration
	breaker  *breaker

	refusals sync.Map // reason -> true: each is said once
	doubts   doubts
}

// New makes a replica that acts on neutron. safe tells what Neutron allows
// ([handover.Settings.ConcurrentActivateSafe]).
func New(s Settings, neutron Neutron, safe bool, log audit.Log, replica string) *Consumer {
	start := time.Now()
	clock := func() time.Duration { return time.Since(start) }
	return &Consumer{
		settings: s,
		core: handover.Settings{
			Policy: s.Policy, Networks: s.PolicyNetworks, Drivers: s.PolicyDrivers, Repair: s.Repair, ConcurrentActivateSafe: safe,
		},
		neutron: neutron,
		log:     log,
		replica: replica,
		clock:   clock,
		breaker: newBreaker(s.BreakerFailures, s.BreakerPause, clock),
	}
}

// ReplicaName names this process: unique per start, and telling where it runs.
func ReplicaName() string {
	host, err := os.Hostname()
	if err != nil {
		host = "consumer"
	}
	return fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])
}

// Run serves session after session until the context ends.
func (c *Consumer) Run(ctx context.Context) error {
	wait := broker.Backoff()
	for {
		err := c.serve(ctx, wait.Reset)
		if ctx.Err() != nil {
			return nil
		}
		delay := wait.NextBackOff()
		c.log.Record(audit.Line{Event: audit.ConsumerLost, Err: err, Decided: "to connect again", Figures: map[string]int64{"delay_ms": delay.Milliseconds()}})
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
}

// refuse says once per reason that a sender is not believed.
func (c *Consumer) refuse(reason error) {
	if _, said := c.refusals.LoadOrStore(reason.Error(), true); !said {
		c.log.Record(audit.Line{Event: audit.HostRefused, Why: reason.Error(), Decided: "its messages are dropped"})
	}
}
