//go:build integration

package integration

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/earlybind/earlybind/consumer"
)

// freezing stands before a broker, and has one channel as it is where the node that leads a queue is frozen and
// the one that keeps the connection is not: from the first declaration of the queue on, of any where none is named,
// nothing comes through the channel that it was sent on.
func freezing(t testing.TB, address, queue string) (front string) {
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
	// The AMQP method queue.declare: class 50, method 10, two bytes that are not used, and the name with its length.
	declare := []byte{0, 50, 0, 10, 0, 0}
	if queue != "" {
		declare = append(append(declare, byte(len(queue))), queue...)
	}
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
			var channel atomic.Int32 // that is frozen; 0, which carries the heartbeats, never is
			passing.Go(func() {
				defer to.Close()
				buffer := make([]byte, 64<<10)
				for {
					n, err := from.Read(buffer)
					// A frame begins with its type, its channel in two bytes and its size in four.
					if i := bytes.Index(buffer[:n], declare); i >= 7 && frozen.CompareAndSwap(false, true) {
						channel.Store(int32(binary.BigEndian.Uint16(buffer[i-6:])))
					}
					if _, fault := to.Write(buffer[:n]); err != nil || fault != nil {
						return
					}
				}
			})
			passing.Go(func() {
				defer from.Close()
				for in := bufio.NewReader(to); ; {
					head, err := in.Peek(7)
					if err != nil {
						return
					}
					frame := make([]byte, 7+binary.BigEndian.Uint32(head[3:])+1)
					if _, err := io.ReadFull(in, frame); err != nil {
						return
					}
					if at := int32(binary.BigEndian.Uint16(frame[1:])); at != 0 && at == channel.Load() {
						continue
					}
					if _, err := from.Write(frame); err != nil {
						return
					}
				}
			})
			passing.Go(func() { <-over; _ = from.Close(); _ = to.Close() })
		}
	})
	return listener.Addr().String()
}

// A node that answers nothing is left for another, though it keeps the connection.
func TestRabbitMQNodeThatFreezesWhileASessionIsSetUp(t *testing.T) {
	t.Parallel()
	b, c := newBroker(t), newFakeCloud(t)
	front := freezing(t, net.JoinHostPort(b.address, "5672"), "")
	began := time.Now()
	r := startReplica(b, c.neutron, func(s *consumer.Settings) { s.AMQPUrls = []string{"amqp://" + front + "/" + b.vhost} })
	line := r.awaitFor(40*time.Second, "consumer.lost")
	if line["error"] != "the session was not set up within 15s" {
		t.Errorf("after %s: %v", time.Since(began), line)
	}
	r.await("consumer.active")
}

// What is paused is not known then: nothing is activated early, and the replica says so and is not ready, while it acts.
func TestRabbitMQNodeThatFreezesWhileWhatIsPausedIsRead(t *testing.T) {
	t.Parallel()
	b, c := newBroker(t), newFakeCloud(t)
	front := freezing(t, net.JoinHostPort(b.address, "5672"), "earlybind.paused")
	r := startReplica(b, c.neutron, func(s *consumer.Settings) { s.AMQPUrls = []string{"amqp://" + front + "/" + b.vhost} })
	r.await("consumer.active")
	line := r.awaitFor(40*time.Second, "consumer.paused")
	if said, _ := line["error"].(string); !strings.Contains(said, "the broker has not answered") {
		t.Errorf("%v", line)
	}
	eventually(t, "the replica to be unready", func() (bool, error) {
		broker := r.board.Facts()["broker"]
		return broker.Lacks && strings.Contains(broker.Says, "this replica acts, but it is not known what is paused"), nil
	})
}
