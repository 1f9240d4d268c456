package report

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
)

// follow has a Live read lines, and gives all that have ended.
func follow(l *Live, lines ...audit.Entry) (ended []Outcome) {
	for _, e := range lines {
		ended = append(ended, l.Add(e)...)
	}
	return ended
}

// What is told live is what a report of the whole log says.
func TestLiveAgreesWithTheReport(t *testing.T) {
	lines := whole()
	want := of(Options{}, lines...)
	l := NewLive(keptEnded)
	ended := follow(l, lines...)
	s := l.Now()
	if n := len(ended) + len(s.Going); n != want.Counts.Handovers || want.Counts.Handovers < 50 || len(s.Ended) != len(ended) {
		t.Fatalf("%d have ended, %d are told, and %d go on, of %d", len(ended), len(s.Ended), len(s.Going), want.Counts.Handovers)
	}
	byBegin := map[string]Handover{}
	for _, h := range want.Handovers {
		byBegin[h.Instance+h.From.String()] = h
	}
	for _, o := range s.Ended {
		h := byBegin[o.Instance+o.From.String()]
		if o.Verdict != h.Verdict || o.Outcome != h.Outcome || o.Ports != h.Ports || o.Activated != h.Activated || !maps.Equal(o.Figures, h.Figures) || !slices.Equal(o.Why, h.Why) {
			t.Errorf("live %+v, the report %+v", o.Handover, h)
		}
	}
	got, c := s.Totals, want.Counts
	if got.Right+got.Mended != c.Right || got.NotRight != c.NotRight || got.Superseded != c.Superseded || got.Unknown != c.Unknown-len(s.Going) || got.Mended == 0 || got.Right == 0 || got.NotRight == 0 {
		t.Errorf("%+v, the report has %+v", got, c)
	}
	alarms := 0
	for _, e := range lines {
		if e.Event == audit.HandoverAlarm {
			alarms++
		}
	}
	if got.Alarms != alarms || alarms == 0 || s.Lines != len(lines) {
		t.Errorf("%d alarms, the log has %d; %d lines, it has %d", got.Alarms, alarms, s.Lines, len(lines))
	}
}

// Nothing grows with what has passed, and totals count all of it.
func TestLiveIsBounded(t *testing.T) {
	l := NewLive(3)
	var ended []Outcome
	const rounds = keptEnded + 50
	for i := range rounds {
		for _, e := range logs["failed-in-switchover suspended"] {
			e.Handover.Instance, e.Time = fmt.Sprint(i), e.Time.Add(time.Duration(i)*time.Minute)
			ended = append(ended, l.Add(e)...)
		}
	}
	s := l.Now()
	if len(ended) != rounds || s.Totals != (Totals{Mended: rounds}) || len(s.Ended) != 3 || s.Ended[2].Instance != fmt.Sprint(rounds-1) {
		t.Errorf("%d have ended; %+v; told: %d", len(ended), s.Totals, len(s.Ended))
	}
	if len(l.ended) != keptEnded || len(l.going)+len(l.b.segments)+len(l.b.alarms)+len(l.b.finds) != 0 {
		t.Errorf("%d are kept, %d go on, %d, %d, %d", len(l.ended), len(l.going), len(l.b.segments), len(l.b.alarms), len(l.b.finds))
	}
}

func TestMendedByAWrite(t *testing.T) {
	for name, want := range map[string]bool{
		"success suspended": false, "success observe": false, "failed-in-switchover suspended": true, "aborted-in-pre-copy suspended": false,
	} {
		ended := follow(NewLive(10), logs[name]...)
		if len(ended) != 1 || ended[0].Verdict != Right || ended[0].Mended != want {
			t.Errorf("%s: %+v", name, ended)
		}
	}
}

