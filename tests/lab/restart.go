package lab

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// RestartBroker stops RabbitMQ for a while, whole seconds, and starts it again;
// what is durable stays.
func (l *Lab) RestartBroker(ctx context.Context, away time.Duration) error {
	script := fmt.Sprintf("rabbitmqctl -q stop_app && sleep %d; rabbitmqctl -q start_app", int(away.Seconds()))
	_, err := l.Exec(ctx, "rabbitmq", "sh", "-c", script)
	return err
}

// RestartNeutron kills Neutron's API servers in the middle of what they do. The
// container starts them again (deploy/lab/openstack/daemons.sh); it returns when
// they answer.
func (l *Lab) RestartNeutron(ctx context.Context) error {
	const kill = `kill -9 $(pgrep -f '^[^ ]*uwsgi-core --ini /etc/lab/uwsgi/neutron.ini')`
	if _, err := l.Exec(ctx, "controller", "bash", "-c", kill); err != nil {
		return err
	}
	return Until(ctx, "Neutron to answer", func() (bool, error) {
		_, err := l.Neutron.Get(ctx, l.Neutron.ServiceURL("extensions"), nil, nil)
		return err == nil, ctx.Err()
	})
}

// RestartContainer restarts a service's container as an operator does, and returns when it
// is healthy again.
func (l *Lab) RestartContainer(ctx context.Context, service string) error {
	if _, err := l.docker(ctx, "restart", "--time", "30", l.Container(service)); err != nil {
		return err
	}
	return l.healthy(ctx, service)
}

// healthy returns when a service's container says that it is.
func (l *Lab) healthy(ctx context.Context, service string) error {
	return Until(ctx, service+" to be healthy", func() (bool, error) {
		state, err := l.docker(ctx, "inspect", "-f", "{{.State.Health.Status}}", l.Container(service))
		return strings.TrimSpace(state) == "healthy", err
	})
}

// RollNeutron ends Neutron's API, RPC and periodic workers with SIGTERM, which finish what
// they do. The container starts them again; it returns when all of the controller's APIs
// answer.
func (l *Lab) RollNeutron(ctx context.Context) error {
	// The mark of readiness goes when a daemon ends, and comes back by the container's own check.
	const roll = `
old=$(pgrep -f '^[^ ]*(uwsgi-core --ini /etc/lab/uwsgi/neutron.ini|python3 /usr/bin/neutron-(rpc-server|periodic-workers) )')
rm -f /run/lab/ready
kill -TERM $old
for i in $(seq 150); do kill -0 $old 2>/dev/null || break; sleep 0.2; done`
	if _, err := l.Exec(ctx, "controller", "bash", "-c", roll); err != nil {
		return err
	}
	return Until(ctx, "the controller to be ready", func() (bool, error) {
		_, err := l.Exec(ctx, "controller", "test", "-e", "/run/lab/ready")
		return err == nil, ctx.Err()
	})
}
