package lab

import (
	"context"
	"fmt"
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
