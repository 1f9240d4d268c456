package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestTheQueuesOfAShare(t *testing.T) {
	want := []string{"earlybind", "earlybind.notifications", "earlybind.2", "earlybind.2.notifications"}
	all := eachQueue(2, queues.read)
	if !slices.Equal(all, want) || queuesOf(1).journal != "earlybind.journal" || queuesOf(12).journal != "earlybind.12.journal" {
		t.Errorf("%q, %+v, %+v", all, queuesOf(1), queuesOf(12))
	}
	for i, queue := range all {
		if got := shareOfQueue(queue); got != 1+i/2 {
			t.Errorf("%s is of share %d", queue, got)
		}
	}
	for name, share := range map[string]int{"": 1, "1 of 4": 1, "12 of 32": 12} {
		if got := shareNamed(name); got != share {
			t.Errorf("%q is %d", name, got)
		}
	}
	one, four := &consumers{shares: 1}, &consumers{shares: 4}
	if one.connection("x", 1) != "earlybind-consumer x" || four.connection("x", 3) != "earlybind-consumer x share 3 of 4" {
		t.Errorf("%q, %q", one.connection("x", 1), four.connection("x", 3))
	}
	rng, drawn := rand.New(rand.NewPCG(1, 2)), map[int]bool{}
	if one.anyShare(rng); rng.Uint64() != rand.New(rand.NewPCG(1, 2)).Uint64() {
		t.Error("with one share the weather is another")
	}
	for range 100 {
		drawn[four.anyShare(rng)] = true
	}
	if len(drawn) != 4 || drawn[0] {
		t.Errorf("%v", drawn)
	}
}

func TestWhoActsForAShare(t *testing.T) {
	now := time.Now()
	c := &consumers{shares: 2, replicas: []*replica{
		{name: "a", active: map[int]time.Time{1: now}}, {name: "b", active: map[int]time.Time{1: now.Add(-time.Second)}},
	}}
	if c.allActed() || c.acting(1).name != "a" {
		t.Errorf("%t, %s", c.allActed(), c.acting(1).name)
	}
	c.replicas[1].active[2] = now.Add(-time.Minute)
	if !c.allActed() || c.acting(1).name != "a" || c.acting(2).name != "b" {
		t.Errorf("%t, %s, %s", c.allActed(), c.acting(1).name, c.acting(2).name)
	}
	c.replicas[0].active[2] = now.Add(-time.Second * 30)
	if c.acting(2).name != "a" { // though b has begun later, for the other
		t.Errorf("%s", c.acting(2).name)
	}
}

// Each share settles every message: one's word is not another's.
func TestTheAccountIsOfEachShare(t *testing.T) {
	began := time.Now()
	for name, c := range map[string]struct {
		happens func(*account)
		want    balance
	}{
		"both have settled it": {func(a *account) { a.saysIn("2 of 2", "x", "done") }, balance{Messages: 1}},
		"one has settled it twice": {func(a *account) { a.saysIn("1 of 2", "x", "done") }, balance{
			Messages: 1, Without: 1, Again: 1,
		}},
		"it is in the other's queue": {func(a *account) {
			a.saysIn("2 of 2", "x", "done")
			a.note(2, digest([]byte("x")), "k", func(f *fate) { f.left++ })
		}, balance{Messages: 1, Without: 1}},
		"it has expired in the other's queue": {func(a *account) {
			a.dead(amqp.Delivery{RoutingKey: "k", Body: []byte("x"), Headers: amqp.Table{"x-first-death-reason": "expired", "x-first-death-queue": "earlybind.2.notifications"}})
		}, balance{Messages: 1}},
		"the other's queue was not bound": {func(a *account) { a.unrouted.unbinds(began); a.unrouted.bound(1, began) }, balance{Unshared: 1}},
		"it was not, and has it nevertheless": {func(a *account) {
			a.unrouted.unbinds(began)
			a.saysIn("2 of 2", "x", "done")
		}, balance{Messages: 1}},
		"it was not, and holds it": {func(a *account) {
			a.unrouted.unbinds(began)
			a.note(2, digest([]byte("x")), "k", func(f *fate) { f.left++ })
		}, balance{Messages: 1, Without: 1, Unshared: 1}},
		"it was bound before": {func(a *account) { a.unrouted.unbinds(began); a.unrouted.bound(2, began) }, balance{Messages: 1, Without: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(2)
			a.confirmed([]byte("x"), "nova", "k", "instance", began)
			a.saysIn("1 of 2", "x", "done")
			c.happens(a)
			b := a.balance()
			if b.Messages != 1+c.want.Messages || b.Without != c.want.Without || b.Again != c.want.Again || b.Unshared != c.want.Unshared || b.Shares != 2 {
				t.Errorf("got  %+v\nwant %+v and one more message", b, c.want)
			}
			if b.Without == 1 && !strings.Contains(b.Missing[0], "share 2") {
				t.Errorf("%q", b.Missing)
			}
		})
	}
}

// What a share's queue may not have been given is not waited for like the rest.
func TestWhatIsOpenInAShare(t *testing.T) {
	a, began := newAccount(2), time.Now()
	a.confirmed([]byte("x"), "nova", "k", "x's", began)
	a.confirmed([]byte("y"), "earlybind", "k", "y's", began)
	a.saysIn("1 of 2", "x", "done")
	a.saysIn("1 of 2", "y", "done")
	a.unrouted.unbinds(began)
	n, unsure, instances := a.open()
	if n != 1 || unsure != 1 || !instances["y's"] || len(instances) != 1 {
		t.Errorf("%d, %d, %v", n, unsure, instances)
	}
	a.unrouted.bound(2, began)
	if n, unsure, _ = a.open(); n != 2 || unsure != 0 {
		t.Errorf("%d, %d", n, unsure)
	}
}

// What is parked is the share's that says so.
func TestWhatAShareHasParked(t *testing.T) {
	a := newAccount(2)
	a.confirmed([]byte("x"), "earlybind", "k", "", time.Time{})
	a.saysIn("1 of 2", "x", "done")
	a.saysIn("2 of 2", "x", "parked")
	if b := a.balance(); b.Without != 1 {
		t.Errorf("%+v", b)
	}
	a.found(digest([]byte("x")), "k")
	if b := a.balance(); b.Without != 0 || b.Done != 1 || b.Parked != 1 {
		t.Errorf("%+v", b)
	}
}

// A message that no queue has taken is excused only while no share's was bound.
func TestUnroutedOfShares(t *testing.T) {
	a, began := newAccount(2), time.Now()
	a.unrouted.unbinds(began)
	a.unrouted.bound(1, began.Add(time.Second))
	a.unrouted.add("nova", "k", began)
	if err := a.balance().routedVerdict(); err != nil {
		t.Error(err)
	}
	a.unrouted.add("nova", "k", began.Add(2*time.Second))
	if b := a.balance(); b.routedVerdict() == nil || len(b.Misrouted) != 1 {
		t.Errorf("%+v", b)
	}
}
