package consumer

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// large is a Neutron that has one port of every instance, without a network.
type large struct {
	neutron          // what is not asked for here
	moved   sync.Map // instance -> true: it was activated on the destination
}

func (l *large) port(instance string) port.Port {
	p := prepared(instance)
	if _, moved := l.moved.Load(instance); moved {
		p = committed(instance)
	}
	p.Device = instance
	return *p
}

func (l *large) Ports(_ context.Context, instance string) ([]port.Port, error) {
	return []port.Port{l.port(instance)}, nil
}

func (l *large) Read(_ context.Context, id string) (port.Port, error) { return l.port(id), nil }

func (l *large) Activate(_ context.Context, id, _ string) error {
	l.moved.Store(id, true)
	return nil
}

// load is a registry under load. Its actors are the real ones.
type load struct {
	*registry
	order wire.Order
	said  chan audit.Line // the lines that are waited for
}

func newLoad(b *testing.B) *load {
	l := &load{order: wire.Order{Epoch: 1}, said: make(chan audit.Line, 64)}
	k := newKit(newNeutron())
	ctx, stop := context.WithCancel(b.Context())
	log := audit.New(io.Discard, zerolog.InfoLevel, "r")
	k.tools.neutron = &large{}
	k.tools.audit = func(line audit.Line) {
		log.Record(line)
		switch line.Event {
		case audit.HandoverArmed, audit.PortWritten, audit.HandoverEnded:
			select {
			case l.said <- line:
			case <-ctx.Done():
			}
		}
	}
	l.registry = newRegistry(ctx, k.tools)
	b.Cleanup(func() {
		stop()
		l.wait()
	})
	return l
}

func (l *load) next() wire.Order {
	l.order.Sequence++
	return l.order
}

func (l *load) says(host, instance string, event wire.Event, detail wire.Detail) {
	l.event(wire.HostEvent{Host: host, Order: l.next(), Instance: instance, Event: event, Detail: detail, At: time.Now()}, 5*time.Second, false, func() {})
}

// until waits for a line of an instance; lines of others are none of its business.
func (l *load) until(event audit.Event, instance string) {
	for line := range l.said {
		if line.Event == event && line.Handover.Instance == instance {
			return
		}
	}
}

// arm has a handover begin and waits until its ports are known.
func (l *load) arm(instance string) {
	l.says(dst, instance, wire.Started, wire.Migrated)
	l.until(audit.HandoverArmed, instance)
}

// armAll has many handovers armed.
func (l *load) armAll(count int) {
	var announcing sync.WaitGroup
	announcing.Go(func() {
		for i := range count {
			l.says(dst, uuid(i), wire.Started, wire.Migrated)
		}
	})
	for armed := 0; armed < count; {
		if line := <-l.said; line.Event == audit.HandoverArmed {
			armed++
		}
	}
	announcing.Wait()
}

// handOver is the rest of a handover that goes well, until the instance is forgotten.
func (l *load) handOver(instance string) {
	l.says(src, instance, wire.Suspended, wire.Migrated)
	l.until(audit.PortWritten, instance)
	l.says(src, instance, wire.Stopped, wire.Migrated)
	l.nova(wire.NovaEvent{Instance: instance, RequestID: "r", Step: wire.NovaPostDest, Ended: true, PublisherHost: dst, PayloadHost: dst}, false, func() {})
	l.until(audit.HandoverEnded, instance)
	delete(l.actors, instance)
}

// live is what is in use of heap and stacks, in bytes.
func live() float64 {
	var m runtime.MemStats
	for range 2 { // the second shrinks the stacks
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}

func uuid(n int) string { return fmt.Sprintf("%08x-0000-4000-8000-000000000000", n) }

// BenchmarkHandover is one whole handover while others are armed.
func BenchmarkHandover(b *testing.B) {
	for _, armed := range []int{10, 1000, 100_000} {
		b.Run(fmt.Sprintf("armed=%d", armed), func(b *testing.B) {
			b.ReportAllocs()
			l := newLoad(b)
			before := live()
			l.armAll(armed)
			each := (live() - before) / float64(armed)
			next := armed
			for b.Loop() {
				next++
				l.arm(uuid(next))
				l.handOver(uuid(next))
			}
			b.ReportMetric(each, "live-B/armed")
		})
	}
}

// BenchmarkMessage is one host event about an armed handover, from its bytes on,
// when so many hosts have been heard of.
func BenchmarkMessage(b *testing.B) {
	for _, hosts := range []int{1, 1000} {
		b.Run(fmt.Sprintf("hosts=%d", hosts), func(b *testing.B) {
			b.ReportAllocs()
			l := newLoad(b)
			l.says(dst, guest, wire.Started, wire.Migrated)
			for host := range hosts {
				l.states(wire.HostStates{Schema: wire.SchemaVersion, Host: fmt.Sprintf("other%d", host), Order: wire.Order{Epoch: 1}})
			}
			settings := defaults()
			for b.Loop() {
				b.StopTimer()
				e := wire.HostEvent{
					Schema: wire.SchemaVersion, Host: src, Order: l.next(), Instance: guest, Event: wire.Suspended, Detail: wire.Migrated, At: time.Now(),
				}
				n, err := wire.NewNotification(wire.PublisherID(src), e.EventType(), e, "id", e.At)
				if err != nil {
					b.Fatal(err)
				}
				body, err := n.Encode()
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				m, err := settings.read(delivered{exchange: wire.ExchangeEvents, userID: settings.HostUserPrefix + src, body: body})
				if err != nil {
					b.Fatal(err)
				}
				l.take(m, func(wire.HostEvent) time.Duration { return 0 }, false, func() {})
			}
			if h := l.actors[guest].core.Current(); h == nil || h.Phase() != handover.Paused {
				b.Fatalf("the handover is %+v", h)
			}
		})
	}
}
