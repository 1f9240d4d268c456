package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/tests/lab"
)

// openLab gives the running lab as a cloud, with a network and a virtual host of
// its own, in the lab's RabbitMQ or in a cluster of chaos' own; closing removes all.
func openLab(ctx context.Context, l *lab.Lab, clustered bool) (c cloud, closing func(context.Context) error, err error) {
	closing = func(context.Context) error { return nil }
	novas, err := l.NeutronAs(ctx, "nova")
	if err != nil {
		return cloud{}, closing, err
	}
	safe, err := binding.ConcurrentActivateSafe(ctx, novas)
	if err != nil {
		return cloud{}, closing, err
	}
	b, closing, err := openBroker(ctx, l, clustered)
	if err != nil {
		return cloud{}, closing, err
	}
	vhost, closeBroker := b.vhost, closing
	network, err := lab.NewNetwork(ctx, novas, vhost.Name)
	if err != nil {
		return cloud{}, closing, err
	}
	closing = func(ctx context.Context) error { return errors.Join(network.Remove(ctx), closeBroker(ctx)) }
	return cloud{
		release: l.Release, hosts: lab.Computes, safe: safe, nova: novas,
		bus:     bus{urls: vhost.URLs, password: vhost.Password},
		newPort: network.NewPort, removePort: network.RemovePort,
		restartBroker: b.restart, part: b.part, restartNeutron: l.RestartNeutron,
		closeConnections: vhost.CloseConnections, deadLetters: vhost.DeadLetters, held: vhost.Held,
		transport:   l.Transport(),
		environment: []string{"OS_CLIENT_CONFIG_FILE=" + l.CloudsFile(), "OS_CLOUD=earlybind"},
	}, closing, nil
}

// brokerOf is the RabbitMQ at which all meet; see cloud.
type brokerOf struct {
	vhost   *lab.Vhost
	restart func(ctx context.Context, node int, away time.Duration) error
	part    func(ctx context.Context, node int, wait func()) error
}

func openBroker(ctx context.Context, l *lab.Lab, clustered bool) (b brokerOf, closing func(context.Context) error, err error) {
	name := "earlybind-chaos-" + nova.NewUUID()[:8]
	closing = func(context.Context) error { return nil }
	if !clustered {
		if b.vhost, err = l.NewVhost(ctx, name); err == nil {
			closing = b.vhost.Remove
		}
		b.restart = func(ctx context.Context, _ int, away time.Duration) error { return l.RestartBroker(ctx, away) }
		return b, closing, err
	}
	cluster, err := l.StartCluster(ctx)
	if err != nil {
		return b, closing, err
	}
	b.restart = func(ctx context.Context, node int, away time.Duration) error {
		if err := cluster.Kill(ctx, cluster.Nodes[node]); err != nil {
			return err
		}
		sleep(ctx, away)
		return cluster.Start(ctx, cluster.Nodes[node])
	}
	b.part = func(ctx context.Context, node int, wait func()) error {
		if err := cluster.Cut(ctx, cluster.Nodes[node]); err != nil {
			return err
		}
		wait()
		return cluster.Join(ctx, cluster.Nodes[node])
	}
	b.vhost, err = cluster.NewVhost(ctx, name)
	return b, cluster.Remove, err
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
