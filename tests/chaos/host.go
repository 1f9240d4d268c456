package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

// bus is where everybody meets.
type bus struct {
	urls     []string // of its nodes
	password string
}

func (b bus) dial(user, name string) func(context.Context) (*amqp.Connection, error) {
	return func(ctx context.Context) (*amqp.Connection, error) {
		return broker.Dial(ctx, broker.Settings{AMQPUrls: b.urls, AMQPUser: user, AMQPPassword: config.Secret(b.password)}, name)
	}
}

// host is a compute host's libvirt and publisher: domains that lifecycle events
// change, and what the publisher makes of both, under the host's own broker user.
type host struct {
	name    string
	user    string
	courier *courier

	mu      sync.Mutex
	order   wire.Order
	domains map[string]wire.DomainState
	lose    bool // the next list is to get lost
}

func newHost(b bus, a *account, name string) *host {
	// The epoch has to be above that of an earlier run in the same place.
	h := &host{name: name, user: "earlybind-" + name, order: wire.Order{Epoch: time.Now().Unix()}, domains: map[string]wire.DomainState{}}
	h.courier = newCourier(a, b.dial(h.user, "chaos "+wire.PublisherID(name)), h.begin)
	return h
}

// begin does what a publisher does at the start of a session: it takes its queue
// for requests over and tells its states.
func (h *host) begin(ctx context.Context, ch *amqp.Channel) error {
	for _, exchange := range []string{wire.ExchangeEvents, wire.ExchangeRequests} {
		if err := ch.ExchangeDeclarePassive(exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return err // the consumer declares it
		}
	}
	queue := "earlybind-publisher." + h.name
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(queue, true, true, false, false, nil); err != nil {
		return err
	}
	if err := ch.QueueBind(queue, "#", wire.ExchangeRequests, false, nil); err != nil {
		return err
	}
	requests, err := ch.ConsumeWithContext(ctx, queue, "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	h.list()
	go func() {
		for range requests {
			h.list()
		}
	}()
	return nil
}

// has puts a domain that runs onto the host, without an event.
func (h *host) has(instance string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[instance] = wire.DomainState{Instance: instance, State: "running", Reason: "booted"}
}

// runs tells whether the host has the domain.
func (h *host) runs(instance string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, has := h.domains[instance]
	return has
}

// forgets takes a domain away, without an event.
func (h *host) forgets(instance string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.domains, instance)
}

// says has an event happen to a domain and gives the publisher's message of it.
func (h *host) says(instance string, event wire.Event, detail wire.Detail) letter {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.apply(instance, event, detail)
	h.order.Sequence++
	e := wire.HostEvent{
		Schema: wire.SchemaVersion, Host: h.name, Order: h.order, Instance: instance, Event: event, Detail: detail, At: time.Now(),
	}
	return h.letter(e.RoutingKey(), e.EventType(), e.At, func(age time.Duration) any {
		e.AgeMS = age.Milliseconds()
		return e
	})
}

// apply keeps the domain's state, as libvirt's QEMU driver sets it together with
// the event; see conditionAfter of package publisher.
func (h *host) apply(instance string, event wire.Event, detail wire.Detail) {
	d := wire.DomainState{Instance: instance, Reason: string(detail)}
	switch event {
	case wire.Started:
		d.State = "running"
		if detail == wire.Migrated {
			d.State, d.Reason, d.Incoming = "paused", "migration", true
		}
	case wire.Resumed:
		d.State = "running"
	case wire.Suspended:
		d.State = "paused"
		switch detail {
		case wire.Migrated:
			d.Reason = "migration"
		case wire.Paused:
			d.Reason = "user"
		}
	case wire.Stopped:
		delete(h.domains, instance)
		return
	default:
		return
	}
	h.domains[instance] = d
}

// list tells of all domains, unless that is to be lost.
func (h *host) list() {
	if l, lost := h.nextList(false); !lost {
		h.courier.send(l)
	}
}

// nextList gives a list of all domains, and whether it is to be lost. missed:
// events may be missing before it.
func (h *host) nextList(missed bool) (list letter, lost bool) {
	list = h.states(missed)
	h.mu.Lock()
	defer h.mu.Unlock()
	lost = h.lose
	h.lose = false
	return list, lost
}

// losesList has the next list get lost.
func (h *host) losesList() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lose = true
}

func (h *host) states(missed bool) letter {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.order.Sequence++
	s := wire.HostStates{Schema: wire.SchemaVersion, Host: h.name, Order: h.order, Reconnected: missed, Domains: []wire.DomainState{}}
	for _, d := range h.domains {
		s.Domains = append(s.Domains, d)
	}
	slices.SortFunc(s.Domains, func(a, b wire.DomainState) int { return cmp.Compare(a.Instance, b.Instance) })
	return h.letter(s.RoutingKey(), wire.EventStates, time.Now(), func(age time.Duration) any {
		s.AgeMS = age.Milliseconds()
		return s
	})
}

func (h *host) letter(key, eventType string, at time.Time, payload func(age time.Duration) any) letter {
	return letter{exchange: wire.ExchangeEvents, key: key, at: at, pack: func(age time.Duration) amqp.Publishing {
		n, err := wire.NewNotification(wire.PublisherID(h.name), eventType, payload(age), nova.NewUUID(), time.Now())
		if err != nil {
			panic(err)
		}
		body, err := n.Encode()
		if err != nil {
			panic(err)
		}
		return amqp.Publishing{
			ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Expiration: "600000",
			MessageId: n.MessageID, Type: eventType, UserId: h.user, Body: body,
		}
	}}
}

// newNovaCourier sends Nova's notifications. Its exchange is not durable: whoever
// comes first after a restart of the broker declares it anew.
func newNovaCourier(b bus, a *account) *courier {
	dial := b.dial("openstack", "chaos nova")
	look := func(ctx context.Context) (*amqp.Connection, error) {
		conn, err := dial(ctx)
		if err == nil && lacksNova(conn) {
			a.unrouted.unbinds(time.Now())
		}
		return conn, err
	}
	return newCourier(a, look, func(_ context.Context, ch *amqp.Channel) error {
		return ch.ExchangeDeclare("nova", amqp.ExchangeTopic, false, false, false, false, nil)
	})
}

// lacksNova tells whether Nova's exchange is not there.
func lacksNova(conn *amqp.Connection) bool {
	ch, err := conn.Channel()
	if err != nil {
		return false
	}
	defer ch.Close()
	var fault *amqp.Error
	err = ch.ExchangeDeclarePassive("nova", amqp.ExchangeTopic, false, false, false, false, nil)
	return errors.As(err, &fault) && fault.Code == amqp.NotFound
}

func novaLetter(n nova.Notification) letter {
	return letter{exchange: "nova", key: n.RoutingKey, at: time.Now(), pack: func(time.Duration) amqp.Publishing {
		return amqp.Publishing{ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: amqp.Persistent, Body: n.Body}
	}}
}
