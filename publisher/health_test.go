package publisher

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/wire"
)

func (b *bench) wantHealth(t *testing.T, live, ready bool, says string) {
	t.Helper()
	if v := b.board.Verdict(); v.Live() != live || v.Ready() != ready || !strings.Contains(v.String(), says) {
		t.Errorf("live %t, ready %t, %q; want live %t, ready %t, %q", v.Live(), v.Ready(), v, live, ready, says)
	}
}

// long is more than any delay between two attempts and any bound of a loop.
const long = 10 * time.Minute

// Whatever is away at the start and comes first, or goes later and comes back
// first: in the end the states are published, and it is ready.
func TestServersComeAndGoInAnyOrder(t *testing.T) {
	libvirt := func(b *bench, here bool) {
		b.libvirt.set(func() { b.libvirt.away = !here })
		if !here {
			b.libvirt.conn.gone <- errors.New("end of file")
		}
	}
	broker := func(b *bench, here bool) {
		b.broker.set(func() { b.broker.away = !here })
		if !here {
			b.broker.link.out <- lost{errors.New("connection closed")}
		}
	}
	for name, servers := range map[string][]func(*bench, bool){
		"libvirt first": {libvirt, broker},
		"broker first":  {broker, libvirt},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(b *bench) { withOne(b); b.libvirt.away, b.broker.away = true, true }, func(t *testing.T, b *bench) {
				come := func() {
					t.Helper()
					for _, server := range servers {
						time.Sleep(long)
						synctest.Wait()
						b.wantHealth(t, true, false, "not ready: ")
						if all := b.broker.take(); len(all) != 0 {
							t.Errorf("published %s", events(all))
						}
						server(b, true)
					}
					time.Sleep(long)
					synctest.Wait()
					statesAfterGap(t, b.broker.take())
					b.wantHealth(t, true, true, "ready: broker: connected; libvirt: connected")
				}
				come()
				for _, server := range servers {
					server(b, false)
				}
				synctest.Wait()
				come()
			})
		})
	}
}

func TestOneServerThatIsAwayIsNamed(t *testing.T) {
	inBubble(t, func(b *bench) { b.libvirt.away = true }, func(t *testing.T, b *bench) {
		time.Sleep(long)
		b.wantHealth(t, true, false, "not ready: libvirt: no socket")
	})
	inBubble(t, func(b *bench) { b.broker.away = true }, func(t *testing.T, b *bench) {
		time.Sleep(long)
		b.wantHealth(t, true, false, "not ready: broker: connection refused")
	})
}

// A server that is there and frozen is no loop that is stuck.
func TestServerThatIsFrozenIsNoStuckLoop(t *testing.T) {
	inBubble(t, func(b *bench) { withOne(b); b.libvirt.hold = make(chan struct{}) }, func(t *testing.T, b *bench) {
		time.Sleep(long)
		b.wantHealth(t, true, false, "libvirt: does not answer about its domains")
		close(b.libvirt.hold)
		synctest.Wait()
		b.wantHealth(t, true, true, "")

		b.broker.link.out <- blocked{true, "low on memory"}
		synctest.Wait()
		b.wantHealth(t, true, false, "broker: connected, but it blocks publishers: low on memory")
		b.broker.link.out <- blocked{false, ""}
		synctest.Wait()
		b.wantHealth(t, true, true, "")

		b.broker.set(func() { b.broker.stalled = true })
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		time.Sleep(long)
		if v := b.board.Verdict(); !v.Live() {
			t.Errorf("a broker that does not read: %s", v)
		}
	})
}

// A loop with nothing to do rests; at whatever it has to do it is watched.
func TestLoopThatDoesNotComeRoundIsStuck(t *testing.T) {
	for name, c := range map[string]struct {
		hangs func(hang chan struct{}) plugs
		do    func(b *bench)
	}{
		"an event": {
			func(hang chan struct{}) plugs { return hangsAtEvents{noPlugs{}, hang} },
			func(b *bench) { b.libvirt.call(one, wire.Suspended, wire.Migrated) },
		},
		"a reading": {
			func(hang chan struct{}) plugs { return &hangsAtReadings{hang: hang} },
			func(b *bench) { b.libvirt.conn.gone <- errors.New("end of file") },
		},
		"what came before the connection was lost": {
			func(hang chan struct{}) plugs { return hangsAtEvents{noPlugs{}, hang} },
			func(b *bench) {
				b.libvirt.conn.gone <- errors.New("end of file")
				b.libvirt.call(one, wire.Suspended, wire.Migrated)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var hang chan struct{}
			inBubble(t, func(b *bench) {
				hang = make(chan struct{})
				withOne(b)
				b.watcher.plugs = c.hangs(hang)
			}, func(t *testing.T, b *bench) {
				time.Sleep(long)
				b.wantHealth(t, true, true, "")
				c.do(b)
				time.Sleep(long)
				b.wantHealth(t, false, false, "not ready: watcher: stuck: ")
				close(hang)
				time.Sleep(long)
				b.wantHealth(t, true, true, "")
			})
		})
	}
}

// What ought to answer from memory, and does not.
type (
	hangsAtEvents struct {
		noPlugs
		hang chan struct{}
	}
	hangsAtReadings struct {
		noPlugs
		hang  chan struct{}
		reads int
	}
)

func (p hangsAtEvents) Heard(string, wire.Event, wire.Detail) []string {
	<-p.hang
	return nil
}

func (p *hangsAtReadings) Read([]wire.DomainState) {
	if p.reads++; p.reads > 1 {
		<-p.hang
	}
}

func TestNoLoopIsWatchedAfterTheEnd(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.cancel()
		<-b.done
		time.Sleep(long)
		if v := b.board.Verdict(); !v.Live() {
			t.Errorf("%s", v)
		}
	})
}
