package publisher

import (
	"context"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/publisher/ovs"
	"github.com/earlybind/earlybind/wire"
)

const (
	// roundWithin bounds one round of the watcher's and of the sender's loop, which
	// take microseconds: whatever waits for libvirt or the broker is no part of it.
	roundWithin = 30 * time.Second
	// endBound is more than the end takes beside the flush and the goodbye.
	endBound = time.Second
	// processors is more than the work needs. Go has something of its own for each that
	// it may use: on a compute host with 128, some 5 MiB and 30 threads.
	processors = 4
)

// Facts on the board.
const (
	factLibvirt = "libvirt"
	factBroker  = "broker"
)

// Run publishes until ctx ends; what is buffered then is published and its
// confirmation awaited, within drain, and nil returned. A libvirt or a broker
// that is away, at the start or later, is ridden out, and said on the board. An
// error means that it could not begin: the epoch could not be stored, or
// libvirt's library is not there.
//
// Run is to be called once per process: libvirt's event loop has no end, and Go is told to
// use few processors.
func Run(ctx context.Context, s Settings, drain time.Duration, board *health.Board, m *metrics.Publisher, log zerolog.Logger) error {
	runtime.GOMAXPROCS(min(runtime.GOMAXPROCS(0), processors))
	hypervisor, err := newDaemon(s.LibvirtURI, log)
	if err != nil {
		return err
	}
	return run(ctx, s, hypervisor, drain, board, m, log)
}

func run(ctx context.Context, s Settings, h hypervisor, drain time.Duration, board *health.Board, m *metrics.Publisher, log zerolog.Logger) error {
	epoch, err := nextEpoch(s.StateDir, time.Now())
	if err != nil {
		return err
	}
	p := newPublisher(s, epoch, h, dialAMQP(s), board, m, log)
	p.drain = flushWithin(drain)
	p.run(ctx)
	return nil
}

// flushWithin leaves of the drain what the broker's goodbye may take, and the rest of the end: one that hangs takes
// all of it.
func flushWithin(drain time.Duration) time.Duration { return max(0, drain-closeBound-endBound) }

// publisher is the watcher and the sender, and how they stop.
type publisher struct {
	watcher   watcher
	sender    sender
	replugger *ovs.Replugger // nil: none
	log       zerolog.Logger
	drain     time.Duration // how long a stop waits for the broker
}

func newPublisher(s Settings, epoch int64, h hypervisor, dial dialer, board *health.Board, m *metrics.Publisher, log zerolog.Logger) *publisher {
	board.Lacks(factLibvirt, "not connected yet")
	board.Lacks(factBroker, "not connected yet")
	log = log.With().Str("host", s.Host).Logger()
	out, wanted := newOutbox(s.EventBuffer), newStatesWanted()
	m.Backlog(out.backlog)
	p := &publisher{
		watcher: watcher{
			host: s.Host, hypervisor: h, outbox: out, wanted: wanted, log: log,
			newInbox: func() *inbox { return newInbox(inboxSize) },
			order:    wire.Order{Epoch: epoch},
			domains:  newDomains(),
			plugs:    noPlugs{},
			board:    board,
			loop:     board.Loop("watcher", roundWithin),
			metrics:  m,
		},
		sender: sender{
			host: s.Host, dial: dial, outbox: out, wanted: wanted, log: log,
			board:   board,
			loop:    board.Loop("sender", roundWithin),
			metrics: m,

			confirmBound: confirmBound,
		},
		log: log,
	}
	if s.OVSDB != "" {
		p.replugger = ovs.New(s.OVSDB, filepath.Join(s.StateDir, "replug.json"), m, log)
		p.watcher.plugs = p.replugger
	}
	return p
}

// run stops in two steps: libvirt first, and the broker when it has everything
// or the bound is reached.
func (p *publisher) run(ctx context.Context) {
	p.log.Info().Int64("epoch", p.watcher.order.Epoch).Msg("publisher started")
	sending, stopSending := context.WithCancel(context.WithoutCancel(ctx))
	defer stopSending()
	var others sync.WaitGroup
	others.Go(func() { p.sender.run(sending) })
	if p.replugger != nil {
		// It ends after the watcher, so that nothing is announced that is not kept.
		others.Go(func() { p.replugger.Run(sending) })
	}

	p.watcher.run(ctx)

	bound := time.NewTimer(p.drain)
	defer bound.Stop()
	select {
	case <-p.watcher.outbox.finish():
	case <-bound.C:
	}
	stopSending()
	others.Wait()
	if n := p.watcher.outbox.len(); n > 0 {
		p.log.Error().Int("dropped", n).Msg("publisher stopped before the broker had everything")
		return
	}
	p.log.Info().Msg("publisher stopped")
}
