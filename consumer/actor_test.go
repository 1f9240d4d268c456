package consumer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// stage is a registry with its actors in a bubble.
type stage struct {
	*kit
	r    *registry
	mu   sync.Mutex
	done []string // what was settled
	sent uint64   // messages so far, for the hosts' sequences
	// flavor is what Nova's notifications say of the instance.
	flavor wire.Flavor
}

func act(t *testing.T, n *neutron, test func(*testing.T, *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{kit: newKit(n)}
		ctx, cancel := context.WithCancel(t.Context())
		s.r = newRegistry(ctx, s.tools)
		test(t, s)
		cancel()
		s.r.wait()
	})
}

// minutes lets time pass, with what the session does each minute.
func (s *stage) minutes(n time.Duration) {
	for range n {
		pass(time.Minute)
		s.r.sweep()
	}
}

func (s *stage) settle(name string) func() {
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.done = append(s.done, name)
	}
}

func (s *stage) settled() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.done)
}

func (s *stage) host(host string, event wire.Event, detail wire.Detail) {
	s.sent++
	e := wire.HostEvent{
		Schema: wire.SchemaVersion, Host: host, Order: wire.Order{Epoch: 1, Sequence: s.sent}, Instance: guest, Event: event, Detail: detail,
	}
	s.r.event(e, 5*time.Second, false, s.settle(fmt.Sprintf("%s %s/%s", host, event, detail)))
	synctest.Wait()
}

func (s *stage) nova(request string, step wire.NovaStep, ended bool) {
	e := wire.NovaEvent{Instance: guest, RequestID: request, Step: step, Ended: ended, PublisherHost: src, PayloadHost: src, Flavor: s.flavor}
	if step == wire.NovaPre || step == wire.NovaPostDest {
		e.PublisherHost = dst
	}
	s.r.nova(e, false, s.settle(fmt.Sprintf("%s %s %t", request, step, ended)))
	synctest.Wait()
}

func (s *stage) states(host string, reconnected bool, domains ...wire.DomainState) {
	s.sent++
	s.r.states(wire.HostStates{
		Schema: wire.SchemaVersion, Host: host, Order: wire.Order{Epoch: 1, Sequence: s.sent}, Reconnected: reconnected, Domains: domains,
	})
	synctest.Wait()
}

func pass(span time.Duration) {
	<-time.After(span)
	synctest.Wait()
}

// story puts the audit lines into words: event, port, what was decided or came
// of it.
func (s *stage) story() []string {
	var out []string
	for _, l := range s.all() {
		words := []string{string(l.Event)}
		for _, w := range []string{l.Port, l.Host, l.Decided, l.Outcome} {
			if w != "" {
				words = append(words, w)
			}
		}
		out = append(out, strings.Join(words, " "))
	}
	return out
}

func wantStory(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("the story is\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func (s *stage) toThePause() {
	s.nova("req", wire.NovaPre, false)
	s.host(dst, wire.Started, wire.Migrated)
	s.host(src, wire.Suspended, wire.Migrated)
}

func TestASuccessfulMigrationAsItsAuditLinesTellIt(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		if len(s.settled()) != 0 {
			t.Errorf("settled before the end: %q", s.settled())
		}
		pass(200 * time.Millisecond)
		s.host(dst, wire.Resumed, wire.Migrated)
		s.host(src, wire.Stopped, wire.Migrated)
		pass(300 * time.Millisecond)
		s.nova("req", wire.NovaPost, false)
		s.nova("req", wire.NovaPostDest, true)
		pass(time.Second)
		wantStory(t, s.story(),
			"evidence.seen compute2",
			"handover.begun",
			"handover.armed armed",
			"evidence.seen compute2",
			"evidence.seen compute1",
			"port.decided p1 compute2 commit",
			"port.written p1 compute2 activate activated",
			"evidence.seen compute2",
			"evidence.seen compute1",
			"port.decided p1 compute2 verify",
			"evidence.seen compute1",
			"evidence.seen compute2",
			"port.decided p1 compute2 verify",
			"port.verified p1 compute2 verify rows right",
			"handover.ended migrated",
		)
		for _, l := range s.all() {
			if h := l.Handover; h.Instance != guest || h.RequestID != "req" || h.Source != src || h.Destination != dst {
				t.Errorf("a line cannot be understood alone: %+v", l)
			}
			if (l.Driver == "openvswitch") != (l.Port != "" || l.Event == audit.HandoverEnded) {
				t.Errorf("a line of a port, and the last, name the driver, and no other: %+v", l)
			}
		}
		end := s.last(t, audit.HandoverEnded)
		if reaction, told := end.Figures["reaction_ms"]; end.Driver != "openvswitch" || !told || reaction != 0 {
			t.Errorf("driver %q, figures %v", end.Driver, end.Figures)
		}
		if end.Figures["lead_ms"] != 500 || end.Figures["pause_to_arrival_ms"] != 200 || end.Figures["pause_to_activate_ms"] != 0 {
			t.Errorf("figures %v", end.Figures)
		}
		s.wantAllSettledOnce(t, 7)
		if a := s.r.actors[guest]; a.core.Current() != nil || a.workers != nil || len(a.held) != 0 {
			t.Error("the actor remembers the handover")
		}
	})
}

