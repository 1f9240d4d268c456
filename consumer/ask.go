package consumer

import (
	"strings"
	"sync"
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

// asking asks the hosts for their domains: once a second at most, since each time all of them
// answer, and not while the broker reads nothing, where a question would only fill the
// connection. What is asked for meanwhile is one question, which waits for [asking.again].
type asking struct {
	publish func(why string)
	blocked func() bool
	clock   func() time.Duration

	mu    sync.Mutex
	waits bool
	why   string        // the last one that waits
	next  time.Duration // not before
}

func (a *asking) ask(why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.waits, a.why = true, why
	a.send()
}

// again asks what waits, if it may be asked now.
func (a *asking) again() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.send()
}

// send is called with a.mu held.
func (a *asking) send() {
	now := a.clock()
	if !a.waits || now < a.next || a.blocked() {
		return
	}
	a.waits, a.next = false, now+tickEvery
	a.publish(a.why)
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
