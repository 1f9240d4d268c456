// Command earlybind-publisher publishes the lifecycle events of one compute
// host's libvirt on RabbitMQ. It is configured by environment variables with the
// prefix EARLYBIND_; see package publisher.
//
// Exit codes: 0 stopped by a signal, 1 could not begin, 2 wrong settings.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/publisher"
)

// version is set when a release is linked.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	showVersion := flag.Bool("version", false, "print the version and exit")
	flag.Parse()
	if *showVersion {
		fmt.Println("earlybind-publisher", version)
		return 0
	}
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "earlybind-publisher takes no arguments; settings are EARLYBIND_* variables")
		return 2
	}
	var settings publisher.Settings
	if err := config.Load("EARLYBIND", &settings); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	level, err := zerolog.ParseLevel(settings.LogLevel)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	log := zerolog.New(os.Stdout).Level(level).With().Timestamp().Str("version", version).Logger()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	// The first signal drains; from then on a signal has its default effect.
	context.AfterFunc(ctx, stop)
	if err := publisher.Run(ctx, settings, log); err != nil {
		log.Error().Err(err).Msg("publisher could not begin")
		return 1
	}
	return 0
}
