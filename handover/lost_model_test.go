package handover

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/earlybind/earlybind/wire"
)

// What becomes of a migration whose messages are lost. Only where a port was committed is something to
// be made good: other draws are not judged.

// drawLost has facts come while each may be lost, late, doubled and out of turn, and the last ones come
// then, at once.
func drawLost(t *rapid.T, facts, last []fact, then time.Duration) []delivery {
	schedule := drawSchedule(t, facts, faults{loss: true, anyTurn: rapid.Bool().Draw(t, "any turn"), longest: time.Hour})
	for _, f := range last {
		schedule = append(schedule, delivery{at: then, fact: f})
	}
	return schedule
}

// committable are the recorded migrations in which something stands still or arrives: without that
// nothing is committed.
func committable(t *testing.T) []leg {
	t.Helper()
	return slices.DeleteFunc(truly(t), func(l leg) bool { return l.first(stops) < 0 && l.first(arrives) < 0 })
}

// losing draws a player that mostly commits, and has it told of what is left after the losses.
func losing(t *testing.T, property func(t *rapid.T, l leg, p *player, facts []fact) (judged bool)) {
	t.Helper()
	captures := map[bool][][]announcement{true: announced(t, true), false: announced(t, false)}
	for _, l := range committable(t) {
		t.Run(l.name, func(t *testing.T) {
			t.Parallel()
			drawn, judged := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				drawn++
				p := drawPlayer(t, l)
				p.rowsTake = min(p.rowsTake, 100*time.Millisecond)
				if l.failed { // by policy resumed hardly any is committed
					p.chosen, p.drive = suspended, newDrive(suspended)
				}
				var first disturbances
				if l.first(stops) < 0 { // the source's publisher is heard of by its lists alone
					first.lists = []fact{list(l.source, l.from, l.has(l.source, l.from), false)}
				}
				if property(t, l, p, drawLeg(t, l, captures, first)) {
					judged++
				}
			})
			if judged < drawn/6 {
				t.Errorf("%d of %d draws were judged", judged, drawn)
			}
		})
	}
}

func (p *player) committed() bool { return len(aimed(p.log, GoalCommit)) > 0 }

// said tells whether one of these signs of a host comes to a handover.
func said(schedule []delivery, host string, signs ...Sign) bool {
	return slices.ContainsFunc(schedule, func(d delivery) bool {
		return slices.ContainsFunc(d.fact.inputs, func(in Input) bool {
			s, is := in.(HostSign)
			return is && s.Host == host && slices.Contains(signs, s.Sign)
		})
	})
}

// One list of each host at the end tells how it went. Not judged besides: a guest that runs on both
// hosts, of which neither the pause, nor that the source runs it again, nor that the destination's
// libvirt was away was heard: that both list it says no more than that it has left one of them since.
// In post-copy the destination's list is enough, if that the guest was there was heard of.
func TestModelWhateverIsLostOneListOfEachHostTellsTheEnd(t *testing.T) {
	losing(t, func(t *rapid.T, l leg, p *player, facts []fact) bool {
		then := facts[len(facts)-1].at + 3*time.Hour
		lists := l.lists(then)
		if l.ends == Lost && rapid.Bool().Draw(t, "the source is silent") {
			lists = slices.DeleteFunc(lists, func(f fact) bool { return f.host() == l.source })
		}
		all := inSequence(append(facts, lists...))
		facts, lists = all[:len(facts)], all[len(facts):]
		schedule := drawLost(t, facts, lists, then)
		p.play(schedule)
		switch {
		case !p.committed():
			return false
		case l.ends == Contradicted && !said(schedule, l.source, SignPaused, SignResumed) && !said(schedule, l.destination, SignMissedEvents):
			return false
		case l.ends == Lost && !said(schedule[len(schedule)-len(lists):], l.source, SignPostCopyFailed):
			if !said(schedule, l.source, SignPostCopy, SignPostCopyFailed) || !said(schedule, l.destination, SignStarted, SignResumed, SignRunning) {
				return false
			}
		}
		if p.phase() != l.ends {
			t.Fatalf("ends in %s, want %s%s", phaseName(p.phase()), phaseName(l.ends), p.tale())
		}
		wantLastGoals(t, p, l)
		return true
	})
}

