package publisher

import (
	"crypto/rand"
	"errors"
	"time"

	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/wire"
)

// message is one message of the host's stream: an event, or else the states.
type message struct {
	event  wire.HostEvent
	states *wire.HostStates
	// at is when libvirt called back, or when the states were taken; wall
	// clock and monotonic.
	at time.Time
}

func (m *message) order() wire.Order {
	if m.states != nil {
		return m.states.Order
	}
	return m.event.Order
}

// kind names the message for the metrics.
func (m *message) kind() string {
	if m.states != nil {
		return metrics.States
	}
	return string(m.event.Event)
}

// parcel is a message made ready for one send.
type parcel struct {
	id         string // unique per send
	kind       string // the notification's event_type
	routingKey string
	body       []byte
}

// pack encodes a message; its age is the time from at to now.
func (m *message) pack(host string, now time.Time) (parcel, error) {
	age := now.Sub(m.at).Milliseconds()
	p := parcel{id: rand.Text()}
	var payload any
	if m.states != nil {
		s := *m.states
		s.AgeMS = age
		p.kind, p.routingKey, payload = wire.EventStates, s.RoutingKey(), s
	} else {
		e := m.event
		e.AgeMS = age
		p.kind, p.routingKey, payload = e.EventType(), e.RoutingKey(), e
	}
	n, err := wire.NewNotification(wire.PublisherID(host), p.kind, payload, p.id, now)
	if err != nil {
		return parcel{}, err
	}
	p.body, err = n.Encode()
	return p, err
}

// readRequest reads a request for states. The error never holds content.
func readRequest(body []byte) (wire.StatesRequest, error) {
	n, err := wire.Decode(body)
	if err != nil {
		return wire.StatesRequest{}, err
	}
	if n.EventType != wire.EventStatesRequest {
		return wire.StatesRequest{}, errors.New("not a request for states")
	}
	return wire.ParseStatesRequest(n)
}
