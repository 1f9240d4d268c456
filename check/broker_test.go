package check

import (
	"errors"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// How RabbitMQ answers a passive declaration, and what that tells.
func TestWhatIsThere(t *testing.T) {
	for name, c := range map[string]struct {
		err      error
		is, seen bool
	}{
		"it is there":              {nil, true, true},
		"it is not":                {&amqp.Error{Code: amqp.NotFound, Reason: "NOT_FOUND - no queue"}, false, true},
		"it is hidden":             {&amqp.Error{Code: amqp.AccessRefused, Reason: "ACCESS_REFUSED"}, false, false},
		"another connection's own": {&amqp.Error{Code: amqp.ResourceLocked, Reason: "RESOURCE_LOCKED"}, false, false},
		"the connection is lost":   {amqp.ErrClosed, false, false},
	} {
		got := exists(c.err)
		if is, seen := got.Get(); is != c.is || seen != c.seen || !seen && got.Why() == "" {
			t.Errorf("%s: %t %t %q", name, is, seen, got.Why())
		}
	}
}

// What was not seen is told in the broker's words, not in the library's.
func TestWhatABrokerRefusesIsToldPlainly(t *testing.T) {
	for err, want := range map[error]string{
		&amqp.Error{Code: amqp.ResourceLocked, Reason: "RESOURCE_LOCKED - queue 'q'"}: "RESOURCE_LOCKED - queue 'q'",
		amqp.ErrClosed: "the connection is closed",
	} {
		p := probe{facts: &BrokerFacts{}}
		p.right("a", err)
		if got := exists(err).Why(); got != want || p.facts.Rights[0].Has.Why() != want {
			t.Errorf("%s, %s, want %s", got, p.facts.Rights[0].Has.Why(), want)
		}
	}
}

func TestRightsAreReadOffTheBrokersAnswer(t *testing.T) {
	p := probe{facts: &BrokerFacts{}}
	p.right("a", nil)
	p.right("b", &amqp.Error{Code: amqp.AccessRefused, Reason: "ACCESS_REFUSED"})
	p.right("c", errors.New("the connection was lost"))
	var got []string
	for _, r := range p.facts.Rights {
		has, seen := r.Has.Get()
		got = append(got, r.What+strings.Repeat("+", map[bool]int{true: 1}[has])+strings.Repeat("?", map[bool]int{true: 1}[!seen]))
	}
	if !slices.Equal(got, []string{"a+", "b", "c?"}) {
		t.Errorf("%q", got)
	}
}

func TestOwnNamesBeginAsTheConsumersDo(t *testing.T) {
	p := probe{name: "foo.check.X"}
	p.settings.Queue = "foo"
	if p.answers() != "foo.check.X.answers" || p.exchange() != "earlybind.check.X" {
		t.Errorf("%s %s", p.answers(), p.exchange())
	}
	if !slices.Equal(novaKeys([]string{"a", "b"}), []string{"a.info", "a.error", "b.info", "b.error"}) {
		t.Error("keys")
	}
	if names := defaultQueueNames([]string{"notifications", "mine"}); !slices.Equal(names, []string{
		"mine.info", "mine.error", "notifications.info", "notifications.error", "versioned_notifications.info", "versioned_notifications.error",
	}) {
		t.Errorf("%q", names)
	}
}
