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

// trips are two migrations of one instance, the second soon after the first.
type trips struct {
	first, second leg
	facts         []fact
}

func drawTrips(t *rapid.T, legs []leg, captures map[bool][][]announcement) trips {
	settled := slices.DeleteFunc(slices.Clone(legs), func(l leg) bool { return l.ends != Left && l.ends != Failed })
	var w trips
	w.first = settled[rapid.IntRange(0, len(settled)-1).Draw(t, "first")].as(src, dst, "req", 0)
	w.second = settled[rapid.IntRange(0, len(settled)-1).Draw(t, "second")]
	source, destination := src, rapid.SampledFrom([]string{dst, third}).Draw(t, "to")
	if !w.first.failed {
		source, destination = dst, rapid.SampledFrom([]string{src, third}).Draw(t, "to")
	}
	after := w.first.facts[len(w.first.facts)-1].at + rapid.SampledFrom([]time.Duration{3 * time.Second, time.Minute}).Draw(t, "pause between them")
	w.second = w.second.as(source, destination, "req-2", after)
	for i, l := range []leg{w.first, w.second} {
		announced := l.announce(t, rapid.SampledFrom(captures[l.failed]).Draw(t, "capture"), 100*time.Millisecond)
		for _, f := range append(announced, l.facts...) {
			f.leg = i
			w.facts = append(w.facts, f)
		}
	}
	w.facts = inSequence(w.facts)
	return w
}

func (w trips) rows(now time.Duration) []port.Port {
	done := w.first.till + 2*time.Second
	if now < done {
		return rowsOf(w.first, done)(now)
	}
	return rowsOf(w.second, w.second.till+time.Second)(now)
}

func (w trips) player(s Settings) *player {
	return &player{drive: newDrive(s), chosen: s, rowsAt: w.rows, rowsTake: 10 * time.Millisecond, workTakes: 500 * time.Millisecond, asked: w.lists, stream: w.facts}
}

