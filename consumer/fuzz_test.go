package consumer

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/wire"
)

// Any bytes from anybody on any exchange are ignored, refused, parked, or
// believed of who the broker says has sent them. To search for longer:
// go test -fuzz FuzzRead -fuzztime 10m -fuzzminimizetime 10x ./consumer
func FuzzRead(f *testing.F) {
	s := defaults()
	add := func(raw []byte) {
		for _, user := range []string{"", s.AMQPUser, "nova", s.HostUserPrefix, s.HostUserPrefix + src, s.HostUserPrefix + dst} {
			f.Add(s.NovaExchange, user, raw)
			f.Add(wire.ExchangeEvents, user, raw)
		}
	}
	captures, err := filepath.Glob(filepath.Join("..", "wire", "testdata", "*.json"))
	if err != nil || len(captures) == 0 {
		f.Fatalf("no captures: %v", err)
	}
	for _, file := range captures {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		add(raw)
	}
	event, replug := hostEvent(), hostEvent()
	replug.Replug = []string{"p1"}
	for kind, payload := range map[string]any{
		event.EventType(): replug, "libvirt.domain.resumed": event, wire.EventTick: wire.Tick{Schema: 1, Replica: "r"},
		wire.EventStates: wire.HostStates{Schema: 1, Host: src, Domains: []wire.DomainState{runs, incoming}}, wire.EventStatesRequest: wire.StatesRequest{Schema: 1},
	} {
		n, err := wire.NewNotification(wire.PublisherID(src), kind, payload, "id", time.Unix(0, 0))
		if err != nil {
			f.Fatal(err)
		}
		raw, err := n.Encode()
		if err != nil {
			f.Fatal(err)
		}
		add(raw)
	}
	for _, m := range recorded(f) {
		f.Add(m.Exchange, m.User, []byte(m.Body))
	}
	f.Fuzz(func(t *testing.T, exchange, user string, body []byte) {
		m, err := s.read(delivered{exchange: exchange, userID: user, body: body})
		if err != nil {
			refused := errors.Is(err, errRefused) || errors.Is(err, wire.ErrUnknownSchema)
			if exchange == s.NovaExchange && refused {
				t.Fatalf("a notification of Nova is held to be a host's: %v", err)
			}
			if who, silent := m.(muted); m != nil && (!silent || !errors.Is(err, wire.ErrUnknownSchema) || user != s.HostUserPrefix+who.host) {
				t.Fatalf("%+v comes with %v", m, err)
			}
			return // refused, or parked
		}
		fromHost := func(host string) {
			n, err := wire.Decode(body)
			if exchange == s.NovaExchange || host == "" || user != s.HostUserPrefix+host || err != nil || n.PublisherID != wire.PublisherID(host) {
				t.Fatalf("host %q is believed of user %q on exchange %q", host, user, exchange)
			}
		}
		switch m := m.(type) {
		case nil:
		case wire.NovaEvent:
			if exchange != s.NovaExchange || m.Instance == "" {
				t.Fatalf("%+v on exchange %q", m, exchange)
			}
		case wire.Tick:
			if exchange == s.NovaExchange || user != s.AMQPUser {
				t.Fatalf("a tick is believed of user %q on exchange %q", user, exchange)
			}
		case wire.HostEvent:
			fromHost(m.Host)
			signOf(m)
		case wire.HostStates:
			fromHost(m.Host)
			for _, d := range m.Domains {
				signOfState(d)
			}
		default:
			t.Fatalf("%T", m)
		}
	})
}

// recorded are messages of the repository's recordings: of each event type of each user the first.
func recorded(f *testing.F) []recording.Message {
	f.Helper()
	files, err := filepath.Glob(filepath.Join("..", "recordings", "*.jsonl"))
	if err != nil || len(files) == 0 {
		f.Fatalf("no recordings: %v", err)
	}
	var all []recording.Message
	known := map[string]bool{}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			f.Fatal(err)
		}
		_, messages, err := recording.Read(file)
		file.Close()
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range messages {
			n, err := wire.Decode(m.Body)
			if kind := n.EventType + " " + m.User; err == nil && !known[kind] {
				known[kind] = true
				all = append(all, m)
			}
		}
	}
	return all
}