func (s *stage) wantAllSettledOnce(t *testing.T, want int) {
	t.Helper()
	if len(s.settled()) != want || len(slices.Compact(slices.Sorted(slices.Values(s.settled())))) != want {
		t.Errorf("settled %q, want each of %d once", s.settled(), want)
	}
}

func TestAFailedMigrationAsItsAuditLinesTellIt(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.host(dst, wire.Stopped, wire.Failed)
		s.host(src, wire.Resumed, wire.Unpaused)
		s.nova("req", wire.NovaRollback, false)
		s.nova("req", wire.NovaRollback, true)
		pass(time.Minute)
		wantStory(t, s.story(),
			"evidence.seen compute2",
			"handover.begun",
			"handover.armed armed",
			"evidence.seen compute2",
			"evidence.seen compute1",
			"port.decided p1 compute2 commit",
			"port.written p1 compute2 activate activated",
			"evidence.seen compute2",
			"port.decided p1 compute1 restore",
			"port.written p1 compute1 activate answered",
			"port.written p1 compute1 rebind answered",
			"evidence.seen compute1",
			"evidence.seen compute1",
			"evidence.seen compute1",
			"port.decided p1 compute1 restore",
			"port.verified p1 done",
			"port.verified p1 compute1 restore rows right",
			"handover.ended restored",
		)
		s.wantAllSettledOnce(t, 7)
		p := clone(s.neutron.ports["p1"])
		if right, why := p.RightOn(src); !right {
			t.Error(why)
		}
	})
}

func TestObserveWritesNothingAndSaysWhatItWouldHaveGained(t *testing.T) {
	for _, failed := range []bool{false, true} {
		act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
			s.tools.settings = handover.Settings{Policy: handover.PolicyObserve, Repair: handover.RepairOwn, ConcurrentActivateSafe: true}
			s.toThePause()
			if failed {
				s.host(src, wire.Resumed, wire.Unpaused)
				s.nova("req", wire.NovaRollback, true)
				s.neutron.change("p1", func(p *port.Port) { p.Rows = p.Rows[:1]; p.Rows[0].Profile = nil })
			} else {
				pass(time.Second)
				s.host(src, wire.Stopped, wire.Migrated)
				s.nova("req", wire.NovaPost, false)
				s.neutron.change("p1", func(p *port.Port) { *p = *committed("p1") })
				s.nova("req", wire.NovaPostDest, true)
			}
			pass(time.Minute)
			if got := s.neutron.writes(); len(got) != 0 {
				t.Errorf("writes %q", got)
			}
			if got := s.of(audit.PortObserved); len(got) != 1 || got[0].Why != "EARLYBIND_POLICY=observe" {
				t.Errorf("observed %+v", got)
			}
			end := s.last(t, audit.HandoverEnded)
			if failed && end.Outcome != "restored" || !failed && (end.Outcome != "migrated" || end.Figures["would_lead_suspended_ms"] != 1000) {
				t.Errorf("%+v", end)
			}
		})
	}
}

