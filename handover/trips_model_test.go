package handover

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// as is a leg of other hosts, of another request and at a later time, without
// what was done to the guest before it.
func (l leg) as(source, destination, request string, by time.Duration) leg {
	hosts := map[string]string{l.source: source, l.destination: destination}
	l.facts = slices.DeleteFunc(slices.Clone(l.facts), func(f fact) bool { return f.at < l.from })
	l.source, l.destination, l.request = source, destination, request
	l.from, l.till = l.from+by, l.till+by
	if l.away.host != "" {
		ms := float64(by) / float64(time.Millisecond)
		l.away.from, l.away.to, l.away.at = l.away.from+ms, l.away.to+ms, l.away.at+ms
	}
	l.went = slices.Clone(l.went)
	for i := range l.went {
		l.went[i].at += by
	}
	for i, f := range l.facts {
		l.facts[i].at += by
		l.facts[i].inputs = slices.Clone(f.inputs)
		for k, in := range f.inputs {
			s := in.(HostSign)
			s.Host = hosts[s.Host]
			l.facts[i].inputs[k] = s
		}
	}
	return l
}

// trips are two or three migrations of one instance, each soon after the one before.
type trips struct {
	legs  []leg
	facts []fact
}

func (w trips) last() leg { return w.legs[len(w.legs)-1] }

func drawTrips(t *rapid.T, legs []leg, captures map[bool][][]announcement) trips {
	settled := slices.DeleteFunc(slices.Clone(legs), func(l leg) bool { return l.ends != Left && l.ends != Failed })
	var w trips
	stands, other, after := src, dst, time.Duration(0)
	for i := range rapid.IntRange(2, 3).Draw(t, "migrations") {
		l := settled[rapid.IntRange(0, len(settled)-1).Draw(t, "of the kind")]
		if i > 0 {
			other = rapid.SampledFrom(slices.DeleteFunc([]string{src, dst, third}, func(host string) bool { return host == stands })).Draw(t, "to")
			last := w.last()
			after = last.facts[len(last.facts)-1].at + rapid.SampledFrom([]time.Duration{3 * time.Second, time.Minute}).Draw(t, "pause between them")
		}
		l = l.as(stands, other, fmt.Sprintf("req-%d", i+1), after)
		if !l.failed {
			stands, other = other, stands
		}
		w.legs = append(w.legs, l)
		announced := l.announce(t, rapid.SampledFrom(captures[l.failed]).Draw(t, "capture"), 100*time.Millisecond)
		for _, f := range append(announced, l.facts...) {
			f.leg = i
			w.facts = append(w.facts, f)
		}
	}
	w.facts = inSequence(w.facts)
	return w
}

// goingOn is the migration that goes on then, or has ended last: it begins with its first message.
func (w trips) goingOn(when time.Duration) leg {
	now := 0
	for _, f := range w.facts {
		if f.at <= when {
			now = max(now, f.leg)
		}
	}
	return w.legs[now]
}

func (w trips) rows(now time.Duration) []port.Port {
	for _, l := range w.legs[:len(w.legs)-1] {
		if done := l.till + 2*time.Second; now < done {
			return rowsOf(l, done)(now)
		}
	}
	return rowsOf(w.last(), w.last().till+time.Second)(now)
}

func (w trips) player(s Settings) *player {
	return &player{drive: newDrive(s), chosen: s, rowsAt: w.rows, rowsTake: 10 * time.Millisecond, workTakes: 500 * time.Millisecond, asked: w.lists, stream: w.facts}
}

// What a replica has heard once, or what is older than that, changes nothing when
// it comes again in the last migration: every decision is what it would be
// without it.
func TestModelLateMessagesOfEarlierMigrationsNeverChangeTheLast(t *testing.T) {
	legs := truly(t)
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	changed := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawTrips(t, legs, captures)
		now := len(w.legs) - 1
		newest := make([]map[string]time.Duration, now) // of each sender, of each earlier migration
		for _, f := range w.facts {
			if f.leg < now {
				if newest[f.leg] == nil {
					newest[f.leg] = map[string]time.Duration{}
				}
				newest[f.leg][f.host()] = f.at
			}
		}
		var schedule, late []delivery
		for _, f := range w.facts {
			earlier := f.leg < now
			heldBack := earlier && f.at != newest[f.leg][f.host()] && !opensByNova(f) && rapid.IntRange(0, 5).Draw(t, "held back") == 0
			at := f.at + 5*time.Millisecond
			if !earlier {
				at += drawDelay(t, 20*time.Second)
			}
			if !heldBack {
				schedule = append(schedule, delivery{at: at, fact: f})
			}
			if earlier && (heldBack || rapid.Bool().Draw(t, "comes again")) {
				late = append(late, delivery{at: drawDelay(t, time.Hour), fact: f, again: !heldBack})
			}
		}
		schedule = inTurn(schedule)
		s := committing[rapid.IntRange(0, len(committing)-1).Draw(t, "settings")]

		without := w.player(s)
		begun := without.begins()
		without.play(schedule)
		if len(*begun) < len(w.legs) {
			t.Fatalf("%d migrations begin %d handovers%s", len(w.legs), len(*begun), without.tale())
		}
		for i := range late {
			late[i].at += (*begun)[now] + time.Microsecond
		}
		with := w.player(s)
		with.play(inTurn(append(slices.Clone(schedule), late...)))
		if a, b := written(without.log), written(with.log); a != b || without.phase() != with.phase() {
			t.Fatalf("decided without them:%s\nwith them:%s\nwithout:%s\nwith:%s", a, b, without.tale(), with.tale())
		}
		if len(late) > 0 {
			changed++
		}
	})
	if changed == 0 {
		t.Error("no message was late: nothing was tested")
	}
}

