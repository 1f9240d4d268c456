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
	"errors"
	"math/rand/v2"
	"net"
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
// went wrong at each of them: [Away].
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
	away := &Away{}
	for _, u := range urls {
		conns, err := dialNode(ctx, s, tlsConfig, u, names)
		if err == nil {
			return conns, nil
		}
		node := address(u)
		if node == unreadable {
			err = errNotURL // its error quotes what may hold a password
		}
		away.Nodes = append(away.Nodes, Fault{node, err})
		if ctx.Err() != nil {
			break
		}
	}
	return nil, away
}

// dialNode opens all connections, or none.
func dialNode(ctx context.Context, s Settings, tlsConfig *tls.Config, u string, names []string) (conns []*amqp.Connection, err error) {
	for _, name := range names {
		conn, err := dialOne(ctx, s, tlsConfig, u, name)
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

// dialOne has amqp091-go speak plainly to what is connected here, by TLS where the URL wants it:
// its own TLS keeps from us why a server ends a connection.
func dialOne(ctx context.Context, s Settings, tlsConfig *tls.Config, u, name string) (*amqp.Connection, error) {
	uri, err := amqp.ParseURI(u)
	if err != nil {
		return nil, err
	}
	secure, plain := uri.Scheme == "amqps", u
	if secure {
		plain = "amqp" + u[len("amqps"):]
	}
	met := &watched{ended: make(chan error, 1)}
	answered := func() bool { return true } // ends the watch over the handshake
	// A Config of its own per dial: amqp091-go zeroes the credentials of a used one.
	conn, err := amqp.DialConfig(plain, amqp.Config{
		SASL:       []amqp.Authentication{&amqp.PlainAuth{Username: s.AMQPUser, Password: s.AMQPPassword.Reveal()}},
		Heartbeat:  heartbeat,
		Properties: amqp.Table{"connection_name": name, "product": "earlybind"},
		Dial: func(network, _ string) (net.Conn, error) {
			dialer := net.Dialer{Timeout: connectTimeout}
			conn, err := dialer.DialContext(ctx, network, address(u))
			if err != nil {
				return nil, err
			}
			// amqp091-go's handshake knows no context; closing ends it.
			answered = context.AfterFunc(ctx, func() { _ = conn.Close() })
			// amqp091-go lifts the deadline when the handshake is done.
			if err = conn.SetDeadline(time.Now().Add(handshakeTimeout)); err == nil && secure {
				conn, err = over(conn, tlsConfig, uri.Host)
			}
			if err != nil {
				return nil, err
			}
			met.Conn = conn
			return met, nil
		},
	})
	answered()
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, met.why(err)
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
