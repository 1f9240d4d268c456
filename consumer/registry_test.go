package consumer

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

var (
	runs     = wire.DomainState{Instance: guest, State: "running", Reason: "migrated"}
	incoming = wire.DomainState{Instance: guest, State: "paused", Reason: "migration", Incoming: true}
	outgoing = wire.DomainState{Instance: guest, State: "paused", Reason: "migration"}

	inPostCopy     = wire.DomainState{Instance: guest, State: "paused", Reason: "postcopy"}
	postCopyFailed = wire.DomainState{Instance: guest, State: "paused", Reason: "postcopy_failed"}
)

func (s *stage) phase() string {
	if a, ok := s.r.actors[guest]; ok && a.core.Current() != nil {
		return a.core.Current().Phase().String()
	}
	return "-"
}

func TestSignsOfEvents(t *testing.T) {
	for e, want := range map[[2]string]handover.Sign{
		{"started", "migrated"}: handover.SignStarted, {"started", "booted"}: 0, {"started", "restored"}: 0,
		{"suspended", "migrated"}: handover.SignPaused, {"suspended", "postcopy"}: handover.SignPostCopy,
		{"suspended", "paused"}: handover.SignArrivedPaused, {"suspended", "postcopy_failed"}: handover.SignPostCopyFailed, {"suspended", "ioerror"}: handover.SignHalted,
		{"resumed", "unpaused"}: handover.SignResumed, {"resumed", "migrated"}: handover.SignResumed,
		{"resumed", "postcopy"}: handover.SignResumed, {"resumed", "unknown-9"}: handover.SignResumed,
		{"stopped", "migrated"}: handover.SignLeft, {"stopped", "failed"}: handover.SignStopped, {"stopped", "destroyed"}: handover.SignStopped,
		{"shutdown", "host"}: 0, {"defined", "added"}: 0, {"undefined", "removed"}: 0, {"unknown-42", "x"}: 0,
	} {
		got, ok := signOf(wire.HostEvent{Event: wire.Event(e[0]), Detail: wire.Detail(e[1])})
		if ok != (want != 0) || ok && got != want {
			t.Errorf("%v: %s, %t", e, got, ok)
		}
	}
}

func TestSignsOfStates(t *testing.T) {
	for _, c := range []struct {
		state wire.DomainState
		want  handover.Sign
	}{
		{runs, handover.SignRunning}, {incoming, handover.SignStarted}, {outgoing, handover.SignPaused},
		{wire.DomainState{State: "shutoff", Reason: "migrated"}, handover.SignAbsent},
		{inPostCopy, handover.SignPostCopy}, {postCopyFailed, handover.SignPostCopyFailed},
		{wire.DomainState{State: "running", Reason: "postcopy"}, handover.SignRunning}, {wire.DomainState{State: "running", Reason: "postcopy_failed"}, handover.SignRunning},
		{wire.DomainState{State: "paused", Reason: "migration", Incoming: true}, handover.SignStarted},
		{wire.DomainState{State: "crashed"}, 0}, {wire.DomainState{}, 0},
	} {
		got, ok := signOfState(c.state)
		if ok != (c.want != 0) || ok && got != c.want {
			t.Errorf("%+v: %s, %t", c.state, got, ok)
		}
	}
	// No migration's: libvirt's other reasons for a pause, one that its binding does not know, and none.
	for _, reason := range []string{
		"unknown", "user", "save", "dump", "ioerror", "watchdog", "from_snapshot", "shutting_down", "snapshot", "crashed", "starting_up", "api_error",
		"unknown-15", "",
	} {
		if got, ok := signOfState(wire.DomainState{State: "paused", Reason: reason}); !ok || got != handover.SignArrivedPaused {
			t.Errorf("paused/%s: %s, %t", reason, got, ok)
		}
	}
}

