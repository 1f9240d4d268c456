package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// Any bytes at all: no panic, and an error or a value that keeps its word. To
// search for longer: go test -fuzz '^FuzzDecode$' -fuzztime 10m -fuzzminimizetime 10x ./wire

// seed gives captures of Nova, earlybind's own messages and broken ones.
func seed(f *testing.F, add func(raw []byte)) {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no captures: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		add(raw)
		add(bare(f, raw))
	}
	for _, raw := range recorded(f) {
		add(raw)
	}
	for _, n := range append(ownNotifications(f), notify(f, EventJournal, entry)) {
		raw, err := n.Encode()
		if err != nil {
			f.Fatal(err)
		}
		add(raw)
	}
	for _, raw := range broken {
		add([]byte(raw))
	}
}

// recorded are the bodies of the repository's recordings, the first of each event type. (Package
// recording reads them, and imports this one.)
func recorded(f *testing.F) [][]byte {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("..", "recordings", "*.jsonl"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no recordings: %v", err)
	}
	var bodies [][]byte
	known := map[string]bool{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(raw) {
			var m struct {
				Body json.RawMessage `json:"body"`
			}
			if err := json.Unmarshal(line, &m); err != nil {
				f.Fatal(err)
			}
			if n, err := Decode(m.Body); err == nil && !known[n.EventType] {
				known[n.EventType] = true
				bodies = append(bodies, m.Body)
			}
		}
	}
	if len(bodies) < 20 {
		f.Fatalf("%d kinds of messages", len(bodies))
	}
	return bodies
}

var entry = JournalEntry{
	Schema: SchemaVersion, ID: "e", Instance: guest, Port: portID, Why: "its row is made again", Host: "compute1", VNICType: "normal",
	Replaces: []string{"d"}, Profile: map[string]any{"allocation": map[string]any{"n": json.Number("12345678901234567890")}},
}

func FuzzDecode(f *testing.F) {
	seed(f, func(raw []byte) { f.Add(raw) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrNotNotification) || !reflect.DeepEqual(n, Notification{}) {
				t.Fatalf("%+v, %v", n, err)
			}
			return
		}
		if n.EventType == "" {
			t.Fatalf("no event_type: %+v", n)
		}
		again, err := n.Encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		m, err := Decode(again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if utf8.Valid(raw) && !sameJSON(n.Payload, m.Payload) {
			t.Fatalf("payload %s comes back as %s", n.Payload, m.Payload)
		}
		n.Payload, m.Payload = nil, nil
		if !reflect.DeepEqual(n, m) {
			t.Fatalf("%+v comes back as %+v", n, m)
		}
	})
}

// sameJSON compares documents, an absent one being null.
func sameJSON(a, b json.RawMessage) bool {
	plain := func(raw json.RawMessage) any {
		var v any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber()
		if d.Decode(&v) != nil {
			return nil
		}
		return v
	}
	return reflect.DeepEqual(plain(a), plain(b))
}

func FuzzParseNova(f *testing.F) {
	seed(f, func(raw []byte) {
		if n, err := Decode(raw); err == nil {
			f.Add(n.EventType, n.PublisherID, n.RequestID, []byte(n.Payload))
		}
	})
	for kind := range novaSteps {
		f.Add(kind+".end", "compute.a.example.org", "req", []byte(`{"instance_id": "i", "nova_object.data": {"uuid": "u", "host": "h"}}`))
	}
	f.Fuzz(func(t *testing.T, kind, publisher, request string, payload []byte) {
		e, relevant, err := ParseNova(Notification{EventType: kind, PublisherID: publisher, RequestID: request, Payload: payload})
		switch {
		case err != nil || !relevant:
			if err != nil && !relevant || !reflect.DeepEqual(e, NovaEvent{}) {
				t.Fatalf("%+v, %t, %v", e, relevant, err)
			}
		case e.Instance == "" || e.PublisherHost == "" || e.Step < NovaPre || e.Step > NovaRefused || e.RequestID != request:
			t.Fatalf("%+v", e)
		case e.Flavor.MemoryMB < 0 || e.Flavor.VCPUs < 0 || len(e.Flavor.Name) > 4*longestFlavor:
			t.Fatalf("flavor %+v", e.Flavor)
		case slices.Contains(e.Ports, "") || len(slices.Compact(slices.Sorted(slices.Values(e.Ports)))) != len(e.Ports):
			t.Fatalf("ports %q", e.Ports)
		}
	})
}

