package handover

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/earlybind/earlybind/wire"
)

// Properties of one migration, over every way in which the messages of every
// recorded one can come: 100 of each by default, more with make model CHECKS=10000.

// drawLeg completes a recorded leg by Nova's notifications and by lists, those of disturbances too.
func drawLeg(t *rapid.T, l leg, captures map[bool][][]announcement, by disturbances) []fact {
	facts := slices.Concat(l.facts, by.lists)
	if rapid.Bool().Draw(t, "Nova notifies") {
		capture := rapid.SampledFrom(captures[l.failed]).Draw(t, "capture")
		facts = append(facts, l.announce(t, capture, drawSpan(t, "Nova's lag", time.Millisecond, 500*time.Millisecond))...)
	}
	return inSequence(append(facts, drawLists(t, l)...))
}

// modelled checks a property of each recorded migration. It says of each draw whether it has judged
// it, and is to judge most: otherwise little is tested.
func modelled(t *testing.T, property func(t *rapid.T, l leg, captures map[bool][][]announcement) (judged bool)) {
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	for _, l := range truly(t) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			drawn, judged := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				drawn++
				if property(t, l, captures) {
					judged++
				}
			})
			if judged < drawn/2 {
				t.Errorf("%d of %d draws were judged", judged, drawn)
			}
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
	// heard holds the hosts that have spoken in the handover that goes on, and were not muted since.
	heard map[string]bool
	muted map[string]bool
	// shown: a host has shown in it that the guest migrates. fresh: one has said something of
	// it that was neither old nor told before.
	shown, fresh bool
	last         map[string]wire.Order // of each host, the highest that was told
}

func (j *judge) begins() {
	j.heard, j.muted = map[string]bool{}, map[string]bool{}
	j.shown, j.fresh = false, false
}

// forgets: another replica acts. What was not settled is told it at once, but lists are not kept;
// and no message licenses it that another was told before.
func (j *judge) forgets(r *restart) {
	j.licence, j.postCopy, j.last = 0, false, nil
	j.begins()
	j.told = slices.DeleteFunc(j.told, func(d delivery) bool { return !r.kept || d.fact.listed() })
}

// opened tells whether a step has begun a handover.
func (s step) opened() bool {
	return slices.ContainsFunc(s.decided, func(d Decision) bool { _, begun := d.(Begin); return begun })
}

