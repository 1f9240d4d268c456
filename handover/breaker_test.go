package handover

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

var (
	pairAB   = Circuit{Source: src, Destination: dst}
	pairBA   = Circuit{Source: dst, Destination: src}
	ofOVS    = Circuit{Driver: openvswitch}
	midnight = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)
)

// judged is a breaker whose monotonic clock began at midnight.
type judged struct {
	*Breaker
	now time.Duration
}

func (j *judged) say(c Circuit, r Result, trial bool) (Change, bool) {
	return j.Judge(Verdict{Circuit: c, Result: r, Trial: trial, Why: "the last"}, j.now, midnight.Add(j.now))
}

// state reads where a circuit stands.
func (j *judged) state(c Circuit) string {
	bar, barred := j.Bars()[c]
	switch {
	case !barred:
		return fmt.Sprintf("closed %d", j.row[c])
	case j.now < bar.Until:
		return fmt.Sprintf("barred %s", bar.Until-j.now)
	case bar.Tried:
		return "tried"
	}
	return "waits for a trial"
}

// The breaker's table: a story, one step each, and where the circuit stands
// after it. good, bad and none are verdicts, with "!" of the trial.
func TestTheTableOfTheBreaker(t *testing.T) {
	const barred = "barred 1h0m0s"
	for _, story := range []struct{ steps, ends string }{
		{"", "closed 0"},
		{"bad", "closed 1"},
		{"bad bad", "closed 2"},
		{"bad none bad", "closed 2"},
		{"good", "closed 0"},
		{"bad bad good bad bad", "closed 2"},
		{"bad bad bad", barred},
		{"bad 100h bad 100h bad", barred}, // in a row, however long that takes
		{"bad bad bad 59m", "barred 1m0s"},
		{"bad bad bad 10m bad", "barred 50m0s"}, // committed before the bar
		{"bad bad bad 10m good", "barred 50m0s"},
		{"bad bad bad 10m none", "barred 50m0s"},
		{"bad bad bad 1h", "waits for a trial"},
		{"bad bad bad 1h bad good none", "waits for a trial"},
		{"bad bad bad 1h try", "tried"},
		{"bad bad bad 1h try 30m bad good none", "tried"},
		{"bad bad bad 1h try good!", "closed 0"},
		{"bad bad bad 1h try good! bad bad", "closed 2"},
		{"bad bad bad 1h try good! bad bad bad", barred}, // anew, not twice as long
		{"bad bad bad 1h try none!", "waits for a trial"},
		{"bad bad bad 1h try none! try good!", "closed 0"},
		{"bad bad bad 1h try bad!", "barred 2h0m0s"},
		{"bad bad bad 1h try 20m bad! 1h", "barred 1h0m0s"},
		{"bad bad bad 1h try bad! 2h try bad!", "barred 4h0m0s"},
		{"bad bad bad 1h try bad! 2h try bad! 4h try bad! 8h try bad!", "barred 16h0m0s"},
		{"bad bad bad 1h try bad! 2h try bad! 4h try bad! 8h try bad! 16h try bad!", "barred 24h0m0s"},
		{"bad bad bad 1h try bad! 2h try bad! 4h try bad! 8h try bad! 16h try bad! 24h try bad!", "barred 24h0m0s"},
		{"bad bad bad 1h try bad! 2h try good! bad bad bad", barred},
		{"bad bad bad 1h try abandon", "waits for a trial"},
		{"bad bad bad abandon", barred},
		{"bad bad abandon", "closed 2"},
		{"try", "closed 0"},
	} {
		j := &judged{Breaker: NewBreaker(3, time.Hour), now: time.Minute}
		for _, step := range strings.Fields(story.steps) {
			verdict, trial := strings.CutSuffix(step, "!")
			result, isVerdict := map[string]Result{"good": Good, "bad": Bad, "none": Unknown}[verdict]
			switch {
			case isVerdict:
				j.say(pairAB, result, trial)
			case step == "try":
				j.Take(Try{pairAB})
			case step == "abandon":
				j.Abandon()
			default:
				span, err := time.ParseDuration(step)
				if err != nil {
					t.Fatal(err)
				}
				j.now += span
			}
		}
		if got := j.state(pairAB); got != story.ends {
			t.Errorf("%q ends %s, want %s", story.steps, got, story.ends)
		}
	}
}