// The flavour is of the last line alone, and of the migration that Nova named it in: an
// instance may be resized between two.
func TestTheEndOfAHandoverNamesTheFlavor(t *testing.T) {
	large, larger := wire.Flavor{Name: "m1.large", MemoryMB: 8192, VCPUs: 4}, wire.Flavor{Name: "m1.xlarge", MemoryMB: 16384, VCPUs: 8}
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		for _, flavor := range []wire.Flavor{large, larger, {}} {
			s.flavor = flavor
			request := "req of " + flavor.Name
			s.nova(request, wire.NovaPre, false)
			s.nova(request, wire.NovaPre, true)
			s.host(dst, wire.Started, wire.Migrated)
			s.flavor = wire.Flavor{} // as the two ERROR notifications
			s.host(src, wire.Suspended, wire.Migrated)
			s.host(src, wire.Resumed, wire.Unpaused)
			s.nova(request, wire.NovaRollback, true)
			pass(time.Minute)
			for _, l := range s.all() {
				if l.Handover.RequestID == request && l.Event != audit.HandoverEnded && l.Flavor != "" {
					t.Errorf("%s has a flavour", l.Event)
				}
			}
			end := s.last(t, audit.HandoverEnded)
			memory, told := end.Figures["memory_mb"]
			if end.Handover.RequestID != request || end.Flavor != flavor.Name || memory != int64(flavor.MemoryMB) ||
				end.Figures["vcpus"] != int64(flavor.VCPUs) || told != (flavor.MemoryMB > 0) {
				t.Errorf("%+v, want %+v", end, flavor)
			}
		}
	})
}

func TestThePortsOfAnInstanceAreCommittedAtOnce(t *testing.T) {
	act(t, newNeutron(prepared("p1"), prepared("p2"), prepared("p3")), func(t *testing.T, s *stage) {
		s.neutron.answer = on("activate", func(ctx context.Context) (bool, error) { <-time.After(time.Second); return true, nil })
		s.toThePause()
		pass(time.Second + time.Millisecond)
		for _, id := range []string{"p1", "p2", "p3"} {
			p := clone(s.neutron.ports[id])
			if right, why := p.RightOn(dst); !right {
				t.Errorf("%s: %s", id, why)
			}
		}
	})
}

func TestASupersededHandoverEndsItsWorkAndSettlesItsMessages(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.neutron.answer = on("activate", never)
		s.toThePause()
		before := len(s.story())
		s.nova("req-2", wire.NovaPre, false)
		story := slices.DeleteFunc(s.story()[before:], func(line string) bool { return strings.HasPrefix(line, "port.") })
		wantStory(t, story, "handover.alarm nothing is changed; look where the guest runs: virsh list on both hosts", "handover.ended superseded", "evidence.seen compute2", "handover.begun", "handover.armed armed")
		if got := s.of(audit.HandoverEnded); got[0].Handover.RequestID != "req" || got[0].Phase != "" || got[0].Driver != "openvswitch" {
			t.Errorf("the end of the first: %+v", got[0])
		}
		if got := s.last(t, audit.HandoverBegun); got.Handover.RequestID != "req-2" {
			t.Errorf("%+v", got)
		}
		s.wantAllSettledOnce(t, 3)
	})
}

