package handover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// Properties of one migration, over every way in which the messages of every
// recorded one can come: 100 of each by default, more with make model CHECKS=10000.

// drawLeg completes a recorded leg by Nova's notifications and by lists.
func drawLeg(t *rapid.T, l leg, captures map[bool][][]announcement) []fact {
	facts := slices.Clone(l.facts)
	if rapid.Bool().Draw(t, "Nova notifies") {
		capture := rapid.SampledFrom(captures[l.failed]).Draw(t, "capture")
		facts = append(facts, l.announce(t, capture, drawSpan(t, "Nova's lag", time.Millisecond, 500*time.Millisecond))...)
	}
	return inSequence(append(facts, drawLists(t, l)...))
}

func modelled(t *testing.T, property func(*rapid.T, leg, map[bool][][]announcement)) {
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	for _, l := range truly(t) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			rapid.Check(t, func(rt *rapid.T) { property(rt, l, captures) })
		})
	}
}

// judge holds what was delivered against the truth of a leg.
type judge struct {
	leg  leg
	told []delivery
	// licence is until when, by the truth, the newest sign that was delivered
	// may lead to a commit.
	licence time.Duration
	// postCopy was told in the handover that goes on.
	postCopy bool
}

func (j *judge) hears(s step) {
	if s.of == nil {
		j.postCopy = j.postCopy && s.current
		return
	}
	if !s.current && s.of.fact.host() == "" {
		return // said by Nova while no handover was known: nobody remembers it
	}
	j.told = append(j.told, *s.of)
	f := s.of.fact
	j.postCopy = s.current && (j.postCopy || f.tells == beyond)
	if licensed := f.tells == stops || f.tells == beyond || f.host() == j.leg.destination && (f.tells == arrives || f.inputs[0].(HostSign).Sign == SignResumed); licensed && !s.of.again && !f.listed() {
		j.licence = max(j.licence, f.at+window)
	}
}

func (j *judge) has(match func(fact) bool) bool {
	return slices.ContainsFunc(j.told, func(d delivery) bool { return match(d.fact) })
}

func (j *judge) pauseTold() bool {
	return j.has(func(f fact) bool { return f.tells == stops })
}

// forbidden tells which sign that was delivered forbids a commit; empty if none
// does.
func (j *judge) forbidden() string {
	for _, d := range j.told {
		f := d.fact
		if f.tells != fails && f.tells != due {
			continue
		}
		if f.host() == j.leg.source && f.tells == fails && !j.pauseTold() {
			// That the source runs is news only after a pause: nothing else
			// tells which came first.
			continue
		}
		return d.String()
	}
	return ""
}

func (j *judge) watches(t *rapid.T, p *player) func(step) {
	return func(s step) {
		j.hears(s)
		for _, a := range aims(s.decided) {
			switch a.Goal.Kind {
			case GoalCommit:
				if why := j.forbidden(); why != "" {
					t.Fatalf("a commit after %s%s", why, p.tale())
				}
				if a.Deadline > hour+j.licence || p.now > a.Deadline {
					t.Fatalf("a commit at %s until %s; the newest sign that was told licenses it until %s%s", p.now-hour, a.Deadline-hour, j.licence, p.tale())
				}
				if a.Goal.Host != j.leg.destination {
					t.Fatalf("a commit towards %s%s", a.Goal.Host, p.tale())
				}
			case GoalRestore:
				if a.Goal.Host != j.leg.source {
					t.Fatalf("a restore towards %s%s", a.Goal.Host, p.tale())
				}
				if !j.leg.failed {
					t.Fatalf("a restore in a migration that succeeds%s", p.tale())
				}
				if s.at < j.leg.till {
					t.Fatalf("a restore before the failure%s", p.tale())
				}
				if j.has(func(f fact) bool { return f.tells == due && f.host() == j.leg.source && !f.listed() }) {
					t.Fatalf("a restore although the source has said that the guest has left%s", p.tale())
				}
				if j.leg.ends == Lost && j.postCopy {
					t.Fatalf("a restore after post-copy%s", p.tale())
				}
			}
		}
	}
}

// Whatever is lost, late, doubled or out of turn.
func TestModelNothingIsWrittenAgainstWhatWasTold(t *testing.T) {
	modelled(t, func(t *rapid.T, l leg, captures map[bool][][]announcement) {
		facts := drawLeg(t, l, captures)
		by := faults{loss: rapid.Bool().Draw(t, "loss"), anyTurn: rapid.Bool().Draw(t, "any turn"), longest: time.Hour}
		p := drawPlayer(t, l)
		p.expires = true
		p.workTakes = rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "work takes")
		j := &judge{leg: l}
		p.watch = j.watches(t, p)
		p.play(drawSchedule(t, facts, by))
	})
}

// Nothing is lost: the end is the truth's, whatever the turn. A handover is begun
// by a start, the pause or Nova's beginnings: what comes before any of them has
// come to nobody.
func TestModelItEndsWhereTheTruthDemands(t *testing.T) {
	modelled(t, func(t *rapid.T, l leg, captures map[bool][][]announcement) {
		facts := drawLeg(t, l, captures)
		schedule := drawSchedule(t, facts, faults{anyTurn: rapid.Bool().Draw(t, "any turn"), longest: time.Hour})
		p := drawPlayer(t, l)
		j := &judge{leg: l}
		p.watch = j.watches(t, p)
		first := slices.IndexFunc(schedule, func(d delivery) bool { return d.fact.opens() })
		p.play(schedule[first:])
		missing := slices.ContainsFunc(schedule[:first], func(d delivery) bool {
			return !slices.ContainsFunc(schedule[first:], func(e delivery) bool { return e.fact.at == d.fact.at && e.fact.String() == d.fact.String() })
		})
		if missing || p.Current().Source == "" {
			return // neither Nova, nor a pause, nor rows read in time have named the source
		}
		if p.phase() != l.ends {
			t.Fatalf("ends in %s, want %s%s", phaseName(p.phase()), l.ends, p.tale())
		}
		wantLastGoals(t, p, l)
	})
}

// wantLastGoals checks what every port is to become at the end.
func wantLastGoals(t *rapid.T, p *player, l leg) {
	want := map[Phase]Goal{
		Left: {Kind: GoalVerify, Host: l.destination}, Failed: {Kind: GoalRestore, Host: l.source},
		Contradicted: {Kind: GoalHold}, Lost: {Kind: GoalHold},
	}[l.ends]
	all := aims(p.log)
	if len(all) == 0 {
		t.Fatalf("no port has a goal%s", p.tale())
	}
	last := all[len(all)-1].Goal
	last.NovaDone, last.Mend = false, false
	if last != want {
		t.Fatalf("the last goal is %s %s, want %s %s%s", last.Kind, last.Host, want.Kind, want.Host, p.tale())
	}
	if alarms := len(alarmsIn(p.log)); (l.ends == Contradicted || l.ends == Lost) && (alarms == 0 || alarms > 2) || strings.HasPrefix(l.name, "e8") && alarms != 1 {
		t.Fatalf("%d alarms%s", alarms, p.tale())
	}
}
