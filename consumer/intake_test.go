package consumer

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/wire"
)

func defaults() Settings {
	return Settings{
		Settings:                  broker.Settings{AMQPUrls: []string{"amqp://localhost"}, AMQPUser: "u", AMQPPassword: "p"},
		NeutronConcurrentActivate: "detect", NovaExchange: "nova", NotificationTopics: []string{"notifications"}, Queue: "earlybind",
		QueueType: "quorum", HostUserPrefix: "earlybind-", CommitWindow: 5 * time.Second, UpWithin: time.Minute, HoldMessages: holdFor, LogLevel: "info", Repair: handover.RepairOwn, Shares: 1,
	}
}

func encoded(t *testing.T, publisher, kind string, payload any) []byte {
	t.Helper()
	n, err := wire.NewNotification(publisher, kind, payload, "id", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func hostEvent() wire.HostEvent {
	return wire.HostEvent{Schema: wire.SchemaVersion, Host: src, Instance: guest, Event: wire.Suspended, Detail: wire.Migrated}
}

func TestWhoIsBelieved(t *testing.T) {
	event := hostEvent()
	states := wire.HostStates{Schema: wire.SchemaVersion, Host: src}
	for _, c := range []struct {
		name, user, publisher string
		believed              bool
	}{
		{"the host itself", "earlybind-" + src, wire.PublisherID(src), true},
		{"another host", "earlybind-" + dst, wire.PublisherID(src), false},
		{"another host under its own name", "earlybind-" + dst, wire.PublisherID(dst), false},
		{"nobody", "", wire.PublisherID(src), false},
		{"Nova", "nova", wire.PublisherID(src), false},
		{"a user whose name begins so", "earlybind-" + src + "0", wire.PublisherID(src), false},
		{"another publisher_id", "earlybind-" + src, wire.PublisherID(dst), false},
		{"a publisher_id of Nova's", "earlybind-" + src, "compute." + src, false},
	} {
		for kind, payload := range map[string]any{event.EventType(): event, wire.EventStates: states} {
			m, err := defaults().read(delivered{wire.ExchangeEvents, c.user, encoded(t, c.publisher, kind, payload)})
			if c.believed && (err != nil || m == nil) || !c.believed && (!errors.Is(err, errRefused) || m != nil) {
				t.Errorf("%s, %s: %+v, %v", c.name, kind, m, err)
			}
			if err != nil && !strings.Contains(err.Error(), src) {
				t.Errorf("%s: does not name the host: %v", c.name, err)
			}
		}
	}
}

func TestEachExchangeIsBelievedOnlyWhatIsItsOwn(t *testing.T) {
	s := defaults()
	event := hostEvent()
	legacy := encoded(t, "compute."+dst, "compute.instance.live_migration.pre.start", map[string]any{"instance_id": guest, "host": src})
	for _, c := range []struct {
		name, exchange string
		body           []byte
		want           bool
	}{
		{"Nova's on Nova's", "nova", legacy, true},
		{"Nova's on earlybind's", wire.ExchangeEvents, legacy, false},
		{"a host's on earlybind's", wire.ExchangeEvents, encoded(t, wire.PublisherID(src), event.EventType(), event), true},
		{"a host's on Nova's", "nova", encoded(t, wire.PublisherID(src), event.EventType(), event), false},
		{"states on Nova's", "nova", encoded(t, wire.PublisherID(src), wire.EventStates, wire.HostStates{Schema: 1, Host: src}), false},
		{"a tick on Nova's", "nova", encoded(t, "x", wire.EventTick, wire.Tick{Schema: 1, Replica: "r"}), false},
		{"a request for states", wire.ExchangeEvents, encoded(t, "x", wire.EventStatesRequest, wire.StatesRequest{Schema: 1}), false},
		{"another notification of Nova's", "nova", encoded(t, "compute.x", "compute.instance.update", map[string]any{}), false},
	} {
		m, err := s.read(delivered{c.exchange, "earlybind-" + src, c.body})
		if err != nil || (m != nil) != c.want {
			t.Errorf("%s: %+v, %v", c.name, m, err)
		}
	}
}

func TestATickIsBelievedOfAConsumerAlone(t *testing.T) {
	s := defaults()
	body := encoded(t, "x", wire.EventTick, wire.Tick{Schema: 1, Replica: "r"})
	if m, err := s.read(delivered{wire.ExchangeEvents, s.AMQPUser, body}); err != nil || m == nil {
		t.Errorf("the consumer's own: %+v, %v", m, err)
	}
	for _, user := range []string{"", "earlybind-" + src} {
		if _, err := s.read(delivered{wire.ExchangeEvents, user, body}); !errors.Is(err, errRefused) {
			t.Errorf("from %q: %v", user, err)
		}
	}
}

func TestWhatCannotBeUnderstoodIsNeitherRefusedNorLost(t *testing.T) {
	s := defaults()
	for name, d := range map[string]delivered{
		"no notification":          {"nova", "", []byte("secret")},
		"a notification cut short": {wire.ExchangeEvents, "earlybind-" + src, []byte(`{"oslo.version": "2.0"`)},
		"a pre of no instance":     {"nova", "", encoded(t, "compute.x", "compute.instance.live_migration.pre.start", map[string]any{"host": "secret"})},
		"an event of no instance":  {wire.ExchangeEvents, "earlybind-" + src, encoded(t, wire.PublisherID(src), "libvirt.domain.suspended", map[string]any{"schema": 1, "host": "secret"})},
	} {
		m, err := s.read(d)
		if err == nil || errors.Is(err, errRefused) || errors.Is(err, wire.ErrUnknownSchema) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
		want := audit.FaultPayload
		if strings.Contains(name, "notification") {
			want = audit.FaultEnvelope
		}
		if got := kindOf(err); got != want {
			t.Errorf("%s: is of kind %s, want %s", name, got, want)
		}
	}
}

func TestAnUnknownSchemaIsToldApart(t *testing.T) {
	event := hostEvent()
	event.Schema = 2
	_, err := defaults().read(delivered{wire.ExchangeEvents, "earlybind-" + src, encoded(t, wire.PublisherID(src), event.EventType(), event)})
	if !errors.Is(err, wire.ErrUnknownSchema) {
		t.Errorf("%v", err)
	}
	// What is in another version's tick is not heeded.
	tick := encoded(t, "x", wire.EventTick, wire.Tick{Schema: 2, Replica: "other"})
	if m, err := defaults().read(delivered{wire.ExchangeEvents, defaults().AMQPUser, tick}); !errors.Is(err, wire.ErrUnknownSchema) || m != nil {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestARefusalIsSaidOnce(t *testing.T) {
	b := &strings.Builder{}
	c := New(defaults(), Replica{ConcurrentActivateSafe: true, Log: audit.New(b, 0, "r"), Name: "r"})
	for range 3 {
		c.refuse(errors.New("one"))
	}
	c.refuse(errors.New("two"))
	if got := strings.Count(b.String(), "\n"); got != 2 {
		t.Errorf("%d lines: %s", got, b)
	}
}

// A host that has been broken into can speak in the name of any number of others.
func TestRefusalsAreBounded(t *testing.T) {
	b := &strings.Builder{}
	c := New(defaults(), Replica{ConcurrentActivateSafe: true, Log: audit.New(b, 0, "r"), Name: "r"})
	for i := range 3 * maxRefusals {
		c.refuse(fmt.Errorf("a message for host %d", i))
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != maxRefusals || len(c.refusals.said) != maxRefusals {
		t.Errorf("%d lines, %d remembered", len(lines), len(c.refusals.said))
	}
	if last := lines[len(lines)-1]; !strings.Contains(last, "is only counted") || strings.Contains(lines[0], "is only counted") {
		t.Errorf("%s", last)
	}
}

func TestTheLeaseIsHeldWhileTicksComeBack(t *testing.T) {
	now := time.Hour
	l := &lease{clock: func() time.Duration { return now }}
	if _, known := l.queued(); known || l.held() {
		t.Error("held before the first tick")
	}
	l.renew(now - time.Second)
	if queued, known := l.queued(); queued != time.Second || !known || !l.held() {
		t.Errorf("queued %s, %t", queued, known)
	}
	now += leaseFor - time.Second - 1
	if !l.held() {
		t.Error("lost too early")
	}
	now++
	if l.held() {
		t.Error("held for too long")
	}
	l.renew(now)
	if !l.held() {
		t.Error("not held again")
	}
}

func TestForHowLongAnEventMayLeadToACommit(t *testing.T) {
	const minute = 60_000
	for _, c := range []struct {
		name        string
		ageMS       int64
		queued      time.Duration
		redelivered bool
		want        time.Duration
	}{
		{"fresh", 0, 0, false, 5 * time.Second},
		{"held at its publisher", 1200, 0, false, 3800 * time.Millisecond},
		{"waited in the queue", 0, 900 * time.Millisecond, false, 4100 * time.Millisecond},
		{"both", 3000, time.Second, false, time.Second},
		{"too old", 3000, 3 * time.Second, false, -time.Second},
		{"much too old", minute, 0, false, 0},
		{"redelivered", 0, 0, true, 0},
		{"a clock that went back", -minute, 0, false, 0},
		{"an age that overflows", math.MaxInt64, 0, false, 0},
		{"an age that overflows the other way", math.MaxInt64/int64(time.Millisecond) + 1, 0, false, 0},
		{"a tick from the future", 0, -time.Hour, false, 5 * time.Second},
	} {
		s := &session{Consumer: &Consumer{settings: defaults()}, lease: &lease{clock: func() time.Duration { return 2 * time.Hour }}}
		s.lease.renew(2*time.Hour - c.queued)
		e := hostEvent()
		e.AgeMS = c.ageMS
		if got := s.freshFor(e, c.redelivered); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	s := &session{Consumer: &Consumer{settings: defaults()}, lease: &lease{clock: func() time.Duration { return time.Hour }}}
	if got := s.freshFor(hostEvent(), false); got != 0 {
		t.Errorf("before the first tick: %s", got)
	}
}

func TestTheSettingsThatAreShippedAreValid(t *testing.T) {
	s := defaults()
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
}

func TestDefaultsFromTheEnvironment(t *testing.T) {
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "EARLYBIND_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	t.Setenv("EARLYBIND_AMQP_USER", "u")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "p")
	var s Settings
	if err := config.Load("EARLYBIND", &s); err != nil {
		t.Fatal(err)
	}
	if s.PolicyInForce() != handover.PolicyObserve || s.Repair != handover.RepairOwn || s.NeutronConcurrentActivate != "detect" || s.NovaExchange != "nova" ||
		len(s.NotificationTopics) != 2 || s.Queue != "earlybind" || s.QueueType != "quorum" || s.HostUserPrefix != "earlybind-" || s.CommitWindow != 5*time.Second || s.Shares != 1 {
		t.Errorf("%+v", s)
	}
	t.Setenv("EARLYBIND_POLICY", "resumd")
	t.Setenv("EARLYBIND_COMMIT_WIDNOW", "1s")
	err := config.Load("EARLYBIND", &Settings{})
	if err == nil || !strings.Contains(err.Error(), "observe, resumed, suspended, auto") || !strings.Contains(err.Error(), "EARLYBIND_COMMIT_WIDNOW") {
		t.Errorf("%v", err)
	}
}

func TestEveryFaultOfTheSettingsIsNamedAtOnce(t *testing.T) {
	s := defaults()
	s.AMQPUrls = []string{"http://x"}
	s.Policy, s.Repair = handover.PolicySuspended, handover.RepairOff
	s.QueueType, s.NeutronConcurrentActivate = "stream", "maybe"
	s.CommitWindow, s.LogLevel, s.Queue = 0, "loud", ""
	err := s.Validate()
	if err == nil {
		t.Fatal("no fault")
	}
	for _, want := range []string{
		"EARLYBIND_AMQP_URLS", "EARLYBIND_REPAIR=off", "EARLYBIND_QUEUE_TYPE", "EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE",
		"EARLYBIND_COMMIT_WINDOW", "EARLYBIND_QUEUE must", "EARLYBIND_LOG_LEVEL",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
	for change, ok := range map[*Settings]bool{
		with(func(s *Settings) { s.Shares = 0 }): false, with(func(s *Settings) { s.Shares = maxShares }): true, with(func(s *Settings) { s.Shares = maxShares + 1 }): false,
		with(func(s *Settings) { s.CommitWindow = time.Minute }):                                                     true,
		with(func(s *Settings) { s.CommitWindow = time.Minute + 1 }):                                                 false,
		with(func(s *Settings) { s.CommitWindow = -1 }):                                                              false,
		with(func(s *Settings) { s.NotificationTopics = nil }):                                                       false,
		with(func(s *Settings) { s.NovaExchange = "" }):                                                              false,
		with(func(s *Settings) { s.Repair = handover.RepairOff }):                                                    true,
		with(func(s *Settings) { s.Policy, s.Repair = handover.PolicyAuto, handover.RepairOff }):                     false,
		with(func(s *Settings) { s.Policy, s.Repair = handover.PolicyAuto, handover.RepairAll }):                     true,
		with(func(s *Settings) { s.QueueType, s.NeutronConcurrentActivate, s.LogLevel = "classic", "safe", "warn" }): true,
	} {
		if err := change.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v", change, err)
		}
	}
}

func with(change func(*Settings)) *Settings {
	s := defaults()
	change(&s)
	return &s
}

func TestSettingsDoNotShowThePassword(t *testing.T) {
	s := defaults()
	s.AMQPPassword = "hunter2"
	text, err := json.Marshal(s)
	if err != nil || strings.Contains(string(text), "hunter2") {
		t.Errorf("%s %v", text, err)
	}
}

func TestReplicaNamesDiffer(t *testing.T) {
	if a, b := ReplicaName(), ReplicaName(); a == b || a == "" {
		t.Errorf("%s and %s", a, b)
	}
}