// Two writes at once for one port can end with either, and hurt Nova on an old Neutron: the
// next handover waits for the answer to the last one's, and knows that it may come true yet.
func TestAPortIsWrittenByOneHandoverAtATime(t *testing.T) {
	for _, more := range []int{0, 1} {
		act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
			var underWay, most, activates atomic.Int32
			s.neutron.answer = func(ctx context.Context, call string) (bool, error) {
				if strings.HasPrefix(call, "read") || strings.HasPrefix(call, "ports") {
					return true, nil
				}
				most.Store(max(most.Load(), underWay.Add(1)))
				defer underWay.Add(-1)
				if strings.HasPrefix(call, "activate") && activates.Add(1) == 1 {
					return never(ctx)
				}
				return true, nil
			}
			s.toThePause()
			request := "req-2"
			s.nova(request, wire.NovaPre, false)
			for range more { // and one that ends before the answer came
				s.host(dst, wire.Started, wire.Migrated)
				s.host(src, wire.Suspended, wire.Migrated)
				request = "req-3"
				s.nova(request, wire.NovaPre, false)
			}
			s.host(dst, wire.Started, wire.Migrated)
			s.host(src, wire.Suspended, wire.Migrated)
			s.host(dst, wire.Stopped, wire.Failed)
			s.host(src, wire.Resumed, wire.Unpaused)
			s.nova(request, wire.NovaRollback, false)
			s.nova(request, wire.NovaRollback, true)
			pass(requestTimeout + unknownWatch - time.Second)
			if got := s.last(t, audit.HandoverEnded).Handover.RequestID; got == request {
				t.Errorf("%s has ended while the last handover's activate may still come true", got)
			}
			pass(time.Minute)
			if most.Load() != 1 {
				t.Errorf("%d writes at once\n%s", most.Load(), strings.Join(s.story(), "\n"))
			}
			if got := s.last(t, audit.HandoverEnded); got.Handover.RequestID != request {
				t.Errorf("%+v", got)
			}
			if right, why := clone(s.neutron.ports["p1"]).RightOn(src); !right {
				t.Error(why)
			}
		})
	}
}

func TestAResultOfASupersededHandoverIsDropped(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		answered := make(chan struct{})
		s.neutron.answer = func(ctx context.Context, call string) (bool, error) {
			if strings.HasPrefix(call, "ports") {
				<-answered // even if the caller has given up
			}
			return true, nil
		}
		s.nova("req", wire.NovaPre, false)
		s.nova("req-2", wire.NovaPre, false)
		close(answered)
		synctest.Wait()
		armed := s.of(audit.HandoverArmed)
		if len(armed) != 1 || armed[0].Handover.RequestID != "req-2" {
			t.Errorf("%+v", armed)
		}
	})
}

func TestMessagesAreHeldAtMostForTenMinutes(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaPre, false)
		s.minutes(holdFor/time.Minute - 1)
		s.host(dst, wire.Started, wire.Migrated)
		if len(s.settled()) != 0 {
			t.Errorf("settled %q", s.settled())
		}
		s.minutes(2)
		if !slices.Equal(s.settled(), []string{"req pre false"}) {
			t.Errorf("settled %q", s.settled())
		}
		s.minutes(holdFor / time.Minute)
		s.wantAllSettledOnce(t, 2)
	})
}

func TestASilentHandoverExpires(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaPre, false)
		s.minutes(expireAfter/time.Minute - 2)
		if len(s.of(audit.HandoverEnded)) != 0 {
			t.Error("ended too early")
		}
		s.minutes(5)
		if l := s.last(t, audit.HandoverEnded); l.Outcome != "expired" {
			t.Errorf("%+v", l)
		}
		s.wantAllSettledOnce(t, 1)
	})
}

// Nor does it keep an instance that has none: some host lists its domains every few minutes.
func TestListsDoNotKeepAnInstance(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaRefused, true)
		for range 4 {
			if len(s.r.actors) != 1 {
				t.Error("forgotten too early")
			}
			s.minutes(2)
			s.states("compute3", false)
		}
		s.minutes(rememberFor / time.Minute / 2)
		if len(s.r.actors) != 0 {
			t.Error("it is remembered")
		}
	})
}

// Hosts list their domains whenever another instance's handover asks: that is no word of this
// one's migration, unless its guest comes in somewhere, or is paused.
func TestListsDoNotKeepAHandoverOpen(t *testing.T) {
	for name, c := range map[string]struct {
		host    string
		domains []wire.DomainState
		want    string
	}{
		"running on the source": {src, []wire.DomainState{{Instance: guest, State: "running"}}, "expired"},
		"absent":                {dst, nil, "expired"},
		"comes in":              {dst, []wire.DomainState{{Instance: guest, State: "paused", Incoming: true}}, ""},
		"paused to migrate":     {src, []wire.DomainState{{Instance: guest, State: "paused", Reason: "migration"}}, ""},
		"in post-copy":          {src, []wire.DomainState{{Instance: guest, State: "paused", Reason: "postcopy"}}, ""},
	} {
		act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
			s.nova("req", wire.NovaPre, false)
			for range 6 {
				s.minutes(10)
				s.states(c.host, false, c.domains...)
			}
			got := ""
			if ended := s.of(audit.HandoverEnded); len(ended) > 0 {
				got = ended[0].Outcome
			}
			if got != c.want {
				t.Errorf("%s: ended %q, want %q", name, got, c.want)
			}
		})
	}
}

