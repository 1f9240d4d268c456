package broker

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/goleak"

	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/internal/tlstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const password = "hunter2"

func good() Settings {
	return Settings{AMQPUrls: []string{"amqp://a:5672/", "amqps://b"}, AMQPUser: "earlybind", AMQPPassword: password}
}

func TestSettings(t *testing.T) {
	if err := good().Validate(); err != nil {
		t.Error(err)
	}
	for url, want := range map[string]string{
		"http://a":                            "is not amqp://host",
		"a:5672":                              "entry 1",
		"amqp://":                             "is not amqp://host",
		"":                                    "is not amqp://host",
		"amqp://guest:" + password + "@a":     "holds credentials",
		"amqp://guest@a":                      "holds credentials",
		"amqp://a:" + password + "/":          "is not a URL",
		"amqp://u:" + password + "@a:bad/":    "is not a URL",
		"amqp://u:" + password + "%zz@a":      "is not a URL",
		"amqp://a\x7f" + password:             "is not a URL",
		"ftp://u:" + password + "@somewhere/": "is not amqp://host",
	} {
		s := good()
		s.AMQPUrls = []string{url}
		err := s.Validate()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "EARLYBIND_AMQP_URLS") {
			t.Errorf("%q: %v, want %s", url, err, want)
		} else if strings.Contains(err.Error(), password) {
			t.Errorf("%q: the error shows the password: %v", url, err)
		}
	}
}