// The events were lost, as where the publisher was started again meanwhile: the hosts' lists tell
// the same, and an operator is told once.
func TestAFailedPostCopyThatOnlyListsTell(t *testing.T) {
	for name, c := range map[string]struct {
		heard   []wire.Detail // of the source's events after the pause
		arrived bool
		lists   []wire.DomainState // the source's, in turn
	}{
		"all of it":                              {nil, true, []wire.DomainState{postCopyFailed}},
		"that it has failed":                     {[]wire.Detail{wire.PostCopy}, true, []wire.DomainState{postCopyFailed}},
		"and that it goes on":                    {nil, true, []wire.DomainState{inPostCopy, postCopyFailed}},
		"that it goes on, and that it has ended": {nil, false, []wire.DomainState{inPostCopy}},
	} {
		t.Run(name, func(t *testing.T) {
			act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
				s.toThePause()
				for _, detail := range c.heard {
					s.host(src, wire.Suspended, detail)
				}
				if c.arrived {
					s.host(dst, wire.Resumed, wire.PostCopy)
				}
				for range 3 {
					for _, d := range c.lists {
						s.states(src, false, d)
					}
					s.states(dst, false)
				}
				if got := s.of(audit.HandoverAlarm); s.phase() != "lost" || len(got) != 1 || !strings.Contains(got[0].Why, "post-copy has failed") {
					t.Errorf("in phase %s, %d alarms: %+v", s.phase(), len(got), got)
				}
				if got := s.neutron.writes(); slices.ContainsFunc(got, func(w string) bool { return w != "activate p1 "+dst }) {
					t.Errorf("writes %q", got)
				}
			})
		})
	}
}

func TestAListInPostCopyIsNoArrivalAndCommitsNothingByItself(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaPre, false)
		s.states(dst, true, incoming)
		s.states(src, true, inPostCopy)
		if got := s.neutron.writes(); s.phase() != "postcopy" || len(got) != 0 {
			t.Errorf("in phase %s, writes %q", s.phase(), got)
		}
		s.host(src, wire.Stopped, wire.Migrated)
		if s.phase() != "left" {
			t.Errorf("in phase %s", s.phase())
		}
	})
}

// A post-copy proves that a migration runs: it is learnt before that events were missed, as a pause is.
func TestAPostCopyInAListIsLearntAsAPauseIs(t *testing.T) {
	for _, sign := range []handover.Sign{handover.SignPaused, handover.SignPostCopy} {
		if got := signsOfList(sign, true, true); !slices.Equal(got, []handover.Sign{sign, handover.SignMissedEvents}) {
			t.Errorf("%s: %v", sign, got)
		}
	}
}

func TestAnIncomingGuestInAListBeginsAHandover(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.states(dst, true, incoming)
		if l := s.last(t, audit.HandoverBegun); l.Handover.Destination != dst || s.phase() != "watching" {
			t.Errorf("%+v in %s", l, s.phase())
		}
		s.states(dst, true, incoming)
		if got := s.of(audit.HandoverBegun); len(got) != 1 {
			t.Errorf("the next list begins another: %+v", got)
		}
	})
}

func TestOtherGuestsInAListBeginNothing(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.states(src, true, outgoing, wire.DomainState{Instance: "other", State: "shutoff"})
		if len(s.r.actors) != 0 {
			t.Errorf("%d actors", len(s.r.actors))
		}
	})
}

func TestAListTellsWhatALostEventWouldHave(t *testing.T) {
	for _, c := range []struct {
		name string
		host string
		list []wire.DomainState
		want string
	}{
		{"the guest runs on the source again", src, []wire.DomainState{runs}, "failed"},
		{"it has gone from the destination", dst, nil, "failed"},
		{"it is shut off on the destination", dst, []wire.DomainState{{Instance: guest, State: "shutoff"}}, "failed"},
		{"it still comes in", dst, []wire.DomainState{incoming}, "paused"},
		{"it stands still on the source", src, []wire.DomainState{outgoing}, "paused"},
		{"another host does not have it", "compute3", nil, "paused"},
		{"another host has it running", "compute3", []wire.DomainState{runs}, "paused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
				s.toThePause()
				s.states(c.host, false, c.list...)
				if s.phase() != c.want {
					t.Errorf("phase %s, want %s", s.phase(), c.want)
				}
				seen := slices.ContainsFunc(s.of(audit.EvidenceSeen), func(l audit.Line) bool { return l.Host == "compute3" })
				if seen {
					t.Error("a list of a host that has no part in it has a line")
				}
			})
		})
	}
}