// A handover that another replica takes over is one, and its first replica's word is
// not its end.
func TestLiveFollowsAHandoverToAnotherReplica(t *testing.T) {
	lines := slices.Clone(logs["success suspended"])
	cut := slices.IndexFunc(lines, func(e audit.Entry) bool { return e.Event == audit.PortDecided }) + 1
	for _, lost := range []bool{true, false} { // or killed without a word
		l := NewLive(10)
		follow(l, lines[:cut]...)
		if lost {
			follow(l, audit.Entry{Line: audit.Line{Event: audit.ConsumerLost}, Time: lines[cut-1].Time, Replica: "r1"})
			if g := l.Now().Going; len(g) != 1 || g[0].Cut != "the replica lost its session with the broker" || g[0].Commit != 1 {
				t.Errorf("%+v", g)
			}
		}
		var ended []Outcome
		for _, e := range lines {
			e.Replica, e.Time = "r2", e.Time.Add(5*time.Second)
			ended = append(ended, l.Add(e)...)
		}
		if g := l.Now().Going; len(ended) != 1 || len(g) != 0 || ended[0].Verdict != Right || !slices.Equal(ended[0].Replicas, []string{"r1", "r2"}) {
			t.Errorf("lost %t: %+v, %+v", lost, ended, g)
		}
	}
}

func TestLiveLetsGoOfWhatIsSilent(t *testing.T) {
	lines := logs["success suspended"][:4]
	l := NewLive(10)
	follow(l, lines...)
	later := audit.Entry{Line: audit.Line{Event: audit.ConsumerActive}, Time: lines[3].Time.Add(59 * time.Minute), Replica: "r1"}
	if ended := l.Add(later); len(ended) > 0 || len(l.Now().Going) != 1 {
		t.Errorf("%+v", ended)
	}
	later.Time = later.Time.Add(3 * time.Minute)
	ended := l.Add(later)
	if len(ended) != 1 || ended[0].Verdict != NotRight || len(l.Now().Going) != 0 || l.Now().Totals.NotRight != 1 {
		t.Errorf("%+v, %+v", ended, l.Now())
	}
	// Of a replica that has ended without a word nothing is known.
	l = NewLive(10)
	follow(l, lines...)
	later.Replica = "r2"
	if ended := l.Add(later); len(ended) != 1 || ended[0].Verdict != Unknown || ended[0].Why[0] != "the log of its replica ends here" {
		t.Errorf("%+v", ended)
	}
}

// What a handover waits for rests on these counts.
func TestGoing(t *testing.T) {
	l := NewLive(10)
	began := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	step := 0
	say := func(line audit.Line) Going {
		t.Helper()
		step++
		line.Handover = audit.Handover{Instance: "i", Source: "a", Destination: "b"}
		l.Add(audit.Entry{Line: line, Time: began.Add(time.Duration(step) * time.Second), Replica: "r1"})
		all := l.Of("i")
		if len(all) != 1 {
			t.Fatalf("%d go on", len(all))
		}
		return all[0]
	}
	g := say(audit.Line{Event: audit.HandoverBegun, Phase: "watching"})
	if g.Ports != -1 || g.Phase != "watching" || g.Source != "a" || g.Destination != "b" || !g.From.Equal(began.Add(time.Second)) {
		t.Errorf("%+v", g)
	}
	say(audit.Line{Event: audit.HandoverArmed, Phase: "watching", Figures: map[string]int64{"ports": 3}})
	say(audit.Line{Event: audit.PortDecided, Phase: "paused", Port: "p1", Host: "b", Decided: "commit", Why: "w1"})
	say(audit.Line{Event: audit.PortDecided, Phase: "paused", Port: "p2", Host: "b", Decided: "commit", Why: "w2"})
	g = say(audit.Line{Event: audit.PortObserved, Phase: "paused", Port: "p3", Decided: "observe", Why: "w3"})
	if g.Ports != 3 || g.Commit != 2 || g.Unanswered != 2 || g.Observed != 1 || g.Because != "w3" || g.Phase != "paused" || !g.PhaseFrom.Equal(began.Add(3*time.Second)) {
		t.Errorf("%+v", g)
	}
	g = say(audit.Line{Event: audit.PortWritten, Port: "p1", Host: "b", Decided: "activate", Outcome: "activated"})
	if g.Commit != 2 || g.Unanswered != 1 || g.Activated != 1 {
		t.Errorf("%+v", g)
	}
	say(audit.Line{Event: audit.PortDecided, Phase: "failed", Port: "p1", Host: "a", Decided: "restore"})
	say(audit.Line{Event: audit.PortDecided, Phase: "failed", Port: "p2", Host: "a", Decided: "restore"})
	g = say(audit.Line{Event: audit.PortVerified, Port: "p1", Host: "a", Decided: "restore", Outcome: "rows right"})
	if g.Commit != 0 || g.Restore != 2 || g.Restored != 1 || g.DecidedOn != "a" {
		t.Errorf("%+v", g)
	}
	g = say(audit.Line{Event: audit.PortVerified, Port: "p2", Host: "a", Decided: "restore", Outcome: "rows wrong: x"})
	if g.Restored != 1 {
		t.Errorf("%+v", g)
	}
	say(audit.Line{Event: audit.PortDecided, Phase: "left", Port: "p3", Host: "b", Decided: "verify"})
	g = say(audit.Line{Event: audit.HandoverAlarm, Phase: "left", Port: "p2"})
	if g.Verify != 1 || g.Verified != 0 || g.Observed != 0 || g.Alarms != 1 {
		t.Errorf("%+v", g)
	}
	l.Add(audit.Entry{Line: audit.Line{Event: audit.HandoverBegun, Handover: audit.Handover{Instance: "earlier"}}, Time: began.Add(-time.Hour), Replica: "r1"})
	l.Add(audit.Entry{Line: audit.Line{Event: audit.HandoverBegun, Handover: audit.Handover{Instance: "earlier", Source: "a"}}, Time: began.Add(-time.Hour), Replica: "r1"})
	if all := l.Now().Going; len(all) != 2 || all[0].Instance != "i" {
		t.Errorf("one with an alarm comes first: %+v", all)
	}
}

