//go:build integration

package integration

import (
	"bytes"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/earlybind/earlybind/consumer"
)

var (
	// queueDeclare begins the AMQP method queue.declare (class 50, method 10).
	queueDeclare = []byte{0, 50, 0, 10}
	heartbeat    = []byte{8, 0, 0, 0, 0, 0, 0, 0xce}
)

// freezing stands before a broker, and has one connection as it is where the node that leads
// a queue is frozen and the one that keeps the connection is not: from the first declaration
// of a queue on, heartbeats are all that comes.
func freezing(t testing.TB, address string) (front string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var passing sync.WaitGroup
	over := make(chan struct{})
	t.Cleanup(func() {
		close(over)
		_ = listener.Close()
		passing.Wait()
	})
	var frozen atomic.Bool
	passing.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("tcp", address)
			if err != nil {
				_ = from.Close()
				return
			}
			var freeze atomic.Bool // this connection
			pass := func(out, in net.Conn, client bool) {
				defer out.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := in.Read(buffer)
					if client && bytes.Contains(buffer[:n], queueDeclare) && frozen.CompareAndSwap(false, true) {
						freeze.Store(true)
						passing.Go(func() {
							for every := time.Tick(time.Second); ; <-every {
								if _, err := in.Write(heartbeat); err != nil {
									return
								}
							}
						})
					}
					if err != nil {
						return
					}
					if !client && freeze.Load() {
						continue
					}
					if _, err := out.Write(buffer[:n]); err != nil {
						return
					}
				}
			}
			passing.Go(func() { pass(to, from, true) })
			passing.Go(func() { pass(from, to, false) })
			passing.Go(func() { <-over; _ = from.Close(); _ = to.Close() })
		}
	})
	return listener.Addr().String()
}

// A node that answers nothing is left for another, though it keeps the connection.
func TestRabbitMQNodeThatFreezesWhileASessionIsSetUp(t *testing.T) {
	t.Parallel()
	b, c := newBroker(t), newFakeCloud(t)
	front := freezing(t, net.JoinHostPort(b.address, "5672"))
	began := time.Now()
	r := startReplica(b, c.neutron, func(s *consumer.Settings) { s.AMQPUrls = []string{"amqp://" + front + "/" + b.vhost} })
	line := r.awaitFor(40*time.Second, "consumer.lost")
	if line["error"] != "the session was not set up within 15s" {
		t.Errorf("after %s: %v", time.Since(began), line)
	}
	r.await("consumer.active")
}
