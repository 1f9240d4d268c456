package publisher

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
)

// emptyEnvironment hides what this process was started with, the variables of
// the integration tests among it.
func emptyEnvironment(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		if strings.HasPrefix(name, "EARLYBIND_") {
			t.Setenv(name, value) // put back after the test
			_ = os.Unsetenv(name)
		}
	}
}

func TestSettingsDefaults(t *testing.T) {
	emptyEnvironment(t)
	t.Setenv("EARLYBIND_HOST", "compute1.example")
	t.Setenv("EARLYBIND_AMQP_USER", "earlybind-compute1")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "x")
	var s Settings
	if err := config.Load("EARLYBIND", &s); err != nil {
		t.Fatal(err)
	}
	if s.OVSDB != "" {
		t.Errorf("the Open vSwitch database is used by default: %s", s.OVSDB)
	}
	if s.LibvirtURI != "qemu:///system" || s.EventBuffer != 10000 || s.EventExpiry != 10*time.Minute || s.StateDir != "/var/lib/earlybind" || s.LogLevel != "info" {
		t.Errorf("got %+v", s)
	}
}

func TestOVSDBIsASocket(t *testing.T) {
	emptyEnvironment(t)
	t.Setenv("EARLYBIND_HOST", "compute1.example")
	t.Setenv("EARLYBIND_AMQP_USER", "earlybind-compute1")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "x")
	t.Setenv("EARLYBIND_OVSDB", "unix:/run/openvswitch/db.sock")
	var s Settings
	if err := config.Load("EARLYBIND", &s); err != nil || s.OVSDB != "unix:/run/openvswitch/db.sock" {
		t.Errorf("got %q, %v", s.OVSDB, err)
	}
	t.Setenv("EARLYBIND_OVSDB", "/run/openvswitch/db.sock")
	if err := config.Load("EARLYBIND", &Settings{}); err == nil || !strings.Contains(err.Error(), "EARLYBIND_OVSDB must be unix:") {
		t.Errorf("got %v", err)
	}
}

func TestHostIsRequired(t *testing.T) {
	emptyEnvironment(t)
	t.Setenv("EARLYBIND_AMQP_USER", "u")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "x")
	if err := config.Load("EARLYBIND", &Settings{}); err == nil || err.Error() != "EARLYBIND_HOST is required" {
		t.Errorf("got %v", err)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	err := Settings{
		Settings: broker.Settings{AMQPUrls: []string{"http://x"}},
		Host:     "a b", EventBuffer: 0, EventExpiry: time.Millisecond, LogLevel: "loud", OVSDB: "tcp:127.0.0.1:6640",
	}.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, name := range []string{"AMQP_URLS", "HOST", "LIBVIRT_URI", "EVENT_BUFFER", "EVENT_EXPIRY", "STATE_DIR", "LOG_LEVEL", "OVSDB"} {
		if !strings.Contains(err.Error(), "EARLYBIND_"+name) {
			t.Errorf("lacks %s: %v", name, err)
		}
	}
}

func TestHostMustFitARoutingKey(t *testing.T) {
	good := Settings{Settings: broker.Settings{AMQPUrls: []string{"amqp://localhost"}}, LibvirtURI: "x", EventBuffer: 1, EventExpiry: time.Second, StateDir: "x", LogLevel: "info"}
	for host, ok := range map[string]bool{
		"compute1": true, "compute-1.example.org": true, "c_1": true,
		"a b": false, "a*": false, "#": false, "a\n": false, strings.Repeat("h", 191): false,
	} {
		s := good
		s.Host = host
		if err := s.Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", host, err)
		}
	}
}
