package handover

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// How messages come: late, twice, never, in any order.

// delivery is one message as it comes; again: its sender has sent it once more. givenBack: it was
// delivered to another replica, which has not settled it.
type delivery struct {
	at        time.Duration
	fact      fact
	again     bool
	givenBack bool
	slack     time.Duration // by how much the consumer takes it for older than it is
}

func (d delivery) String() string {
	twice := ""
	if d.again {
		twice = ", again"
	}
	if d.givenBack {
		twice += ", given back"
	}
	return fmt.Sprintf("%.3f s: %s, %.3f s old%s", d.at.Seconds(), d.fact, (d.at - d.fact.at).Seconds(), twice)
}

// faults says what may happen to messages.
type faults struct {
	loss    bool
	anyTurn bool // also among the messages of one host
	longest time.Duration
}

// drawLists adds what hosts answer when they are asked for their domains, in a
// leg and around it, a third host too.
func drawLists(t *rapid.T, l leg) []fact {
	var out []fact
	last := l.facts[len(l.facts)-1].at
	for range rapid.IntRange(0, 4).Draw(t, "lists") {
		host := rapid.SampledFrom([]string{l.source, l.destination, third}).Draw(t, "host")
		at := drawSpan(t, "asked at", l.from-time.Second, last+2*time.Second)
		if l.silent(host, at) {
			continue
		}
		d := l.has(host, at)
		out = append(out, l.telling(list(host, at, d, false), d))
	}
	return out
}

func drawSpan(t *rapid.T, label string, from, to time.Duration) time.Duration {
	return from + time.Duration(rapid.Int64Range(0, int64((to-from)/time.Millisecond)).Draw(t, label))*time.Millisecond
}

// drawDelay is mostly nothing, sometimes seconds, sometimes up to an hour.
func drawDelay(t *rapid.T, longest time.Duration) time.Duration {
	kind := rapid.SampledFrom([]time.Duration{20 * time.Millisecond, 20 * time.Millisecond, 20 * time.Millisecond, time.Second, 10 * time.Second, longest}).Draw(t, "delay of up to")
	return drawSpan(t, "delay", 0, min(kind, longest))
}

// apart is how far the places of what was drawn are from each other: what hosts answer who are asked
// comes in between.
const apart = 1000

// inSequence sorts facts by their time and gives the hosts' their places in their
// hosts' streams.
func inSequence(facts []fact) []fact {
	facts = slices.Clone(facts)
	slices.SortStableFunc(facts, func(a, b fact) int { return cmp.Compare(a.at, b.at) })
	sequence := map[string]uint64{}
	for i, f := range facts {
		if f.host() == "" {
			continue
		}
		sequence[f.host()] += apart
		facts[i].inputs = slices.Clone(f.inputs)
		for k, in := range f.inputs {
			s := in.(HostSign)
			s.Order = wire.Order{Epoch: 1, Sequence: sequence[f.host()]}
			facts[i].inputs[k] = s
		}
	}
	return facts
}

