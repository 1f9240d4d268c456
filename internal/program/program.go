// Package program is what the two commands have in common: flags, settings,
// signals, health and exit codes.
package program

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/prom"
)

// Exit codes.
const (
	stopped       = 0 // by a signal, drained
	couldNotBegin = 1
	wrongSettings = 2
	cutShort      = 3 // by a second signal, or the bound of the drain
)

// Work is what a program does until ctx ends; it then has drain to return. It
// says on the board how it is, and writes its own errors to its log; an error
// means that it could not begin.
type Work func(ctx context.Context, drain time.Duration, board *health.Board) error

// Run fills settings from the environment, prefix EARLYBIND_, and has work
// supervised: the first SIGTERM or SIGINT ends its context, a second one, or the
// bound of the drain, ends the program at once. Where EARLYBIND_HEALTH says, health
// is answered, and what the registry holds. Run returns the exit code.
func Run(name, version string, settings any, registry *prometheus.Registry, work Work) int {
	showVersion := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *showVersion {
		fmt.Println(name, version)
		return stopped
	}
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, name, "takes no arguments; settings are EARLYBIND_* variables")
		return wrongSettings
	}
	var own Settings
	if err := config.Load("EARLYBIND", settings, &own); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return wrongSettings
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	s := supervisor{
		name: name, drain: own.Drain, signals: signals, board: health.NewBoard(),
		manager: health.ManagerFromEnvironment(), log: os.Stderr,
	}
	registry.MustRegister(prom.Health(s.board))
	if own.Health != "" {
		stop, err := health.Serve(own.Health, s.board, prom.Handler(registry))
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: EARLYBIND_HEALTH: %v\n", name, err)
			return couldNotBegin
		}
		defer stop()
	}
	return s.run(work)
}
