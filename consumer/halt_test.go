package consumer

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

var halted = wire.Halt{Schema: wire.SchemaVersion, Revision: 1, All: true, By: "root@c"}

// A pause that comes between the decision and the request keeps the request back.
func TestCommitThatIsPausedIsNotSent(t *testing.T) {
	for _, c := range []struct {
		halt wire.Halt
		sent bool
	}{
		{halted, false},
		{wire.Halt{Revision: 1, Hosts: []string{src}}, false},
		{wire.Halt{Revision: 1, Hosts: []string{dst}}, false},
		{wire.Halt{Revision: 1, Hosts: []string{"compute9"}}, true},
	} {
		work(t, prepared("p1"), func(t *testing.T, d *desk) {
			d.halts.take(c.halt)
			d.w.mail.put(handover.Aim{
				Port: "p1", Goal: handover.Goal{Kind: handover.GoalCommit, Host: dst}, Other: src, Deadline: d.clock() + time.Second,
			})
			synctest.Wait()
			if sent := len(d.neutron.writes()) > 0; sent != c.sent {
				t.Errorf("%+v: sent %t", c.halt, sent)
			}
			if l := d.of(audit.PortObserved); !c.sent && (len(l) != 1 || !strings.Contains(l[0].Why, "paused")) {
				t.Errorf("%+v", l)
			}
		})
	}
}

// One that comes while the request is made, a new token or a connection being waited for,
// keeps it back too: it is asked right before the request is sent, here by the real client.
func TestCommitThatIsPausedWhileItIsMadeIsNotSent(t *testing.T) {
	for _, paused := range []bool{true, false} {
		sent := 0
		var server *httptest.Server
		server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasSuffix(r.URL.Path, "/activate"):
				sent++
				fmt.Fprint(w, `{"binding": {}}`)
			case strings.HasSuffix(r.URL.Path, "/auth/tokens"):
				w.Header().Set("X-Subject-Token", "token")
				w.WriteHeader(http.StatusCreated)
				fmt.Fprintf(w, `{"token": {"expires_at": "2099-01-01T00:00:00.000000Z", "catalog": [{"type": "network", "endpoints": [
					{"interface": "public", "region": "RegionOne", "region_id": "RegionOne", "url": %q}]}]}}`, server.URL+"/")
			default:
				fmt.Fprint(w, `{"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}`)
			}
		}))
		defer server.Close()
		for name, value := range map[string]string{
			"OS_CLOUD": "", "OS_AUTH_URL": server.URL + "/v3", "OS_USERNAME": "u", "OS_PASSWORD": "p", "OS_PROJECT_NAME": "service",
			"OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_NAME": "Default", "OS_REGION_NAME": "RegionOne",
		} {
			t.Setenv(name, value)
		}
		client, err := binding.NewClient(t.Context(), binding.ClientOpts{})
		if err != nil {
			t.Fatal(err)
		}
		kit := newKit(newNeutron())
		kit.tools.neutron = NewNeutron(client)
		asked := 0
		kit.tools.halt = func() handover.Halt {
			if asked++; asked > 1 && paused { // it comes after the worker has looked
				kit.halts.take(halted)
			}
			return kit.halts.now()
		}
		w := &worker{instance: guest, port: "p1", tools: kit.tools, mail: newMailbox(), report: kit.record, committed: func(_, _ time.Duration) {}}
		w.aim = handover.Aim{Port: "p1", Goal: handover.Goal{Kind: handover.GoalCommit, Host: dst}, Other: src, Deadline: kit.tools.clock() + time.Minute}
		w.commit(t.Context())
		if (sent == 0) != paused || asked < 2 {
			t.Errorf("paused %t: %d requests, asked %d times", paused, sent, asked)
		}
		if lines := kit.of(audit.PortObserved); paused && (len(lines) != 1 || lines[0].Why != "commits are paused: by root@c") {
			t.Errorf("%+v", lines)
		}
	}
}

