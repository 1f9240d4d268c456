package ovs

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/wire"
)

// bench is a Replugger on a fake database, in a synctest bubble.
type bench struct {
	*Replugger
	d *fakeDatabase

	mu     sync.Mutex
	refuse bool // connections
	conn   net.Conn
	dialed int
	log    logBuffer

	registry *prometheus.Registry
}

func inBubble(t *testing.T, test func(*testing.T, *bench)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := &bench{d: newFakeDatabase()}
		b.Replugger = newReplugger(b.dial, filepath.Join(t.TempDir(), "replug.json"), zerolog.New(&b.log))
		b.registry = prometheus.NewRegistry()
		b.metrics = metrics.NewPublisher(b.registry)
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { b.Run(ctx) })
		synctest.Wait()
		test(t, b)
		cancel()
		done.Wait()
	})
}

func (b *bench) dial(context.Context) (net.Conn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.dialed++
	if b.refuse {
		return nil, errors.New("no such file")
	}
	ours, theirs := net.Pipe()
	b.conn = theirs
	go b.d.serve(theirs)
	return ours, nil
}

// cut ends the session, and refuses new ones until told otherwise.
func (b *bench) cut(refuse bool) {
	b.mu.Lock()
	b.refuse = refuse
	conn := b.conn
	b.mu.Unlock()
	_ = conn.Close()
	synctest.Wait()
}

func (b *bench) allow() {
	b.mu.Lock()
	b.refuse = false
	b.mu.Unlock()
}

// lines gives the log's lines with a message.
func (b *bench) lines(t *testing.T, message string) (found []map[string]any) {
	t.Helper()
	synctest.Wait()
	for text := range strings.Lines(b.log.String()) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(text), &fields); err != nil {
			t.Fatalf("not a JSON line: %q", text)
		}
		if fields["message"] == message {
			found = append(found, fields)
		}
	}
	return found
}

func (b *bench) plug(port string) {
	b.d.add("br-int", first(wired(tapOf(port), port, guest1)), second(wired(tapOf(port), port, guest1)))
	synctest.Wait()
}

func (b *bench) remove(port string) {
	b.d.remove(tapOf(port))
	synctest.Wait()
}

func (b *bench) hear(event wire.Event, detail wire.Detail) []string {
	ports := b.Heard(guest1, event, detail)
	synctest.Wait()
	return ports
}

// due lets the time pass after which a missing interface is put back.
func (b *bench) due() {
	time.Sleep(shortestDelay)
	synctest.Wait()
}

func (b *bench) wire(port string) {
	(&story{d: b.d}).agentWires(port)
	synctest.Wait()
}

func TestReplugFromPauseToVerified(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA) // after the monitor's first contents
		if got := b.hear(wire.Suspended, wire.Migrated); !slices.Equal(got, []string{portA}) {
			t.Fatalf("announced %v", got)
		}
		b.remove(portA)
		time.Sleep(time.Second)
		if got := b.d.names(); got != "" {
			t.Fatalf("plugged in while the guest stands still: %q", got)
		}
		b.hear(wire.Resumed, wire.Unpaused)
		b.due()
		if got := b.d.names(); got != "tapa" {
			t.Fatalf("ports %q", got)
		}
		time.Sleep(3 * time.Second)
		b.remove(portA) // the agent again
		b.due()
		if got := b.d.names(); got != "tapa" {
			t.Fatalf("ports %q", got)
		}
		time.Sleep(1500 * time.Millisecond)
		b.wire(portA)
		if got := b.d.row(tableInterface, "tapa"); string(got["of_a_later_release"]) != "3" {
			t.Errorf("the row is not whole: %s", raw(got))
		}
		verified := b.lines(t, "replug verified")
		if len(verified) != 1 || verified[0]["port"] != portA || verified[0]["interface"] != "tapa" || verified[0]["attempt"] != 2.0 ||
			verified[0]["ofport"] != 9.0 || verified[0]["took_ms"] != 1500.0 || verified[0]["instance"] != guest1 {
			t.Errorf("lines %v", verified)
		}
		plugged := b.lines(t, "port plugged in again")
		if len(plugged) != 2 || plugged[0]["bridge"] != "br-int" || plugged[0]["attempt"] != 1.0 {
			t.Errorf("lines %v", plugged)
		}
		if armed := b.lines(t, "replug armed"); len(armed) != 1 || len(armed[0]["ports"].([]any)) != 1 {
			t.Errorf("lines %v", armed)
		}
		time.Sleep(window)
		b.remove(portA) // detached by Nova
		time.Sleep(window)
		if got := b.d.names(); got != "" || len(b.lines(t, "replug disarmed")) != 1 {
			t.Errorf("ports %q after the minute", got)
		}
		b.wantReplugs(t, 1, 0, 0)
	})
}

