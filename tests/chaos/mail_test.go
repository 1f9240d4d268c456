package main

import (
	"slices"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

// post is a game without a broker: what is sent stays with the couriers.
func post(t *testing.T, p plan) (*game, *mail, *instance) {
	t.Helper()
	g := &game{hosts: map[string]*host{}, account: newAccount(1)}
	g.cloud.hosts = [2]string{"compute1", "compute2"}
	g.makeSenders()
	in := &instance{id: "uuid", host: "compute1"}
	p.rng = draw(1, 1, true).rng
	return g, newMail(g, p, in, 5), in
}

// sent gives the messages of a host that have left, or wait for their time.
func (h *host) sent() []amqp.Publishing {
	select {
	case <-h.courier.hurry:
	default:
		close(h.courier.hurry)
	}
	h.courier.later.Wait()
	var all []amqp.Publishing
	for _, l := range h.courier.queue {
		all = append(all, l.ready())
	}
	return all
}

func types(all []amqp.Publishing) (types []string) {
	for _, m := range all {
		types = append(types, m.Type)
	}
	return types
}

// plays has both hosts tell of a migration, and Nova end it.
func plays(g *game, m *mail, in *instance) {
	from, to := g.hosts["compute1"], g.hosts["compute2"]
	m.begin(nil)
	m.event(to.name, to.says(in.id, wire.Started, wire.Migrated))
	m.event(from.name, from.says(in.id, wire.Suspended, wire.Migrated))
	m.event(to.name, to.says(in.id, wire.Resumed, wire.Migrated))
	m.event(from.name, from.says(in.id, wire.Stopped, wire.Migrated))
	m.list(from)
	m.end()
}

func TestWhatIsDroppedDoesNotArriveAndAListFollows(t *testing.T) {
	const started, suspended, resumed, stopped = "libvirt.domain.started", "libvirt.domain.suspended", "libvirt.domain.resumed", "libvirt.domain.stopped"
	for name, c := range map[string]struct {
		plan     plan
		from, to []string
	}{
		"nothing":         {plan{}, []string{suspended, stopped, wire.EventStates}, []string{started, resumed}},
		"the source":      {plan{faults: []fault{dropped}, ofSource: true}, []string{wire.EventStates, wire.EventStates}, []string{started, resumed}},
		"the destination": {plan{faults: []fault{dropped}}, []string{suspended, stopped, wire.EventStates}, []string{wire.EventStates}},
		"a list":          {plan{faults: []fault{dropped}, loss: ofAList}, []string{suspended, stopped, wire.EventStates}, []string{started, resumed}},
	} {
		g, m, in := post(t, c.plan)
		plays(g, m, in)
		if from, to := types(g.hosts["compute1"].sent()), types(g.hosts["compute2"].sent()); !slices.Equal(from, c.from) || !slices.Equal(to, c.to) {
			t.Errorf("%s: the source sends %q, the destination %q", name, from, to)
		}
	}
	// One event, and not the first: three that arrive, and in its place a list.
	g, m, in := post(t, plan{faults: []fault{dropped}, loss: ofOne})
	plays(g, m, in)
	all := append(types(g.hosts["compute1"].sent()), types(g.hosts["compute2"].sent())...)
	slices.Sort(all)
	if len(all) != 5 || !slices.Contains(all, started) || !slices.Equal(all[3:], []string{wire.EventStates, wire.EventStates}) {
		t.Errorf("one event: %q", all)
	}
}

func ageOf(t *testing.T, m amqp.Publishing) time.Duration {
	t.Helper()
	n, err := wire.Decode(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	e, err := wire.ParseHostEvent(n)
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(e.AgeMS) * time.Millisecond
}

// A message an hour late says so where its sender held it, and nothing where it lay
// in the broker; it keeps its place in its host's stream.
func TestAnHour(t *testing.T) {
	g, m, in := post(t, plan{})
	from := g.hosts["compute1"]
	m.event(from.name, from.says(in.id, wire.Suspended, wire.Migrated))
	l := g.archive.draw(m.rng, "", 1)[0].letter
	l.at = l.at.Add(-time.Minute)
	for held, want := range map[time.Duration]time.Duration{0: time.Minute, anHour: 61 * time.Minute, unheld: 0} {
		got := ageOf(t, l.after(held).ready())
		if got < want || got > want+5*time.Second || held == unheld && got != 0 {
			t.Errorf("held for %s: %s old", held, got)
		}
	}
	g.archive.forget(in.id)
	if left := g.archive.draw(m.rng, "", 1); left != nil {
		t.Errorf("%d letters of an instance that is gone", len(left))
	}
}

// Of a plan with old messages a host's come late from some place on, and those of
// earlier migrations come again; nothing is lost for good.
func TestOldMessagesComeAfterAll(t *testing.T) {
	g, m, in := post(t, plan{faults: []fault{hourOld}})
	from := g.hosts["compute1"]
	for range 100 {
		m.event(from.name, from.says(in.id, wire.Suspended, wire.Migrated))
	}
	inTime := len(from.courier.queue)
	m.end()
	old := 0
	for _, one := range from.sent() {
		if one.Type != wire.EventStates && ageOf(t, one) >= anHour {
			old++
		}
	}
	if inTime == 100 || old != 100-inTime+4 {
		t.Errorf("%d in time, %d old", inTime, old)
	}
}
