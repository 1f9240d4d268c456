package broker

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/internal/tlstest"
)

// amqp091-go's word for the end of a connection depends on who is first, its reader or its writer: of a
// RabbitMQ 4.0.5 that wanted a certificate it was mostly that the connection is not open.
func TestWhyAConnectionEnded(t *testing.T) {
	alert := &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
	reset := &net.OpError{Op: "write", Err: syscall.ECONNRESET}
	late := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	refused := &amqp.Error{Code: amqp.NotAllowed, Reason: "NOT_ALLOWED", Server: true}
	for name, c := range map[string]struct {
		told, ended, want error
	}{
		"an alert, read before anything was sent": {amqp.ErrClosed, alert, alert},
		"an alert, read as the answer":            {&amqp.Error{Code: amqp.FrameError, Reason: alert.Error()}, alert, alert},
		"an alert, and what was sent came late":   {reset, alert, alert},
		"hung up":                                 {&amqp.Error{Code: amqp.FrameError, Reason: "EOF"}, io.EOF, errHungUp},
		"cut":                                     {reset, reset, errHungUp},
		"says nothing":                            {&amqp.Error{Code: amqp.FrameError, Reason: "i/o timeout"}, late, errSilent},
		"says nothing after the login":            {amqp.ErrCredentials, late, errSilent},
		"is not understood":                       {amqp.ErrFrame, net.ErrClosed, errNotAMQP},
		"closed here":                             {amqp.ErrClosed, net.ErrClosed, nil},
		"the broker said no":                      {amqp.ErrCredentials, nil, nil},
		"the broker said no, and hung up":         {amqp.ErrCredentials, io.EOF, nil},
		"the broker said why":                     {refused, io.EOF, nil},
	} {
		w := &watched{Conn: &net.TCPConn{}, ended: make(chan error, 1)}
		if c.ended != nil {
			w.ended <- c.ended
		}
		if got, want := w.why(c.told), cmp.Or(c.want, c.told); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := (&watched{}).why(alert); got != alert {
		t.Errorf("no connection: %v", got)
	}
}

// A server that refuses the client's certificate says so after the handshake (TLS 1.3) or in it.
func TestWhyTheServerRefusesUsIsTold(t *testing.T) {
	ours, others := tlstest.NewAuthority(t), tlstest.NewAuthority(t)
	server, own, strange := ours.Issue(t, "localhost"), ours.Issue(t, "client"), others.Issue(t, "client")
	for _, newest := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for name, c := range map[string]struct {
			shows tlstest.Pair
			want  string
		}{
			"no certificate":                  {tlstest.Pair{}, "remote error: tls: "},
			"a certificate of an unknown one": {strange, "remote error: tls: "},
			// It is let in, and the server, which speaks no AMQP, goes away.
			"the right one": {own, errHungUp.Error()},
		} {
			l, err := tls.Listen("tcp", "localhost:0", &tls.Config{
				Certificates: []tls.Certificate{server.Certificate}, MaxVersion: newest,
				ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ours.Pool(t),
			})
			if err != nil {
				t.Fatal(err)
			}
			nettest.Answer(t, l, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 8)) }) // shakes hands
			s := good()
			s.AMQPUrls = Cluster{"amqps://" + l.Addr().String()}
			s.AMQPCaFile, s.AMQPCertFile, s.AMQPKeyFile, s.AMQPServerName = ours.File, c.shows.CertFile, c.shows.KeyFile, "localhost"
			for range 20 {
				_, err := Dial(t.Context(), s, "test")
				if err == nil || !strings.Contains(err.Error(), l.Addr().String()+": ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), password) {
					t.Errorf("%s, %s: %v", tls.VersionName(newest), name, err)
				}
			}
		}
	}
}
