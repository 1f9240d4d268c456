//go:build integration

package integration

import (
	"io"
	"os/exec"
	"syscall"
)

// process is a replica in a process of its own.
type process struct {
	*replica
	cmd *exec.Cmd
}

// startProcess starts the program with an environment and waits until it has said
// its first word.
func startProcess(b *broker, program string, environment []string) *process {
	b.Helper()
	cmd := exec.Command(program)
	cmd.Env = environment
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	must(b, cmd.Start())
	p := &process{replica: &replica{broker: b, name: "the consumer"}, cmd: cmd}
	collected, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(collected)
		p.collect(reader)
	}()
	go func() {
		defer close(ended)
		_ = cmd.Wait() // killed, mostly
		_ = writer.Close()
		<-collected
	}()
	p.stop = func() {
		p.signal(syscall.SIGCONT)
		p.signal(syscall.SIGTERM)
		<-ended
	}
	b.Cleanup(func() {
		p.stop()
		if b.Failed() {
			b.Logf("%s wrote:\n%s", p.name, p.text())
		}
	})
	first := p.await("consumer.started", "outcome", "ready")
	p.name, _ = first["replica"].(string)
	return p
}

// signal sends a signal; a process that has ended takes none.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }
