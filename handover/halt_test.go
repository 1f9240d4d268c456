package handover

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/port"
)

func TestAPauseStopsCommitsAndNoRestore(t *testing.T) {
	for _, c := range []struct {
		name    string
		paused  Halt
		commits int
		why     string
	}{
		{"nothing", Halt{}, 2, ""},
		{"all", Halt{All: true, Why: "by root@c: upgrade"}, 0, "commits are paused: by root@c: upgrade"},
		{"the source", Halt{Hosts: []string{"compute9", src}, Why: "by root@c"}, 0, "commits from and to " + src + " are paused: by root@c"},
		{"the destination", Halt{Hosts: []string{dst}}, 0, "commits from and to " + dst + " are paused"},
		{"another host", Halt{Hosts: []string{"compute9"}}, 2, ""},
		{"nobody knows what", Halt{Unknown: "not read yet"}, 0, "it is not known what is paused: not read yet"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDrive(suspended, ready("p1"), with(func(p *port.Port) { p.ID = "p2" }))
			d.Pause(c.paused)
			d.tell(toThePause()...)
			if got := aimed(d.log, GoalCommit); len(got) != c.commits {
				t.Errorf("%d commits, want %d", len(got), c.commits)
			}
			for _, o := range observed(d.log) {
				if o.Why != c.why {
					t.Errorf("observed because %q, want %q", o.Why, c.why)
				}
			}
			if got := len(observed(d.log)); got != 2-c.commits {
				t.Errorf("%d observed", got)
			}
			if got := aimed(d.tell(at(src, 2, SignResumed)), GoalRestore); len(got) != 2 {
				t.Errorf("restores %+v", got)
			}
		})
	}
}

// A pause within a handover keeps back the ports that were not committed yet, and leaves
// those that were; their verification goes on.
func TestAPauseThatComesWithinAHandover(t *testing.T) {
	d := newDrive(early, driver("vendor"), with(func(p *port.Port) { p.ID = "p2" }))
	if got := aimed(d.tell(toThePause()...), GoalCommit); len(got) != 1 {
		t.Fatalf("at the pause: %+v", got)
	}
	d.Pause(Halt{All: true})
	if got := d.tell(at(dst, 2, SignResumed)); len(aimed(got, GoalCommit)) != 0 || len(aimed(got, GoalHold)) != 0 || len(observed(got)) != 1 {
		t.Errorf("at the arrival: %+v", got)
	}
	if got := aimed(d.tell(at(src, 2, SignLeft)), GoalVerify); len(got) != 2 {
		t.Errorf("verified: %+v", got)
	}
}

// Resumed are handovers whose moment is still to come; what was observed stays so.
func TestAResumeRevivesNothing(t *testing.T) {
	d := newDrive(early, driver("vendor"), with(func(p *port.Port) { p.ID = "p2" }))
	d.Pause(Halt{All: true})
	d.tell(toThePause()...)
	d.Pause(Halt{})
	d.tell(Activated{Port: "another"}) // anything at all has the core decide again
	if got := aimed(d.log, GoalCommit); len(got) != 0 {
		t.Errorf("revived: %+v", got)
	}
	got := aimed(d.tell(at(dst, 2, SignResumed)), GoalCommit)
	if len(got) != 1 || got[0].Port != "p2" {
		t.Errorf("at the arrival, which came after the resume: %+v", got)
	}
	if got := observed(d.log); len(got) != 1 || got[0].Port != "p1" || !strings.Contains(got[0].Why, "paused") {
		t.Errorf("observed: %+v", got)
	}
}

// No trial of the breaker is wasted on what is paused.
func TestAPauseIsLookedAtBeforeTheBreaker(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.Heed(bars(pairAB, -1, false))
	d.Pause(Halt{All: true})
	d.tell(toThePause()...)
	if got := tries(d.log); len(got) != 0 {
		t.Errorf("tries %v", got)
	}
}

func TestWhatIsPausedIsSaid(t *testing.T) {
	for want, p := range map[string]Halt{
		"nothing is paused":                                     {},
		"nothing is committed":                                  {All: true},
		"nothing is committed from or to a, b":                  {Hosts: []string{"a", "b"}},
		"nothing is committed; by name paused: a":               {All: true, Hosts: []string{"a"}},
		"nothing is committed until it is known what is paused": {Unknown: "why"},
	} {
		if p.String() != want || p.Any() != (want != "nothing is paused") {
			t.Errorf("%q, %t, want %q", p, p.Any(), want)
		}
	}
}
