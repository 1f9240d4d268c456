//go:build integration

package integration

import (
	"os/exec"
	"testing"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// ownBroker is a RabbitMQ of the test's own, with the lab's users in the virtual host "/". It can
// be taken away, and comes back with what it held and where it was: the network is another
// container's.
type ownBroker struct {
	*broker
	lab       *lab.Lab
	network   string // for --network of what stands beside it
	container string // not started yet
}

// comesBack is how long a program may take to be connected again to a broker that was away: the longest of its
// delays is 45 s.
const comesBack = 90 * time.Second

// newOwnBroker gives one that listens.
func newOwnBroker(t testing.TB) *ownBroker {
	t.Helper()
	b := absentBroker(t)
	b.start()
	return b
}

// absentBroker gives one that is not there yet.
func absentBroker(t testing.TB) *ownBroker {
	t.Helper()
	l, err := lab.Find()
	must(t, err)
	password, err := l.Password()
	must(t, err)
	image := "earlybind-lab/rabbitmq:" + l.Release
	holder := startContainer(t, nil, "--hostname", "rabbitmq", "--entrypoint", "sleep", image, "infinity")
	b := &ownBroker{lab: l, network: "container:" + holder, broker: &broker{
		TB: t, vhost: "%2F", password: password,
		address: docker(t, "inspect", "--format", "{{.NetworkSettings.Networks.bridge.IPAddress}}", holder),
	}}
	b.container = docker(t, "create", "--init", "--network", b.network, image)
	t.Cleanup(func() { docker(t, "rm", "--force", "--volumes", b.container) })
	return b
}

// starting holds those that start: a few at once take minutes on two cores.
var starting = make(chan struct{}, 2)

// startRabbitMQ returns when the RabbitMQ of that container listens: by a command inside it, which fails for as long
// as it starts.
func startRabbitMQ(t testing.TB, container string, listens ...string) {
	t.Helper()
	starting <- struct{}{}
	defer func() { <-starting }()
	docker(t, "start", container)
	within(t, 3*time.Minute, "RabbitMQ to listen", func() (bool, error) {
		return exec.CommandContext(t.Context(), "docker", append([]string{"exec", container}, listens...)...).Run() == nil, nil
	})
}

// start returns when it listens.
func (b *ownBroker) start() {
	b.Helper()
	startRabbitMQ(b, b.container, "/etc/rabbitmq/health")
}

// stop ends it in order: a quorum queue that was made in the seconds before a kill was seen to have no leader ever
// after (RabbitMQ 4.0.5).
func (b *ownBroker) stop() {
	b.Helper()
	docker(b, "stop", "-t", "30", b.container)
}