func TestAListAfterTheLastEventWasLostSettlesTheGuestsPlace(t *testing.T) {
	act(t, newNeutron(committed("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.host(dst, wire.Resumed, wire.Migrated)
		s.states(src, true)
		if s.phase() != "left" {
			t.Errorf("phase %s", s.phase())
		}
	})
}

func TestARunningGuestAfterItsLibvirtWasAwayIsDoubted(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.states(dst, true, runs)
		if s.phase() != "paused" {
			t.Errorf("phase %s", s.phase())
		}
		s.states(dst, false, runs)
		if s.phase() != "paused" {
			t.Errorf("phase %s after another list", s.phase())
		}
	})
}

func TestAnOldListIsNoNews(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.states(src, false, outgoing)
		s.r.states(wire.HostStates{Host: src, Order: wire.Order{Epoch: 1, Sequence: 1}, Domains: []wire.DomainState{runs}})
		s.r.states(wire.HostStates{Host: src, Order: wire.Order{Epoch: 1, Sequence: s.sent}, Domains: []wire.DomainState{runs}})
		synctest.Wait()
		if s.phase() != "paused" {
			t.Errorf("phase %s", s.phase())
		}
	})
}

func TestAnInstanceIsForgottenTenMinutesAfterItsLastWord(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaRefused, false)
		pass(rememberFor - time.Second)
		s.r.sweep()
		if len(s.r.actors) != 1 {
			t.Error("forgotten too early")
		}
		pass(2 * time.Second)
		s.r.sweep()
		if len(s.r.actors) != 0 {
			t.Error("not forgotten")
		}
		synctest.Wait()
		s.nova("req", wire.NovaPre, false)
		if s.phase() != "watching" {
			t.Errorf("a new migration after it: %s", s.phase())
		}
		pass(time.Hour / 2)
		s.r.sweep()
		if len(s.r.actors) != 1 {
			t.Error("a handover that goes on was forgotten")
		}
	})
}

func TestAMessageThatCameJustBeforeTheSweepIsNotLost(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaRefused, false)
		pass(rememberFor + time.Minute)
		e := wire.NovaEvent{Instance: guest, RequestID: "req-2", Step: wire.NovaPre, PublisherHost: dst, PayloadHost: src}
		s.r.nova(e, false, s.settle("pre"))
		s.r.sweep() // before the actor has taken it
		synctest.Wait()
		if s.phase() != "watching" {
			t.Errorf("phase %s", s.phase())
		}
	})
}

func TestTwoInstancesDoNotMix(t *testing.T) {
	other := prepared("p9")
	other.Device = "other"
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.r.event(wire.HostEvent{Host: src, Order: wire.Order{Epoch: 1, Sequence: 99}, Instance: "other", Event: wire.Resumed}, 0, false, s.settle("other"))
		synctest.Wait()
		if s.phase() != "paused" || !slices.Equal(s.settled(), []string{"other"}) {
			t.Errorf("phase %s, settled %q", s.phase(), s.settled())
		}
	})
}

func TestLeftOversAreLookedForOncePerHostAndTwiceOverAMinute(t *testing.T) {
	act(t, newNeutron(committed("p1")), func(t *testing.T, s *stage) {
		s.states(src, true, runs)
		s.states(src, true, runs)
		pass(leftOverPatience - time.Second)
		if got := s.neutron.called(); !slices.Equal(got, []string{"ports on compute1"}) {
			t.Errorf("calls %q", got)
		}
		f := <-s.r.leftOvers
		s.states(src, false, runs) // its host was asked
		s.r.leftOver(f)
		pass(time.Second)
		if l := s.last(t, audit.HandoverEnded); l.Outcome != "restored" || l.Handover.Source != src || l.Handover.Destination != dst {
			t.Errorf("%+v", l)
		}
		p := clone(s.neutron.ports["p1"])
		if right, why := p.RightOn(src); !right {
			t.Error(why)
		}
	})
}

