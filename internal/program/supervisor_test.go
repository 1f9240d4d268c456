package program

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/internal/health"
)

// supervised is a program in a bubble.
type supervised struct {
	signals chan os.Signal
	board   *health.Board
	log     bytes.Buffer
	code    chan int
}

const testDrain = 25 * time.Second

func supervise(work Work) *supervised {
	p := &supervised{signals: make(chan os.Signal, 2), board: health.NewBoard(), code: make(chan int, 1)}
	s := supervisor{name: "program", drain: testDrain, signals: p.signals, board: p.board, log: &p.log}
	go func() { p.code <- s.run(work) }()
	synctest.Wait()
	return p
}

// ended gives the exit code, when the program ends, and what it said.
func (p *supervised) ended() (code int, took time.Duration, said string) {
	began := time.Now()
	code = <-p.code
	return code, time.Since(began), p.log.String()
}

// finishes is work that takes that long once it is to stop.
func finishes(span time.Duration) Work {
	return func(ctx context.Context, _ time.Duration, _ *health.Board) error {
		<-ctx.Done()
		time.Sleep(span)
		return nil
	}
}

func TestAStop(t *testing.T) {
	for name, c := range map[string]struct {
		work    time.Duration
		signals int
		code    int
		took    time.Duration
		said    string
	}{
		"drained":        {10 * time.Second, 1, stopped, 10 * time.Second, ""},
		"at once":        {0, 1, stopped, 0, ""},
		"not drained":    {time.Minute, 1, cutShort, testDrain, "program: has not finished within EARLYBIND_DRAIN=25s: ends without\n"},
		"by two signals": {10 * time.Second, 2, cutShort, 0, "program: terminated again: ends at once, without having finished\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := supervise(finishes(c.work))
				for range c.signals {
					p.signals <- syscall.SIGTERM
					if c.signals > 1 {
						synctest.Wait()
					}
				}
				if code, took, said := p.ended(); code != c.code || took != c.took || said != c.said {
					t.Errorf("ended with %d after %s, said %q", code, took, said)
				}
				if p.board.Verdict().Ready() {
					t.Error("ready while it stops")
				}
				time.Sleep(c.work) // the bubble ends with the work
			})
		})
	}
}

func TestWorkThatCouldNotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := supervise(func(context.Context, time.Duration, *health.Board) error { return errors.New("refused") })
		if code, _, said := p.ended(); code != couldNotBegin || said != "" {
			t.Errorf("ended with %d, said %q", code, said)
		}
	})
}

func TestAStuckLoopIsNamedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := supervise(finishes(0))
		loop := p.board.Loop("session", time.Minute)
		p.board.Has("broker", "connected")
		loop.Beat()
		time.Sleep(2*time.Minute + time.Second)
		loop.Beat()
		p.board.Has("broker", "connected") // is no change
		synctest.Wait()
		if said := p.log.String(); strings.Contains(said, "again") {
			t.Errorf("said %q already", said)
		}
		p.board.Lacks("broker", "lost") // is told at once, and what else there is
		synctest.Wait()
		p.signals <- os.Interrupt
		want := "program: not ready: session: stuck: has not come round for 1m15s, and may take 1m0s\nprogram: lives again\n"
		if _, _, said := p.ended(); said != want {
			t.Errorf("said %q", said)
		}
	})
}
