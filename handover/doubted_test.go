package handover

import (
	"slices"
	"testing"

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