// Nothing more is heard but what hosts answer who are asked, and the handover expires: the port is
// right where the guest is, or an operator was told. Of a guest that a failed post-copy has lost the
// source is right where it was restored before anything of post-copy was heard: later messages of it
// begin a handover in which nothing is committed.
func TestModelWhateverIsLostTheEndIsRightOrTold(t *testing.T) {
	losing(t, func(t *rapid.T, l leg, p *player, facts []fact) bool {
		p.expires, p.workTakes, p.looks = true, time.Second, true
		facts = inSequence(facts)
		schedule := drawLost(t, facts, nil, 0)
		if len(schedule) == 0 {
			return false
		}
		p.asked, p.stream = l.lists, facts
		p.play(schedule)
		p.give(event{at: max(schedule[len(schedule)-1].at, p.now-hour) + silence + time.Minute, input: func() Input { return Expired{} }})
		if !p.committed() {
			return false
		}
		wrong := slices.Contains(endsIn(p.log), OutcomeWrong)
		active, _ := p.rows(p.now - hour)[0].Active()
		right := slices.Contains(l.mayStand(schedule), active.Host) || l.ends == Lost && slices.Contains(endsIn(p.log), OutcomeRestored)
		if !right && !wrong && len(alarmsIn(p.log)) == 0 {
			t.Fatalf("the active row is %q, ends %v%s", active.Host, endsIn(p.log), p.tale())
		}
		return true
	})
}

// mayStand are the hosts that a port may be left on, for all that was told. A guest that a failed
// post-copy has lost is on none: what was told of it, without post-copy and its arrival, is a
// switchover that has failed. One that runs on both is on the one that was heard of; that it runs on
// the destination is heard of too late where the handover that it belongs to has expired.
func (l leg) mayStand(schedule []delivery) []string {
	if l.ends == Contradicted {
		schedule = slices.DeleteFunc(slices.Clone(schedule), func(d delivery) bool { return d.at-d.fact.at > silence })
	}
	arrived := said(schedule, l.destination, SignResumed, SignRunning)
	switch l.ends {
	case Left:
		return []string{l.destination}
	case Failed:
		return []string{l.source}
	case Lost:
		if !arrived && !said(schedule, l.source, SignPostCopy, SignPostCopyFailed) {
			return []string{l.source}
		}
	case Contradicted:
		if !arrived {
			return []string{l.source}
		}
		if !said(schedule, l.source, SignResumed) {
			return []string{l.destination}
		}
	}
	return nil
}

// The same of the lab's recordings: whatever is lost, one list of each host brings it where it came to.
// Not judged: those of several migrations, and those in which nothing is committed.
func TestModelWhateverIsLostRecordingsOfTheLabEndAsTheyWent(t *testing.T) {
	var others []string
	for name, facts := range labRecordings(t) {
		first := labPlayer(facts, suspended)
		if begun := first.asItWent(facts); len(begun) != 1 || !first.committed() {
			name, _, _ = strings.Cut(name, " ")
			others = append(others, name)
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			went := standingBut(first)
			source, destination := first.Current().Source, first.Current().Destination
			then := facts[len(facts)-1].at + 3*time.Hour
			var lists []fact
			for host, d := range endOf(facts, source, destination) {
				f := list(host, then, d, false)
				s := f.inputs[0].(HostSign)
				s.Order = wire.Order{Epoch: 1 << 62}
				f.inputs[0] = s
				lists = append(lists, f)
			}
			slices.SortFunc(lists, func(a, b fact) int { return cmp.Compare(a.host(), b.host()) })
			drawn, judged := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				drawn++
				p := labPlayer(facts, suspended)
				p.play(drawLost(t, facts, lists, then))
				if !p.committed() {
					return
				}
				judged++
				if got := standingBut(p); got != went {
					t.Fatalf("%s, and it went\n%s%s", got, went, p.tale())
				}
			})
			if judged < drawn/6 {
				t.Errorf("%d of %d draws were judged", judged, drawn)
			}
		})
	}
	slices.Sort(others)
	if want := []string{
		"lab-aborted-in-pre-copy", "lab-back-to-back", "lab-destination-libvirtd-restarted", "lab-failed-in-pre-copy", "lab-paused-guest",
		"lab-second-attempt", "lab-source-libvirtd-restarted", "lab-two-guests-publisher-restarted",
	}; !slices.Equal(others, want) {
		t.Errorf("of several migrations, or without a commit: %q, want %q", others, want)
	}
}

// standingBut tells where a handover has come to, but for what Nova alone says: whether it has finished.
func standingBut(p *player) string {
	return strings.ReplaceAll(p.standing(), "NovaDone:true", "NovaDone:false")
}

// endOf is what the two hosts have in the end, by what they say themselves.
func endOf(facts []fact, source, destination string) map[string]domain {
	has := map[string]domain{source: running, destination: absent}
	for _, f := range facts {
		for _, in := range f.inputs {
			s, ok := in.(HostSign)
			if _, ofIt := has[s.Host]; !ok || !ofIt || s.Sign == SignMissedEvents {
				continue
			}
			has[s.Host] = map[Sign]domain{
				SignStarted: incoming, SignPaused: outgoing, SignPostCopy: handed, SignPostCopyFailed: broken, SignResumed: running, SignRunning: running,
				SignArrivedPaused: standing, SignHalted: standing,
			}[s.Sign]
		}
	}
	return has
}