func TestWhatIsSaidOfTheConsumers(t *testing.T) {
	l := NewLive(10)
	at := time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
	say := func(replica, broker, share string, line audit.Line) {
		l.Add(audit.Entry{Line: line, Time: at, Replica: replica, Broker: broker, Share: share})
	}
	want := func(acting, paused, stopped []string) {
		t.Helper()
		s := l.Now()
		if !slices.Equal(s.Acting, acting) || !slices.Equal(s.Paused, paused) || !slices.Equal(s.Stopped, stopped) {
			t.Errorf("%q %q %q\nwant %q %q %q", s.Acting, s.Paused, s.Stopped, acting, paused, stopped)
		}
	}
	circuit := handover.Circuit{Source: "a", Destination: "b"}
	stopped := handover.Change{Circuit: circuit, Stopped: true}.String()
	other := handover.Change{Circuit: handover.Circuit{Driver: "ovs"}, Stopped: true}.String()
	resumed := handover.Change{Circuit: circuit}.String()
	say("r1", "", "", audit.Line{Event: audit.ConsumerActive})
	say("r2", "b2", "2 of 2", audit.Line{Event: audit.ConsumerActive})
	say("r1", "", "", audit.Line{Event: audit.ConsumerPaused, Decided: "nothing is committed", Why: "by x"})
	say("r1", "", "", audit.Line{Event: audit.CommitsStopped, Decided: stopped})
	say("r1", "", "", audit.Line{Event: audit.CommitsStopped, Decided: stopped}) // for longer
	say("r2", "b2", "2 of 2", audit.Line{Event: audit.CommitsStopped, Decided: other})
	want([]string{"r1", "r2 (b2, 2 of 2)"}, []string{"nothing is committed, by x"}, []string{stopped, other + " (b2, 2 of 2)"})
	say("r2", "b2", "2 of 2", audit.Line{Event: audit.ConsumerPaused, Decided: "nothing is committed until it is known what is paused", Err: fmt.Errorf("lost")})
	want([]string{"r1", "r2 (b2, 2 of 2)"}, []string{"nothing is committed, by x", "nothing is committed until it is known what is paused: lost (b2)"}, []string{stopped, other + " (b2, 2 of 2)"})
	say("r1", "", "", audit.Line{Event: audit.CommitsResumed, Decided: resumed})
	say("r3", "b2", "2 of 2", audit.Line{Event: audit.ConsumerActive}) // r2 was killed: its breaker is forgotten
	say("r1", "", "", audit.Line{Event: audit.ConsumerResumed})
	say("r2", "b2", "", audit.Line{Event: audit.ConsumerResumed})
	want([]string{"r1", "r3 (b2, 2 of 2)"}, nil, nil)
	say("r2", "b2", "2 of 2", audit.Line{Event: audit.ConsumerLost}) // late: another acts
	say("r1", "", "", audit.Line{Event: audit.ConsumerStopped})
	want([]string{"r3 (b2, 2 of 2)"}, nil, nil)
}
