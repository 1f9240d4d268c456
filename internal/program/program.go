// Package program is what the two commands have in common: flags, settings,
// signals, health and exit codes.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/prom"
)

// Exit codes. Go itself ends a program with 2: by a panic, and by SIGABRT, which systemd's watchdog sends to one that
// hangs. Those are to be started again, so it is none of ours.
const (
	stopped       = 0 // by a signal, drained
	couldNotBegin = 1
	cutShort      = 3  // by a second signal, or the bound of the drain
	wrongSettings = 78 // or arguments: EX_CONFIG of sysexits.h
)

// Work is what a program does until ctx ends; it then has drain to return. It
// says on the board how it is, and writes its own errors to its log; an error
// means that it could not begin.
type Work func(ctx context.Context, drain time.Duration, board *health.Board) error

// About is what a program says of itself.
type About struct {
	Name, Version string
	Does          string   // in a few sentences
	Sample        []string // of settings, NAME=value: at least what is required
}

const usage = `usage: %[1]s [-h | -version]

%[2]s
It runs in the foreground, and takes its settings from the environment:

  %[3]s

All of them: %[1]s(8), or docs/settings.md.

Exit codes: %[4]d stopped in order, %d could not begin, %d a stop was cut short, %d wrong settings or arguments.
`

func (a About) usage() string {
	return fmt.Sprintf(usage, a.Name, a.Does, strings.Join(a.Sample, "\n  "), stopped, couldNotBegin, cutShort, wrongSettings)
}

// Run fills settings from the environment, prefix EARLYBIND_, and has work
// supervised: the first SIGTERM or SIGINT ends its context, a second one, or the
// bound of the drain, ends the program at once. Where EARLYBIND_HEALTH says, health
// is answered, and what the registry holds. Run returns the exit code.
func Run(about About, settings any, registry *prometheus.Registry, work Work) int {
	options := flag.NewFlagSet(about.Name, flag.ContinueOnError)
	options.SetOutput(io.Discard) // help is no fault, and a fault is one line
	showVersion := options.Bool("version", false, "")
	err := options.Parse(os.Args[1:])
	if err == nil && options.NArg() > 0 {
		err = errors.New("it takes no arguments")
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Print(about.usage())
		return stopped
	case err != nil:
		fmt.Fprintf(os.Stderr, "%[1]s: %v\nWhat it needs: %[1]s -h\n", about.Name, err)
		return wrongSettings
	case *showVersion:
		fmt.Println(about.Name, about.Version)
		return stopped
	}
	var own Settings
	if err := config.Load("EARLYBIND", settings, &own); err != nil {
		for fault := range strings.Lines(err.Error() + "\n") {
			fmt.Fprintf(os.Stderr, "%s: %s", about.Name, fault)
		}
		fmt.Fprintf(os.Stderr, "All settings: %[1]s(8), or docs/settings.md; what it needs: %[1]s -h\n", about.Name)
		return wrongSettings
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(signals)
	s := supervisor{
		name: about.Name, drain: own.Drain, signals: signals, board: health.NewBoard(),
		manager: health.ManagerFromEnvironment(), log: os.Stderr,
	}
	registry.MustRegister(prom.Health(s.board))
	if own.Health != "" {
		stop, err := health.Serve(own.Health, s.board, prom.Handler(registry))
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: EARLYBIND_HEALTH: %v\n", about.Name, err)
			return couldNotBegin
		}
		defer stop()
	}
	return s.run(work)
}