func TestRestoreGoesOnWhilePaused(t *testing.T) {
	work(t, committed("p1"), func(t *testing.T, d *desk) {
		d.halts.take(halted)
		d.aim(handover.GoalRestore, src, false)
		if p, _ := d.wait(); !p.Right {
			t.Errorf("%+v", p)
		}
		if got := d.neutron.writes(); !slices.Contains(got, "activate p1 "+src) {
			t.Errorf("writes %q", got)
		}
	})
}

func TestOfTwoOrdersTheLaterHolds(t *testing.T) {
	var h halts
	h.doubt("not read yet")
	if h.now().Refuse(src, dst) == "" {
		t.Error("what is not known is not paused")
	}
	for _, c := range []struct {
		revision    int64
		all         bool
		holds, news bool
		paused      bool
	}{
		{0, false, true, true, false}, // nothing was ever paused
		{5, true, true, true, true},
		{4, false, false, false, true}, // the broker's, read before the fifth came
		{5, true, true, false, true},   // the fifth, read as well
		{6, false, true, true, false},
	} {
		holds, news := h.take(wire.Halt{Revision: c.revision, All: c.all})
		if holds != c.holds || news != c.news || h.now().Any() != c.paused {
			t.Errorf("%+v: holds %t, news %t, %s", c, holds, news, h.now())
		}
	}
	if !h.doubt("an order that cannot be read") || h.doubt("an order that cannot be read") {
		t.Error("a doubt is news once")
	}
	// By then the broker may have lost what it kept, and count anew.
	if holds, news := h.take(wire.Halt{Revision: 1}); !holds || !news || h.now().Any() {
		t.Errorf("%t, %t, %s", holds, news, h.now())
	}
}

func TestWhatAnOrderMakesOfWhatWasPaused(t *testing.T) {
	now := time.UnixMilli(1000)
	for _, c := range []struct {
		order Order
		was   wire.Halt
		want  wire.Halt
	}{
		{Order{By: "a"}, wire.Halt{}, wire.Halt{All: true, Revision: 1000, By: "a", Order: "earlybind pause (by a)"}},
		{Order{Hosts: []string{"h"}, Why: "w"}, wire.Halt{Revision: 2000, Why: "v"}, wire.Halt{Hosts: []string{"h"}, Revision: 2001, Why: "w", Order: "earlybind pause -host h (w)"}},
		{Order{Resume: true}, wire.Halt{All: true, Hosts: []string{"h"}, Revision: 7}, wire.Halt{Hosts: []string{"h"}, Revision: 1000, Order: "earlybind resume"}},
		{Order{Resume: true, By: "carol"}, wire.Halt{All: true, Hosts: []string{"h"}, By: "bob", Why: "v"}, wire.Halt{Hosts: []string{"h"}, Revision: 1000, By: "bob", Why: "v", Order: "earlybind resume (by carol)"}},
		{Order{Resume: true, By: "carol"}, wire.Halt{All: true, By: "bob", Why: "v"}, wire.Halt{Revision: 1000, By: "carol", Order: "earlybind resume (by carol)"}},
	} {
		c.want.Schema = wire.SchemaVersion
		if got := c.order.follow(c.was, now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v after %+v: %+v, want %+v", c.order, c.was, got, c.want)
		}
	}
}