func TestASearchForLeftOversOutlastsANeutronThatDoesNotAnswer(t *testing.T) {
	n := newNeutron(committed("p1"))
	refused := map[string]int{}
	n.answer = func(_ context.Context, call string) (bool, error) {
		if refused[call] < 2 {
			refused[call]++
			return false, errors.New("503")
		}
		return true, nil
	}
	act(t, n, func(t *testing.T, s *stage) {
		s.states(src, true, runs)
		f := <-s.r.leftOvers
		want := map[string]int{"ports on compute1": 2, "ports " + guest: 2}
		if f.instance != guest || f.input.Other != dst || !maps.Equal(refused, want) {
			t.Errorf("%+v after refusals %v", f, refused)
		}
		if got := len(s.of(audit.LeftOversRead)); got != 2+1+1+2 {
			t.Errorf("%d lines, want one for each failure and each answer of a search", got)
		}
	})
}

func TestWhatNovaMendsWithinAMinuteIsNoLeftOver(t *testing.T) {
	act(t, newNeutron(committed("p1")), func(t *testing.T, s *stage) {
		s.states(src, true, runs)
		pass(leftOverPatience / 2)
		s.neutron.change("p1", func(p *port.Port) { *p = *prepared("p1") })
		pass(leftOverPatience)
		select {
		case f := <-s.r.leftOvers:
			t.Errorf("%+v", f)
		default:
		}
		if got := s.neutron.writes(); len(got) != 0 {
			t.Errorf("writes %q", got)
		}
	})
}

func TestGuestsThatDoNotRunHereAreNoLeftOvers(t *testing.T) {
	act(t, newNeutron(committed("p1")), func(t *testing.T, s *stage) {
		s.states(src, true, outgoing)
		s.states(dst, true, wire.DomainState{Instance: "other", State: "running"})
		pass(2 * leftOverPatience)
		if got := strings.Join(s.neutron.called(), " "); strings.Contains(got, "ports "+guest) || strings.Contains(got, "on compute1") {
			t.Errorf("calls %q", got)
		}
	})
}

func TestALeftOverOfAGuestThatRunsOnTwoHostsIsOnlyTold(t *testing.T) {
	act(t, newNeutron(committed("p1")), func(t *testing.T, s *stage) {
		s.states(src, true, runs)
		s.states(dst, true, runs)
		f := <-s.r.leftOvers
		s.states(src, false, runs)
		s.states(dst, false, runs)
		s.r.leftOver(f)
		synctest.Wait()
		if got := s.neutron.writes(); len(got) != 0 {
			t.Errorf("writes %q", got)
		}
		if l := s.last(t, audit.HandoverAlarm); !strings.Contains(l.Why, "do not agree") {
			t.Errorf("%+v", l)
		}
	})
}

func TestALeftOverDoesNotDisturbAHandover(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.r.leftOver(found{guest, handover.LeftOver{Host: src, Other: dst}, false})
		synctest.Wait()
		if s.phase() != "paused" || len(s.of(audit.HandoverBegun)) != 1 {
			t.Errorf("phase %s", s.phase())
		}
	})
}

// A list of a host that was away says two things of a guest, and the core decides
// after each.
func TestAListOfAHostThatWasAwayLeadsToNoCommitByHalfOfWhatItSays(t *testing.T) {
	for _, c := range []struct {
		name   string
		policy handover.Policy
		list   []wire.DomainState
	}{
		{"its publisher is heard of for the first time, and the guest is not there", handover.PolicySuspended, nil},
		{"the guest runs there, which is doubted", handover.PolicyResumed, []wire.DomainState{runs}},
	} {
		t.Run(c.name, func(t *testing.T) {
			act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
				s.tools.settings.Policy = c.policy
				s.nova("req", wire.NovaPre, false)
				if c.list != nil {
					s.host(dst, wire.Started, wire.Migrated)
				}
				s.host(src, wire.Suspended, wire.Migrated)
				s.states(dst, true, c.list...)
				if got := s.neutron.writes(); len(got) != 0 {
					t.Errorf("writes %q", got)
				}
			})
		})
	}
}

func TestAListOfAHostThatWasAwayDoubtsAGuestInAnyState(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.states(dst, true, wire.DomainState{Instance: guest, State: "crashed"})
		if l := s.last(t, audit.EvidenceSeen); l.Host != dst || !strings.Contains(l.Saw, "missed events") {
			t.Errorf("%+v", l)
		}
	})
}
