package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
)

// SchemaVersion is the version of earlybind's own payloads. A reader that meets
// another one does not guess: it treats the host as one without a publisher.
const SchemaVersion = 1

// Exchanges of earlybind; both are durable topic exchanges that the consumer
// declares. Publishers need no right but to write to the first and to bind
// their own queue to the second.
const (
	ExchangeEvents   = "earlybind"
	ExchangeRequests = "earlybind.requests"
)

// KeyStatesRequest is the routing key of a [StatesRequest]; every publisher's queue is bound
// to all of [ExchangeRequests].
const KeyStatesRequest = "states"

// KeyStates binds the [HostStates] of all hosts on [ExchangeEvents].
const KeyStates = "libvirt.#.states"

// Event types and routing keys of earlybind's own notifications.
const (
	EventStates        = "libvirt.host.states"      // HostStates
	EventStatesRequest = "earlybind.states.request" // StatesRequest, on ExchangeRequests
	EventTick          = "earlybind.consumer.tick"  // Tick
	domainPrefix       = "libvirt.domain."          // + HostEvent.Event
	publisherPrefix    = "earlybind-publisher:"
)

// ErrUnknownSchema marks a payload of a schema version that this program does
// not know.
var ErrUnknownSchema = errors.New("unknown schema version")

// Event is the name of a libvirt lifecycle event and Detail that of its detail,
// lower case, as libvirt's documentation has them
// (include/libvirt/libvirt-domain.h, virDomainEventType and its details).
type (
	Event  string
	Detail string
)

// The events and details that mean something for a live migration; others
// travel under their own names or as "unknown-<number>".
const (
	Defined   Event = "defined"
	Undefined Event = "undefined"
	Started   Event = "started"
	Suspended Event = "suspended"
	Resumed   Event = "resumed"
	Stopped   Event = "stopped"
	Shutdown  Event = "shutdown"

	Migrated       Detail = "migrated"
	Paused         Detail = "paused"
	Unpaused       Detail = "unpaused"
	PostCopy       Detail = "postcopy"
	PostCopyFailed Detail = "postcopy_failed"
	Failed         Detail = "failed"
)

// Order places a message in the stream of its host. Epoch rises with every
// start of the publisher, Sequence with every message of one epoch: of one host
// only a higher order is news.
type Order struct {
	Epoch    int64  `json:"epoch"`
	Sequence uint64 `json:"sequence"`
}

// Before tells whether o is older than p.
func (o Order) Before(p Order) bool {
	return o.Epoch < p.Epoch || o.Epoch == p.Epoch && o.Sequence < p.Sequence
}

// HostEvent is one lifecycle event of one libvirt domain.
type HostEvent struct {
	Schema   int    `json:"schema"`
	Host     string `json:"host"` // Nova's host name
	Order           // place in the host's stream
	Instance string `json:"instance"` // UUID of the domain, which is the instance's
	Event    Event  `json:"event"`
	Detail   Detail `json:"detail"`
	// AgeMS is how long the publisher held the event before this send, in
	// milliseconds of its monotonic clock.
	AgeMS int64 `json:"age_ms"`
	// Replug lists the instance's ports (UUIDs, sorted) whose Open vSwitch
	// interfaces this publisher has saved and can plug in again, should
	// Neutron's agent take them off after a commit and the migration then
	// fail. Of SUSPENDED/MIGRATED only; the publisher levels by itself (package
	// publisher/ovs) and takes no command.
	Replug []string `json:"replug,omitempty"`
	// At is the publisher's wall clock in libvirt's callback. It is for
	// people who read the log; clocks decide nothing.
	At time.Time `json:"at"`
}

// EventType is the notification's event_type, e.g. "libvirt.domain.suspended".
func (e HostEvent) EventType() string { return domainPrefix + string(e.Event) }

// RoutingKey is "libvirt.<host>.<event>.<instance>": "libvirt.H.#" binds one
// host (whose name may hold dots), "libvirt.#.suspended.*" one kind,
// "libvirt.#.<instance>" one instance.
func (e HostEvent) RoutingKey() string {
	return "libvirt." + e.Host + "." + string(e.Event) + "." + e.Instance
}

// DomainState is what libvirt says of one domain now.
type DomainState struct {
	Instance string `json:"instance"`
	State    string `json:"state"`  // virDomainState in lower case: "running", "paused", "shutoff"
	Reason   string `json:"reason"` // of the state, in lower case: "migration", "user", "booted"
	// Incoming: the domain was started by an incoming migration and has not
	// run yet, as far as the publisher has seen.
	Incoming bool `json:"incoming,omitempty"`
}

// HostStates is the state of all of Nova's domains on one host. It is sent
// after every connection to libvirt, because events in the gap are lost, and as
// the answer to a [StatesRequest]. A domain that is not listed is not on the
// host.
type HostStates struct {
	Schema int    `json:"schema"`
	Host   string `json:"host"`
	Order
	// Reconnected: libvirt was away since the last message, or the publisher
	// has just started: events may be missing before this message.
	Reconnected bool          `json:"reconnected,omitempty"`
	AgeMS       int64         `json:"age_ms"`
	Domains     []DomainState `json:"domains"`
}

