package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Cluster is a RabbitMQ of three nodes in containers of its own, on a network of
// its own (172.30.76.0/24, Zed: 86), with the lab's users in the virtual host "/". The lab need not run; its images must be there.
type Cluster struct {
	Nodes    []*Node
	Password string // of every user
	lab      *Lab
	network  string
}

// Node is one of them.
type Node struct {
	Name      string // RabbitMQ's own: rabbit@rabbit1
	Address   string // that the docker host reaches
	container string
}

// StartCluster starts one and returns when its nodes have met. A cluster that an
// earlier run has left is removed first.
func (l *Lab) StartCluster(ctx context.Context) (*Cluster, error) {
	password, err := l.Password()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Password: password, lab: l, network: l.project + "-cluster"}
	for i := range 3 {
		host := fmt.Sprintf("rabbit%d", i+1)
		c.Nodes = append(c.Nodes, &Node{
			Name: "rabbit@" + host, Address: fmt.Sprintf("%s6.%d", l.network, 11+i), container: c.network + "-" + host,
		})
	}
	_ = c.Remove(ctx)
	if _, err := l.docker(ctx, "network", "create", "--subnet", l.network+"6.0/24", c.network); err != nil {
		return nil, err
	}
	for _, n := range c.Nodes {
		host := strings.TrimPrefix(n.Name, "rabbit@")
		if _, err := l.docker(ctx, "run", "--detach", "--init", "--name", n.container, "--hostname", host,
			"--network", c.network, "--network-alias", host, "--ip", n.Address,
			"--volume", l.Path("deploy/lab/rabbitmq/cluster.conf")+":/etc/rabbitmq/conf.d/cluster.conf:ro",
			"--env", "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none -setcookie earlybind",
			"earlybind-lab/rabbitmq:"+l.Release); err != nil {
			return nil, errors.Join(err, c.Remove(ctx))
		}
	}
	if err := c.await(ctx); err != nil {
		return nil, errors.Join(err, c.Remove(ctx))
	}
	return c, nil
}

// Kill ends a node at once.
func (c *Cluster) Kill(ctx context.Context, n *Node) error {
	_, err := c.lab.docker(ctx, "kill", n.container)
	return err
}

// Cut takes a node off the network: no packet of it arrives anywhere, and none is
// refused. Join puts it back.
func (c *Cluster) Cut(ctx context.Context, n *Node) error {
	_, err := c.lab.docker(ctx, "network", "disconnect", c.network, n.container)
	return err
}

// Join puts a node back on the network and returns when it has joined the others.
func (c *Cluster) Join(ctx context.Context, n *Node) error {
	host := strings.TrimPrefix(n.Name, "rabbit@")
	if _, err := c.lab.docker(ctx, "network", "connect", "--alias", host, "--ip", n.Address, c.network, n.container); err != nil {
		return err
	}
	return c.await(ctx)
}

// Start brings a node back and returns when it has joined the others.
func (c *Cluster) Start(ctx context.Context, n *Node) error {
	if _, err := c.lab.docker(ctx, "start", n.container); err != nil {
		return err
	}
	return c.await(ctx)
}

// Remove takes the cluster away, with all that is in it.
func (c *Cluster) Remove(ctx context.Context) error {
	args := []string{"rm", "--force", "--volumes"}
	for _, n := range c.Nodes {
		args = append(args, n.container)
	}
	_, err := c.lab.docker(ctx, args...)
	_, fault := c.lab.docker(ctx, "network", "rm", c.network)
	return errors.Join(err, fault)
}

// await returns when every node serves clients, which one that is alone does not.
func (c *Cluster) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	for _, n := range c.Nodes {
		err := Until(ctx, n.Name+" to join the others", func() (bool, error) {
			// It fails for as long as the node starts.
			_, err := c.lab.docker(ctx, "exec", n.container, "/etc/rabbitmq/health")
			return err == nil, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
