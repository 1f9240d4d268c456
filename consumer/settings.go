package consumer

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
)

// Settings are the environment variables of the consumer (prefix EARLYBIND_).
// docs/settings.md describes them to operators.
type Settings struct {
	broker.Settings
	// OtherCells are the brokers of further cells, beside that of AMQPUrls.
	OtherCells Cells

	// Policy is that of ports that no override names; see [Settings.PolicyInForce].
	Policy handover.Policy `default:"named"`
	// PolicyNetworks and PolicyDrivers override Policy for some ports, unless it
	// is observe.
	PolicyNetworks handover.NetworkOverrides
	PolicyDrivers  handover.DriverOverrides
	// PolicyHosts and Canary hold back what these allow, by the two hosts and by the
	// instance.
	PolicyHosts handover.HostOverrides
	Canary      handover.Canary `default:"100"`
	Repair      handover.Repair `default:"own"`
	// BreakerFailures is after how many bad outcomes in a row the commits of a
	// pair of hosts, or of a driver, are stopped, 0: never; BreakerPause for how
	// long the first time.
	BreakerFailures int           `default:"3"`
	BreakerPause    time.Duration `default:"1h"`
	// Cloud is the entry of clouds.yaml; empty: OS_CLOUD, or the OS_* variables.
	Cloud string
	// OSServerName is the name that the certificates of Keystone and Neutron are for; empty: the
	// host of each URL.
	OSServerName string
	// NeutronConcurrentActivate: detect, or what an operator knows better: safe, unsafe.
	NeutronConcurrentActivate string `default:"detect"`
	// NeutronAtOnce bounds how many requests to Neutron are under way, 0: no bound. Of those
	// that wait restores go first, then activates.
	NeutronAtOnce int `default:"32"`

	NovaExchange       string   `default:"nova"`
	NotificationTopics []string `default:"notifications,versioned_notifications"`
	Queue              string   `default:"earlybind"`
	QueueType          string   `default:"quorum"`
	// Shares is into how many shares the instances of each cell are divided; one
	// replica acts for each.
	Shares int `default:"1"`
	// HostUserPrefix before a host's name gives the RabbitMQ user whose host
	// events are believed for that host.
	HostUserPrefix string `default:"earlybind-"`

	// CommitWindow is how old the event that leads to a commit may be.
	CommitWindow time.Duration `default:"5s"`
	// UpWithin is how long an agent has to report a port up once its rows are
	// right, before an operator is told.
	UpWithin time.Duration `default:"60s"`
	// HoldMessages is for how long a message is kept unacknowledged: one of a handover that goes
	// on, or an entry of the journal. RabbitMQ closes the channel of whoever keeps one longer than
	// its consumer_timeout, 30 minutes as shipped; it looks each minute, and so does a consumer.
	HoldMessages time.Duration `default:"10m"`
	LogLevel     string        `default:"info"`
}

// Validate names every fault at once.
func (s *Settings) Validate() error {
	faults := []error{s.Settings.Validate(), s.OtherCells.check("EARLYBIND_OTHER_CELLS", s.AMQPUrls)}
	if s.Repair == handover.RepairOff && s.PolicyInForce() != handover.PolicyObserve {
		faults = append(faults, errors.New("EARLYBIND_REPAIR=off goes with EARLYBIND_POLICY=observe only: what is committed must be restored when the migration fails"))
	}
	faults = append(faults,
		oneOf("EARLYBIND_QUEUE_TYPE", s.QueueType, "quorum", "classic"),
		oneOf("EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE", s.NeutronConcurrentActivate, "detect", "safe", "unsafe"))
	if s.Shares < 1 || s.Shares > maxShares {
		faults = append(faults, fmt.Errorf("EARLYBIND_SHARES must be from 1 to %d", maxShares))
	}
	if strings.ContainsFunc(s.OSServerName, unicode.IsSpace) {
		faults = append(faults, errors.New("EARLYBIND_OS_SERVER_NAME must be one host's name: it has white space"))
	}
	if s.NeutronAtOnce < 0 {
		faults = append(faults, errors.New("EARLYBIND_NEUTRON_AT_ONCE must be 0 or more"))
	}
	if s.BreakerFailures < 0 {
		faults = append(faults, errors.New("EARLYBIND_BREAKER_FAILURES must be 0 or more"))
	}
	if s.BreakerFailures > 0 && (s.BreakerPause <= 0 || s.BreakerPause > handover.MaxPause) {
		faults = append(faults, errors.New("EARLYBIND_BREAKER_PAUSE must be above 0 and at most 24h"))
	}
	if s.CommitWindow <= 0 || s.CommitWindow > time.Minute {
		faults = append(faults, errors.New("EARLYBIND_COMMIT_WINDOW must be above 0 and at most 1m"))
	}
	if s.UpWithin <= 0 || s.UpWithin > 10*time.Minute {
		faults = append(faults, errors.New("EARLYBIND_UP_WITHIN must be above 0 and at most 10m"))
	}
	if s.HoldMessages < 10*time.Second || s.HoldMessages > 25*time.Minute {
		faults = append(faults, errors.New("EARLYBIND_HOLD_MESSAGES must be from 10s to 25m"))
	}
	if len(s.NotificationTopics) == 0 || s.NovaExchange == "" || s.Queue == "" {
		faults = append(faults, errors.New("EARLYBIND_NOVA_EXCHANGE, EARLYBIND_NOTIFICATION_TOPICS and EARLYBIND_QUEUE must not be empty"))
	}
	if _, err := zerolog.ParseLevel(s.LogLevel); err != nil || s.LogLevel == "" {
		faults = append(faults, errors.New("EARLYBIND_LOG_LEVEL must be trace, debug, info, warn or error"))
	}
	return errors.Join(faults...)
}

// PolicyInForce is Policy, or what stands for [handover.PolicyNamed] where no network and no
// driver is switched on by its name: auto, of what hosts and a share of the instances allow; where
// nothing is chosen at all, observe. So each of these settings switches on by itself what it names.
func (s Settings) PolicyInForce() handover.Policy {
	switch {
	case s.Policy != handover.PolicyNamed || s.PolicyNetworks.Act() || s.PolicyDrivers.Act():
		return s.Policy
	case s.PolicyHosts.Act() || len(s.PolicyHosts) == 0 && !s.Canary.Whole():
		return handover.PolicyAuto
	}
	return handover.PolicyObserve
}

// core are those of the handovers. safe is [handover.Settings.ConcurrentActivateSafe].
func (s Settings) core(safe bool) handover.Settings {
	policy := s.PolicyInForce()
	return handover.Settings{
		Policy: policy, NothingOn: policy != s.Policy && policy == handover.PolicyObserve, Networks: s.PolicyNetworks, Drivers: s.PolicyDrivers,
		Hosts: s.PolicyHosts, Canary: s.Canary, Repair: s.Repair, ConcurrentActivateSafe: safe,
	}
}

func oneOf(name, value string, allowed ...string) error {
	for _, a := range allowed {
		if value == a {
			return nil
		}
	}
	return fmt.Errorf("%s must be one of %v", name, allowed)
}
