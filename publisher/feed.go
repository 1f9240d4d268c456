package publisher

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/wire"
)

// Feed stands where a libvirt would, so that a measurement can start at the entry
// of libvirt's callback: what is put in takes the callback's way from there. All
// its domains are Nova's.
type Feed struct {
	mu      sync.Mutex
	deliver func(lifecycle) // nil until the publisher has connected
}

var (
	_ hypervisor = (*Feed)(nil)
	_ connection = fed{}
)

// Call is a lifecycle event, as libvirt's callback gives it. It tells when it was
// entered; false before the publisher has connected.
func (f *Feed) Call(instance string, event wire.Event, detail wire.Detail) (time.Time, bool) {
	f.mu.Lock()
	deliver := f.deliver
	f.mu.Unlock()
	at := time.Now()
	if deliver == nil {
		return at, false
	}
	deliver(lifecycle{instance: instance, event: event, detail: detail, at: at})
	return at, true
}

func (f *Feed) connect(deliver func(lifecycle)) (connection, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deliver = deliver
	return fed{}, nil
}

// fed is a connection that has no domains of its own and is never lost.
type fed struct{}

func (fed) read(map[string]bool) ([]reading, error) { return nil, nil }
func (fed) owner(string) (ownership, error)         { return ownedByNova, nil }
func (fed) lost() <-chan error                      { return nil }
func (fed) close()                                  {}

// RunFed is [Run] with a feed in libvirt's place.
func RunFed(ctx context.Context, s Settings, f *Feed, drain time.Duration, board *health.Board, m *metrics.Publisher, log zerolog.Logger) error {
	return run(ctx, s, f, drain, board, m, log)
}
