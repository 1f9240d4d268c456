// Package nettest has what tests need of the network.
package nettest

import (
	"net"
	"testing"
)

// FreeAddress is one that nothing listens on.
func FreeAddress(t testing.TB) string {
	t.Helper()
	l := Listen(t)
	defer l.Close()
	return l.Addr().String()
}

// Listen listens at an address of this machine until the test has ended.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Answer has all who come answered, one after the other, and hangs up; until the test has ended.
func Answer(t testing.TB, l net.Listener, answer func(net.Conn)) {
	t.Helper()
	over := make(chan struct{})
	go func() {
		defer close(over)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-over })
}
