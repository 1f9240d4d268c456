package broker

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TLS is how a server of the broker is met: by the files that the settings name, else by the
// system's authorities. The error names every fault.
func (s Settings) TLS() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: s.AMQPServerName}
	var faults []error
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

// secured is a connection by TLS that remembers how it ended.
type secured struct {
	net.Conn
	ended chan error // has the first error that a Read gave
}

// over shakes hands with a server whose certificate is to be for the name in the settings, else for its
// URL's host.
func (s *secured) over(conn net.Conn, c *tls.Config, host string) (net.Conn, error) {
	c = c.Clone()
	c.ServerName = cmp.Or(c.ServerName, host)
	client := tls.Client(conn, c)
	if err := client.Handshake(); err != nil {
		_ = conn.Close()
		return nil, err
	}
	s.Conn = client
	return s, nil
}

func (s *secured) Read(b []byte) (int, error) {
	n, err := s.Conn.Read(b)
	if err != nil {
		select {
		case s.ended <- err:
		default:
		}
	}
	return n, err
}

// why finds what stands behind an error of amqp091-go. Over TLS 1.3 a server refuses a client's
// certificate when for the client the handshake is over, and what amqp091-go makes of that is mostly
// that the connection is not open (1.16.0).
func (s *secured) why(err error) error {
	var told *amqp.Error
	if s.Conn == nil || errors.As(err, &told) && told.Code != amqp.FrameError && told.Code != amqp.ChannelError {
		return err // there was no connection; or it was the broker that said no
	}
	var alert *net.OpError
	if ended := <-s.ended; errors.As(ended, &alert) && alert.Op == "remote error" {
		return ended // the connection has been closed by now, or has a deadline
	}
	return err
}
