package handover

import (
	"slices"
	"testing"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// preBack is the pre of a migration from dst to src.
func preBack(request string) NovaSign {
	return back(start("", wire.NovaPre), 0, request).(NovaSign)
}

// Found by chaos: an hour-old pre, of a migration the other way, cut off a restore that was
// under way, and a switchover whose ports were activated.
func TestAPreFromWhereTheGuestIsNotEndsNothing(t *testing.T) {
	failed := append(toThePause(), at(src, 2, SignResumed))
	for name, c := range map[string]struct {
		says []Input
		old  NovaSign // from a host that the guest is not on
	}{
		"paused":               {toThePause(), preBack("old")},
		"failed":               {failed, preBack("old")},
		"failed, Nova is done": {append(slices.Clone(failed), ended("req", wire.NovaRollback)), preBack("old")},
		"arrived":              {append(toThePause(), at(dst, 2, SignResumed)), start("old", wire.NovaPre)},
		"left":                 {append(toThePause(), at(dst, 2, SignResumed), at(src, 2, SignLeft)), start("old", wire.NovaPre)},
		"a left-over":          {[]Input{LeftOver{Host: src, Other: dst}}, preBack("old")},
		"runs on the source":   {[]Input{start("req", wire.NovaPre), listed(src, 1, SignRunning)}, preBack("old")},
		"no request id yet":    {[]Input{at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed)}, preBack("old")},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(c.says...)
		was, phase, goal := d.Current(), d.Current().Phase(), d.Current().goals["p1"]
		got := d.tell(c.old)
		if len(got) != 1 || got[0] != Decision(AskHosts{Why: "Nova says that a migration begins from " + c.old.PayloadHost + ", and the guest is on " + was.home()}) {
			t.Errorf("%s: decides %+v", name, got)
		}
		// What else comes of it, and another one.
		end := c.old
		end.Ended = true
		other := c.old
		other.RequestID = "older"
		if got := d.tell(end, other, end); len(got) != 0 {
			t.Errorf("%s: decides %+v", name, got)
		}
		if h := d.Current(); h != was || h.Phase() != phase || h.goals["p1"] != goal {
			t.Errorf("%s: goes on in %s with %+v, not in %s with %+v", name, h.Phase(), h.goals["p1"], phase, goal)
		}
	}
}

// A migration whose pre was doubted is taken up when a host shows it.
func TestAPreThatWasDoubtedIsBelievedWhenTheHostsAgree(t *testing.T) {
	third := start("next", wire.NovaPre)
	third.PublisherHost, third.PayloadHost = "compute3.example.org", dst
	for name, c := range map[string]struct {
		pre         NovaSign
		says        []Input
		destination string
	}{
		"its guest comes in": {preBack("next"), []Input{at(src, 9, SignStarted)}, src},
		"on a third host":    {third, []Input{at(third.PublisherHost, 1, SignStarted)}, third.PublisherHost},
		"by a list":          {preBack("next"), []Input{listed(src, 9, SignStarted)}, src},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(toThePause()...)
		d.tell(c.pre)
		if ends := endsIn(d.tell(c.says...)); !slices.Equal(ends, []Outcome{OutcomeSuperseded}) {
			t.Errorf("%s: ends %v", name, ends)
		}
		wantHosts(t, d, "next", dst, c.destination)
	}
}

// Found by review: the success of the migration that goes on, and the domain that comes in for
// it, were taken for the hosts' word on the one that was doubted.
func TestTheRunningMigrationDoesNotConfirmAnother(t *testing.T) {
	fromAThird := start("old", wire.NovaPre)
	fromAThird.PayloadHost = "compute3.example.org"
	for name, c := range map[string]struct {
		pre  NovaSign
		says []Input
	}{
		"the guest arrives":        {preBack("old"), []Input{at(dst, 2, SignResumed)}},
		"and is listed there":      {preBack("old"), []Input{listed(dst, 2, SignRunning), listed(src, 2, SignAbsent)}},
		"it is listed coming in":   {fromAThird, []Input{listed(dst, 2, SignStarted)}},
		"the source has let it go": {preBack("old"), []Input{at(dst, 2, SignResumed), at(src, 2, SignLeft)}},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(toThePause()...)
		d.tell(c.pre)
		was := d.Current()
		if ends := endsIn(d.tell(c.says...)); len(ends) > 0 || d.Current() != was {
			t.Errorf("%s: ends %v", name, ends)
		}
	}
}

