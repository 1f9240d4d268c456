package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/tests/lab"
)

// openLab gives the running lab as a cloud, with a network and a virtual host of
// its own; close removes both.
func openLab(ctx context.Context, l *lab.Lab) (c cloud, closing func(context.Context) error, err error) {
	closing = func(context.Context) error { return nil }
	novas, err := l.NeutronAs(ctx, "nova")
	if err != nil {
		return cloud{}, closing, err
	}
	safe, err := binding.ConcurrentActivateSafe(ctx, novas)
	if err != nil {
		return cloud{}, closing, err
	}
	vhost, err := l.NewVhost(ctx, "earlybind-chaos-"+nova.NewUUID()[:8])
	if err != nil {
		return cloud{}, closing, err
	}
	closing = vhost.Remove
	network, err := lab.NewNetwork(ctx, novas, vhost.Name)
	if err != nil {
		return cloud{}, closing, err
	}
	closing = func(ctx context.Context) error { return errors.Join(network.Remove(ctx), vhost.Remove(ctx)) }
	return cloud{
		release: l.Release, hosts: lab.Computes, safe: safe, nova: novas,
		bus:     bus{url: vhost.URL, password: vhost.Password},
		newPort: network.NewPort, removePort: network.RemovePort,
		restartBroker: l.RestartBroker, restartNeutron: l.RestartNeutron,
		closeConnections: vhost.CloseConnections, deadLetters: vhost.DeadLetters,
		transport:   l.Transport(),
		environment: []string{"OS_CLIENT_CONFIG_FILE=" + l.CloudsFile(), "OS_CLOUD=earlybind"},
	}, closing, nil
}

// environment is that of one replica, with its ways to the broker and to Neutron.
func environment(c cloud, broker, proxy string) []string {
	repair := "own"
	if !c.safe {
		repair = "all" // nothing is committed there, so nothing is earlybind's own
	}
	var kept []string
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "EARLYBIND_") && !strings.HasPrefix(pair, "OS_") && !strings.Contains(strings.ToLower(strings.SplitN(pair, "=", 2)[0]), "proxy") {
			kept = append(kept, pair)
		}
	}
	return append(append(kept, c.environment...),
		"EARLYBIND_AMQP_URLS="+broker, "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD="+c.bus.password,
		"EARLYBIND_POLICY=suspended", "EARLYBIND_REPAIR="+repair,
		// No guest is plugged in anywhere: a port's status never comes up.
		"EARLYBIND_UP_WITHIN=1s",
		// It would stop what is to be tried.
		"EARLYBIND_BREAKER_FAILURES=0",
		// The account needs a line for each message.
		"EARLYBIND_LOG_LEVEL=trace",
		"HTTP_PROXY="+proxy,
	)
}
