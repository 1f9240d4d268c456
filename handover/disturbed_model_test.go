package handover

import (
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// What happens besides a migration's own messages: replicas end, hosts fall silent, and what an
// earlier migration has left is found.

const (
	// listLasts is for how long a list of domains tells where a guest runs (consumer/registry.go),
	// foundAfter how long a replica looks at least before it takes rows for left over
	// (consumer/leftovers.go).
	listLasts  = 30 * time.Second
	foundAfter = time.Minute
)

// restart is the take-over by a replica that knows nothing but what is given back to it.
type restart struct {
	// kept: what was not settled is given back. It is lost with the broker's queues only.
	kept bool
}

// disturbances are what is drawn of a leg besides its messages.
type disturbances struct {
	events []event
	lists  []fact // what the hosts answer whom a replica asks that takes over
	rows   bool   // an earlier migration has left its rows wrong: the third host's is ACTIVE
}

// drawDisturbances draws them over a leg, and for as long after it as messages may come late. keep:
// what was not settled is never lost.
func drawDisturbances(t *rapid.T, l leg, longest time.Duration, keep bool) disturbances {
	var out disturbances
	last := l.facts[len(l.facts)-1].at
	moment := func(what string, from time.Duration) time.Duration {
		return drawSpan(t, what, from, last+time.Second) + drawDelay(t, longest)
	}
	begun := l.from - time.Second
	if keep {
		begun = l.from + 30*time.Millisecond // mostly a handover goes on by then
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "replicas end") {
		r := &restart{kept: keep || rapid.Bool().Draw(t, "what was not settled is given back")}
		at := moment("ends at", begun)
		out.events = append(out.events, event{at: at, restart: r})
		// It asks when it begins, and when it has taken something over.
		for _, asks := range []time.Duration{0, 2 * time.Second} {
			out.lists = append(out.lists, l.lists(at+asks+10*time.Millisecond)...)
		}
	}
	for range rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "hosts are muted") {
		host := rapid.SampledFrom([]string{l.source, l.destination, l.destination, third}).Draw(t, "muted")
		out.events = append(out.events, event{at: moment("muted at", l.from-time.Second), input: func() Input { return Muted{Host: host} }})
	}
	if out.rows = rapid.IntRange(0, 2).Draw(t, "rows are left wrong") == 0; out.rows {
		for range rapid.IntRange(1, 2).Draw(t, "left-overs") {
			at := drawSpan(t, "found at", l.from-40*time.Second, last+90*time.Second)
			listed := at - drawSpan(t, "by lists of", 0, listLasts)
			if was := l.at(listed); was.source == running && was.destination != running {
				out.events = append(out.events, event{at: at, found: true, listed: listed, input: func() Input { return LeftOver{Host: l.source, Other: third} }})
			}
		}
	}
	return out
}

// disturbs has them happen. To be called before it plays.
func (p *player) disturbs(d disturbances) {
	for _, e := range d.events {
		p.put(e)
	}
	if !d.rows {
		return
	}
	novas := p.rowsAt
	p.rowsAt = func(now time.Duration) []port.Port {
		ports := novas(now)
		for i := range ports {
			rows := slices.Clone(ports[i].Rows)
			done := len(rows) == 1
			for k := range rows {
				rows[k].Active = rows[k].Active && done && rows[k].Host != src
			}
			ports[i].Rows = append(rows, port.Row{Host: third, Active: !rows[0].Active, VIFType: "ovs", VNICType: "normal"})
		}
		return ports
	}
}

// takeOver has another replica act from now on.
func (p *player) takeOver(e event) {
	what := "another replica takes over, and all is lost that was not settled"
	var back []delivery
	if e.restart.kept {
		what = "another replica takes over"
		for _, h := range p.held {
			if e.at-h.since < holdFor {
				h.givenBack = true
				back = append(back, h.delivery)
			}
		}
	}
	p.story = append(p.story, what)
	p.Instance = newDrive(p.chosen).Instance
	p.tookOver, p.departed, p.began = p.now, 0, len(p.log)
	p.held, p.strange, p.lists, p.followed = nil, true, map[string]wire.Order{}, nil
	if p.watch != nil {
		p.watch(step{at: e.at, restart: e.restart})
	}
	for i := range back { // before what was never delivered
		for _, in := range back[i].fact.inputs {
			p.give(event{at: e.at, input: func() Input { return in }, of: &back[i]})
		}
	}
}

// meets tells whether an input reaches the instance: a replica that has taken over does not know
// it before something shows that it migrates (consumer/registry.go).
func (p *player) meets(e event, in Input) bool {
	s, sign := in.(HostSign)
	if sign && s.Listed {
		defer func() { put(&p.lists, s.Host, s.Order) }()
	}
	if e.found && (p.tookOver > 0 && p.now < p.tookOver+foundAfter || p.departed > hour+e.listed) {
		p.story = append(p.story, say(in)+": the replica does not find it")
		return false
	}
	if sign && s.Host == src && (s.Sign == SignLeft || s.Sign == SignStopped) {
		p.departed = p.now
	}
	if !p.strange {
		if last, known := p.followed[s.Host]; sign && known && !last.Before(s.Order) {
			p.lose(e) // older than a list that came first
		} else {
			p.find(e)
		}
		return true
	}
	_, nova := in.(NovaSign)
	begins := sign && (s.Sign == SignStarted || !s.Listed && (s.Sign == SignPaused || s.Sign == SignPostCopy))
	if !e.found && !nova && !begins {
		p.lose(e)
		p.story = append(p.story, say(in)+": the replica does not know the instance")
		return false
	}
	p.strange = false
	if !e.found && !s.Listed && !e.of.givenBack {
		p.followed = maps.Clone(p.lists)
		p.Follows(p.followed)
	}
	return p.meets(e, in) // by now it does
}

// lose notes that a message has come to nobody, find that it has come to somebody after all.
func (p *player) lose(e event) {
	if e.of != nil && !e.of.fact.listed() {
		put(&p.lost, e.of.fact.id(), true)
	}
}

func (p *player) find(e event) {
	if e.of != nil {
		delete(p.lost, e.of.fact.id())
	}
}

// id tells a message from all others.
func (f fact) id() string { return f.at.String() + f.String() }

// hold keeps a message until its handover ends (consumer/actor.go).
func (p *player) hold(e event, decided []Decision) {
	if slices.Contains(decided, Decision(End{Outcome: OutcomeSuperseded})) {
		p.held = nil
	}
	if e.of != nil && !e.of.fact.listed() {
		p.held = append(p.held, holding{*e.of, e.at})
	}
	if p.Current() == nil {
		p.held = nil
	}
}