// FuzzGlance writes notifications as oslo.messaging does, of any content: what a glance calls
// unrelated is. Of other bytes it says what it likes, without a panic.
func FuzzGlance(f *testing.F) {
	seed(f, func(raw []byte) {
		if n, err := Decode(raw); err == nil {
			f.Add(n.MessageID, n.PublisherID, n.EventType, string(n.Payload), raw)
		}
	})
	for _, text := range []string{`\"event_type\": \"x\"`, `"event_type": "x"`, `\\"event_type\\": \\"x\\"`, `"payload":`, `\"payload\":`} {
		f.Add(text, "compute.a", "instance.live_migration_pre.start", "{}", []byte(text))
		f.Add("id", text, "instance.live_migration_pre.end", "{}", []byte(text))
		f.Add("id", "compute.a", text, `{"event_type": "instance.live_migration_pre.start"}`, []byte(text))
	}
	f.Fuzz(func(t *testing.T, id, publisher, kind, payload string, raw []byte) {
		Glance(raw)
		if !json.Valid([]byte(payload)) {
			payload = "null"
		}
		for _, plain := range []bool{true, false} { // the event type may be written with escapes
			inner := `{"message_id": ` + quoted(t, id, true) + `, "publisher_id": ` + quoted(t, publisher, true) + `, "event_type": ` + quoted(t, kind, plain) +
				`, "priority": "INFO", "payload": ` + payload + `, "timestamp": "2026-11-23 00:00:00.000000"}`
			written := []byte(`{"oslo.version": "2.0", "oslo.message": ` + quoted(t, inner, true) + `}`)
			n, err := Decode(written)
			_, about, _ := ParseNova(n)
			if unrelated := Glance(written); unrelated && about {
				t.Fatalf("unrelated, err %v: %s", err, written)
			}
		}
	})
}

// quoted is a text as Python's json writes it, in ASCII; if not plain with letters as escapes too.
func quoted(t *testing.T, text string, plain bool) string {
	t.Helper()
	raw, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	var ascii strings.Builder
	for i, r := range string(raw) {
		switch {
		case r == '_' && !plain && raw[i-1] != '\\':
			ascii.WriteString(`\u005f`)
		case r < utf8.RuneSelf:
			ascii.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&ascii, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&ascii, `\u%04x`, r)
		}
	}
	return ascii.String()
}

// FuzzParseOwn reads payloads as each of earlybind's own messages; what is read
// is written and read again as the same.
func FuzzParseOwn(f *testing.F) {
	seed(f, func(raw []byte) {
		if n, err := Decode(raw); err == nil {
			f.Add(n.EventType, []byte(n.Payload))
		}
	})
	f.Fuzz(func(t *testing.T, kind string, payload []byte) {
		n := Notification{EventType: kind, Payload: payload}
		if e, err := ParseHostEvent(n); refusedOr(t, err, e, HostEvent{}) {
			if e.Schema != SchemaVersion || e.Host == "" || e.Instance == "" || e.Event == "" || e.EventType() != kind {
				t.Fatalf("%+v", e)
			}
			comesBack(t, kind, e, ParseHostEvent)
		}
		if s, err := ParseHostStates(n); refusedOr(t, err, s, HostStates{}) {
			if s.Schema != SchemaVersion || s.Host == "" {
				t.Fatalf("%+v", s)
			}
			comesBack(t, kind, s, ParseHostStates)
		}
		if r, err := ParseStatesRequest(n); err == nil {
			comesBack(t, kind, r, ParseStatesRequest)
		}
		if r, err := ParseTick(n); err == nil {
			comesBack(t, kind, r, ParseTick)
		}
		if p, err := ParseHalt(n); refusedOr(t, err, p, Halt{}) {
			if p.Schema != SchemaVersion || p.Revision <= 0 || !slices.IsSorted(p.Hosts) || slices.Contains(p.Hosts, "") {
				t.Fatalf("%+v", p)
			}
			comesBack(t, kind, p, ParseHalt)
		}
		if o, err := ParseObeys(n); err == nil {
			comesBack(t, kind, o, ParseObeys)
		}
		if e, err := ParseJournalEntry(n); refusedOr(t, err, e, JournalEntry{}) {
			if e.Schema != SchemaVersion || e.ID == "" || e.Instance == "" || e.Port == "" {
				t.Fatalf("%+v", e)
			}
			comesBack(t, kind, e, ParseJournalEntry)
		}
	})
}

// refusedOr tells whether a payload was read; one that was not gives no value.
func refusedOr[T any](t *testing.T, err error, got, zero T) bool {
	t.Helper()
	if err != nil && !reflect.DeepEqual(got, zero) {
		t.Fatalf("%+v, %v", got, err)
	}
	return err == nil
}

// comesBack sends a value as its own sender does, and compares what is read with
// it: as JSON, since a time has more than one form in memory.
func comesBack[T any](t *testing.T, kind string, sent T, parse func(Notification) (T, error)) {
	t.Helper()
	n, err := NewNotification(PublisherID("h"), kind, sent, "id", time.Unix(0, 0))
	if err != nil {
		t.Fatalf("what was read cannot be written: %+v: %v", sent, err)
	}
	raw, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if kind == "" {
		return // not an own message: Decode refuses it
	}
	m, err := Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	m.EventType = kind
	got, err := parse(m)
	if err != nil {
		t.Fatalf("%+v is not read again: %v", sent, err)
	}
	a, errA := json.Marshal(sent)
	b, errB := json.Marshal(got)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Fatalf("%s comes back as %s (%v, %v)", a, b, errA, errB)
	}
}
