package recording

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/wire"
)

const secret = "gAAAAABsecret"

// captures are messages of Nova as they came off RabbitMQ.
func captures(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../wire/testdata/*.json")
	if err != nil || len(files) < 16 {
		t.Fatalf("%d captures, %v", len(files), err)
	}
	found := map[string][]byte{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		found[filepath.Base(file)] = raw
	}
	return found
}

// plant puts secrets wherever a message has room for them.
func plant(t *testing.T, raw []byte) []byte {
	t.Helper()
	var outer map[string]string
	var inner map[string]any
	if err := json.Unmarshal(raw, &outer); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(outer["oslo.message"]), &inner); err != nil {
		t.Fatal(err)
	}
	var below func(any)
	below = func(value any) {
		switch v := value.(type) {
		case []any:
			for _, e := range v {
				below(e)
			}
		case map[string]any:
			for _, e := range v {
				below(e)
			}
			for _, name := range []string{"auth_token", "X-Service-Token", "user_name", "email", "thought of by nobody"} {
				v[name] = secret
			}
			v["list"] = []any{secret, map[string]any{"auth_token": secret}}
		}
	}
	below(inner)
	for _, name := range []string{"_context_auth_token", "_context_user_name", "_context_service_catalog"} {
		inner[name] = secret
	}
	text, err := json.Marshal(inner)
	if err != nil {
		t.Fatal(err)
	}
	outer["oslo.message"], outer["secret"] = string(text), secret
	planted, err := json.Marshal(outer)
	if err != nil {
		t.Fatal(err)
	}
	return planted
}

func TestWhatIsReadStaysAndNothingElse(t *testing.T) {
	// What the captures hold of people and their things.
	personal := []string{"display_name", "hostname", "host_name", "tenant", "project", "user_id", "address\"", "mac", "image_ref", "key_name", "admin"}
	for name, raw := range captures(t) {
		planted := plant(t, raw)
		clean, err := Scrub(planted)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, word := range append(personal, secret, "token", "nobody") {
			if strings.Contains(string(clean), word) {
				t.Errorf("%s: %q is left: %s", name, word, clean)
			}
		}
		before, err := wire.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		after, err := wire.Decode(clean)
		if err != nil {
			t.Fatal(err)
		}
		said, relevant, _ := wire.ParseNova(before)
		saidAfter, relevantAfter, err := wire.ParseNova(after)
		if err != nil || relevant != relevantAfter || !reflect.DeepEqual(said, saidAfter) {
			t.Errorf("%s: reads %+v, %v, before %+v", name, saidAfter, err, said)
		}
		before.Payload, after.Payload = nil, nil
		if !reflect.DeepEqual(before, after) {
			t.Errorf("%s: %+v, before %+v", name, after, before)
		}
		if again, err := Scrub(clean); err != nil || !bytes.Equal(again, clean) {
			t.Errorf("%s: scrubbed again it is %s, %v", name, again, err)
		}
	}
}

// full has every field set, so that one that is added to package wire and not to the
// names that are kept is missed here.
var (
	fullEvent = wire.HostEvent{
		Schema: wire.SchemaVersion, Host: "compute1", Order: wire.Order{Epoch: 3, Sequence: 1<<63 + 1}, Instance: "i",
		Event: wire.Suspended, Detail: wire.Migrated, AgeMS: 7, Replug: []string{"p1", "p2"}, At: time.Unix(1, 0).UTC(),
	}
	fullStates = wire.HostStates{
		Schema: wire.SchemaVersion, Host: "compute1", Order: wire.Order{Epoch: 3, Sequence: 2}, Reconnected: true, AgeMS: 1,
		Domains: []wire.DomainState{{Instance: "i", State: "paused", Reason: "migration", Incoming: true}},
	}
)

func own(t *testing.T, eventType string, payload any) []byte {
	t.Helper()
	n, err := wire.NewNotification(wire.PublisherID("compute1"), eventType, payload, "id", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestPublishersMessagesStayWhole(t *testing.T) {
	for _, full := range []any{fullEvent, fullStates, fullStates.Domains[0]} {
		for v, i := reflect.ValueOf(full), 0; i < v.NumField(); i++ {
			if v.Field(i).IsZero() {
				t.Fatalf("%T: set %s here", full, v.Type().Field(i).Name)
			}
		}
	}
	clean, err := Scrub(own(t, fullEvent.EventType(), fullEvent))
	if err != nil {
		t.Fatal(err)
	}
	n, err := wire.Decode(clean)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wire.ParseHostEvent(n); err != nil || !reflect.DeepEqual(got, fullEvent) {
		t.Errorf("%+v, %v", got, err)
	}
	clean, err = Scrub(own(t, wire.EventStates, fullStates))
	if err != nil {
		t.Fatal(err)
	}
	if n, err = wire.Decode(clean); err != nil {
		t.Fatal(err)
	}
	if got, err := wire.ParseHostStates(n); err != nil || !reflect.DeepEqual(got, fullStates) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWhatWouldBeReadOtherwiseIsRefused(t *testing.T) {
	for name, body := range map[string]string{
		"no notification":       secret,
		"host is an object":     `{"event_type": "instance.live_migration_pre.start", "publisher_id": "nova-compute:a", "payload": {"nova_object.data": {"uuid": "U", "host": {"token": "` + secret + `"}}}}`,
		"names in other case":   `{"event_type": "instance.live_migration_pre.start", "publisher_id": "nova-compute:a", "payload": {"nova_object.data": {"UUID": "U", "HOST": "` + secret + `"}}}`,
		"payload is no payload": `{"event_type": "instance.live_migration_pre.start", "publisher_id": "nova-compute:a"}`,
	} {
		clean, err := Scrub([]byte(body))
		if err == nil || clean != nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %s, %v", name, clean, err)
		}
	}
}

// What is shipped holds nothing that would not be recorded today.
func TestShippedRecordingsAreScrubbed(t *testing.T) {
	files, err := filepath.Glob("../recordings/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		_, messages, err := Read(file)
		file.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for i, m := range messages {
			if clean, err := Scrub(m.Body); err != nil || !bytes.Equal(clean, m.Body) {
				t.Errorf("%s, message %d: %v", name, i+1, err)
			}
		}
	}
}
