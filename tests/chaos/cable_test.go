package main

import (
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"testing"
	"time"
)

// far is what the cable leads to; near dials through the cable.
func layTestCable(t *testing.T) (c *cable, near func() net.Conn, far <-chan net.Conn) {
	t.Helper()
	broker, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	ends := make(chan net.Conn, 2)
	go func() {
		for {
			conn, err := broker.Accept()
			if err != nil {
				return
			}
			ends <- conn
		}
	}()
	c, err = layCable("amqp://" + broker.Addr().String() + "/vhost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	u, err := url.Parse(c.url)
	if err != nil || u.Path != "/vhost" {
		t.Fatal(c.url, err)
	}
	return c, func() net.Conn {
		conn, err := net.Dial("tcp", u.Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}, ends
}

func write(t *testing.T, to net.Conn, text string) {
	t.Helper()
	if _, err := to.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

func wantRead(t *testing.T, from net.Conn, text string) {
	t.Helper()
	_ = from.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len(text))
	if _, err := io.ReadFull(from, got); err != nil || string(got) != text {
		t.Errorf("%q, %v; want %q", got, err, text)
	}
}

// wantSilence: neither a byte nor an end comes.
func wantSilence(t *testing.T, from net.Conn) {
	t.Helper()
	_ = from.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := from.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A cable that is cut holds everything back, the end of a connection too, and lets
// it through when it is mended.
func TestACutCableStallsAndClosesNothing(t *testing.T) {
	c, dial, ends := layTestCable(t)
	near := dial()
	far := <-ends
	write(t, near, "there")
	wantRead(t, far, "there")
	write(t, far, "and back")
	wantRead(t, near, "and back")

	c.cut()
	write(t, near, "late")
	wantSilence(t, far)
	write(t, far, "later")
	_ = far.Close()
	wantSilence(t, near)
	second := dial()
	write(t, second, "new")
	wantSilence(t, second)
	select {
	case <-ends:
		t.Error("a connection has come through")
	default:
	}

	c.mend()
	wantRead(t, near, "later")
	if _, err := near.Read(make([]byte, 1)); err == nil {
		t.Error("the connection has not ended")
	}
	wantRead(t, <-ends, "new")
}
