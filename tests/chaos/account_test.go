package main

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// says is a line of the consumers' log about a message.
func (a *account) says(body, outcome string) {
	a.saysIn("", body, outcome)
}

// saysIn is one about a message in a share.
func (a *account) saysIn(share, body, outcome string) {
	a.line(auditLine{Event: "message.settled", Share: share, Saw: "exchange earlybind, key k, sha256 " + digest([]byte(body)), Outcome: outcome})
}

func (a *account) sends(bodies ...string) {
	for _, body := range bodies {
		a.confirmed([]byte(body), "earlybind", "k", body+"'s instance", time.Time{})
	}
}

func deadLetter(body, why string) amqp.Delivery {
	return amqp.Delivery{RoutingKey: "k", Body: []byte(body), Headers: amqp.Table{"x-first-death-reason": why}}
}

func TestAccount(t *testing.T) {
	a := newAccount(1)
	a.sends("done", "twice", "twice", "again", "parked", "expired")
	for _, body := range []string{"done", "twice", "twice", "again", "again", "unheard of"} {
		a.says(body, "done")
	}
	a.line(auditLine{Event: "message.settled", Saw: "exchange earlybind, key consumer.tick.earlybind, sha256 " + digest([]byte("tick")), Outcome: "done"})
	a.says("parked", "parked")
	a.dead(deadLetter("expired", "expired"))
	a.dead(amqp.Delivery{RoutingKey: "consumer.tick.earlybind", Body: []byte("tick")})
	a.unrouted.unbinds(time.Time{})
	a.unrouted.add("nova", "k", time.Time{})
	a.sends("open")
	if n, _, instances := a.open(); n != 1 || len(instances) != 1 || !instances["open's instance"] {
		t.Errorf("%d are open, of %v", n, instances)
	}
	a.says("open", "done")
	a.found(digest([]byte("parked")), "k")
	want := balance{Shares: 1, Messages: 6, Done: 4, Parked: 1, Expired: 1, Copies: 1, Again: 1, Unconfirmed: 1, Unrouted: 1}
	b := a.balance()
	if !reflect.DeepEqual(b, want) {
		t.Errorf("got  %+v\nwant %+v", b, want)
	}
	if err := b.verdict(); err != nil {
		t.Error(err)
	}
	twice := sum([]balance{want, want})
	if twice.Messages != 12 || twice.Done != 8 || twice.Unrouted != 2 || twice.Again != 2 {
		t.Errorf("%+v", twice)
	}
	if text := statement([]balance{want}); !strings.Contains(text, "in 1 runs") || !strings.Contains(text, fmt.Sprintf("without an outcome     %8d", 0)) {
		t.Error(text)
	}
}

func TestAMessageWithoutAnOutcomeIsFound(t *testing.T) {
	for name, happens := range map[string]func(*account){
		"nothing is said of it":             func(*account) {},
		"one of two copies has none":        func(a *account) { a.sends("x"); a.says("x", "done") },
		"it is not where it is parked":      func(a *account) { a.says("x", "parked") },
		"it is in the queue, though said":   func(a *account) { a.says("x", "done"); a.note(1, digest([]byte("x")), "k", func(f *fate) { f.left++ }) },
		"the broker had no room for it":     func(a *account) { a.dead(deadLetter("x", "maxlen")) },
		"it came back too often":            func(a *account) { a.dead(deadLetter("x", "delivery_limit")) },
		"another's line is not its outcome": func(a *account) { a.says("y", "done") },
	} {
		a := newAccount(1)
		a.sends("x", "parked", "expired")
		a.note(1, digest([]byte("parked")), "k", func(f *fate) { f.parked++ })
		a.dead(deadLetter("expired", "expired"))
		happens(a)
		b := a.balance()
		if b.Without != 1 || b.Messages != 3 {
			t.Errorf("%s: %+v", name, b)
		}
		if err := b.verdict(); err == nil || !strings.Contains(err.Error(), digest([]byte("x"))) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAnAccountThatSeesNothingParkedOrExpiredProvesNothing(t *testing.T) {
	for _, b := range []balance{{}, {Parked: 1}, {Expired: 1}} {
		if b.verdict() == nil {
			t.Errorf("%+v is let pass", b)
		}
	}
}