// asked are the lists that a replica asks for which takes over then.
func (w trips) asked(at time.Duration) []fact {
	var out []fact
	for _, asks := range []time.Duration{0, 2 * time.Second} {
		out = append(out, w.lists(at+asks+10*time.Millisecond)...)
	}
	return out
}

// lists are what the hosts have then.
func (w trips) lists(when time.Duration) []fact {
	now := w.legs[0]
	for _, l := range w.legs {
		if when >= l.from {
			now = l
		}
	}
	return now.lists(when)
}

// Each migration ends as its own truth demands, promptly told, whichever replica sees it, and
// what is aimed at in one is that one's.
func TestModelEachOfSeveralMigrationsEndsWhereItsTruthDemands(t *testing.T) {
	legs := truly(t)
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	rapid.Check(t, func(t *rapid.T) {
		w := drawTrips(t, legs, captures)
		p := w.player(committing[rapid.IntRange(0, len(committing)-1).Draw(t, "settings")])
		restarts := rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "replicas end")
		asked := slices.Clone(w.facts)
		for range restarts {
			at := drawSpan(t, "ends at", w.legs[0].from, w.facts[len(w.facts)-1].at)
			p.put(event{at: at, restart: &restart{kept: true}})
			asked = append(asked, w.asked(at)...)
		}
		var schedule []delivery
		p.stream = inSequence(asked)
		for _, f := range p.stream {
			schedule = append(schedule, delivery{at: f.at + drawSpan(t, "delay", 0, 20*time.Millisecond), fact: f})
		}
		p.watch = func(s step) {
			for _, a := range aims(s.decided) {
				l := w.goingOn(s.at)
				if a.Goal.Kind == GoalCommit && a.Goal.Host != l.destination || a.Goal.Kind == GoalRestore && (a.Goal.Host != l.source || !l.failed) {
					t.Fatalf("%s towards %s while it goes from %s to %s%s", a.Goal.Kind, a.Goal.Host, l.source, l.destination, p.tale())
				}
			}
		}
		p.play(inTurn(schedule))
		ends := endsIn(p.log)
		var truth []string
		fits := restarts > 0 || len(ends) == len(w.legs)
		if restarts > 0 { // what is taken over is begun anew, and what has come to its end may be heard of once more
			ends = slices.DeleteFunc(ends, func(o Outcome) bool { return o == OutcomeSuperseded })
		}
		for i, l := range w.legs {
			want := map[bool]Outcome{true: OutcomeRestored, false: OutcomeMigrated}[l.failed]
			truth = append(truth, l.ends.String())
			switch last := i == len(w.legs)-1; {
			case last:
				fits = fits && len(ends) > 0 && ends[len(ends)-1] == want
			case fits && restarts == 0:
				fits = ends[i] == want || ends[i] == OutcomeSuperseded
			}
		}
		if !fits {
			t.Fatalf("ends %v, the truth is %q%s", ends, truth, p.tale())
		}
	})
}