func TestDelayIsKeptWithoutAnyEvent(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA)
		b.hear(wire.Suspended, wire.Migrated)
		b.hear(wire.Resumed, wire.Unpaused)
		b.remove(portA)
		if got := b.d.names(); got != "" {
			t.Fatalf("plugged in at once: %q", got)
		}
		b.due()
		if got := b.d.names(); got != "tapa" {
			t.Errorf("ports %q", got)
		}
	})
}

func TestNothingIsAnnouncedWhileTheDatabaseIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA)
		b.cut(true)
		if got := b.hear(wire.Suspended, wire.Migrated); got != nil {
			t.Errorf("announced %v", got)
		}
		b.hear(wire.Resumed, wire.Unpaused)
		time.Sleep(time.Minute)
		b.allow()
		time.Sleep(2 * maxDelay)
		if got := b.hear(wire.Suspended, wire.Migrated); !slices.Equal(got, []string{portA}) {
			t.Errorf("connected again: announced %v", got)
		}
		if n := len(b.lines(t, "Open vSwitch database is away: nothing is announced for re-plug")); n < 3 {
			t.Errorf("%d lines", n)
		}
	})
}

// What was saved outlives the session; what is there, the new session tells.
func TestDatabaseLostBetweenPauseAndResume(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA)
		b.plug(portB)
		b.hear(wire.Suspended, wire.Migrated)
		b.cut(true)
		b.remove(portA) // while nobody looks
		b.hear(wire.Resumed, wire.Unpaused)
		time.Sleep(10 * time.Second)
		b.allow()
		time.Sleep(2 * maxDelay)
		synctest.Wait()
		if got := b.d.names(); got != "tapa tapb" {
			t.Errorf("ports %q", got)
		}
		if plugged := b.lines(t, "port plugged in again"); len(plugged) != 1 || plugged[0]["port"] != portA {
			t.Errorf("lines %v", plugged)
		}
	})
}

// A publisher that is killed while the guest stands still puts back after its
// next start what it has announced before.
func TestRestartBetweenPauseAndResume(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA)
		b.hear(wire.Suspended, wire.Migrated)
		if info, err := os.Stat(b.file); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("the file: %v, %v", info, err)
		}
		b.remove(portA)

		next := newReplugger(b.dial, b.file, zerolog.Nop())
		ctx, cancel := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { next.Run(ctx) })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := b.d.names(); got != "" {
			t.Fatalf("plugged in before libvirt was asked: %q", got)
		}
		next.Read([]wire.DomainState{{Instance: guest1, State: "running"}})
		b.due()
		if got := b.d.row(tableInterface, "tapa"); string(got["of_a_later_release"]) != "3" {
			t.Errorf("the row is not whole: %s", raw(got))
		}
		b.wire(portA)
		time.Sleep(window)
		synctest.Wait()
		if _, err := os.Stat(b.file); !os.IsNotExist(err) {
			t.Errorf("the file outlives the minute: %v", err)
		}
		cancel()
		done.Wait()
	})
}

func TestFileThatCannotBeReadOrWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "replug.json")
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log logBuffer
	if r := newReplugger(nil, file, zerolog.New(&log)); len(r.levels.guests) != 0 || !strings.Contains(log.String(), "cannot be read") {
		t.Errorf("got %s", log.String())
	}
}

// What cannot be kept is not promised: a publisher that starts anew would not know of it.
func TestNothingIsAnnouncedThatCannotBeKept(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		directory := filepath.Join(t.TempDir(), "full")
		b.file = filepath.Join(directory, "replug.json")
		b.plug(portA)
		if got := b.hear(wire.Suspended, wire.Migrated); len(got) != 1 {
			t.Fatalf("announced %v", got) // nobody knows yet
		}
		if n := len(b.lines(t, "replug: what is saved is not kept over a restart, and nothing is announced until it can be")); n != 1 {
			t.Errorf("%d lines", n)
		}
		if got := b.hear(wire.Suspended, wire.Migrated); got != nil {
			t.Errorf("announced %v", got)
		}
		if err := os.Mkdir(directory, 0o700); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * storeAgain)
		if got := b.hear(wire.Suspended, wire.Migrated); len(got) != 1 {
			t.Errorf("it can be kept again: announced %v", got)
		}
		if kept, err := load(b.file); err != nil || len(kept) != 1 {
			t.Errorf("kept %v, %v", kept, err)
		}
	})
}

