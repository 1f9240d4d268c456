package wire

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	clock = time.Date(2026, 11, 23, 5, 41, 7, 123456000, time.FixedZone("", 3600))
	event = HostEvent{
		Schema: SchemaVersion, Host: "compute1.example.org", Order: Order{Epoch: 7, Sequence: 1<<63 + 5}, Instance: guest,
		Event: Suspended, Detail: Migrated, AgeMS: 12, At: clock.UTC(),
	}
	states = HostStates{
		Schema: SchemaVersion, Host: "compute1.example.org", Order: Order{Epoch: 7, Sequence: 9}, Reconnected: true, AgeMS: 1,
		Domains: []DomainState{{guest, "paused", "migration", true}, {"other", "running", "booted", false}},
	}
	request = StatesRequest{Schema: SchemaVersion, Reason: "a consumer has become active"}
	tick    = Tick{Schema: SchemaVersion, Replica: "r", SentNS: 1 << 60}
	paused  = Halt{Schema: SchemaVersion, Revision: 1 << 60, All: true, Hosts: []string{"compute1", "compute2"}, By: "root@controller", Why: "an upgrade"}
	obeys   = Obeys{Schema: SchemaVersion, Revision: 1 << 60, Replica: "r", Share: "2 of 4"}
)

func notify(t testing.TB, kind string, payload any) Notification {
	t.Helper()
	n, err := NewNotification(PublisherID("compute1.example.org"), kind, payload, "id", clock)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func ownNotifications(t testing.TB) []Notification {
	return []Notification{
		notify(t, event.EventType(), event), notify(t, EventStates, states),
		notify(t, EventStatesRequest, request), notify(t, EventTick, tick),
		notify(t, EventPaused, paused), notify(t, EventObeys, obeys),
	}
}

func TestOwnMessagesComeBackAsTheyWere(t *testing.T) {
	for _, n := range ownNotifications(t) {
		raw, err := n.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(raw)
		if err != nil || !reflect.DeepEqual(got, n) {
			t.Fatalf("%+v, %v, want %+v", got, err, n)
		}
		var payload, want any
		switch got.EventType {
		case EventStates:
			payload, err = ParseHostStates(got)
			want = states
		case EventStatesRequest:
			payload, err = ParseStatesRequest(got)
			want = request
		case EventTick:
			payload, err = ParseTick(got)
			want = tick
		case EventPaused:
			payload, err = ParseHalt(got)
			want = paused
		case EventObeys:
			payload, err = ParseObeys(got)
			want = obeys
		default:
			payload, err = ParseHostEvent(got)
			want = event
		}
		if err != nil || !reflect.DeepEqual(payload, want) {
			t.Errorf("%+v, %v, want %+v", payload, err, want)
		}
	}
}

func TestOwnMessagesAreOsloNotifications(t *testing.T) {
	raw, err := notify(t, event.EventType(), event).Encode()
	if err != nil {
		t.Fatal(err)
	}
	var outer map[string]string
	if err := json.Unmarshal(raw, &outer); err != nil || outer["oslo.version"] != "2.0" {
		t.Fatalf("%v %v", outer, err)
	}
	var inner map[string]any
	if err := json.Unmarshal([]byte(outer["oslo.message"]), &inner); err != nil {
		t.Fatal(err)
	}
	for field, want := range map[string]any{
		"message_id": "id", "publisher_id": "earlybind-publisher:compute1.example.org", "event_type": "libvirt.domain.suspended",
		"priority": "INFO", "timestamp": "2026-11-23 04:41:07.123456", "_unique_id": "id",
	} {
		if inner[field] != want {
			t.Errorf("%s is %v, want %v", field, inner[field], want)
		}
	}
	if _, ok := inner["payload"].(map[string]any); !ok {
		t.Errorf("payload is %T", inner["payload"])
	}
}

func TestRoutingKeys(t *testing.T) {
	for got, want := range map[string]string{
		event.RoutingKey():  "libvirt.compute1.example.org.suspended." + guest,
		states.RoutingKey(): "libvirt.compute1.example.org.states",
		TickKey("q"):        "consumer.tick.q",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestHostMessagesAreKnownByTheirEventType(t *testing.T) {
	for kind, want := range map[string]bool{
		EventStates: true, "libvirt.domain.suspended": true, EventTick: false, EventStatesRequest: false, EventPaused: false, EventObeys: false,
		"instance.update": false, "libvirt": false, "": false,
	} {
		if IsHostMessage(kind) != want {
			t.Errorf("%q: %t", kind, !want)
		}
	}
}

func TestAnUnknownSchemaIsRefusedByNameWhateverItsFieldsAre(t *testing.T) {
	for _, version := range []string{`0`, `2`, `-1`} {
		payload := json.RawMessage(`{"schema": ` + version + `, "host": {"name": "h"}, "replica": 1, "instance": "i", "event": "suspended", "detail": "` + secret + `"}`)
		parsers := map[string]func(Notification) error{
			"libvirt.domain.suspended": func(n Notification) error { _, err := ParseHostEvent(n); return err },
			EventStates:                func(n Notification) error { _, err := ParseHostStates(n); return err },
			EventStatesRequest:         func(n Notification) error { _, err := ParseStatesRequest(n); return err },
			EventTick:                  func(n Notification) error { _, err := ParseTick(n); return err },
			EventPaused:                func(n Notification) error { _, err := ParseHalt(n); return err },
			EventObeys:                 func(n Notification) error { _, err := ParseObeys(n); return err },
		}
		for kind, parse := range parsers {
			err := parse(Notification{PublisherID: PublisherID("h"), EventType: kind, Payload: payload})
			if !errors.Is(err, ErrUnknownSchema) || !strings.Contains(err.Error(), PublisherID("h")) || !strings.Contains(err.Error(), version) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%s %s: %v", kind, version, err)
			}
		}
	}
}

func TestHostMessagesThatCannotBeUnderstood(t *testing.T) {
	for name, payload := range map[string]string{
		"nothing":            ``,
		"text":               secret,
		"no host":            `{"schema": 1, "instance": "i", "event": "suspended"}`,
		"no instance":        `{"schema": 1, "host": "h", "event": "suspended", "detail": "` + secret + `"}`,
		"no event":           `{"schema": 1, "host": "h", "instance": "i"}`,
		"another event":      `{"schema": 1, "host": "h", "instance": "i", "event": "resumed", "detail": "` + secret + `"}`,
		"negative sequence":  `{"schema": 1, "host": "h", "instance": "i", "event": "suspended", "sequence": -1}`,
		"host is a list":     `{"schema": 1, "host": ["` + secret + `"]}`,
		"time is not a time": `{"schema": 1, "host": "h", "instance": "i", "event": "suspended", "at": "` + secret + `"}`,
	} {
		e, err := ParseHostEvent(Notification{EventType: "libvirt.domain.suspended", Payload: json.RawMessage(payload)})
		if err == nil || !reflect.DeepEqual(e, HostEvent{}) || errors.Is(err, ErrUnknownSchema) {
			t.Errorf("%s: %+v, %v", name, e, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error quotes the content: %v", name, err)
		}
	}
	if s, err := ParseHostStates(Notification{EventType: EventStates, Payload: json.RawMessage(`{"schema": 1}`)}); err == nil {
		t.Errorf("states without a host: %+v", s)
	}
}

func TestAFieldThatIsNotKnownIsNoFault(t *testing.T) {
	n := Notification{EventType: EventTick, Payload: json.RawMessage(`{"schema": 1, "replica": "r", "later": true}`)}
	if got, err := ParseTick(n); err != nil || got.Replica != "r" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOrderIsByEpochThenSequence(t *testing.T) {
	rising := []Order{{}, {0, 1}, {1, 0}, {1, 1}, {1, 1 << 63}, {2, 0}}
	for i, a := range rising {
		for j, b := range rising {
			if a.Before(b) != (i < j) {
				t.Errorf("%v before %v: %t", a, b, a.Before(b))
			}
		}
	}
}

func TestAPayloadThatCannotBeEncodedIsAnError(t *testing.T) {
	if _, err := NewNotification("p", "e", func() {}, "id", clock); err == nil {
		t.Error("no error")
	}
	if _, err := (Notification{EventType: "e", Payload: json.RawMessage(`{`)}).Encode(); err == nil {
		t.Error("no error")
	}
}
