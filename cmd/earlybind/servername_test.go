package main

import (
	"bytes"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/internal/tlstest"
)

// Those that read the cloud ask its servers for the consumer's server name, Nova's too.
func TestTheServerNameIsTheConsumers(t *testing.T) {
	server := tlstest.NewAuthority(t).Issue(t, "cloud.example")
	asked := make(chan string, 16)
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked <- hello.ServerName
		return &server.Certificate, nil // of an authority that nobody knows
	}})
	if err != nil {
		t.Fatal(err)
	}
	nettest.Answer(t, l, func(conn net.Conn) { _ = conn.(*tls.Conn).Handshake() })
	for name, value := range map[string]string{
		"OS_CLOUD": "", "OS_AUTH_URL": "https://" + l.Addr().String() + "/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "service",
		"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "EARLYBIND_OS_SERVER_NAME": "cloud.example",
		"EARLYBIND_AMQP_USER": "u", "EARLYBIND_AMQP_PASSWORD": "p", "EARLYBIND_AMQP_URLS": "amqp://" + nettest.FreeAddress(t),
	} {
		t.Setenv(name, value)
	}
	for command, requests := range map[string]int{"doctor": 1, "check -listen 1s": 2} { // check goes on to Nova
		var out, faults bytes.Buffer
		run(t.Context(), strings.Fields(command), &out, &faults)
		if said := out.String() + faults.String(); !strings.Contains(said, "unknown authority") {
			t.Errorf("%s: %s", command, said)
		}
		if len(asked) < requests {
			t.Errorf("%s: asked %d times", command, len(asked))
		}
		for len(asked) > 0 {
			if name := <-asked; name != "cloud.example" {
				t.Errorf("%s: asked for %q", command, name)
			}
		}
	}
}