// An event right before the end is kept too.
func TestWhatWasAnnouncedLastIsKept(t *testing.T) {
	for range 20 { // the end and the wake come at once, and either may be taken first
		synctest.Test(t, func(t *testing.T) {
			b := &bench{d: newFakeDatabase()}
			b.Replugger = newReplugger(b.dial, filepath.Join(t.TempDir(), "replug.json"), zerolog.New(&b.log))
			ctx, cancel := context.WithCancel(t.Context())
			var done sync.WaitGroup
			done.Go(func() { b.Run(ctx) })
			synctest.Wait()
			b.plug(portA)
			if got := b.Heard(guest1, wire.Suspended, wire.Migrated); len(got) != 1 {
				t.Fatalf("announced %v", got)
			}
			cancel()
			done.Wait()
			if kept, err := load(b.file); err != nil || len(kept) != 1 {
				t.Fatalf("kept %v, %v", kept, err)
			}
		})
	}
}

// A transaction whose answer never came is not waited for in the next session.
func TestSessionLostWithATransactionUnderWay(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA)
		b.hear(wire.Suspended, wire.Migrated)
		b.remove(portA)
		mute := func(on bool) {
			b.d.mu.Lock()
			defer b.d.mu.Unlock()
			b.d.mute = on
		}
		mute(true)
		b.hear(wire.Resumed, wire.Unpaused)
		b.due()
		mute(false)
		b.cut(false)
		time.Sleep(2 * maxDelay)
		synctest.Wait()
		if got := b.d.names(); got != "tapa" {
			t.Errorf("ports %q", got)
		}
		if plugged := b.lines(t, "port plugged in again"); len(plugged) != 1 || plugged[0]["attempt"] != 2.0 {
			t.Errorf("lines %v", plugged)
		}
	})
}

func TestReadingBeginsTheMinute(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA)
		b.hear(wire.Suspended, wire.Migrated)
		b.remove(portA)
		b.Read([]wire.DomainState{{Instance: guest1, State: "running"}})
		b.due()
		if got := b.d.names(); got != "tapa" {
			t.Errorf("ports %q", got)
		}
		time.Sleep(window) // and the agent does not wire it
		if got := b.lines(t, sayLong); len(got) != 1 {
			t.Errorf("lines %v", got)
		}
		time.Sleep(longestWatch)
		synctest.Wait()
		b.wantReplugs(t, 0, 1, 1)
	})
}

// A server that says nothing any more, as when it was stopped, is taken for away.
func TestSilentDatabaseIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T, b *bench) {
		b.plug(portA)
		time.Sleep(time.Hour)
		if b.dialed != 1 {
			t.Fatalf("%d sessions in a quiet hour", b.dialed)
		}
		b.d.mu.Lock()
		b.d.mute = true
		b.d.mu.Unlock()
		time.Sleep(silenceBound + echoInterval)
		if got := b.hear(wire.Suspended, wire.Migrated); got != nil {
			t.Errorf("announced %v", got)
		}
		away := b.lines(t, "Open vSwitch database is away: nothing is announced for re-plug")
		if len(away) == 0 || !strings.Contains(away[0]["error"].(string), "has said nothing for 12s") {
			t.Errorf("lines %v", away)
		}
		b.d.mu.Lock()
		b.d.mute = false
		b.d.mu.Unlock()
		time.Sleep(handshakeBound + 2*maxDelay)
		if got := b.hear(wire.Suspended, wire.Migrated); len(got) != 1 {
			t.Errorf("announced %v", got)
		}
	})
}

func TestServersEchoIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		s := newSession(ours)
		go func() { _, _ = s.receive(time.Minute) }()
		if _, err := theirs.Write([]byte(`{"method":"echo","params":["x"],"id":"echo"}`)); err != nil {
			t.Fatal(err)
		}
		var answer map[string]any
		if err := json.NewDecoder(theirs).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		if answer["id"] != "echo" || answer["error"] != nil || len(answer["result"].([]any)) != 1 {
			t.Errorf("got %v", answer)
		}
		_ = theirs.Close()
		_ = ours.Close()
	})
}

// What a server says amiss ends the session, and the next one is tried.
func TestServerThatTalksNonsense(t *testing.T) {
	for _, answer := range []string{
		`{"id":1,"result":null,"error":{"error":"unknown database"}}`,
		`{"id":1,"result":{"tables":{}},"error":null}`,
		`nonsense`,
	} {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			go func() {
				var request any
				_ = json.NewDecoder(theirs).Decode(&request)
				_, _ = theirs.Write([]byte(answer))
			}()
			if err := newSession(ours).serve(t.Context(), func(any) { t.Error("opened") }); err == nil {
				t.Error("no error")
			}
			_ = theirs.Close()
		})
	}
}
