package program

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/earlybind/earlybind/internal/health"
)

// lookEvery is how often loops are looked at that may be stuck, which are given 30 s and more: each look wakes the program.
// What changes on the board is told at once.
const lookEvery = 15 * time.Second

// supervisor is one run of a program's work.
type supervisor struct {
	name    string
	drain   time.Duration
	signals <-chan os.Signal
	board   *health.Board
	manager health.Manager
	log     io.Writer // of what concerns the process and not its work: a line each
}

// run has the work done until a signal, then drained. It returns the exit code;
// with cutShort the work may still be under way.
//
// systemd is told READY=1 at once, whatever is lacking: a program that waits for
// a server that is started later has begun, and systemctl start must not wait
// for it. What is lacking is in the unit's status.
func (s *supervisor) run(work Work) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- work(ctx, s.drain, s.board) }()

	s.manager.Tell("READY=1")
	look := time.NewTicker(s.lookEvery())
	defer look.Stop()
	var last health.Verdict
	var bound <-chan time.Time
	for {
		select {
		case err := <-ended:
			if err != nil {
				return couldNotBegin
			}
			return stopped
		case signal := <-s.signals:
			if bound != nil {
				s.say("%s again: ends at once, without having finished", signal)
				return cutShort
			}
			s.board.Lacks("program", "is stopping")
			s.manager.Tell("STOPPING=1")
			stop()
			bound = time.After(s.drain)
		case <-bound:
			s.say("has not finished within EARLYBIND_DRAIN=%s: ends without", s.drain)
			return cutShort
		case <-look.C:
			last = s.look(last)
		case <-s.board.Changed():
			last = s.look(last)
		}
	}
}

// look tells what has changed since the last verdict.
func (s *supervisor) look(last health.Verdict) health.Verdict {
	now := s.board.Verdict()
	if now.Live() {
		s.manager.Tell("WATCHDOG=1")
	}
	if now.String() != last.String() {
		s.manager.Tell("STATUS=" + now.String())
	}
	if now.Live() != last.Live() {
		if now.Live() {
			s.say("lives again")
		} else {
			s.say("%s", now)
		}
	}
	return now
}

// lookEvery leaves systemd's watchdog two looks within its time.
func (s *supervisor) lookEvery() time.Duration {
	if half := s.manager.Watchdog / 2; half > 0 {
		return min(lookEvery, half)
	}
	return lookEvery
}

func (s *supervisor) say(format string, a ...any) {
	fmt.Fprintf(s.log, "%s: "+format+"\n", append([]any{s.name}, a...)...)
}
