// Package broker opens connections to RabbitMQ and says how long to wait
// between two attempts.
//
// A session is one connection with its channels and consumers. It is thrown
// away whole when any of it fails and opened anew: amqp091-go's own recovery is
// not used, because a late acknowledgement through a recovered channel settles
// a message that nobody has handled (delivery tags start again at 1).
package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/config"
)

const (
	// heartbeat is after what silence a side sends something. RabbitMQ gives up
	// a client after two to two and a half of them, and turns to another
	// consumer: that is how long a frozen one holds the queue (run: 13 s; with
	// 10 s it was 25). RabbitMQ suggests 5 to 20 s.
	heartbeat = 5 * time.Second
	// connectTimeout is for a node that is gone without a word: the next one is
	// tried.
	connectTimeout   = 3 * time.Second
	handshakeTimeout = 10 * time.Second
)

// Settings are the environment variables that publisher and consumer share
// (prefix EARLYBIND_).
type Settings struct {
	// AMQPUrls are the nodes of one cluster, tried in random order.
	AMQPUrls     Cluster       `default:"amqp://localhost:5672/"`
	AMQPUser     string        `required:"true"`
	AMQPPassword config.Secret `required:"true"`
	// AMQPCaFile and not AMQPCAFile: that one's variable would be …_AMQPCA_FILE.
	AMQPCaFile     string
	AMQPCertFile   string
	AMQPKeyFile    string
	AMQPServerName string
}

// Validate names every fault at once, those of the files too: a broker would be tried for ever with one that cannot be
// read.
func (s Settings) Validate() error {
	_, err := s.TLS()
	return errors.Join(s.AMQPUrls.Check("EARLYBIND_AMQP_URLS"), err)
}

// Dial opens one connection under the given name, which shows in RabbitMQ's
// management. It tries each URL once, in random order, and answers with what
// went wrong at each of them.
func Dial(ctx context.Context, s Settings, name string) (*amqp.Connection, error) {
	conns, err := DialTogether(ctx, s, name)
	if err != nil {
		return nil, err
	}
	return conns[0], nil
}

// DialTogether is Dial of several connections, all to one node of a cluster: what comes through
// them goes on or stops together when that node is parted from the others.
func DialTogether(ctx context.Context, s Settings, names ...string) ([]*amqp.Connection, error) {
	tlsConfig, err := s.TLS()
	if err != nil {
		return nil, err
	}
	urls := slices.Clone(s.AMQPUrls)
	rand.Shuffle(len(urls), func(i, j int) { urls[i], urls[j] = urls[j], urls[i] })
	faults := []error{errors.New("no node of RabbitMQ could be used")}
	for _, u := range urls {
		conns, err := dialNode(ctx, s, tlsConfig, u, names)
		if err == nil {
			return conns, nil
		}
		node := address(u)
		if node == unreadable {
			err = errors.New("not a URL") // its error quotes what may hold a password
		}
		faults = append(faults, fmt.Errorf("%s: %w", node, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(faults...)
}

// dialNode opens all connections, or none.
func dialNode(ctx context.Context, s Settings, tlsConfig *tls.Config, u string, names []string) (conns []*amqp.Connection, err error) {
	for _, name := range names {
		answered := func() bool { return true } // ends the watch over the handshake
		// A Config of its own per dial: amqp091-go zeroes the credentials of
		// a used one.
		conn, err := amqp.DialConfig(u, amqp.Config{
			SASL:            []amqp.Authentication{&amqp.PlainAuth{Username: s.AMQPUser, Password: s.AMQPPassword.Reveal()}},
			Heartbeat:       heartbeat,
			TLSClientConfig: tlsConfig.Clone(), // amqp091-go writes the URL's host into it
			Properties:      amqp.Table{"connection_name": name, "product": "earlybind"},
			Dial: func(network, address string) (net.Conn, error) {
				dialer := net.Dialer{Timeout: connectTimeout}
				conn, err := dialer.DialContext(ctx, network, address)
				if err != nil {
					return nil, err
				}
				// amqp091-go's handshake knows no context; closing ends it.
				answered = context.AfterFunc(ctx, func() { _ = conn.Close() })
				// amqp091-go lifts the deadline when the handshake is done.
				return conn, conn.SetDeadline(time.Now().Add(handshakeTimeout))
			},
		})
		answered()
		if err != nil {
			for _, open := range conns {
				_ = open.CloseDeadline(time.Now().Add(handshakeTimeout))
			}
			return nil, err
		}
		conns = append(conns, conn)
	}
	return conns, nil
}

// Backoff gives the delays between attempts: from half a second, doubling to 30 s, each
// drawn from ±50 % so that a cloud's hosts do not return in step.
func Backoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval = 500 * time.Millisecond
	b.Multiplier = 2
	b.MaxInterval = 30 * time.Second
	return b
}

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
