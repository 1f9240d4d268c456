package lab

import (
	"context"
	"errors"
	"strings"
)

// Brokers are the services of a broker of three nodes; the lab has the first, see [Lab.AddNodes].
var Brokers = []string{"rabbitmq", "rabbitmq2", "rabbitmq3"}

// LosesNothingWithANode tells whether Nova and Neutron use quorum queues. Theirs as shipped are classic: each is on one node,
// and what is in it is gone when that restarts. Nova then waits for ever for a word that was lost (of 15 migrations
// on a slow machine three failed and three were stuck), which says nothing of earlybind.
func (l *Lab) LosesNothingWithANode(ctx context.Context) error {
	const option = "OS_OSLO_MESSAGING_RABBIT__RABBIT_QUORUM_QUEUE"
	text, err := l.Exec(ctx, "controller", "sh", "-c", "echo $"+option)
	if err == nil && strings.TrimSpace(text) != "true" {
		err = errors.New("the lab's Nova and Neutron have classic queues: lab down, and EARLYBIND_LAB_QUORUM=true lab up")
	}
	return err
}

// AddNodes makes the lab's RabbitMQ one of three nodes: two join it, under its name for clients too, and every
// quorum queue gets a replica on each. It returns when they serve. Nodes that an earlier run has left are removed
// first; lab down removes them too.
func (l *Lab) AddNodes(ctx context.Context) error {
	if err := l.RemoveNodes(ctx); err != nil {
		return err
	}
	cookie, err := l.Exec(ctx, Brokers[0], "cat", "/var/lib/rabbitmq/.erlang.cookie")
	if err != nil {
		return err
	}
	for _, service := range Brokers[1:] {
		if _, err := l.docker(ctx, "run", "--detach", "--init", "--name", l.Container(service), "--hostname", service,
			"--label", "com.docker.compose.project="+l.project,
			// The nodes know each other by their own names: the first one's is also what clients call them all.
			"--add-host", Brokers[0]+":"+l.Address(Brokers[0]),
			"--network", l.project+"_api", "--network-alias", service, "--network-alias", Brokers[0],
			"--volume", l.Path("deploy/lab/rabbitmq/nodes.conf")+":/etc/rabbitmq/conf.d/nodes.conf:ro",
			"--env", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none -setcookie "+strings.TrimSpace(cookie),
			"--health-cmd", "/etc/rabbitmq/health", "--health-interval", "5s", "--health-start-period", "2m",
			"earlybind-lab/rabbitmq:"+l.Release); err != nil {
			return err
		}
		if err := l.healthy(ctx, service); err != nil {
			return err
		}
		if _, err := l.Exec(ctx, Brokers[0], "rabbitmq-queues", "grow", nodeOf(service), "all"); err != nil {
			return err
		}
	}
	return nil
}

// RemoveNodes leaves the first node alone, whatever of the others there is.
func (l *Lab) RemoveNodes(ctx context.Context) error {
	known, err := l.Exec(ctx, Brokers[0], "rabbitmqctl", "-q", "eval", "rabbit_nodes:list_members().")
	if err != nil {
		return err
	}
	var faults []error
	for _, service := range Brokers[1:] {
		if strings.Contains(known, nodeOf(service)) {
			_, err := l.Exec(ctx, Brokers[0], "rabbitmq-queues", "shrink", nodeOf(service))
			faults = append(faults, err)
		}
		if id, _ := l.docker(ctx, "ps", "--all", "--quiet", "--filter", "name=^"+l.Container(service)+"$"); id != "" {
			_, err := l.docker(ctx, "rm", "--force", "--volumes", l.Container(service))
			faults = append(faults, err)
		}
		if strings.Contains(known, nodeOf(service)) {
			_, err := l.Exec(ctx, Brokers[0], "rabbitmqctl", "-q", "forget_cluster_node", nodeOf(service))
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// RestartNode restarts one of three as an operator does: when every quorum queue can spare it.
func (l *Lab) RestartNode(ctx context.Context, service string) error {
	if _, err := l.Exec(ctx, service, "rabbitmq-upgrade", "await_online_quorum_plus_one"); err != nil {
		return err
	}
	return l.RestartContainer(ctx, service)
}

func nodeOf(service string) string { return "rabbit@" + service }
