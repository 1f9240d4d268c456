package publisher

import (
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/publisher/ovs"
	"github.com/earlybind/earlybind/wire"
)

// Settings are the environment variables of the publisher (prefix EARLYBIND_);
// config.Load fills them.
type Settings struct {
	broker.Settings
	// Host is Nova's `host` of this machine, which is the Neutron agent's
	// host; it is never guessed from a hostname.
	Host       string `required:"true"`
	LibvirtURI string `default:"qemu:///system"`
	// EventBuffer is how many messages wait for a broker that is away.
	EventBuffer int `default:"10000"`
	// EventExpiry is how long a message waits in a queue of the broker.
	EventExpiry time.Duration `default:"10m"`
	// StateDir holds the epoch file.
	StateDir string `default:"/var/lib/earlybind"`
	// OVSDB is the socket of the host's Open vSwitch database, as
	// unix:/run/openvswitch/db.sock; empty: no port is plugged in again.
	OVSDB    string
	LogLevel string `default:"info"`
}

// Validate names every fault at once.
func (s Settings) Validate() error {
	faults := []error{s.Settings.Validate()}
	fault := func(format string, a ...any) { faults = append(faults, fmt.Errorf(format, a...)) }
	// That there is one, config has seen: it is required, and one fault is one line.
	if err := wire.CheckHost(s.Host); s.Host != "" && err != nil {
		fault("EARLYBIND_HOST %w", err)
	}
	if s.LibvirtURI == "" {
		fault("EARLYBIND_LIBVIRT_URI must not be empty")
	}
	if s.EventBuffer < 1 {
		fault("EARLYBIND_EVENT_BUFFER must be at least 1")
	}
	if s.EventExpiry < time.Second {
		fault("EARLYBIND_EVENT_EXPIRY must be at least 1s")
	}
	if s.StateDir == "" {
		fault("EARLYBIND_STATE_DIR must not be empty")
	}
	if s.OVSDB != "" {
		if err := ovs.CheckAddress(s.OVSDB); err != nil {
			fault("EARLYBIND_OVSDB %w", err)
		}
	}
	if _, err := zerolog.ParseLevel(s.LogLevel); err != nil || s.LogLevel == "" {
		fault("EARLYBIND_LOG_LEVEL must be trace, debug, info, warn or error")
	}
	return errors.Join(faults...)
}