// One that no host has shown is forgotten with the handover.
func TestAPreThatWasDoubtedIsForgotten(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(append(toThePause(), preBack("old"), at(src, 2, SignResumed), ended("req", wire.NovaRollback))...)
	if ends := endsIn(d.finish(true)); !slices.Equal(ends, []Outcome{OutcomeRestored}) {
		t.Fatalf("ends %v", ends)
	}
	d.tell(at(src, 9, SignStarted))
	wantHosts(t, d, "", "", src)
}

// What is no news of a host shows nothing.
func TestAnOldStartDoesNotConfirm(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(append(toThePause(), at(src, 2, SignResumed), preBack("old"))...)
	was := d.Current()
	d.tell(at(src, 1, SignStarted))
	if d.Current() != was {
		t.Error("it is believed")
	}
}

// moved is a port whose destination was activated, as Neutron then shows it.
func moved(p *port.Port) {
	p.Rows[0].Active, p.Rows[0].VIFType, p.Rows[1].Active = false, port.VIFUnbound, true
}

// toA is a pre of a migration from src to any host.
func toA(host, request string) NovaSign {
	n := start(request, wire.NovaPre)
	n.PublisherHost = host
	return n
}

// An old pre of the same way, of a request that this replica does not know or has forgotten, cut off
// a restore that was under way.
func TestAPreFromWhereTheGuestIsDoesNotCutOffARestore(t *testing.T) {
	failed := append(toThePause(), at(src, 2, SignResumed))
	rolledBack := append(slices.Clone(failed), ended("req", wire.NovaRollback))
	rows := map[string]func(*port.Port){
		"moved":                  moved,
		"no ACTIVE row":          func(p *port.Port) { p.Rows = p.Rows[:1]; p.Rows[0].Active = false },
		"unbound on the source":  func(p *port.Port) { p.Rows[0].VIFType = port.VIFUnbound },
		"nothing is prepared":    func(p *port.Port) { p.Rows[0].Profile = nil },
		"prepared for a fourth":  func(p *port.Port) { p.Rows[0].Profile = map[string]any{port.MigratingTo: "compute4.example.org"} },
		"one of two was moved":   nil,
		"there are no ports now": nil,
	}
	for name, says := range map[string][]Input{
		"failed": failed, "failed, Nova is done": rolledBack, "a left-over": {LeftOver{Host: src, Other: dst}},
		"no request id yet, and another's pre": {at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed), start("req", wire.NovaRollback)},
	} {
		for found, change := range rows {
			for _, to := range []string{dst, third} {
				d := newDrive(suspended, ready("p1"), ready("p2"))
				d.tell(says...)
				switch found {
				case "one of two was moved":
					d.ports = []port.Port{ready("p1"), with(moved)}
					d.ports[1].ID = "p2"
				case "there are no ports now":
					d.ports = nil
				default:
					d.ports = []port.Port{with(change), with(change)}
					d.ports[1].ID = "p2"
				}
				was, goal := d.Current(), d.Current().goals["p1"]
				if goal.Kind != GoalRestore {
					t.Fatalf("%s: is aimed at %+v", name, goal)
				}
				late := toA(to, "old")
				got := d.tell(late)
				want := []Decision{AskHosts{Why: "Nova says that a migration begins from " + src + " to " + to + ", and ports are still being brought back to " + src}, Arm{}}
				if d.Current() != was || len(endsIn(got)) > 0 || len(got) < 2 || !slices.Equal(got[:2], want) || len(aims(got)) > 0 {
					t.Errorf("%s, %s, to %s: decides %+v", name, found, to, got)
					continue
				}
				// The other messages of it read the rows again, and ask nobody.
				late.Ended = true
				if got := d.tell(late); d.Current() != was || !slices.Equal(got, []Decision{Arm{}}) || was.goals["p1"] != goal {
					t.Errorf("%s, %s, to %s: its end decides %+v", name, found, to, got)
				}
				d.ports = []port.Port{{ID: "p1"}, {ID: "p2"}}
				if ends := endsIn(d.finish(true)); !slices.Equal(ends, []Outcome{OutcomeRestored}) {
					t.Errorf("%s, %s, to %s: ends %v", name, found, to, ends)
				}
			}
		}
	}
}

