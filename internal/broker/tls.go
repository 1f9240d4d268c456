package broker

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TLS is how a server of the broker is met: by the files that the settings name, else by the
// system's authorities. The error names every fault.
func (s Settings) TLS() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.AMQPServerName}
	var faults []error
	if err := CheckServerName("EARLYBIND_AMQP_SERVER_NAME", s.AMQPServerName); err != nil {
		faults = append(faults, err)
	}
	if s.AMQPCaFile != "" {
		c.RootCAs = x509.NewCertPool()
		if pem, err := os.ReadFile(s.AMQPCaFile); err != nil {
			faults = append(faults, fmt.Errorf("EARLYBIND_AMQP_CA_FILE: %w", err))
		} else if !c.RootCAs.AppendCertsFromPEM(pem) {
			faults = append(faults, fmt.Errorf("EARLYBIND_AMQP_CA_FILE: no certificate in %s", s.AMQPCaFile))
		}
	}
	switch {
	case (s.AMQPCertFile == "") != (s.AMQPKeyFile == ""):
		faults = append(faults, errors.New("EARLYBIND_AMQP_CERT_FILE and EARLYBIND_AMQP_KEY_FILE go together"))
	case s.AMQPCertFile != "":
		pair, err := tls.LoadX509KeyPair(s.AMQPCertFile, s.AMQPKeyFile)
		if err != nil {
			faults = append(faults, fmt.Errorf("EARLYBIND_AMQP_CERT_FILE, EARLYBIND_AMQP_KEY_FILE: %w", err))
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return c, nil
}

// CheckServerName tells what is wrong with the name that a server's certificate is to be for: one with white space
// would be asked of every server, and be the name of none.
func CheckServerName(setting, name string) error {
	if strings.ContainsFunc(name, unicode.IsSpace) {
		return fmt.Errorf("%s must be one host's name: it has white space", setting)
	}
	return nil
}

// watched is a connection that remembers how it ended.
type watched struct {
	net.Conn
	reading atomic.Bool
	ended   chan error // has the first error that a Read gave, or that it was closed when there was none
}

// over shakes hands with a server whose certificate is to be for the name in the settings, else for its
// URL's host.
func over(conn net.Conn, c *tls.Config, host string) (net.Conn, error) {
	c = c.Clone()
	c.ServerName = cmp.Or(c.ServerName, host)
	client := tls.Client(conn, c)
	if err := client.Handshake(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return client, nil
}

func (w *watched) Read(b []byte) (int, error) {
	w.reading.Store(true)
	defer w.reading.Store(false)
	n, err := w.Conn.Read(b)
	if err != nil {
		w.end(err)
	}
	return n, err
}

// Close leaves it to a Read that is under way to tell how the connection has ended. Who has read what it does
// not understand reads no more.
func (w *watched) Close() error {
	err := w.Conn.Close()
	if !w.reading.Load() {
		w.end(net.ErrClosed)
	}
	return err
}

func (w *watched) end(err error) {
	select {
	case w.ended <- err:
	default:
	}
}

// lastWord is how long a server's last word is waited for once amqp091-go has given up.
const lastWord = time.Second

// why finds what stands behind an error of amqp091-go, whose own word depends on who met it first, its reader or
// its writer (1.16.0). Over TLS 1.3 a server refuses a client's certificate when for the client the handshake is
// over, and what amqp091-go makes of that is mostly that the connection is not open.
func (w *watched) why(err error) error {
	var told *amqp.Error
	var wire *net.OpError
	var ended error
	isTold := errors.As(err, &told)
	switch {
	case w.Conn == nil, isTold && told.Server:
		return err // there was no connection; or it was the broker that said no
	case isTold && told.Code == amqp.AccessRefused: // what a connection that has ended in the login is taken for
		select {
		case ended = <-w.ended:
		default:
		}
		if errors.As(ended, &wire) && wire.Timeout() {
			return errSilent
		}
		return err
	}
	select {
	case ended = <-w.ended: // the connection has been closed by now, or a deadline has passed
	case <-time.After(lastWord):
		_ = w.Conn.Close() // amqp091-go leaves it open where it was sent what it does not expect (1.16.0)
	}
	switch isWire := errors.As(ended, &wire); {
	case isWire && wire.Op == "remote error": // a TLS alert
		return ended
	case isWire && wire.Timeout():
		return errSilent
	case isHungUp(ended):
		return errHungUp
	case isTold && told != amqp.ErrClosed:
		return errNotAMQP
	}
	return err
}
