// Command earlybind-consumer activates the destination's port bindings of live
// migrations early, and restores the source's when one fails. It is configured
// by environment variables with the prefix EARLYBIND_ (see package consumer) and,
// for Neutron, by clouds.yaml or the OS_* variables.
//
// Exit codes: 0 stopped by a signal, 1 could not begin, 3 stopped before it had
// finished, 78 wrong settings.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/consumer/metrics"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/heap"
	"github.com/earlybind/earlybind/internal/program"
	"github.com/earlybind/earlybind/internal/prom"
)

// version is set when a release is linked.
var version = "dev"

// about is what -h prints.
func about() program.About {
	return program.About{
		Name: "earlybind-consumer", Version: version,
		Does: "Activates the destination's port bindings of live migrations early, and restores the source's when one fails. As\n" +
			"shipped, with nothing switched on, it changes no port, and reports what it would have gained.",
		Sample: []string{
			"EARLYBIND_AMQP_URLS=amqp://rabbit1:5672/,amqp://rabbit2:5672/",
			"EARLYBIND_AMQP_USER=earlybind",
			"EARLYBIND_AMQP_PASSWORD_FILE=/etc/earlybind/consumer.password",
			"OS_CLIENT_CONFIG_FILE=/etc/earlybind/consumer.clouds.yaml",
			"OS_CLOUD=earlybind",
		},
	}
}

// settings are the consumer's, and what Neutron's client takes from clouds.yaml and the OS_* variables.
type settings struct{ consumer.Settings }

// Validate names every fault at once.
func (s *settings) Validate() error {
	return errors.Join(s.Settings.Validate(), binding.CheckCredentials(binding.ClientOpts{Cloud: s.Cloud}))
}

func main() {
	var s settings
	registry := prom.NewRegistry(version)
	os.Exit(program.Run(about(), &s, registry, func(ctx context.Context, drain time.Duration, board *health.Board) error {
		return run(ctx, s.Settings, drain, board, metrics.NewConsumer(registry, handover.Drivers(s.PolicyDrivers)))
	}))
}

func run(ctx context.Context, settings consumer.Settings, drain time.Duration, board *health.Board, m *metrics.Consumer) error {
	level, err := zerolog.ParseLevel(settings.LogLevel)
	if err != nil {
		return err
	}
	name := consumer.ReplicaName()
	log := audit.New(os.Stdout, level, name).Counted(m.Count)
	amqp.SetLogger(quiet{})

	board.Lacks("neutron", "not met yet")
	cloud, err := meet(ctx, settings, log, board)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		log.Record(audit.Line{Event: audit.ConsumerStarted, Outcome: audit.CouldNotBegin, Decided: strings.TrimSuffix("to end; "+binding.Next(err), "; "), Err: err})
		return err
	}
	go heap.Bound(ctx)
	go binding.KeepToken(ctx, cloud.client.ProviderClient)
	m.Settings(settings.PolicyInForce().String(), settings.Repair.String(), cloud.safe)
	board.Has("neutron", "met at the start, at "+cloud.client.Endpoint)
	replica := consumer.Replica{Name: name, Neutron: settings.Neutron(cloud.client), ConcurrentActivateSafe: cloud.safe, Log: log, Board: board, Metrics: m}
	return replica.Run(ctx, drain, settings)
}

// cloud is the Neutron that was met, and what it allows.
type cloud struct {
	client *gophercloud.ServiceClient
	safe   bool
}

// meet connects to Neutron and learns what it allows. A Neutron that is away is
// waited for; one that refuses is an error.
func meet(ctx context.Context, s consumer.Settings, log audit.Log, board *health.Board) (cloud, error) {
	wait := broker.Backoff()
	for {
		c, err := meetOnce(ctx, s, log)
		if err == nil || !binding.IsTransient(err) {
			return c, err
		}
		board.Lacks("neutron", err.Error())
		delay := wait.NextBackOff()
		log.Record(audit.Line{Event: audit.ConsumerStarted, Outcome: "Neutron is away", Err: err, Decided: "to try again", Figures: map[string]int64{"delay_ms": delay.Milliseconds()}})
		select {
		case <-ctx.Done():
			return cloud{}, ctx.Err()
		case <-time.After(delay):
		}
	}
}

func meetOnce(ctx context.Context, s consumer.Settings, log audit.Log) (cloud, error) {
	client, err := binding.NewClient(ctx, binding.ClientOpts{Cloud: s.Cloud, ServerName: s.OSServerName, Version: version})
	if err != nil {
		return cloud{}, err
	}
	if ok, err := binding.HasBindingExtended(ctx, client); err != nil || !ok {
		return cloud{}, errors.Join(err, errors.New("this Neutron has no extension binding-extended: there is nothing to activate"))
	}
	safe := s.NeutronConcurrentActivate == "safe"
	if s.NeutronConcurrentActivate == "detect" {
		if safe, err = binding.ConcurrentActivateSafe(ctx, client); err != nil {
			return cloud{}, err
		}
	}
	line := audit.Line{
		Event: audit.ConsumerStarted, Outcome: audit.Ready,
		Saw: fmt.Sprintf("version %s; Neutron at %s; %s (%s)", version, client.Endpoint, audit.ConcurrentActivate(safe), s.NeutronConcurrentActivate),
		Decided: fmt.Sprintf("policy %s, networks %s, drivers %s, hosts %s, canary %s, repair %s; breaker: %d bad outcomes, %s",
			s.PolicyInForce(), s.PolicyNetworks, s.PolicyDrivers, s.PolicyHosts, s.Canary, s.Repair, s.BreakerFailures, s.BreakerPause),
	}
	const needs = "it needs the role service (Neutron 2024.1 and later) or admin (before)"
	if s.Writes() {
		if err := binding.ProbePermission(ctx, client); errors.Is(err, binding.ErrForbidden) {
			return cloud{}, fmt.Errorf("this user may not write port bindings: %s: %w", needs, err)
		} else if err != nil {
			return cloud{}, err
		}
	} else if roles, err := binding.Roles(client); err == nil && !slices.ContainsFunc(roles, func(r string) bool { return r == "service" || r == "admin" }) {
		// The probe is a write, and a policy.yaml may have given another role what these have: it is said, no more.
		line.Err = fmt.Errorf("this user's roles are %q: to see ports %s", roles, needs)
	}
	log.Record(line)
	return cloud{client, safe}, nil
}

// quiet drops amqp091-go's own log: its errors come back as errors.
type quiet struct{}

func (quiet) Printf(string, ...any) {}