// What Neutron shows prepared where the guest is, with nothing left there to be brought back, is
// another migration; to the same host not before Nova has rolled the failed one back.
func TestAPreThatTheRowsAgreeWithEndsARestore(t *testing.T) {
	failed := append(toThePause(), at(src, 2, SignResumed))
	rolledBack := append(slices.Clone(failed), ended("req", wire.NovaRollback))
	for name, c := range map[string]struct {
		says []Input
		to   string
		ends bool
	}{
		"a second attempt":                      {rolledBack, dst, true},
		"a left-over":                           {[]Input{LeftOver{Host: src, Other: dst}}, dst, true},
		"the failed one's own rows":             {failed, dst, false},
		"to a third host":                       {failed, third, true},
		"to a third host, Nova has rolled back": {rolledBack, third, true},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(c.says...)
		was := d.Current()
		d.ports = []port.Port{with(func(p *port.Port) {
			p.Rows[0].Profile, p.Rows[1].Host = map[string]any{port.MigratingTo: c.to}, c.to
		})}
		got := d.tell(toA(c.to, "next"))
		if c.ends != slices.Equal(endsIn(got), []Outcome{OutcomeSuperseded}) || !c.ends && d.Current() != was {
			t.Errorf("%s: decides %+v", name, got)
			continue
		}
		if c.ends {
			wantHosts(t, d, "next", src, c.to)
			wantPhase(t, d, Watching)
			if !d.Current().armed {
				t.Errorf("%s: its ports are not read", name)
			}
		}
	}
}

// Whatever the rows say, a guest that comes in is another migration's.
func TestAGuestThatComesInEndsARestoreAfterAPreThatWasDoubted(t *testing.T) {
	for to, request := range map[string]string{dst: "", third: "next"} {
		d := newDrive(suspended, ready("p1"))
		d.tell(append(toThePause(), at(src, 2, SignResumed))...)
		d.ports = []port.Port{with(moved)}
		d.tell(toA(to, "next"))
		d.ports = []port.Port{with(func(p *port.Port) {
			p.Rows[0].Profile, p.Rows[1].Host = map[string]any{port.MigratingTo: to}, to
		})}
		if ends := endsIn(d.tell(at(to, 9, SignStarted))); !slices.Equal(ends, []Outcome{OutcomeSuperseded}) {
			t.Errorf("to %s: ends %v", to, ends)
		}
		wantHosts(t, d, request, src, to)
		d.tell(start("next", wire.NovaPost)) // says what request it is
		wantHosts(t, d, "next", src, to)
	}
}

// What is read in the middle of a restore shows no driver: it does not make earlybind's own what it
// would not have moved.
func TestWhatIsReadForAPreThatIsDoubtedChangesNoGoal(t *testing.T) {
	d := newDrive(Settings{Policy: PolicyAuto, Repair: RepairOwn, ConcurrentActivateSafe: true}, with(func(p *port.Port) { p.Driver = "strange" }))
	d.tell(append(toThePause(), at(src, 2, SignResumed))...)
	d.ports = []port.Port{with(func(p *port.Port) { moved(p); p.Rows[1].VIFType, p.Driver = port.VIFUnbound, "" })}
	if got := aims(d.tell(toA(dst, "old"))); len(got) != 0 || d.Current().Driver("p1") != "strange" {
		t.Errorf("aims %+v, driver %q", got, d.Current().Driver("p1"))
	}
}