// ownBodies are messages of earlybind's own that are no host's, and one of a host.
func ownBodies(f *testing.F) [][]byte {
	f.Helper()
	var all [][]byte
	for _, m := range []struct {
		kind    string
		payload any
	}{
		{wire.EventPaused, wire.Halt{Schema: wire.SchemaVersion, Revision: 7, All: true, Hosts: []string{src, dst}, By: "somebody", Why: "a test"}},
		{wire.EventPaused, wire.Halt{Schema: wire.SchemaVersion, Revision: 1<<62 + 1}},
		{wire.EventPaused, wire.Halt{Schema: 99, Revision: 1}},
		{wire.EventObeys, wire.Obeys{Schema: wire.SchemaVersion, Revision: 7, Replica: "r", Share: "2 of 4"}},
		{wire.EventTick, wire.Tick{Schema: wire.SchemaVersion, Replica: "r", SentNS: 1}},
		{wire.EventJournal, wire.JournalEntry{
			Schema: wire.SchemaVersion, ID: "e", Instance: guest, Port: "p1", Why: "w", Late: true, Replaces: []string{"d"},
			Host: src, VNICType: "normal", Profile: map[string]any{"n": 1e300},
		}},
		{wire.EventJournal, wire.JournalEntry{Schema: 99, ID: "e"}},
		{wire.EventStates, wire.HostStates{Schema: wire.SchemaVersion, Host: src, Domains: []wire.DomainState{runs, incoming}}},
		{wire.EventStatesRequest, wire.StatesRequest{Schema: wire.SchemaVersion, Reason: "a test"}},
	} {
		n, err := wire.NewNotification(wire.PublisherID(src), m.kind, m.payload, "id", time.Unix(0, 0))
		if err != nil {
			f.Fatal(err)
		}
		raw, err := n.Encode()
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, raw)
	}
	return append(all, []byte(poison), []byte("{}"), []byte(`{"event_type": "earlybind.consumer.paused", "payload": null}`))
}

// FuzzReadOrder: what pauses commits is taken from earlybind's own user alone, and what was
// taken is kept anew and read as the same; so are the answers.
func FuzzReadOrder(f *testing.F) {
	s := defaults()
	for _, raw := range ownBodies(f) {
		f.Add(s.AMQPUser, raw)
		f.Add("nova", raw)
	}
	f.Fuzz(func(t *testing.T, user string, body []byte) {
		d := amqp.Delivery{UserId: user, Body: body}
		sent := func(kind string, payload any) amqp.Delivery {
			m, err := notification("id", user, kind, payload)
			if err != nil {
				t.Fatalf("what was read cannot be written: %+v: %v", payload, err)
			}
			return amqp.Delivery{UserId: m.UserId, Body: m.Body}
		}
		h, err := s.readOrder(d)
		switch {
		case err != nil:
			if errors.Is(err, errRefused) != (user != s.AMQPUser) || !reflect.DeepEqual(h, wire.Halt{}) || reasonOf(err) == "" || len(reasonOf(err)) > maxReason+3 {
				t.Fatalf("%+v of user %q: %v", h, user, err)
			}
		case user != s.AMQPUser || h.Schema != wire.SchemaVersion || h.Revision <= 0:
			t.Fatalf("%+v of user %q", h, user)
		default:
			if again, err := s.readOrder(sent(wire.EventPaused, h)); err != nil || !reflect.DeepEqual(again, h) {
				t.Fatalf("%+v comes back as %+v, %v", h, again, err)
			}
			held := haltOf(h)
			if anew := haltOf(h.With().Without()); !h.All && !reflect.DeepEqual(anew, held) {
				t.Fatalf("%+v, paused and resumed %+v", held, anew)
			}
		}
		w, err := s.readWord(d)
		switch {
		case err != nil:
			if errors.Is(err, errRefused) != (user != s.AMQPUser) || w != (wire.Obeys{}) {
				t.Fatalf("%+v of user %q: %v", w, user, err)
			}
		case user != s.AMQPUser:
			t.Fatalf("%+v of user %q", w, user)
		default:
			if again, err := s.readWord(sent(wire.EventObeys, w)); err != nil || again != w {
				t.Fatalf("%+v comes back as %+v, %v", w, again, err)
			}
		}
	})
}