func TestMessagesOfNoHandoverAreSettledAtOnce(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.nova("req", wire.NovaRefused, false)
		s.host(src, wire.Resumed, wire.Unpaused)
		s.host(src, wire.Defined, "added")
		s.wantAllSettledOnce(t, 3)
		if got := s.all(); len(got) != 0 {
			t.Errorf("lines %+v", got)
		}
	})
}

func TestNeutronThatIsAwayIsAskedAgainForTheRows(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		tries := 0
		s.neutron.answer = on("ports", func(context.Context) (bool, error) {
			if tries++; tries <= 3 {
				return false, errTest
			}
			return true, nil
		})
		s.nova("req", wire.NovaPre, false)
		pass(time.Minute)
		got := s.of(audit.HandoverArmed)
		if len(got) != 4 || got[0].Err == nil || got[0].Outcome != "failed" || got[3].Outcome != "armed" {
			t.Errorf("%+v", got)
		}
	})
}

func TestRowsThatComeTooLateAreNotCommitted(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.neutron.answer = on("ports", func(context.Context) (bool, error) { <-time.After(6 * time.Second); return true, nil })
		s.toThePause()
		pass(7 * time.Second)
		if got := s.neutron.writes(); len(got) != 0 {
			t.Errorf("writes %q", got)
		}
		if l := s.last(t, audit.PortObserved); !strings.Contains(l.Why, "too old") {
			t.Errorf("%+v", l)
		}
	})
}

func TestAnAlarmTellsWhatToDo(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		s.host(src, wire.Resumed, wire.Migrated)
		s.host(dst, wire.Resumed, wire.Migrated)
		pass(time.Second)
		before := s.neutron.writes()
		pass(5 * time.Minute)
		if after := s.neutron.writes(); len(after) != len(before) {
			t.Errorf("writes after the alarm: %q", after[len(before):])
		}
		if got := s.of(audit.HandoverAlarm); len(got) != 1 || !strings.Contains(got[0].Decided, "virsh list") || got[0].Phase != "contradicted" {
			t.Errorf("%+v", got)
		}
	})
}

func TestAForgedRollBackAsksThePublishers(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		s.toThePause()
		before := s.neutron.writes()
		s.nova("req", wire.NovaRollback, true)
		pass(20 * time.Second)
		if got := s.neutron.writes(); s.asked.Load() != 1 || len(got) != len(before) {
			t.Errorf("asked %d times, writes %q", s.asked.Load(), got)
		}
	})
}

func TestTheEndOfTheSessionEndsEverythingAndSettlesNothing(t *testing.T) {
	for _, stuck := range []string{"ports", "activate", "read", "nothing"} {
		n := newNeutron(prepared("p1"))
		var s *stage
		act(t, n, func(t *testing.T, on1 *stage) {
			s = on1
			n.answer = on(stuck, never)
			s.toThePause()
			// act cancels and waits.
		})
		if len(s.settled()) != 0 {
			t.Errorf("%s: settled %q: the next replica would not be given them", stuck, s.settled())
		}
	}
}

func TestAResultOfAHandoverThatHasEndedIsDropped(t *testing.T) {
	a := newActor(guest, newKit(newNeutron()).tools)
	ofHandover, end := context.WithCancel(t.Context())
	ran := 0
	a.post(ofHandover, func() { ran++ })
	end()
	a.post(ofHandover, func() { ran++ })
	if ran != 1 {
		t.Errorf("%d results were taken, want the first", ran)
	}
}
