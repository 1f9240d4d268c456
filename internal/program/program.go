// Package program is what the two commands have in common: flags, settings,
// signals and exit codes.
package program

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/earlybind/earlybind/internal/config"
)

// Exit codes.
const (
	stopped       = 0 // by a signal
	couldNotBegin = 1
	wrongSettings = 2
)

// Run fills settings from the environment, prefix EARLYBIND_, and calls work
// with a context that the first SIGTERM or SIGINT ends; a second one has its
// default effect. It returns the exit code. work writes its own errors to its
// log.
func Run(name, version string, settings any, work func(context.Context) error) int {
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
	if err := config.Load("EARLYBIND", settings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return wrongSettings
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop)
	if err := work(ctx); err != nil {
		return couldNotBegin
	}
	return stopped
}