// FuzzReadAnswer: a publisher's answer is believed of the host whose user has sent it, and of no
// other; what is not believed is told with a reason.
func FuzzReadAnswer(f *testing.F) {
	s := defaults()
	for _, raw := range ownBodies(f) {
		f.Add(s.HostUserPrefix+src, raw)
		f.Add(s.HostUserPrefix+dst, raw)
	}
	for _, m := range recorded(f) {
		f.Add(m.User, []byte(m.Body))
	}
	f.Fuzz(func(t *testing.T, user string, body []byte) {
		a, ok := s.ReadAnswer(user, body)
		n, err := wire.Decode(body)
		if isStates := err == nil && n.EventType == wire.EventStates; ok != isStates {
			t.Fatalf("an answer: %t, of type %q, %v", ok, n.EventType, err)
		}
		switch {
		case !ok:
			if !reflect.DeepEqual(a, Answer{}) {
				t.Fatalf("%+v", a)
			}
		case a.User != user:
			t.Fatalf("%+v of user %q", a, user)
		case a.Refused != nil:
			if a.Refused.Error() == "" || !reflect.DeepEqual(a.States, wire.HostStates{}) {
				t.Fatalf("%+v", a)
			}
		case a.Host == "" || a.States.Host != a.Host || user != s.HostUserPrefix+a.Host || n.PublisherID != wire.PublisherID(a.Host):
			t.Fatalf("%+v of user %q", a, user)
		}
	})
}

// FuzzDeliverJournal: a message of the journal is held, left or put aside to be parked; nothing
// but ticks is let go of, and nothing is settled twice.
func FuzzDeliverJournal(f *testing.F) {
	settings := defaults()
	for _, raw := range ownBodies(f) {
		f.Add(settings.AMQPUser, raw)
		f.Add("nova", raw)
	}
	f.Fuzz(func(t *testing.T, user string, body []byte) {
		s := &session{
			Consumer: New(settings, Replica{ConcurrentActivateSafe: true, Log: audit.New(io.Discard, 0, "r"), Name: "r"}),
			sender:   &sender{}, journal: newJournal(nil),
		}
		s.sender.blocked.Store(true) // so that what is to be parked is put aside
		broker := &acknowledger{}
		for tag := range uint64(2) { // the second time as when it was given back
			if err := s.deliverJournal(t.Context(), amqp.Delivery{Acknowledger: broker, DeliveryTag: tag, UserId: user, Body: body}); err != nil {
				t.Fatal(err)
			}
		}
		said := broker.take()
		if len(slices.Compact(slices.Clone(said))) != len(said) || slices.ContainsFunc(said, func(word string) bool { return !strings.HasPrefix(word, "ack ") }) {
			t.Fatalf("settled by %q", said)
		}
		held := 0
		for _, n := range s.journal.entries {
			if n.settle != nil {
				held++
			}
		}
		n, err := wire.Decode(body)
		switch own := user == settings.AMQPUser; {
		case err != nil:
			if len(s.aside) != 2 || len(said) != 0 || held != 0 {
				t.Fatalf("what cannot be read: %d aside, %d held, %q", len(s.aside), held, said)
			}
		case own && n.EventType == wire.EventTick:
			if len(said) != 2 || held != 0 || len(s.aside) != 0 {
				t.Fatalf("a tick: %d aside, %d held, %q", len(s.aside), held, said)
			}
		case len(s.aside) == 2: // an entry that cannot be read
			if _, err := wire.ParseJournalEntry(n); !own || err == nil || errors.Is(err, wire.ErrUnknownSchema) || len(said) != 0 || held != 0 {
				t.Fatalf("aside, and is to be kept: %v, %d held, %q", err, held, said)
			}
		default:
			e, err := wire.ParseJournalEntry(n)
			if replaces := err == nil && own && slices.Contains(e.Replaces, e.ID); !replaces && (held != 1 || len(said) != 1 || len(s.aside) != 0) {
				t.Fatalf("%+v: %d aside, %d held, %q", e, len(s.aside), held, said)
			}
			for _, kept := range s.journal.entries {
				if kept.foreign == own && err == nil {
					t.Fatalf("of user %q: %+v", user, kept)
				}
			}
		}
	})
}
