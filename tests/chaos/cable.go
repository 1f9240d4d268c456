package main

import (
	"net"
	"net/url"
	"sync"
	"time"
)

// cable stands between one replica and one node of the broker. While it is cut it stalls: what
// either side sends stays where it is, nothing is closed, and a new connection is
// taken and not answered, as on a network that has lost a node. The replica still
// reaches Neutron: nothing but its lease keeps it from writing. (toxiproxy can do
// this too, with a server, an API and metrics of its own.)
type cable struct {
	url      string // of the node, through the cable
	listener net.Listener
	node     string

	mu    sync.Mutex
	whole chan struct{} // closed while the cable is
}

// layCable listens on a port of its own of this machine.
func layCable(node string) (*cable, error) {
	u, err := url.Parse(node)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &cable{listener: listener, node: u.Host, whole: make(chan struct{})}
	close(c.whole)
	u.Host = listener.Addr().String()
	c.url = u.String()
	go func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return // closed
			}
			go c.carry(near)
		}
	}()
	return c, nil
}

func (c *cable) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.whole = make(chan struct{})
}

// mend lets everything through that has waited.
func (c *cable) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.whole)
}

// close takes no connection any more; those that are there end with their sides.
func (c *cable) close() { _ = c.listener.Close() }

// wait returns when the cable is whole.
func (c *cable) wait() {
	c.mu.Lock()
	whole := c.whole
	c.mu.Unlock()
	<-whole
}

// carry serves one connection until either side ends it.
func (c *cable) carry(near net.Conn) {
	defer near.Close()
	c.wait()
	far, err := net.DialTimeout("tcp", c.node, 3*time.Second)
	if err != nil {
		return
	}
	defer far.Close()
	ended := make(chan struct{}, 2)
	pump := func(from, to net.Conn) {
		defer func() { ended <- struct{}{} }()
		buffer := make([]byte, 32<<10)
		for {
			n, err := from.Read(buffer)
			c.wait() // an end is no news either
			if _, unwritten := to.Write(buffer[:n]); err != nil || unwritten != nil {
				return
			}
		}
	}
	go pump(near, far)
	go pump(far, near)
	<-ended
}