// The variables are those that docs/settings.md and the errors name.
func TestSettingsFromTheEnvironment(t *testing.T) {
	certFile, keyFile, _ := pair(t, "broker")
	caFile, _, _ := pair(t, "authority")
	for name, value := range map[string]string{
		"URLS": "amqps://a,amqps://b", "USER": "earlybind", "PASSWORD": password,
		"CA_FILE": caFile, "CERT_FILE": certFile, "KEY_FILE": keyFile, "SERVER_NAME": "rabbit",
	} {
		t.Setenv("EARLYBIND_AMQP_"+name, value)
	}
	var got Settings
	want := Settings{[]string{"amqps://a", "amqps://b"}, "earlybind", password, caFile, certFile, keyFile, "rabbit"}
	if err := config.Load("EARLYBIND", &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	s := Settings{AMQPUrls: []string{"amqp://a", "x", "amqp://u:p@b"}, AMQPCaFile: "/no/ca", AMQPCertFile: "c", AMQPServerName: " "}
	err := s.Validate()
	for _, want := range []string{"entry 2", "entry 3", "EARLYBIND_AMQP_CA_FILE: open /no/ca", "EARLYBIND_AMQP_KEY_FILE", "EARLYBIND_AMQP_SERVER_NAME"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
	s = good()
	s.AMQPKeyFile = "k"
	if err := s.Validate(); err == nil {
		t.Error("a key without a certificate")
	}
}

// A name with white space is no certificate's: every server would be refused, without end.
func TestAServerNameHasNoWhiteSpace(t *testing.T) {
	for name, ok := range map[string]bool{"": true, "rabbit.example": true, " ": false, "\t": false, " rabbit": false, "rabbit ": false, "rabbit\n": false, "a b": false} {
		s := good()
		s.AMQPServerName = name
		if err := s.Validate(); (err == nil) != ok || !ok && !strings.Contains(err.Error(), "EARLYBIND_AMQP_SERVER_NAME") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNoNodeIsAFault(t *testing.T) {
	s := good()
	s.AMQPUrls = nil
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "EARLYBIND_AMQP_URLS") {
		t.Errorf("%v", err)
	}
}

func TestDialTriesEveryNodeAndTellsOfEachWithoutCredentials(t *testing.T) {
	a, b := nettest.FreeAddress(t), nettest.FreeAddress(t)
	s := good()
	s.AMQPUrls = []string{"amqp://" + a + "/", "amqp://" + b + "/", "amqp://u:" + password + "@" + a + ":bad/", "amqp://u:" + password + "@x%zz/"}
	conn, err := Dial(t.Context(), s, "test")
	if conn != nil || err == nil || !strings.Contains(err.Error(), a) || !strings.Contains(err.Error(), b) {
		t.Errorf("%v", err)
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the error shows the password: %v", err)
	}
}

func TestDialOfNoNodeIsAnError(t *testing.T) {
	s := good()
	s.AMQPUrls = nil
	if conn, err := Dial(t.Context(), s, "test"); err == nil {
		t.Errorf("%v and no error", conn)
	}
}

func TestDialEndsWithItsContext(t *testing.T) {
	s := good()
	s.AMQPUrls = []string{"amqp://" + nettest.FreeAddress(t), "amqp://" + nettest.FreeAddress(t), "amqp://" + nettest.FreeAddress(t)}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Dial(ctx, s, "test")
	var away *Away
	if !errors.As(err, &away) || len(away.Nodes) != 1 || !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "it was interrupted") {
		t.Errorf("%v", err)
	}
}

func TestABrokerThatClosesAtOnceIsAnErrorWithoutCredentials(t *testing.T) {
	l := nettest.Listen(t)
	nettest.Answer(t, l, func(net.Conn) {})
	s := good()
	s.AMQPUrls = []string{"amqp://" + l.Addr().String()}
	_, err := Dial(t.Context(), s, "test")
	if err == nil || strings.Contains(err.Error(), password) {
		t.Errorf("%v", err)
	}
}

// pair writes a certificate for name, and its key.
func pair(t *testing.T, name string) (certFile, keyFile string, cert tls.Certificate) {
	t.Helper()
	p := tlstest.NewAuthority(t).Issue(t, name)
	return p.CertFile, p.KeyFile, p.Certificate
}

func TestTLSFiles(t *testing.T) {
	certFile, keyFile, _ := pair(t, "broker")
	_, otherKey, _ := pair(t, "other")
	missing, junk := filepath.Join(t.TempDir(), "missing"), filepath.Join(t.TempDir(), "junk")
	if err := os.WriteFile(junk, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		ca, cert, key string
		fault         string
	}{
		"all":                      {certFile, certFile, keyFile, ""},
		"none":                     {"", "", "", ""},
		"no CA file":               {missing, "", "", "EARLYBIND_AMQP_CA_FILE"},
		"a CA file without one":    {junk, "", "", "EARLYBIND_AMQP_CA_FILE"},
		"no certificate file":      {"", missing, keyFile, "EARLYBIND_AMQP_CERT_FILE"},
		"no key file":              {"", certFile, missing, "EARLYBIND_AMQP_CERT_FILE"},
		"a certificate that is no": {"", junk, keyFile, "EARLYBIND_AMQP_CERT_FILE"},
		"a key that is none":       {"", certFile, junk, "EARLYBIND_AMQP_CERT_FILE"},
		"the key of another":       {"", certFile, otherKey, "EARLYBIND_AMQP_CERT_FILE"},
	} {
		s := good()
		s.AMQPCaFile, s.AMQPCertFile, s.AMQPKeyFile = c.ca, c.cert, c.key
		config, err := s.TLS()
		if c.fault == "" {
			if err != nil || config.MinVersion != tls.VersionTLS12 || len(config.Certificates) != map[bool]int{true: 1}[c.cert != ""] {
				t.Errorf("%s: %+v, %v", name, config, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), c.fault) || strings.Contains(err.Error(), password) {
			t.Errorf("%s: %v", name, err)
		}
		if told := s.Validate(); told == nil || told.Error() != err.Error() {
			t.Errorf("%s: validated: %v", name, told)
		}
		if _, err := Dial(t.Context(), s, "test"); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: dialled: %v", name, err)
		}
	}
}

// TestEachNodeIsCheckedUnderItsOwnName: the name of the node that was tried
// first must not be asked of the second.
func TestEachNodeIsCheckedUnderItsOwnName(t *testing.T) {
	certFile, _, cert := pair(t, "localhost")
	asked := make(chan string, 64)
	l, err := tls.Listen("tcp", "localhost:0", &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		asked <- hello.ServerName
		return &cert, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	nettest.Answer(t, l, func(conn net.Conn) { _ = conn.(*tls.Conn).Handshake() })
	_, port, _ := net.SplitHostPort(l.Addr().String())
	s := good()
	s.AMQPCaFile = certFile
	// Whatever the order, an address comes before the name or after it.
	s.AMQPUrls = []string{"amqps://127.0.0.1:" + port, "amqps://localhost:" + port, "amqps://127.0.0.1:" + port}
	for range 5 {
		_, err = Dial(t.Context(), s, "test")
		named := false
		for len(asked) > 0 {
			named = <-asked == "localhost" || named
		}
		if err == nil || !named {
			t.Errorf("the name was not asked for: %v", err)
		}
	}
}

func TestDelaysGrowToAHalfMinute(t *testing.T) {
	b := Backoff()
	longest := time.Duration(0)
	for i := range 40 {
		d := b.NextBackOff()
		if d <= 0 || d > 45*time.Second || i == 0 && d > 750*time.Millisecond {
			t.Fatalf("delay %d is %s", i, d)
		}
		longest = max(longest, d)
	}
	if longest < 15*time.Second {
		t.Errorf("the longest delay is %s", longest)
	}
}

// A thousand hosts that lose the broker together: at each attempt they are spread
// over as much time as the delay is long, and the broker never has more than a
// tenth of them come back within a twentieth of it.
func TestHostsDoNotComeBackInStep(t *testing.T) {
	const hosts, attempts = 1000, 8
	all := make([]*backoff.ExponentialBackOff, hosts)
	for i := range all {
		all[i] = Backoff()
	}
	middle := 500 * time.Millisecond
	for attempt := range attempts {
		slots := map[time.Duration]int{}
		for _, b := range all {
			d := b.NextBackOff()
			if d < middle/2 || d > middle*3/2+time.Nanosecond {
				t.Fatalf("attempt %d: %s is not within half of %s", attempt, d, middle)
			}
			slots[d/(middle/20)]++
		}
		for slot, n := range slots {
			if n > hosts/10 {
				t.Errorf("attempt %d: %d of %d hosts come back between %s and %s", attempt, n, hosts, slot*middle/20, (slot+1)*middle/20)
			}
		}
		if len(slots) < 20 {
			t.Errorf("attempt %d: the hosts come back in %d of 20 parts of the delay", attempt, len(slots))
		}
		middle = min(2*middle, 30*time.Second)
	}
}