// What a replica has heard once, or what is older than that, changes nothing when
// it comes again in the second migration: every decision is what it would be
// without it.
func TestModelLateMessagesOfTheFirstMigrationNeverChangeTheSecond(t *testing.T) {
	legs := truly(t)
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	changed := 0
	rapid.Check(t, func(t *rapid.T) {
		w := drawTrips(t, legs, captures)
		last := map[string]fact{} // of each sender, of the first migration
		for _, f := range w.facts {
			if f.leg == 0 {
				last[f.host()] = f
			}
		}
		var schedule, late []delivery
		for _, f := range w.facts {
			heldBack := f.leg == 0 && f.at != last[f.host()].at && !opensByNova(f) && rapid.IntRange(0, 5).Draw(t, "held back") == 0
			at := f.at + 5*time.Millisecond
			if f.leg == 1 {
				at += drawDelay(t, 20*time.Second)
			}
			if !heldBack {
				schedule = append(schedule, delivery{at: at, fact: f})
			}
			if f.leg == 0 && (heldBack || rapid.Bool().Draw(t, "comes again")) {
				late = append(late, delivery{at: drawDelay(t, time.Hour), fact: f, again: !heldBack})
			}
		}
		schedule = inTurn(schedule)
		s := committing[rapid.IntRange(0, len(committing)-1).Draw(t, "settings")]

		without := w.player(s)
		begun := without.secondBegin()
		without.play(schedule)
		if *begun < 0 {
			t.Fatalf("the second migration begins no handover%s", without.tale())
		}
		for i := range late {
			late[i].at += *begun + time.Microsecond
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
	if when >= w.second.from {
		return w.second.lists(when)
	}
	return w.first.lists(when)
}

// Each of two migrations ends as its own truth demands, the second one promptly
// told, whichever replica sees it.
func TestModelTheSecondMigrationEndsWhereItsTruthDemands(t *testing.T) {
	legs := truly(t)
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	rapid.Check(t, func(t *rapid.T) {
		w := drawTrips(t, legs, captures)
		p := w.player(committing[rapid.IntRange(0, len(committing)-1).Draw(t, "settings")])
		restarts := rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "replicas end")
		for range restarts {
			at := drawSpan(t, "ends at", w.first.from, w.facts[len(w.facts)-1].at)
			p.put(event{at: at, restart: &restart{kept: true}})
			w.facts = append(w.facts, w.asked(at)...)
		}
		var schedule []delivery
		p.stream = inSequence(w.facts)
		for _, f := range p.stream {
			schedule = append(schedule, delivery{at: f.at + drawSpan(t, "delay", 0, 20*time.Millisecond), fact: f})
		}
		p.play(inTurn(schedule))
		ends := endsIn(p.log)
		want := map[bool]Outcome{true: OutcomeRestored, false: OutcomeMigrated}
		if restarts > 0 { // what is taken over is begun anew, and what has come to its end may be heard of once more
			ends = slices.DeleteFunc(ends, func(o Outcome) bool { return o == OutcomeSuperseded })
			if len(ends) == 0 || ends[len(ends)-1] != want[w.second.failed] {
				t.Fatalf("ends %v, the truth is %s and %s%s", ends, w.first.ends, w.second.ends, p.tale())
			}
		} else if len(ends) != 2 || ends[0] != want[w.first.failed] && ends[0] != OutcomeSuperseded || ends[1] != want[w.second.failed] {
			t.Fatalf("ends %v, the truth is %s and %s%s", ends, w.first.ends, w.second.ends, p.tale())
		}
		for _, a := range aims(p.log) {
			commit := a.Goal.Kind == GoalCommit && a.Goal.Host != w.first.destination && a.Goal.Host != w.second.destination
			restore := a.Goal.Kind == GoalRestore && (a.Goal.Host == w.second.source && !w.second.failed && !w.first.failed || a.Goal.Host == w.first.source && !w.first.failed && w.second.source != w.first.source)
			if commit || restore {
				t.Fatalf("%s towards %s%s", a.Goal.Kind, a.Goal.Host, p.tale())
			}
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

// secondBegin is filled, while it plays, with when the second handover began.
func (p *player) secondBegin() *time.Duration {
	at, begun := time.Duration(-1), 0
	p.watch = func(s step) {
		for _, d := range s.decided {
			if _, ok := d.(Begin); ok {
				if begun++; begun == 2 {
					at = s.at
				}
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

// A replica that has just taken over, of a first migration whose last messages
// wait at the hosts: they come in their turn, and it has heard nothing before.
func TestModelAReplicaThatKnowsNothingOfTheFirstMigration(t *testing.T) {
	legs := truly(t)
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	rapid.Check(t, func(t *rapid.T) {
		w := drawTrips(t, legs, captures)
		kept := map[string]int{}
		for _, host := range []string{src, dst} {
			kept[host] = rapid.IntRange(0, 3).Draw(t, "waiting at "+host)
		}
		// The hosts' lists may have come before, and tell what is older than they are.
		var follows map[string]wire.Order
		if rapid.Bool().Draw(t, "the hosts' lists came before") {
			follows = map[string]wire.Order{}
			for _, f := range w.facts {
				if f.leg == 0 && f.host() != "" {
					follows[f.host()] = f.inputs[0].(HostSign).Order
				}
			}
		}
		var schedule []delivery
		for _, f := range slices.Backward(w.facts) {
			at := f.at + 5*time.Millisecond
			if f.leg == 0 {
				if f.host() == "" || kept[f.host()] == 0 {
					continue
				}
				if kept[f.host()]--; f.tells == stops && follows == nil {
					continue // the first pause counts, see TestTheFirstPauseCountsWhicheverComesFirst
				}
				at = w.second.from - 20*time.Millisecond // between Nova's pre and STARTED
			}
			schedule = append(schedule, delivery{at: at, fact: f})
		}
		slices.Reverse(schedule)
		p := w.player(committing[rapid.IntRange(0, len(committing)-1).Draw(t, "settings")])
		p.Follows(follows)
		p.watch = func(s step) {
			paused := w.second.first(stops)
			if paused < 0 || s.at <= paused+5*time.Millisecond || s.at >= w.second.till || !s.current {
				return
			}
			if goal := p.Current().goals["p1"]; goal.Kind == GoalRestore {
				t.Fatalf("it is to be restored in the switchover of the second migration%s", p.tale())
			}
		}
		p.play(inTurn(schedule))
		want := map[bool]Outcome{true: OutcomeRestored, false: OutcomeMigrated}[w.second.failed]
		if ends := endsIn(p.log); len(ends) == 0 || ends[len(ends)-1] != want {
			t.Fatalf("ends %v, want %s%s", ends, want, p.tale())
		}
	})
}