// RoutingKey is "libvirt.<host>.states".
func (s HostStates) RoutingKey() string { return "libvirt." + s.Host + ".states" }

// StatesRequest asks every publisher for its [HostStates].
type StatesRequest struct {
	Schema int    `json:"schema"`
	Reason string `json:"reason"` // for the log
}

// PublisherID is the publisher_id of a host's publisher.
func PublisherID(host string) string { return publisherPrefix + host }

// PublisherQueue is the name of a host's queue for requests. The host's RabbitMQ user has
// the right to it and to no other.
func PublisherQueue(host string) string { return "earlybind-publisher." + host }

// maxHost keeps the longest routing key, "libvirt.<host>.<event>.<UUID>", under AMQP's 255
// bytes.
const maxHost = 190

// CheckHost tells what is wrong with a host's name, for a sentence that begins with what
// named it; nil if nothing is.
func CheckHost(host string) error {
	if host == "" || len(host) > maxHost {
		return fmt.Errorf("must have 1 to %d bytes", maxHost)
	}
	if strings.ContainsFunc(host, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '*' || r == '#' }) {
		return errors.New("must not hold spaces, * or #: it is part of routing keys")
	}
	return nil
}

// IsHostMessage tells whether a notification comes from a publisher of
// earlybind, by its event type.
func IsHostMessage(eventType string) bool {
	return eventType == EventStates || strings.HasPrefix(eventType, domainPrefix)
}

// ParseHostEvent reads the payload of a libvirt.domain.* notification. An error
// wraps [ErrUnknownSchema] where the version is the reason.
func ParseHostEvent(n Notification) (HostEvent, error) {
	var e HostEvent
	if err := parseOwn(n, &e, &e.Schema); err != nil {
		return HostEvent{}, err
	}
	if e.Host == "" || e.Instance == "" || e.Event == "" {
		return HostEvent{}, fmt.Errorf("payload of %s lacks host, instance or event", n.EventType)
	}
	if n.EventType != e.EventType() {
		return HostEvent{}, fmt.Errorf("payload of %s tells of another event", n.EventType)
	}
	return e, nil
}

// ParseHostStates reads the payload of a libvirt.host.states notification.
func ParseHostStates(n Notification) (HostStates, error) {
	var s HostStates
	if err := parseOwn(n, &s, &s.Schema); err != nil {
		return HostStates{}, err
	}
	if s.Host == "" {
		return HostStates{}, fmt.Errorf("payload of %s lacks the host", n.EventType)
	}
	return s, nil
}

// ParseStatesRequest reads the payload of a request for states.
func ParseStatesRequest(n Notification) (StatesRequest, error) {
	var r StatesRequest
	if err := parseOwn(n, &r, &r.Schema); err != nil {
		return StatesRequest{}, err
	}
	return r, nil
}

// parseOwn reads a payload of earlybind's own, with its version in schema. One that cannot be
// read may be of another version, whose fields are of other types: the version is then read alone.
// What was read into is of no use after an error.
func parseOwn(n Notification, into any, schema *int) error {
	fault := json.Unmarshal(n.Payload, into)
	if fault != nil {
		var version struct {
			Schema int `json:"schema"`
		}
		if err := json.Unmarshal(n.Payload, &version); err != nil {
			return fmt.Errorf("payload of %s: %s", n.EventType, jsonFault(err))
		}
		*schema = version.Schema
	}
	switch {
	case *schema != SchemaVersion:
		return fmt.Errorf("%s sends %w %d, this program knows %d", n.PublisherID, ErrUnknownSchema, *schema, SchemaVersion)
	case fault != nil:
		return fmt.Errorf("payload of %s: %s", n.EventType, jsonFault(fault))
	}
	return nil
}

// NewNotification makes a notification of earlybind's own. id must be unique
// per send, now is for people.
func NewNotification(publisherID, eventType string, payload any, id string, now time.Time) (Notification, error) {
	raw, err := json.Marshal(payload)
	if err != nil {
		return Notification{}, fmt.Errorf("payload of %s: %w", eventType, err)
	}
	return Notification{
		MessageID:   id,
		PublisherID: publisherID,
		EventType:   eventType,
		Priority:    "INFO",
		Timestamp:   now.UTC().Format(timestampLayout),
		Payload:     raw,
	}, nil
}

// Tick is what a consumer sends itself through its own queue to know how long
// messages have been waiting there, and that it is still the one that is served.
type Tick struct {
	Schema  int    `json:"schema"`
	Replica string `json:"replica"` // unique per start of a process
	SentNS  int64  `json:"sent_ns"` // the replica's monotonic clock
	// Shares is how many shares of the instances the replica acts for.
	Shares int `json:"shares,omitempty"`
}

// TickKey is the routing key of ticks through a queue: "consumer.tick.<queue>".
func TickKey(queue string) string { return "consumer.tick." + queue }

// ParseTick reads the payload of a tick.
func ParseTick(n Notification) (Tick, error) {
	var t Tick
	if err := parseOwn(n, &t, &t.Schema); err != nil {
		return Tick{}, err
	}
	return t, nil
}