func TestChangesOfTheBreakerAreToldOnceAndReadWell(t *testing.T) {
	j := &judged{Breaker: NewBreaker(2, time.Hour), now: 13 * time.Hour}
	var got []string
	step := func(c Circuit, r Result, trial bool) {
		if change, ok := j.say(c, r, trial); ok {
			got = append(got, fmt.Sprintf("%t: %s; %s", change.Stopped, change, change.Why))
		}
	}
	step(ofOVS, Good, false)
	step(ofOVS, Bad, false)
	step(ofOVS, Bad, false)
	step(ofOVS, Bad, false)
	step(pairAB, Bad, false)
	step(pairAB, Bad, false)
	j.now += 61 * time.Minute
	j.Take(Try{ofOVS})
	j.Take(Try{pairAB})
	step(pairAB, Bad, true)
	step(ofOVS, Good, true)
	step(ofOVS, Good, false)
	want := []string{
		"true: commits of mechanism driver openvswitch are stopped until 2026-11-23T14:00:00Z; then one handover is let through on trial; 2 bad outcomes in a row; the last: the last",
		"true: commits from " + src + " to " + dst + " are stopped until 2026-11-23T14:00:00Z; then one handover is let through on trial; 2 bad outcomes in a row; the last: the last",
		"true: commits from " + src + " to " + dst + " are stopped until 2026-11-23T16:01:00Z; then one handover is let through on trial; 3 bad outcomes in a row; the last: the last",
		"false: commits of mechanism driver openvswitch are resumed; the handover on trial has ended well",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestCircuitsAreCountedEachOnItsOwn(t *testing.T) {
	j := &judged{Breaker: NewBreaker(2, time.Hour)}
	for _, c := range []Circuit{pairAB, pairBA, ofOVS, {Driver: "ovn"}} {
		j.say(c, Bad, false)
	}
	j.say(pairAB, Bad, false)
	for c, want := range map[Circuit]string{pairAB: "barred 1h0m0s", pairBA: "closed 1", ofOVS: "closed 1", {Driver: "ovn"}: "closed 1"} {
		if got := j.state(c); got != want {
			t.Errorf("%s: %s, want %s", c, got, want)
		}
	}
}

func TestABreakerThatIsOffBarsNothing(t *testing.T) {
	j := &judged{Breaker: NewBreaker(0, time.Hour)}
	for range 10 {
		if change, ok := j.say(pairAB, Bad, false); ok || len(j.Bars()) > 0 {
			t.Fatalf("%+v", change)
		}
	}
}

func TestBarsThatWereHandedOutDoNotChange(t *testing.T) {
	j := &judged{Breaker: NewBreaker(1, time.Hour)}
	none := j.Bars()
	j.say(pairAB, Bad, false)
	one := j.Bars()
	j.now += time.Hour
	j.Take(Try{pairAB})
	j.say(ofOVS, Bad, false)
	tried := j.Bars()
	j.say(pairAB, Good, true)
	if len(none) != 0 || len(one) != 1 || one[pairAB].Tried || len(tried) != 2 || !tried[pairAB].Tried || len(j.Bars()) != 1 {
		t.Errorf("%v, %v, %v, %v", none, one, tried, j.Bars())
	}
}

func tries(decisions []Decision) []Circuit {
	var out []Circuit
	for _, d := range decisions {
		if t, ok := d.(Try); ok {
			out = append(out, t.Circuit)
		}
	}
	return out
}

func verdictsIn(decisions []Decision) []Verdict {
	var out []Verdict
	for _, d := range decisions {
		if v, ok := d.(Verdict); ok {
			out = append(out, v)
		}
	}
	return out
}

// bars are those of one circuit, which drive's clock of an hour has not reached,
// or has.
func bars(c Circuit, until time.Duration, tried bool) Bars {
	return Bars{c: {Until: until, At: midnight, Bad: 3, Tried: tried}}
}

func TestTheCoreObservesUnderABar(t *testing.T) {
	for _, c := range []struct {
		name    string
		bars    Bars
		commits int
		tries   []Circuit
		why     string
	}{
		{"none", nil, 2, nil, ""},
		{"of the pair", bars(pairAB, 2*time.Hour, false), 0, nil, "commits from " + src + " to " + dst + " are stopped until 2026-11-23T00:00:00Z after 3 bad outcomes"},
		{"of the driver", bars(ofOVS, 2*time.Hour, false), 1, nil, "commits of mechanism driver openvswitch are stopped until 2026-11-23T00:00:00Z after 3 bad outcomes"},
		{"of the pair back", bars(pairBA, 2*time.Hour, false), 2, nil, ""},
		{"of another driver", bars(Circuit{Driver: "ovn"}, 2*time.Hour, false), 2, nil, ""},
		{"the pair waits for a trial", bars(pairAB, time.Minute, false), 2, []Circuit{pairAB}, ""},
		{"the driver waits for a trial", bars(ofOVS, time.Minute, false), 2, []Circuit{ofOVS}, ""},
		{"the pair is tried by another", bars(pairAB, time.Minute, true), 0, nil, "stopped after 3 bad outcomes, but for one handover on trial"},
		{"the driver is tried by another", bars(ofOVS, time.Minute, true), 1, nil, "but for one handover on trial"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrive(suspended, ready("p1"), with(func(p *port.Port) { p.ID, p.Driver = "p2", "linuxbridge" }))
			d.Heed(c.bars)
			d.tell(toThePause()...)
			if got := aimed(d.log, GoalCommit); len(got) != c.commits {
				t.Errorf("%d commits, want %d", len(got), c.commits)
			}
			if got := tries(d.log); !slices.Equal(got, c.tries) {
				t.Errorf("tries %v, want %v", got, c.tries)
			}
			for _, a := range aimed(d.log, GoalCommit) {
				if _, mine := c.bars[Circuit{Driver: openvswitch}]; strings.Contains(a.Why, "on trial") != (len(c.tries) > 0 && (!mine || a.Port == "p1")) {
					t.Errorf("commits %s because %q", a.Port, a.Why)
				}
			}
			if got := observed(d.log); len(got) != 2-c.commits || len(got) > 0 && !strings.Contains(got[0].Why, c.why) {
				t.Errorf("observed %+v, want because %q", got, c.why)
			}
			// A bar stops commits, never a restore.
			if got := aimed(d.tell(at(src, 2, SignResumed)), GoalRestore); len(got) != 2 {
				t.Errorf("restores %+v", got)
			}
		})
	}
}

func TestABarEndsWhenItsTimeIsOver(t *testing.T) {
	b := bars(pairAB, time.Hour, false)
	for now, refused := range map[time.Duration]bool{time.Hour - 1: true, time.Hour: false, time.Hour + 1: false} {
		if why := b.refuse(pairAB, false, now); (why != "") != refused {
			t.Errorf("at %s: %q", now, why)
		}
	}
}

func TestABarIsLookedAtLastSoThatNoTrialIsWasted(t *testing.T) {
	d := newDrive(suspended, with(func(p *port.Port) { p.Rows = p.Rows[:1] }))
	d.Heed(bars(pairAB, time.Minute, false))
	d.tell(toThePause()...)
	if got := tries(d.log); len(got) != 0 {
		t.Errorf("tries %v", got)
	}
	if got := observed(d.log); len(got) != 1 || !strings.Contains(got[0].Why, "has no row") {
		t.Errorf("observed %+v", got)
	}
}

func TestThePortsOfTheTrialGoTogetherAndThoseOfOthersDoNot(t *testing.T) {
	late := with(func(p *port.Port) { p.ID, p.Driver = "p2", openvswitch })
	s := early
	d := newDrive(s, driver("vendor"), late)
	d.Heed(bars(pairAB, time.Minute, false))
	if got := d.tell(toThePause()...); len(aimed(got, GoalCommit)) != 1 || len(tries(got)) != 1 {
		t.Fatalf("at the pause: %+v", got)
	}
	d.Heed(bars(pairAB, time.Minute, true)) // taken by this one
	got := d.tell(at(dst, 2, SignResumed))
	if len(aimed(got, GoalCommit)) != 1 || len(tries(got)) != 0 {
		t.Errorf("at the arrival: %+v", got)
	}
	d.Heed(bars(pairAB, 2*time.Hour, false))
	d2 := newDrive(s, late)
	d2.Heed(bars(pairAB, time.Minute, true))
	d2.tell(toThePause()...)
	if got := d2.tell(at(dst, 2, SignResumed)); len(aimed(got, GoalCommit)) != 0 {
		t.Errorf("another handover: %+v", got)
	}
}

func TestABarThatComesWithinAHandoverStopsItsOtherPorts(t *testing.T) {
	d := newDrive(early, driver("vendor"), with(func(p *port.Port) { p.ID = "p2" }))
	d.tell(toThePause()...)
	d.Heed(bars(pairAB, 2*time.Hour, false))
	if got := d.tell(at(dst, 2, SignResumed)); len(aimed(got, GoalCommit)) != 0 || len(observed(got)) != 1 {
		t.Errorf("%+v", got)
	}
}

// What came of a handover, in words, for the pair and for the driver.
func TestVerdicts(t *testing.T) {
	activated := []Input{Activated{Port: "p1"}, Activated{Port: "p2"}}
	arrives := slices.Concat(activated, []Input{at(dst, 2, SignResumed)})
	leaves := slices.Concat(arrives, []Input{at(src, 2, SignLeft)})
	fails := slices.Concat(activated, []Input{at(src, 2, SignResumed)})
	then := func(so []Input, further ...Input) []Input { return slices.Concat(so, further) }
	done := func(kind GoalKind, host, id string, right, up bool) Input {
		return PortDone{Port: id, Goal: Goal{Kind: kind, Host: host}, Right: right, Up: up}
	}
	verified := func(id string, right, up bool) Input {
		return PortDone{Port: id, Goal: Goal{Kind: GoalVerify, Host: dst, Mend: true}, Right: right, Up: up}
	}
	restored := func(id string, right, up bool) Input { return done(GoalRestore, src, id, right, up) }
	rolledBack := func(id string, right, up bool) Input {
		return PortDone{Port: id, Goal: Goal{Kind: GoalVerify, Host: src, NovaDone: true}, Right: right, Up: up}
	}
	const none = ""
	for _, c := range []struct {
		name                    string
		says                    []Input
		pair, openvswitch, ovn  string
		becausePair, becauseOVS string
	}{
		{"migrated", then(leaves, verified("p1", true, true), verified("p2", true, true)), "good", "good", "good", "", ""},
		{"migrated, one is not up", then(leaves, verified("p1", true, false), verified("p2", true, true)), "bad", "bad", "good", "the status of port p1", "the status of port p1"},
		{"wrong", then(leaves, verified("p1", false, false), verified("p2", true, true)), "bad", "bad", "good", "port p1 did not end right", "port p1 did not end right"},
		{"wrong, both", then(leaves, verified("p2", false, false), verified("p1", false, false)), "bad", "bad", "bad", "port p1", "port p1"},
		{"migrated, no activate was answered", []Input{at(src, 2, SignLeft), verified("p1", true, true), verified("p2", true, true)}, none, none, none, "", ""},
		{"migrated, one activate was answered", []Input{Activated{Port: "p1"}, at(src, 2, SignLeft), verified("p1", true, true), verified("p2", true, true)}, "good", "good", none, "", ""},
		{"restored", then(fails, restored("p1", true, true), restored("p2", true, true)), "bad", none, none, "the migration failed after a commit", ""},
		{"restored, no activate was answered", []Input{at(src, 2, SignResumed), restored("p1", true, true), restored("p2", true, true)}, "bad", none, none, "the migration failed", ""},
		{"restored, one is not up", then(fails, restored("p1", true, false), restored("p2", true, true)), "bad", "bad", none, "the status of port p1", "the status of port p1"},
		{"not restored", then(fails, restored("p1", false, false), restored("p2", true, true)), "bad", "bad", none, "port p1 did not end right", "port p1"},
		{"restored, says Nova alone", then(activated, ended("req", wire.NovaRollback), rolledBack("p1", true, true), rolledBack("p2", true, false)), "bad", none, "bad", "the status of port p2", ""},
		{"restored, says Nova alone, and up", then(activated, ended("req", wire.NovaRollback), rolledBack("p1", true, true), rolledBack("p2", true, true)), "bad", none, none, "the migration failed", ""},
		{"expired on the way", then(arrives, Expired{}), "bad", none, none, "nothing was heard", ""},
		{"expired contradicted", then(fails, at(dst, 2, SignResumed), Expired{}), "bad", none, none, "the migration failed", ""},
		{"superseded on the way", then(arrives, back(start("", wire.NovaPre), 0, "next")), none, none, none, "", ""},
		{"superseded before it was verified", then(leaves, back(start("", wire.NovaPre), 0, "next")), none, none, none, "", ""},
		{"superseded when one was verified", then(leaves, verified("p1", true, true), back(start("", wire.NovaPre), 0, "next")), "good", "good", none, "", ""},
		{"superseded after it failed", then(fails, start("next", wire.NovaPre)), "bad", none, none, "the migration failed", ""},
	} {
		for _, trial := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s %t", c.name, trial), func(t *testing.T) {
				d := newDrive(suspended, ready("p1"), with(func(p *port.Port) { p.ID, p.Driver = "p2", "ovn" }))
				if trial {
					d.Heed(Bars{pairAB: {Bad: 3}, ofOVS: {Bad: 3}, {Driver: "ovn"}: {Bad: 3}})
				}
				d.tell(toThePause()...)
				if got := len(tries(d.log)); trial && got != 3 {
					t.Fatalf("%d trials", got)
				}
				if got := d.tell(c.says[:len(c.says)-1]...); len(verdictsIn(got)) != 0 {
					t.Fatalf("a verdict before the end: %+v", got)
				}
				got := d.tell(c.says[len(c.says)-1])
				result := map[Circuit]string{}
				for _, v := range verdictsIn(got) {
					if v.Trial != trial {
						t.Errorf("trial: %+v", v)
					}
					result[v.Circuit] = map[Result]string{Good: "good", Bad: "bad", Unknown: "none"}[v.Result]
					because := map[Circuit]string{pairAB: c.becausePair, ofOVS: c.becauseOVS}[v.Circuit]
					if !strings.HasPrefix(v.Why, because) || v.Result == Bad && v.Why == "" {
						t.Errorf("%s %s because %q, want %q", v.Circuit, result[v.Circuit], v.Why, because)
					}
				}
				for circuit, want := range map[Circuit]string{pairAB: c.pair, ofOVS: c.openvswitch, {Driver: "ovn"}: c.ovn} {
					if want == none && trial {
						want = "none" // so that the next one may try
					}
					if result[circuit] != want {
						t.Errorf("%s: %q, want %q", circuit, result[circuit], want)
					}
				}
				end := slices.IndexFunc(got, func(d Decision) bool { _, ok := d.(End); return ok })
				if last := slices.IndexFunc(got, func(d Decision) bool { _, ok := d.(Verdict); return ok }); end < 0 || last > end {
					t.Errorf("ends %+v", got)
				}
			})
		}
	}
}

