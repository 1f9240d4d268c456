package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/internal/tlstest"
)

// answers has a server that says something to the first words of each who comes, and hangs up.
func answers(t *testing.T, l net.Listener, with string) (address string) {
	t.Helper()
	nettest.Answer(t, l, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 8))
		_, _ = conn.Write([]byte(with))
	})
	return l.Addr().String()
}

// Who cannot use a node is told which and why in one line, in no library's words, and what to look at.
func TestWhyANodeCannotBeUsed(t *testing.T) {
	ours, theirs := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	secure := func(with string) string {
		pair := ours.Issue(t, "localhost")
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair.Certificate}})
		if err != nil {
			t.Fatal(err)
		}
		return answers(t, l, with)
	}
	const http = "HTTP/1.1 400 Bad Request\r\n\r\n"
	for name, c := range map[string]struct {
		scheme, address string
		ca              string
		want, next      string
	}{
		"nobody listens":       {"amqp", nettest.FreeAddress(t), "", "connection refused", lookAtServer},
		"it hangs up":          {"amqp", answers(t, nettest.Listen(t), ""), "", errHungUp.Error(), lookAtPort},
		"HTTP":                 {"amqp", answers(t, nettest.Listen(t), http), "", errNotAMQP.Error(), lookAtPort},
		"HTTP over TLS":        {"amqps", secure(http), ours.File, errNotAMQP.Error(), lookAtPort},
		"TLS over plain":       {"amqps", answers(t, nettest.Listen(t), http), "", "it does not speak TLS", lookAtPort},
		"TLS hangs up":         {"amqps", answers(t, nettest.Listen(t), ""), "", errHungUp.Error(), lookAtPort},
		"an unknown authority": {"amqps", secure(""), theirs.File, "x509: certificate signed by unknown authority", lookAtTrust},
	} {
		t.Run(name, func(t *testing.T) {
			s := good()
			s.AMQPUrls = Cluster{c.scheme + "://" + c.address + "/nova"}
			s.AMQPCaFile, s.AMQPServerName = c.ca, "localhost"
			_, err := Dial(t.Context(), s, "test")
			var away *Away
			if !errors.As(err, &away) {
				t.Fatal(err)
			}
			said := Told(err)
			if want := "no node of RabbitMQ could be used; " + c.address + ": "; !strings.HasPrefix(said, want) || !strings.Contains(said, c.want) || !strings.HasSuffix(said, "; "+c.next) {
				t.Errorf("%s, want %s… %s; %s", said, want, c.want, c.next)
			}
			if strings.Count(said, c.address) != 1 || strings.ContainsAny(said, "\n\\") || strings.Contains(said, "Exception") || strings.Contains(said, "dial tcp") || strings.Contains(said, password) {
				t.Errorf("%s", said)
			}
		})
	}
}

// A server that says what is not expected and waits is not taken for one that says nothing: amqp091-go gives up
// and leaves the connection as it is.
func TestAServerThatSpeaksOutOfTurn(t *testing.T) {
	const tune = "\x01\x00\x00\x00\x00\x00\x0c\x00\x0a\x00\x1e\x00\x00\x00\x00\x00\x00\x00\x00\xce" // connection.tune, before connection.start
	l := nettest.Listen(t)
	over := make(chan struct{})
	go func() {
		defer close(over)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 8))
		_, _ = conn.Write([]byte(tune))
		_, _ = conn.Read(make([]byte, 1)) // until the other side closes
	}()
	s := good()
	s.AMQPUrls = Cluster{"amqp://" + l.Addr().String()}
	if _, err := Dial(t.Context(), s, "test"); err == nil || !strings.Contains(Told(err), errNotAMQP.Error()) {
		t.Errorf("%v", err)
	}
	<-over
	l.Close()
}

// What cannot be brought about here is told as well.
func TestWhatIsToldOfAFault(t *testing.T) {
	timeout := context.DeadlineExceeded // is one, by Timeout
	for name, c := range map[string]struct {
		err        error
		said, next string
	}{
		"a node that is gone":          {&net.OpError{Op: "dial", Net: "tcp", Err: timeout}, "no answer within 3s", lookAtServer},
		"no way there":                 {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}, "no route to host", lookAtServer},
		"an unknown name":              {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "rabbit", Server: "10.0.0.1:53", IsNotFound: true}}, "no such host", lookAtName},
		"names are not known now":      {&net.OpError{Op: "dial", Err: &net.DNSError{Err: "server misbehaving", Name: "rabbit", Server: "10.0.0.1:53"}}, "its name could not be looked up: server misbehaving", lookAtName},
		"a handshake that takes long":  {&net.OpError{Op: "read", Err: timeout}, "it takes the connection and says nothing within 10s", lookAtPort},
		"a password":                   {amqp.ErrCredentials, "username or password not allowed", lookAtUser},
		"a password, RabbitMQ's words": {&amqp.Error{Code: amqp.AccessRefused, Reason: "ACCESS_REFUSED - Login was refused", Server: true}, "ACCESS_REFUSED - Login was refused", lookAtUser},
		"a vhost":                      {&amqp.Error{Code: amqp.NotAllowed, Reason: "NOT_ALLOWED - vhost nova not found", Server: true}, "NOT_ALLOWED - vhost nova not found", lookAtVhost},
		"a vhost, without a word":      {amqp.ErrVhost, "no access to this vhost", lookAtVhost},
		"an alert":                     {&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, "remote error: tls: certificate required", lookAtOwn},
		"an interruption":              {context.Canceled, "it was interrupted", lookAtURLs},
		"no time left":                 {context.DeadlineExceeded, "it had not answered when the time was up", lookAtServer},
		"another":                      {&amqp.Error{Code: amqp.InternalError, Reason: "INTERNAL_ERROR", Server: true}, "INTERNAL_ERROR", lookAtURLs},
	} {
		got := Told(fmt.Errorf("connect: %w", &Away{[]Fault{{"rabbit:5672", c.err}}}))
		if want := "no node of RabbitMQ could be used; rabbit:5672: " + c.said + "; " + c.next; got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// Of several nodes each is named, and what to look at once.
func TestNodesThatAreAwayAlike(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	got := Told(&Away{[]Fault{{"a:5672", refused}, {"b:5672", refused}, {"c:5672", amqp.ErrCredentials}}})
	if want := "no node of RabbitMQ could be used; a:5672: connection refused; b:5672: connection refused; c:5672: username or password not allowed; " + lookAtServer + "; " + lookAtUser; got != want {
		t.Errorf("%s", got)
	}
}

// A broker that answers, but with a no, is quoted as it says it.
func TestABrokersNoIsToldPlainly(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("exchange nova: %w", &amqp.Error{Code: amqp.NotFound, Reason: "NOT_FOUND - no exchange 'nova'", Server: true}): "exchange nova: NOT_FOUND - no exchange 'nova'",
		fmt.Errorf("consume: %w", amqp.ErrClosed):         "consume: the connection is closed",
		errors.Join(errors.New("one"), errors.New("two")): "one; two",
	} {
		if got := Told(err); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
