package broker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Away is that no node of a broker could be used, and why of each that was tried. It holds no credentials.
type Away struct{ Nodes []Fault }

// Fault is why one node could not be used.
type Fault struct {
	Node string // host:port
	Err  error
}

func (a *Away) Error() string {
	said := "no node of RabbitMQ could be used"
	if faults := a.Faults(); faults != "" {
		said += "; " + faults
	}
	return said
}

// Unwrap gives what went wrong at each node.
func (a *Away) Unwrap() []error {
	var all []error
	for _, f := range a.Nodes {
		all = append(all, f.Err)
	}
	return all
}

// Faults tells in a line why each node could not be used.
func (a *Away) Faults() string {
	var all []string
	for _, f := range a.Nodes {
		said, _ := explain(f.Err)
		all = append(all, f.Node+": "+said)
	}
	return strings.Join(all, "; ")
}

// Next tells in a line what to look at.
func (a *Away) Next() string {
	var all []string
	for _, f := range a.Nodes {
		if _, next := explain(f.Err); next != "" && !slices.Contains(all, next) {
			all = append(all, next)
		}
	}
	if len(all) == 0 {
		return lookAtURLs
	}
	return strings.Join(all, "; ")
}

// Told is an error of this package's, or of amqp091-go's, in a line for who has called a command: what is
// the matter, and where RabbitMQ is away what to look at.
func Told(err error) string {
	var away *Away
	if errors.As(err, &away) {
		return away.Error() + "; " + away.Next()
	}
	return Plain(err)
}

// Plain is an error in a line, without the dress of amqp091-go's, which is
// Exception (404) Reason: "NOT_FOUND - no queue…".
func Plain(err error) string {
	said := err.Error()
	var told *amqp.Error
	if errors.As(err, &told) {
		reason := told.Reason
		if told.Code == amqp.ErrClosed.Code && reason == amqp.ErrClosed.Reason {
			reason = "the connection is closed"
		}
		said = strings.ReplaceAll(said, told.Error(), reason)
	}
	return strings.ReplaceAll(said, "\n", "; ")
}

// What became of a connection that a server took; amqp091-go tells it by what its reader or its writer met first.
var (
	errNotURL  = errors.New("not a URL")
	errHungUp  = errors.New("it takes the connection and ends it without a word")
	errSilent  = fmt.Errorf("it takes the connection and says nothing within %s", handshakeTimeout)
	errNotAMQP = errors.New("what answers there does not speak AMQP 0-9-1")
)

// What to look at.
const (
	lookAtURLs   = "is EARLYBIND_AMQP_URLS right?"
	lookAtServer = "does RabbitMQ run there, may this host reach it, is EARLYBIND_AMQP_URLS right?"
	lookAtName   = "does this host know the name, is EARLYBIND_AMQP_URLS right?"
	lookAtPort   = "is that RabbitMQ's port in EARLYBIND_AMQP_URLS (amqp:// and 5672, with TLS amqps:// and 5671), and has it started (rabbitmqctl await_startup)?"
	lookAtUser   = "are EARLYBIND_AMQP_USER and EARLYBIND_AMQP_PASSWORD or EARLYBIND_AMQP_PASSWORD_FILE right? earlybind rights prints the commands that make the user"
	lookAtVhost  = "is the virtual host at the end of EARLYBIND_AMQP_URLS right, and has the user rights there? earlybind rights prints the commands"
	lookAtTrust  = "are EARLYBIND_AMQP_CA_FILE and EARLYBIND_AMQP_SERVER_NAME right for its certificate?"
	lookAtOwn    = "does it take the certificate of EARLYBIND_AMQP_CERT_FILE and EARLYBIND_AMQP_KEY_FILE?"
)

// explain tells why a node could not be used, and what to look at.
func explain(err error) (said, next string) {
	var (
		told      *amqp.Error
		dns       *net.DNSError
		wire      *net.OpError
		noTLS     tls.RecordHeaderError
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
	)
	isWire := errors.As(err, &wire)
	switch {
	case errors.Is(err, errNotURL):
		return err.Error(), lookAtURLs
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such host", lookAtName
	case errors.As(err, &dns):
		return "its name could not be looked up: " + dns.Err, lookAtName
	case errors.As(err, &noTLS):
		return "it does not speak TLS", lookAtPort
	case errors.As(err, &authority), errors.As(err, &name), errors.As(err, &invalid):
		return Plain(err), lookAtTrust
	case isWire && wire.Op == "remote error": // a TLS alert
		return wire.Error(), lookAtOwn
	case isWire && wire.Op == "dial" && wire.Timeout():
		return fmt.Sprintf("no answer within %s", connectTimeout), lookAtServer
	case isWire && wire.Op == "dial":
		return reasonOf(wire.Err), lookAtServer
	case errors.Is(err, errSilent), isWire && wire.Timeout():
		return errSilent.Error(), lookAtPort
	case errors.Is(err, errHungUp), isHungUp(err):
		return errHungUp.Error(), lookAtPort
	case errors.Is(err, errNotAMQP):
		return errNotAMQP.Error(), lookAtPort
	case errors.As(err, &told) && told.Code == amqp.AccessRefused:
		if told == amqp.ErrVhost {
			return Plain(err), lookAtVhost
		}
		return Plain(err), lookAtUser
	case errors.As(err, &told) && told.Code == amqp.NotAllowed:
		return Plain(err), lookAtVhost
	case errors.Is(err, context.Canceled):
		return "it was interrupted", lookAtURLs
	case errors.Is(err, context.DeadlineExceeded): // ours; a dialler's time-out is one, too
		return "it had not answered when the time was up", lookAtServer
	}
	return Plain(err), ""
}

// isHungUp tells whether a server has ended a connection.
func isHungUp(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// reasonOf is the system's word alone for why nothing could be dialled: "connection refused".
func reasonOf(err error) string {
	var word syscall.Errno
	if errors.As(err, &word) {
		return word.Error()
	}
	return err.Error()
}