func TestWithoutACommitThereIsNoVerdict(t *testing.T) {
	for _, s := range []Settings{chosen(PolicyObserve, RepairAll, true), chosen(PolicySuspended, RepairAll, false)} {
		for _, story := range [][]Input{success(), failure()} {
			for _, right := range []bool{true, false} {
				d := newDrive(s, ready("p1"))
				d.tell(story...)
				d.finish(right)
				if got := verdictsIn(d.log); len(endsIn(d.log)) != 1 || len(got) != 0 {
					t.Errorf("%s: %+v", s.Policy, got)
				}
			}
		}
	}
}

func TestAPortThatWasNotCommittedCountsForThePair(t *testing.T) {
	d := newDrive(auto, ready("p1"), with(func(p *port.Port) { p.ID, p.Driver = "p2", "ovn" }))
	d.tell(toThePause()...)
	d.tell(at(dst, 2, SignResumed), Activated{Port: "p1"}, Activated{Port: "p2"}, at(src, 2, SignLeft))
	d.tell(PortDone{Port: "p1", Goal: Goal{Kind: GoalVerify, Host: dst, Mend: true}, Right: true, Up: true}, PortDone{Port: "p2", Goal: Goal{Kind: GoalVerify, Host: dst}})
	want := []Verdict{{Circuit: pairAB, Result: Bad, Why: "a port did not end right"}, {Circuit: ofOVS, Result: Good}}
	if got := verdictsIn(d.log); !slices.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func TestADriverThatIsNotShownHasNoCircuit(t *testing.T) {
	d := newDrive(suspended, driver(""))
	d.tell(toThePause()...)
	d.tell(at(src, 2, SignLeft), PortDone{Port: "p1", Goal: Goal{Kind: GoalVerify, Host: dst, Mend: true}})
	if got := verdictsIn(d.log); len(got) != 1 || got[0].Circuit != pairAB || got[0].Result != Bad {
		t.Errorf("%+v", got)
	}
}

// The whole way round, as the consumer goes it: one breaker, instance after
// instance.
func TestThreeFailuresStopTheFourthAndATrialResumes(t *testing.T) {
	b := NewBreaker(3, time.Hour)
	now := time.Hour
	migrate := func(story []Input) (commits int) {
		d := newDrive(suspended, ready("p1"))
		d.now = now
		step := func(inputs ...Input) {
			for _, in := range inputs {
				d.Heed(b.Bars())
				for _, decision := range d.tell(in) {
					switch decision := decision.(type) {
					case Try:
						b.Take(decision)
					case Verdict:
						b.Judge(decision, d.now, midnight)
					}
				}
			}
		}
		step(story...)
		commits = len(aimed(d.log, GoalCommit))
		if commits > 0 {
			step(Activated{Port: "p1"})
		}
		d.Heed(b.Bars())
		for _, v := range verdictsIn(d.finish(true)) {
			b.Judge(v, d.now, midnight)
		}
		return commits
	}
	for i, c := range []struct {
		after time.Duration
		story []Input
		want  int
	}{
		{0, failure(), 1}, {0, success(), 1}, // resets
		{0, failure(), 1}, {0, failure(), 1}, {0, failure(), 1}, {0, success(), 0}, {59 * time.Minute, failure(), 0},
		{2 * time.Minute, failure(), 1},                             // the trial
		{time.Hour, success(), 0}, {61 * time.Minute, success(), 1}, // the next trial
		{0, failure(), 1}, {0, failure(), 1}, {0, success(), 1},
	} {
		now += c.after
		if got := migrate(c.story); got != c.want {
			t.Errorf("migration %d: %d commits, want %d", i, got, c.want)
		}
	}
}