// drawSchedule has every fact delivered, unless it is lost, and perhaps again.
func drawSchedule(t *rapid.T, facts []fact, by faults) []delivery {
	var out []delivery
	latest := map[string]time.Duration{} // of each sender
	for _, f := range facts {
		if by.loss && rapid.IntRange(0, 4).Draw(t, "lost") == 0 {
			continue
		}
		at := f.at + drawDelay(t, by.longest)
		if !by.anyTurn {
			at = max(at, latest[f.host()])
			latest[f.host()] = at
		}
		out = append(out, delivery{at: at, fact: f, slack: drawSpan(t, "slack", 0, time.Second)})
		for range rapid.SampledFrom([]int{0, 0, 0, 1, 2}).Draw(t, "more times") {
			out = append(out, delivery{at: at + drawDelay(t, by.longest), fact: f, again: true})
		}
	}
	slices.SortStableFunc(out, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
	return out
}

// player gives an instance what is delivered, answers what it asks for, and
// remembers what it has decided.
type player struct {
	*drive
	chosen   Settings
	rowsTake time.Duration
	// workTakes is how long a port takes to reach its goal; 0: it never does.
	workTakes time.Duration
	expires   bool // after 45 minutes of silence, as the consumer has it
	looks     bool // a port that is verified is right only if its rows are; else it always is
	rowsAt    func(time.Duration) []port.Port
	rightAt   time.Duration // when Nova is done with the rows
	// watch is told of every step that decided something.
	watch func(step)

	// asked gives what the hosts list then, when they are asked; nil: they do not answer. Each answer
	// has its place in its host's stream.
	asked    func(time.Duration) []fact
	stream   []fact
	answered uint64

	queue []event
	heard time.Duration
	story []string
	wrote []write // in order

	// Of the replica that acts.
	held     []holding
	strange  bool                  // it has not met the instance yet
	lists    map[string]wire.Order // per host, the last one that has come to it
	lost     map[string]bool       // what has come to no replica that knows the instance
	followed map[string]wire.Order // what it was told of the streams when it met the instance
	began    int                   // what has been decided before, by others
	// tookOver is when it began, departed when it last was told that the guest has left the source.
	tookOver, departed time.Duration
}

// write makes a host's row ACTIVE at that time.
type write struct {
	host string
	at   time.Duration
}

// holding is a message that is not settled.
type holding struct {
	delivery
	since time.Duration
}

// event is something that is to be given to the instance at a time of its own.
type event struct {
	at      time.Duration
	input   func() Input // nil if it is off by then
	of      *delivery
	restart *restart
	// found: it is a left-over, by a list of the host where the guest runs that was made then.
	found  bool
	listed time.Duration
}

// step is one input, and what was decided on it; or another replica takes over.
type step struct {
	at      time.Duration
	in      Input
	before  Phase
	of      *delivery // nil: an answer, not a message
	decided []Decision
	current bool // a handover goes on after it
	restart *restart
}

const (
	hour = time.Hour // the clock's start, so that no moment is 0
	// novaPatience is for how long a worker leaves rows to Nova that has not said
	// that it is done (consumer/worker.go).
	novaPatience = 30 * time.Second
	// holdFor is for how long a message is held for a handover that goes on
	// (consumer/actor.go).
	holdFor = 10 * time.Minute
	// silence is what a handover expires after (consumer/actor.go).
	silence = 45 * time.Minute
	// writeTakes is how long an activate takes.
	writeTakes = 200 * time.Millisecond
	// answerTakes is how long it takes until a host's list is there that was asked for.
	answerTakes = 20 * time.Millisecond
)

func (p *player) put(e event) {
	i, _ := slices.BinarySearchFunc(p.queue, e, func(a, b event) int {
		if a.at <= b.at {
			return -1
		}
		return 1
	})
	p.queue = slices.Insert(p.queue, i, e)
}

// play runs to the end.
func (p *player) play(schedule []delivery) {
	for i := range schedule {
		d := &schedule[i]
		for _, in := range d.fact.inputs {
			p.put(event{at: d.at, input: func() Input { return in }, of: d})
		}
	}
	if len(schedule) > 0 {
		p.heard = schedule[0].at
	}
	for len(p.queue) > 0 {
		e := p.queue[0]
		p.queue = p.queue[1:]
		if p.expires && e.at-p.heard > silence && p.Current() != nil {
			p.give(event{at: e.at, input: func() Input { return Expired{} }})
		}
		if e.of != nil {
			p.heard = e.at
		}
		p.give(e)
	}
}

func (p *player) give(e event) {
	p.now = hour + e.at
	if e.restart != nil {
		p.takeOver(e)
		return
	}
	in := e.input()
	if in == nil || !p.meets(e, in) {
		return
	}
	if s, ok := in.(HostSign); ok && !s.Listed && !e.of.givenBack {
		// As the consumer reckons it: the age is never taken for less than it is.
		if age := e.at - e.of.fact.at; age <= window {
			s.FreshFor = window - age - e.of.slack
		}
		in = s
	}
	in = p.stamp(in)
	before, phase := p.Current(), p.phase()
	decided := p.Step(in)
	p.log = append(p.log, decided...)
	what := say(in)
	if e.of != nil {
		what = e.of.String()
	}
	p.story = append(p.story, fmt.Sprintf("%s -> %s %s", what, phaseName(p.phase()), tellAll(decided)))
	p.hold(e, decided)
	of := p.Current()
	if of == nil {
		of = before
	}
	for _, d := range decided {
		switch d := d.(type) {
		case AskHosts:
			p.answer(e.at + answerTakes)
		case Arm:
			p.put(event{at: e.at + p.rowsTake, input: func() Input {
				if p.Current() != of {
					return nil
				}
				return Rows{Ports: p.rows(p.now - hour), Now: p.now}
			}})
		case Aim:
			if d.Goal.Kind == GoalCommit {
				p.writes(d.Goal.Host, e.at+writeTakes)
			}
			if p.workTakes == 0 || d.Goal.Kind == GoalHold || d.Goal.Kind == GoalCommit {
				continue
			}
			takes := p.workTakes
			if !d.Goal.NovaDone {
				takes += novaPatience
			}
			by := max(e.at+takes, p.rightAt)
			if of.leftOver {
				by = e.at + takes // it waits for nobody
			}
			p.put(event{at: by, input: func() Input {
				if p.Current() != of {
					return nil
				}
				if d.Goal.Kind == GoalRestore || d.Goal.Mend && d.Goal.NovaDone {
					p.writes(d.Goal.Host, p.now-hour)
				}
				right := true
				if p.looks {
					active, _ := p.rows(p.now - hour)[0].Active()
					right = active.Host == d.Goal.Host
				}
				return PortDone{Port: d.Port, Goal: d.Goal, Right: right, Up: right, Now: p.now}
			}})
		}
	}
	if p.watch != nil {
		p.watch(step{at: e.at, in: in, before: phase, of: e.of, decided: decided, current: p.Current() != nil})
	}
}

// answer has the hosts say what they have.
func (p *player) answer(at time.Duration) {
	if p.asked == nil {
		return
	}
	for _, f := range p.asked(at) {
		p.answered++
		order := wire.Order{Epoch: 1, Sequence: p.answered}
		for _, said := range p.stream {
			if said.host() == f.host() && said.at <= at {
				order.Sequence = max(order.Sequence, said.inputs[0].(HostSign).Order.Sequence+p.answered)
			}
		}
		d := &delivery{at: at, fact: f}
		for _, in := range f.inputs {
			s := in.(HostSign)
			s.Order = order
			p.put(event{at: at, input: func() Input { return s }, of: d})
		}
	}
}

func (p *player) writes(host string, at time.Duration) { p.wrote = append(p.wrote, write{host, at}) }

// rows are what Neutron has: as Nova leaves them and what was written meanwhile. Nova deletes
// the destination's row when it has rolled back, ACTIVE or not, and activates it after a success.
func (p *player) rows(now time.Duration) []port.Port {
	ports := p.rowsAt(now)
	host := ""
	for _, w := range p.wrote {
		if w.at <= now {
			host = w.host
		}
	}
	if host == "" || p.rightAt == 0 {
		return ports
	}
	for i, one := range ports {
		if now >= p.rightAt && (len(one.Rows) == 0 || one.Rows[0].Host == dst) {
			continue // a success
		}
		ports[i].Rows = slices.Clone(one.Rows)
		for k, r := range one.Rows {
			ports[i].Rows[k].Active = r.Host == host
		}
		ports[i].Rows = slices.DeleteFunc(ports[i].Rows, func(r port.Row) bool { return r.Host == third }) // which was mended
	}
	return ports
}

func tellAll(decided []Decision) string {
	var out []string
	for _, d := range decided {
		switch d := d.(type) {
		case Aim:
			out = append(out, fmt.Sprintf("[%s %s at %s]", d.Port, d.Goal.Kind, d.Goal.Host))
		case End:
			out = append(out, "["+string(d.Outcome)+"]")
		default:
			out = append(out, fmt.Sprintf("[%T]", d))
		}
	}
	return strings.ReplaceAll(strings.Join(out, " "), "handover.", "")
}

// tale is what has happened, for a failure's message.
func (p *player) tale() string { return "\n  " + strings.Join(p.story, "\n  ") }

// rowsOf are a port's rows: as Nova has prepared them for a leg, and from done on
// as it leaves them.
func rowsOf(l leg, done time.Duration) func(time.Duration) []port.Port {
	p := lab("p1")
	p.Rows[0].Host, p.Rows[1].Host = l.source, l.destination
	after := p
	after.Rows = p.Rows[:1]
	if !l.failed {
		after.Rows = []port.Row{p.Rows[1]}
		after.Rows[0].Active = true
	}
	return func(now time.Duration) []port.Port {
		if now < done {
			return []port.Port{p}
		}
		return []port.Port{after}
	}
}

// drawPlayer answers in its own time.
func drawPlayer(t *rapid.T, l leg) *player {
	done := l.till + drawSpan(t, "Nova takes", 100*time.Millisecond, time.Second)
	s := committing[rapid.IntRange(0, len(committing)-1).Draw(t, "settings")]
	return &player{
		drive:    newDrive(s),
		chosen:   s,
		rowsAt:   rowsOf(l, done),
		rightAt:  done,
		rowsTake: drawSpan(t, "rows take", 0, rapid.SampledFrom([]time.Duration{100 * time.Millisecond, 7 * time.Second}).Draw(t, "at most")),
	}
}