// The guest is reported to run on both sides: one alarm, and nothing is flipped
// after it, whatever the turn.
func TestModelContradictoryEndingsRaiseOneAlarmAndFlipNothing(t *testing.T) {
	captures := map[bool][][]announcement{true: announced(t, true)}
	for _, l := range truly(t) {
		if l.first(stops) < 0 || !l.failed || l.ends != Failed || !l.went[len(l.went)-1].source.here() {
			continue
		}
		// The destination has not ended, but thaws and runs.
		l.facts = slices.DeleteFunc(slices.Clone(l.facts), func(f fact) bool { return f.host() == dst && f.at > l.first(stops) })
		l.facts = append(l.facts, fact{at: l.till + 20*time.Second, tells: arrives, inputs: []Input{HostSign{Host: dst, Sign: SignResumed}}})
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(t *rapid.T) {
				facts := l.facts
				if rapid.Bool().Draw(t, "Nova notifies") {
					facts = append(slices.Clone(facts), l.announce(t, rapid.SampledFrom(captures[true]).Draw(t, "capture"), 100*time.Millisecond)...)
				}
				schedule := drawSchedule(t, inSequence(facts), faults{anyTurn: true, longest: time.Hour})
				first := slices.IndexFunc(schedule, func(d delivery) bool { return d.fact.opens() })
				if slices.ContainsFunc(schedule[:first], func(d delivery) bool { return d.fact.host() != "" }) {
					return // it came to nobody
				}
				p := drawPlayer(t, l)
				alarmed := false
				p.watch = func(s step) {
					for _, d := range s.decided {
						a, aim := d.(Aim)
						if alarmed && aim && (a.Goal.Kind == GoalCommit || a.Goal.Kind == GoalRestore) {
							t.Fatalf("%s after the alarm%s", a.Goal.Kind, p.tale())
						}
						if _, ok := d.(Alarm); ok {
							alarmed = true
						}
					}
				}
				p.play(schedule[first:])
				if alarms := alarmsIn(p.log); len(alarms) != 1 || p.phase() != Contradicted {
					t.Fatalf("%d alarms, in phase %s%s", len(alarms), phaseName(p.phase()), p.tale())
				}
			})
		})
	}
}

func opensByNova(f fact) bool { return f.host() == "" && opens(f.inputs[0]) }

func inTurn(schedule []delivery) []delivery {
	slices.SortStableFunc(schedule, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
	return schedule
}

// begins is filled, while it plays, with when each handover began.
func (p *player) begins() *[]time.Duration {
	var at []time.Duration
	p.watch = func(s step) {
		for _, d := range s.decided {
			if _, ok := d.(Begin); ok {
				at = append(at, s.at)
			}
		}
	}
	return &at
}

// written is all that was decided but to read, in words.
func written(log []Decision) string {
	out := ""
	for _, d := range log {
		if _, arm := d.(Arm); !arm {
			out += fmt.Sprintf("\n  %T %+v", d, d)
		}
	}
	return out
}

// A replica that has just taken over, of earlier migrations whose last messages
// wait at the hosts: they come in their turn, and it has heard nothing before.
func TestModelAReplicaThatKnowsNothingOfEarlierMigrations(t *testing.T) {
	legs := truly(t)
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	rapid.Check(t, func(t *rapid.T) {
		w := drawTrips(t, legs, captures)
		last, now := w.last(), len(w.legs)-1
		kept := map[string]int{}
		for _, host := range []string{src, dst, third} {
			kept[host] = rapid.IntRange(0, 3).Draw(t, "waiting at "+host)
		}
		// The hosts' lists may have come before, and tell what is older than they are.
		var follows map[string]wire.Order
		if rapid.Bool().Draw(t, "the hosts' lists came before") {
			follows = map[string]wire.Order{}
			for _, f := range w.facts {
				if f.leg < now && f.host() != "" {
					follows[f.host()] = f.inputs[0].(HostSign).Order
				}
			}
		}
		var schedule []delivery
		for _, f := range slices.Backward(w.facts) {
			at := f.at + 5*time.Millisecond
			if f.leg < now {
				if f.host() == "" || kept[f.host()] == 0 {
					continue
				}
				if kept[f.host()]--; f.tells == stops && follows == nil {
					continue // the first pause counts, see TestTheFirstPauseCountsWhicheverComesFirst
				}
				at = last.from - 20*time.Millisecond // between Nova's pre and STARTED
			}
			schedule = append(schedule, delivery{at: at, fact: f})
		}
		slices.Reverse(schedule)
		p := w.player(committing[rapid.IntRange(0, len(committing)-1).Draw(t, "settings")])
		p.Follows(follows)
		p.watch = func(s step) {
			paused := last.first(stops)
			if paused < 0 || s.at <= paused+5*time.Millisecond || s.at >= last.till || !s.current {
				return
			}
			if goal := p.Current().goals["p1"]; goal.Kind == GoalRestore {
				t.Fatalf("it is to be restored in the switchover of the second migration%s", p.tale())
			}
		}
		p.play(inTurn(schedule))
		want := map[bool]Outcome{true: OutcomeRestored, false: OutcomeMigrated}[last.failed]
		if ends := endsIn(p.log); len(ends) == 0 || ends[len(ends)-1] != want {
			t.Fatalf("ends %v, want %s%s", ends, want, p.tale())
		}
	})
}
