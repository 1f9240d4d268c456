package consumer

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

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
