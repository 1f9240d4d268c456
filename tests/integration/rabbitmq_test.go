//go:build integration

package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/tests/lab"
)

// broker is a virtual host of a RabbitMQ with the lab's users and what they may
// do.
type broker struct {
	testing.TB
	vhost    string
	address  string // of the broker, without a port
	password string // of every user
}

func newBroker(t testing.TB) *broker {
	t.Helper()
	l, err := lab.Find()
	must(t, err)
	v, err := l.NewVhost(t.Context(), "earlybind-"+newUUID()[:8])
	must(t, err)
	t.Cleanup(func() {
		if err := v.Remove(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return &broker{TB: t, vhost: v.Name, address: l.Address("rabbitmq"), password: v.Password}
}

func (b *broker) path(kind string) string { return kind + "/" + b.vhost }

// api calls RabbitMQ's management API as its administrator.
func (b *broker) api(method, path string, body, into any) {
	b.Helper()
	var content io.Reader
	if body != nil {
		raw, err := json.Marshal(body)
		must(b, err)
		content = bytes.NewReader(raw)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(b.Context()), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+b.address+":15672/api/"+path, content)
	must(b, err)
	request.SetBasicAuth("admin", b.password)
	answer, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	must(b, err)
	defer answer.Body.Close()
	if answer.StatusCode >= 300 {
		b.Fatalf("RabbitMQ's management: %s %s: %s", method, path, answer.Status)
	}
	if into != nil {
		must(b, json.NewDecoder(answer.Body).Decode(into))
	}
}

func (b *broker) url() string { return "amqp://" + b.address + ":5672/" + b.vhost }

// channel opens a connection of its own as a user.
func (b *broker) channel(user string) *amqp.Channel {
	b.Helper()
	return dial(b, b.url(), user, b.password)
}

func dial(t testing.TB, address, user, password string) *amqp.Channel {
	t.Helper()
	conn, err := amqp.DialConfig(address, amqp.Config{
		SASL: []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}},
	})
	must(t, err)
	t.Cleanup(func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) })
	ch, err := conn.Channel()
	must(t, err)
	must(t, ch.Confirm(false))
	return ch
}

// publish waits for the broker's confirmation: what is published afterwards
// stands behind it in every queue.
func publish(t testing.TB, ch *amqp.Channel, exchange, key string, m amqp.Publishing) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	confirmation, err := ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, false, false, m)
	must(t, err)
	taken, err := confirmation.WaitContext(ctx)
	must(t, err)
	if !taken {
		t.Fatalf("the broker did not take %s", key)
	}
}

// get waits for the next message of a queue.
func get(t testing.TB, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	var d amqp.Delivery
	eventually(t, "a message in "+queue, func() (ok bool, err error) {
		d, ok, err = ch.Get(queue, true)
		return ok, err
	})
	return d
}

// closeNamed has the broker close a connection.
func (b *broker) closeNamed(connection string) {
	b.Helper()
	b.api(http.MethodDelete, "connections/"+url.PathEscape(connection), nil, nil)
}

// connection waits until RabbitMQ's management shows the connection of that
// name, and gives the broker's own name of it.
func (b *broker) connection(name string) string {
	b.Helper()
	found := ""
	eventually(b, "the management to show the connection "+name, func() (bool, error) {
		var all []struct {
			Name      string
			GivenName string `json:"user_provided_name"`
		}
		b.api(http.MethodGet, b.path("vhosts")+"/connections", nil, &all)
		for _, c := range all {
			if c.GivenName == name {
				found = c.Name
			}
		}
		return found != "", nil
	})
	return found
}

// durable tells how an exchange was declared.
func (b *broker) durable(exchange string) bool {
	b.Helper()
	var e struct{ Durable bool }
	b.api(http.MethodGet, b.path("exchanges")+"/"+exchange, nil, &e)
	return e.Durable
}

// bindings gives the routing keys by which a queue is bound to an exchange.
func (b *broker) bindings(exchange, queue string) map[string]bool {
	b.Helper()
	var all []struct {
		Key string `json:"routing_key"`
	}
	b.api(http.MethodGet, fmt.Sprintf("bindings/%s/e/%s/q/%s", b.vhost, exchange, queue), nil, &all)
	keys := map[string]bool{}
	for _, one := range all {
		keys[one.Key] = true
	}
	return keys
}

// refusal waits until the broker closes the channel, and tells why.
func refusal(t testing.TB, closed <-chan *amqp.Error) *amqp.Error {
	t.Helper()
	select {
	case err := <-closed:
		if err == nil {
			t.Fatal("the channel was closed without a reason")
		}
		return err
	case <-time.After(patience):
		t.Fatal("the broker did not close the channel")
		return nil
	}
}

func TestRabbitMQRights(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	startReplica(b, newFakeCloud(t).neutron, nil).await("consumer.active")

	t.Run("NobodyPublishesUnderAnothersName", func(t *testing.T) {
		ch := b.channel("earlybind-compute2")
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		must(t, ch.Publish("earlybind", "libvirt.compute1.states", false, false, amqp.Publishing{UserId: "earlybind-compute1"}))
		if err := refusal(t, closed); err.Code != amqp.PreconditionFailed {
			t.Errorf("got %v", err)
		}
	})
	for _, queue := range []string{"earlybind", "earlybind.notifications", "earlybind.parked", "earlybind.journal", "earlybind-publisher.compute1"} {
		t.Run("HostsDoNotRead/"+queue, func(t *testing.T) {
			_, err := b.channel("earlybind-compute2").Consume(queue, "", true, false, false, false, nil)
			var fault *amqp.Error
			if !errors.As(err, &fault) || fault.Code != amqp.AccessRefused {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("HostsDoNotSendToNovasExchange", func(t *testing.T) {
		must(t, b.channel("openstack").ExchangeDeclare("nova", amqp.ExchangeTopic, false, false, false, false, nil))
		ch := b.channel("earlybind-compute1")
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		must(t, ch.Publish("nova", "notifications.info", false, false, amqp.Publishing{}))
		if err := refusal(t, closed); err.Code != amqp.AccessRefused {
			t.Errorf("got %v", err)
		}
	})
}