func (j *judge) hears(s step) {
	if s.opened() {
		j.begins()
	}
	if m, ok := s.in.(Muted); ok {
		put(&j.muted, m.Host, true)
	}
	if h, ok := s.in.(HostSign); ok {
		put(&j.heard, h.Host, true)
		if h.Sign != SignMissedEvents { // the list's other sign comes next
			delete(j.muted, h.Host)
		}
		last, known := j.last[h.Host]
		if news := !known || last.Before(h.Order); news {
			put(&j.last, h.Host, h.Order)
			j.fresh = j.fresh || h.FreshFor > 0
			j.shown = j.shown || h.Host == j.leg.destination && h.Sign == SignStarted || h.Host == j.leg.source && (h.Sign == SignPaused || h.Sign == SignPostCopy)
		}
	}
	j.shown, j.fresh = j.shown && s.current, j.fresh && s.current
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
	if licensed := f.tells == stops || f.tells == beyond || f.host() == j.leg.destination && (f.tells == arrives || f.inputs[0].(HostSign).Sign == SignResumed); licensed && !s.of.givenBack && !f.listed() {
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
		if s.restart != nil {
			j.forgets(s.restart)
			return
		}
		// What is only known by old messages, and has come to its end by them or by Nova's word,
		// gives way: the list that the left-over was found by is younger.
		over := s.before == Arrived || s.before == Left || s.before == Failing
		evident := j.shown && (j.fresh || !over)
		for host, order := range p.followed {
			if last, known := j.last[host]; !known || last.Before(order) {
				put(&j.last, host, order)
			}
		}
		j.hears(s)
		if _, found := s.in.(LeftOver); found && evident && len(s.decided) > 0 {
			t.Fatalf("a left-over touches a migration that goes on%s", p.tale())
		}
		for _, a := range aims(s.decided) {
			if h := p.Current(); h != nil && h.leftOver {
				if a.Goal.Kind != GoalHold && (a.Goal.Kind == GoalCommit || a.Goal.Host != j.leg.source || j.shown) {
					t.Fatalf("%s at %s for a left-over%s", a.Goal.Kind, a.Goal.Host, p.tale())
				}
				continue
			}
			switch a.Goal.Kind {
			case GoalCommit:
				for _, host := range []string{p.Current().Source, j.leg.destination} {
					if !j.heard[host] || j.muted[host] {
						t.Fatalf("a commit, and a failure would not be heard of from %s%s", host, p.tale())
					}
				}
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
	modelled(t, func(t *rapid.T, l leg, captures map[bool][][]announcement) bool {
		disturbed := drawDisturbances(t, l, time.Hour, false)
		facts := drawLeg(t, l, captures, disturbed)
		by := faults{loss: rapid.Bool().Draw(t, "loss"), anyTurn: rapid.Bool().Draw(t, "any turn"), longest: time.Hour}
		p := drawPlayer(t, l)
		if rapid.Bool().Draw(t, "hosts answer") {
			p.asked, p.stream = l.lists, facts
		}
		p.disturbs(disturbed)
		p.expires = true
		p.workTakes = rapid.SampledFrom([]time.Duration{0, time.Second, time.Minute}).Draw(t, "work takes")
		j := &judge{leg: l}
		p.watch = j.watches(t, p)
		p.play(drawSchedule(t, facts, by))
		return true
	})
}

// Nothing is lost: the end is the truth's, whatever the turn, and whichever replica sees it. A
// handover is begun by a start, the pause or Nova's beginnings: what comes before any of them has
// come to nobody. What was so before the migration is not missed then, all else is: such draws are
// not judged.
func TestModelItEndsWhereTheTruthDemands(t *testing.T) {
	modelled(t, func(t *rapid.T, l leg, captures map[bool][][]announcement) bool {
		by, disturbed := faults{anyTurn: rapid.Bool().Draw(t, "any turn"), longest: time.Hour}, disturbances{}
		if rapid.Bool().Draw(t, "disturbed") {
			by.longest = holdFor / 2 // what is held for longer is not given back
			disturbed = drawDisturbances(t, l, by.longest, true)
		}
		facts := drawLeg(t, l, captures, disturbed)
		schedule := drawSchedule(t, facts, by)
		p := drawPlayer(t, l)
		p.asked, p.stream = l.lists, facts
		p.disturbs(disturbed)
		j, k := &judge{leg: l}, &knowledge{}
		judges := j.watches(t, p)
		p.watch = func(s step) { judges(s); k.follows(s) }
		first := slices.IndexFunc(schedule, func(d delivery) bool { return d.fact.opens() })
		p.play(schedule[first:])
		if misses(schedule, first, l.from) || k.lacks() || len(p.lost) > 0 {
			return false
		}
		if p.Current() == nil {
			t.Fatalf("no handover goes on%s", p.tale())
		}
		if source := p.Current().Source; source == "" || source == third && l.at(l.till-1).source == standing {
			return false // neither Nova, nor a pause, nor rows read in time have named the source, nor does a list of a guest that its user has paused
		}
		if p.phase() != l.ends {
			t.Fatalf("ends in %s, want %s%s", phaseName(p.phase()), l.ends, p.tale())
		}
		wantLastGoals(t, p, l)
		return true
	})
}

// misses tells whether something of the migration has come before what begins its handover, and not
// once more after it.
func misses(schedule []delivery, first int, from time.Duration) bool {
	return slices.ContainsFunc(schedule[:first], func(d delivery) bool {
		ofIt := d.fact.at >= from
		return ofIt && !slices.ContainsFunc(schedule[first:], func(e delivery) bool { return e.fact.id() == d.fact.id() })
	})
}

// knowledge follows what the replica that acts can know of a migration.
type knowledge struct {
	goesOn    bool
	told      map[string]bool // in the handover that goes on, of what is not only listed
	forgotten map[string]bool // told before it began
	unnoticed bool            // a replica took over of which none had begun, or had ended: what has come before has come to nobody
}

func (k *knowledge) follows(s step) {
	_, found := s.in.(LeftOver)
	switch {
	case s.restart != nil:
		k.unnoticed = k.unnoticed || !k.goesOn && len(k.told) > 0
		return
	case found && s.opened():
		for fact := range k.told {
			put(&k.forgotten, fact, true)
		}
		k.told = nil
	case s.of != nil && !s.of.fact.listed():
		fact := s.of.fact.id()
		put(&k.told, fact, true)
		delete(k.forgotten, fact)
	}
	k.goesOn = s.current
}

// lacks tells whether something has been told that the replica cannot know.
func (k *knowledge) lacks() bool { return k.unnoticed || len(k.forgotten) > 0 }

// wantLastGoals checks what every port is to become at the end.
func wantLastGoals(t *rapid.T, p *player, l leg) {
	want := map[Phase]Goal{
		Left: {Kind: GoalVerify, Host: l.destination}, Failed: {Kind: GoalRestore, Host: l.source},
		Contradicted: {Kind: GoalHold}, Lost: {Kind: GoalHold},
	}[l.ends]
	log := p.log[p.began:] // the replica's that acts
	all := aims(log)
	if len(all) == 0 {
		t.Fatalf("no port has a goal%s", p.tale())
	}
	last := all[len(all)-1].Goal
	last.NovaDone, last.Mend = false, false
	if last != want {
		t.Fatalf("the last goal is %s %s, want %s %s%s", last.Kind, last.Host, want.Kind, want.Host, p.tale())
	}
	cutOff := func(a Alarm) bool { return a.CutOff } // of a left-over's mending
	if alarms := len(slices.DeleteFunc(alarmsIn(log), cutOff)); (l.ends == Contradicted || l.ends == Lost) && (alarms == 0 || alarms > 2) || strings.HasPrefix(l.name, "e8") && alarms != 1 {
		t.Fatalf("%d alarms%s", alarms, p.tale())
	}
}
