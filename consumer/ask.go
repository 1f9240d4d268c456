package consumer

import (
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

// StatesRequest makes the question to every publisher for the domains of its host: to be
// published to [wire.ExchangeRequests] under [wire.KeyStatesRequest], by a connection of
// that user. id is who asks, and why is for the publishers' logs. The answers come through
// [wire.ExchangeEvents], where [wire.KeyStates] binds them; every consumer gets them too.
func StatesRequest(id, user, why string) (amqp.Publishing, error) {
	m, err := notification(id, user, wire.EventStatesRequest, wire.StatesRequest{Schema: wire.SchemaVersion, Reason: why})
	return expiring(m, askExpiry), err
}

// Answer is what came as a publisher's word on its domains, as a consumer takes it.
type Answer struct {
	Host   string // whose it says it is
	User   string // of the broker, which has validated it; empty if the sender set none
	States wire.HostStates
	Sent   time.Time // by the publisher's wall clock; zero if it does not say
	// Refused is why a consumer does not believe it; nil if it does. It wraps
	// [wire.ErrUnknownSchema] where the schema version is the reason.
	Refused error
}

// ReadAnswer reads a message of [wire.ExchangeEvents]; false if it is not a publisher's word
// on its domains.
func (s Settings) ReadAnswer(userID string, body []byte) (Answer, bool) {
	n, err := wire.Decode(body)
	if err != nil || n.EventType != wire.EventStates {
		return Answer{}, false
	}
	_, host, _ := strings.Cut(n.PublisherID, ":")
	a := Answer{Host: host, User: userID}
	a.Sent, _ = n.SentAt()
	read, err := s.read(delivered{exchange: wire.ExchangeEvents, userID: userID, body: body})
	if states, ok := read.(wire.HostStates); ok {
		a.Host, a.States = states.Host, states
	}
	a.Refused = err
	return a, true
}
