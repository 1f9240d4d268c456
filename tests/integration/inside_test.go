//go:build integration

package integration

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// runInside runs those of [builtTests] whose names match, in a container of the
// lab, where the programs are that they need.
func runInside(t *testing.T, l *lab.Lab, service, program, match string, variables ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	inside := "/tmp/" + newUUID() + ".test"
	must(t, l.Copy(ctx, program, service, inside))
	t.Cleanup(func() { _, _ = l.Exec(context.WithoutCancel(ctx), service, "rm", "-f", inside) })
	command := append(append([]string{"env"}, variables...), inside, "-test.run", match, "-test.v", "-test.timeout", "2m")
	out, err := l.Exec(ctx, service, command...)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "=== RUN") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	must(t, err)
	if strings.Contains(out, "no tests to run") {
		t.Errorf("there are no tests %s", match)
	}
}

// realPublisher is the publisher's program in a compute host's container, on
// libvirt's test driver.
type realPublisher struct {
	*broker
	lab  *lab.Lab
	file string // its log, in the container
}

func startPublisher(b *broker) *realPublisher {
	b.Helper()
	l, err := lab.Find()
	must(b, err)
	inside := "/tmp/" + newUUID()
	p := &realPublisher{broker: b, lab: l, file: inside + "/log"}
	p.run("mkdir", inside)
	must(b, l.Copy(b.Context(), built(b, "earlybind-publisher"), source, inside+"/publisher"))
	b.Cleanup(func() {
		p.run("sh", "-c", "kill $(cat "+inside+"/pid); rm -rf "+inside)
	})
	p.run("env", "EARLYBIND_HOST="+source, "EARLYBIND_AMQP_USER=earlybind-"+source, "EARLYBIND_AMQP_PASSWORD="+b.password,
		"EARLYBIND_AMQP_URLS=amqp://rabbitmq/"+b.vhost, "EARLYBIND_LIBVIRT_URI=test:///default", "EARLYBIND_STATE_DIR="+inside,
		"sh", "-c", inside+"/publisher >"+p.file+" 2>&1 & echo $! >"+inside+"/pid")
	return p
}

func (p *realPublisher) run(command ...string) string {
	p.Helper()
	out, err := p.lab.Exec(context.WithoutCancel(p.Context()), source, command...)
	must(p, err)
	return out
}

func (p *realPublisher) log() string { return p.run("cat", p.file) }

// await waits for a message in its log.
func (p *realPublisher) await(message string) {
	p.Helper()
	eventually(p, "the publisher to say: "+message, func() (bool, error) {
		return strings.Contains(p.log(), message), nil
	})
}