// The name and the reason that are told are those of the last order to pause; the log has each
// order, who resumes a part of what is paused too.
func TestEachOrderIsInTheLog(t *testing.T) {
	var book book
	c := New(defaults(), Replica{Log: audit.New(io.Discard, 0, "r").Counted(func(_, _ string, l audit.Line) { book.record(l) }), Name: "r"})
	var is wire.Halt
	for i, step := range []struct {
		order   Order
		event   audit.Event
		decided string
		why     string
		saw     string
	}{
		{Order{By: "alice@c", Why: "ticket 4711"}, audit.ConsumerPaused, "nothing is committed", "by alice@c: ticket 4711", "earlybind pause (by alice@c: ticket 4711)"},
		{Order{By: "bob@c", Why: "new NIC", Hosts: []string{src}}, audit.ConsumerPaused, "nothing is committed; by name paused: " + src, "by bob@c: new NIC", "earlybind pause -host " + src + " (by bob@c: new NIC)"},
		{Order{By: "carol@c", Resume: true}, audit.ConsumerPaused, "nothing is committed from or to " + src, "by bob@c: new NIC", "earlybind resume (by carol@c)"},
		{Order{By: "dave@c", Why: "it works", Resume: true, Hosts: []string{src, dst}}, audit.ConsumerResumed, "", "by dave@c: it works", "earlybind resume -host " + src + " -host " + dst + " (by dave@c: it works)"},
	} {
		is = step.order.follow(is, time.UnixMilli(int64(i)))
		c.halts.take(is)
		c.sayHalt(nil)
		if l := book.last(t, step.event); l.Why != step.why || l.Saw != step.saw || step.decided != "" && l.Decided != step.decided {
			t.Errorf("%d: %+v, want %+v", i, l, step)
		}
	}
	c.halts.doubt("it was not read yet")
	c.sayHalt(nil)
	if l := book.last(t, audit.ConsumerPaused); l.Saw != "" {
		t.Errorf("of what is not known: %+v", l)
	}
}

func TestOrdersAreTakenFromEarlybindsUserAlone(t *testing.T) {
	s := defaults()
	body := func(event string, payload any) []byte {
		n, err := wire.NewNotification("earlybind-order:x", event, payload, "1", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		raw, err := n.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	good := body(wire.EventPaused, halted)
	if h, err := s.readOrder(amqp.Delivery{UserId: s.AMQPUser, Body: good}); err != nil || !reflect.DeepEqual(h, halted) {
		t.Errorf("%+v, %v", h, err)
	}
	for _, user := range []string{"", "openstack", s.HostUserPrefix + src} {
		if _, err := s.readOrder(amqp.Delivery{UserId: user, Body: good}); !errors.Is(err, errRefused) {
			t.Errorf("%q: %v", user, err)
		}
		if _, err := s.readWord(amqp.Delivery{UserId: user, Body: good}); !errors.Is(err, errRefused) {
			t.Errorf("word of %q: %v", user, err)
		}
	}
	for name, raw := range map[string][]byte{
		"no notification": []byte("{}"), "another event": body(wire.EventTick, wire.Tick{Schema: wire.SchemaVersion}),
		"another version": body(wire.EventPaused, wire.Halt{Schema: 99, Revision: 1}), "no revision": body(wire.EventPaused, wire.Halt{Schema: wire.SchemaVersion}),
	} {
		if h, err := s.readOrder(amqp.Delivery{UserId: s.AMQPUser, Body: raw}); err == nil || errors.Is(err, errRefused) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

// An order of earlybind's own user that cannot be understood has paused something: all
// is, until one comes that can be.
func TestAnOrderThatCannotBeUnderstoodPausesAll(t *testing.T) {
	var book book
	c := New(defaults(), Replica{ConcurrentActivateSafe: true, Log: audit.New(io.Discard, 0, "r").Counted(func(_, _ string, l audit.Line) { book.record(l) }), Name: "r"})
	s := &session{Consumer: c}
	d := amqp.Delivery{UserId: c.settings.AMQPUser, Body: []byte("{}")}
	for range 2 {
		if !s.order(t.Context(), d) {
			t.Error("it tells what is paused")
		}
	}
	lines := book.of(audit.ConsumerPaused)
	if c.halts.now().Refuse(src, dst) == "" || len(lines) != 1 || lines[0].Err == nil {
		t.Errorf("%s, %+v", c.halts.now(), lines)
	}
	d.UserId = "openstack"
	if s.order(t.Context(), d) || len(book.of(audit.HostRefused)) != 1 {
		t.Errorf("%+v", book.all())
	}
	c.halts.take(wire.Halt{Revision: 1})
	c.sayHalt(nil)
	c.sayHalt(nil)
	if lines := book.of(audit.ConsumerResumed); len(lines) != 1 {
		t.Errorf("%+v", lines)
	}
	if line := fmt.Sprint(book.last(t, audit.ConsumerResumed).Decided); !strings.Contains(line, "stays so") {
		t.Error(line)
	}
}
