// Command earlybind-publisher publishes the lifecycle events of one compute
// host's libvirt on RabbitMQ. It is configured by environment variables with the
// prefix EARLYBIND_; see package publisher.
//
// Exit codes: 0 stopped by a signal, 1 could not begin, 3 stopped before it had
// finished, 78 wrong settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"github.com/rs/zerolog"
	"libvirt.org/go/libvirt"

	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/program"
	"github.com/earlybind/earlybind/internal/prom"
	"github.com/earlybind/earlybind/publisher"
	"github.com/earlybind/earlybind/publisher/metrics"
)

// version is set when a release is linked.
var version = "dev"

// about is what -h prints.
func about() program.About {
	return program.About{
		Name: "earlybind-publisher", Version: version,
		Does: "Tells the lifecycle events of this host's guests to earlybind's consumers. EARLYBIND_HOST is Nova's host here, as\n" +
			"openstack compute service list shows it, and the RabbitMQ user is the host's own.",
		Sample: []string{
			"EARLYBIND_HOST=compute1",
			"EARLYBIND_AMQP_URLS=amqp://rabbit1:5672/,amqp://rabbit2:5672/",
			"EARLYBIND_AMQP_USER=earlybind-compute1",
			"EARLYBIND_AMQP_PASSWORD_FILE=/etc/earlybind/publisher.password",
		},
	}
}

func main() {
	var settings publisher.Settings
	registry := prom.NewRegistry(version)
	os.Exit(program.Run(about(), &settings, registry, func(ctx context.Context, drain time.Duration, board *health.Board) error {
		return run(ctx, settings, drain, board, metrics.NewPublisher(registry))
	}))
}

func run(ctx context.Context, settings publisher.Settings, drain time.Duration, board *health.Board, m *metrics.Publisher) error {
	level, err := zerolog.ParseLevel(settings.LogLevel)
	if err != nil {
		return err
	}
	zerolog.TimeFieldFormat = time.RFC3339Nano
	log := zerolog.New(os.Stdout).Level(level).With().Timestamp().Str("version", version).Logger()
	err = explained(publisher.Run(ctx, settings, drain, board, m, log))
	if err != nil {
		log.Error().Err(err).Msg("publisher could not begin")
	}
	return err
}

// library is one of libvirt's that the program loads when it starts (dlopen(3), libvirt_generated_dlopen.go and
// libvirt_admin_generated_dlopen.go of libvirt.org/go/libvirt).
var library = regexp.MustCompile(`libvirt(-admin)?\.so\.0`)

// explained tells what to install where libvirt's library cannot be loaded.
func explained(err error) error {
	var fault libvirt.Error
	if errors.As(err, &fault) && library.MatchString(fault.Message) {
		return fmt.Errorf("libvirt's library cannot be loaded: %s. Install the package libvirt0 (Debian, Ubuntu) or libvirt-libs (rpm)", fault.Message)
	}
	return err
}
