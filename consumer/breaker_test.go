package consumer

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// migrate has the guest migrate from the beginning, and tells whether its port
// was activated early.
func (s *stage) migrate(t *testing.T, request string, succeeds bool) bool {
	t.Helper()
	s.neutron.change("p1", func(p *port.Port) { *p = *prepared("p1") })
	before, ended := len(s.neutron.writes()), len(s.of(audit.HandoverEnded))
	s.nova(request, wire.NovaPre, false)
	s.host(dst, wire.Started, wire.Migrated)
	s.host(src, wire.Suspended, wire.Migrated)
	committed := slices.Contains(s.neutron.writes()[before:], "activate p1 "+dst)
	if succeeds {
		s.neutron.change("p1", func(p *port.Port) { *p = *committedPort("p1") })
		s.host(src, wire.Stopped, wire.Migrated)
		s.nova(request, wire.NovaPost, false)
		s.nova(request, wire.NovaPostDest, true)
	} else {
		s.host(src, wire.Resumed, wire.Unpaused)
		s.nova(request, wire.NovaRollback, true)
	}
	pass(time.Minute)
	if got := len(s.of(audit.HandoverEnded)); got != ended+1 {
		t.Fatalf("%s: %d handovers have ended: %q", request, got-ended, s.story())
	}
	return committed
}

func committedPort(id string) *port.Port {
	p := committed(id)
	p.Rows = p.Rows[1:]
	return p
}

func TestCommitsThatEndBadlyStopAndATrialResumesThem(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		for i := range 3 {
			if !s.migrate(t, fmt.Sprintf("bad-%d", i), false) {
				t.Fatalf("migration %d was not committed", i)
			}
		}
		stopped := s.of(audit.CommitsStopped)
		if len(stopped) != 1 {
			t.Fatalf("%+v", stopped)
		}
		if l := stopped[0]; l.Handover != (audit.Handover{Instance: guest, RequestID: "bad-2", Source: src, Destination: dst}) ||
			!strings.HasPrefix(l.Decided, "commits from compute1 to compute2 are stopped until 2000-01-01T01:0") ||
			l.Why != "3 bad outcomes in a row; the last: the migration failed after a commit" ||
			l.Figures["bad"] != 3 || l.Figures["stopped_ms"] != time.Hour.Milliseconds() {
			t.Errorf("%+v", l)
		}
		if s.migrate(t, "barred", true) {
			t.Error("committed although commits are stopped")
		}
		if l := s.last(t, audit.PortObserved); !strings.HasPrefix(l.Why, "commits from compute1 to compute2 are stopped until 2000-01-01T01:0") || !strings.HasSuffix(l.Why, "after 3 bad outcomes") {
			t.Errorf("%+v", l)
		}
		pass(time.Hour)
		if !s.migrate(t, "trial", true) {
			t.Error("the trial was not committed")
		}
		if got := s.of(audit.CommitsResumed); len(got) != 1 || got[0].Decided != "commits from compute1 to compute2 are resumed" || got[0].Handover.RequestID != "trial" {
			t.Errorf("%+v", got)
		}
		if !s.migrate(t, "after", true) || len(s.of(audit.CommitsStopped)) != 1 {
			t.Error("commits were not resumed")
		}
	})
}

func TestATrialThatEndsBadlyStopsCommitsForTwiceAsLong(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		for i := range 3 {
			s.migrate(t, fmt.Sprintf("bad-%d", i), false)
		}
		pass(time.Hour)
		if !s.migrate(t, "trial", false) {
			t.Error("the trial was not committed")
		}
		if l := s.last(t, audit.CommitsStopped); l.Figures["bad"] != 4 || l.Figures["stopped_ms"] != 2*time.Hour.Milliseconds() {
			t.Errorf("%+v", l)
		}
		pass(time.Hour)
		if s.migrate(t, "barred", true) {
			t.Error("committed although commits are stopped")
		}
	})
}

func TestAReplicaThatStartsAfreshCommits(t *testing.T) {
	act(t, newNeutron(prepared("p1")), func(t *testing.T, s *stage) {
		for i := range 3 {
			s.migrate(t, fmt.Sprintf("bad-%d", i), false)
		}
		if s.migrate(t, "barred", false) {
			t.Error("committed although commits are stopped")
		}
		s.tools.breaker = newBreaker(3, time.Hour, s.tools.clock)
		if !s.migrate(t, "afresh", false) {
			t.Error("not committed")
		}
	})
}

func TestASessionThatEndsLeavesItsTrialToTheNextAndItsBarsStand(t *testing.T) {
	b := newBreaker(1, time.Hour, func() time.Duration { return 2 * time.Hour })
	pair, other := handover.Circuit{Source: src, Destination: dst}, handover.Circuit{Driver: "openvswitch"}
	b.core.Judge(handover.Verdict{Circuit: pair, Result: handover.Bad}, 0, time.Time{})
	b.core.Judge(handover.Verdict{Circuit: other, Result: handover.Bad}, time.Hour+time.Minute, time.Time{})
	b.core.Take(handover.Try{Circuit: pair})
	b.abandon()
	bars := b.core.Bars()
	if len(bars) != 2 || bars[pair].Tried || bars[other].Until != 2*time.Hour+time.Minute {
		t.Errorf("%+v", bars)
	}
}

// Many instances at once, as their actors run: one of them is the trial.
func TestOneOfManyIsTheTrial(t *testing.T) {
	b := newBreaker(1, time.Nanosecond, func() time.Duration { return time.Hour })
	b.judge(handover.Verdict{Circuit: handover.Circuit{Source: src, Destination: dst}, Result: handover.Bad})
	settings := handover.Settings{Policy: handover.PolicySuspended, Repair: handover.RepairOwn, ConcurrentActivateSafe: true}
	const now = 2 * time.Hour
	sign := func(host string, sign handover.Sign) handover.Input {
		return handover.HostSign{Host: host, Sign: sign, Order: wire.Order{Epoch: 1, Sequence: 1}, FreshFor: time.Minute, Now: now}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	commits := 0
	for range 50 {
		wg.Go(func() {
			instance := handover.NewInstance(&settings)
			for _, in := range []handover.Input{
				sign(dst, handover.SignStarted), sign(src, handover.SignPaused), handover.Rows{Ports: []port.Port{*prepared("p1")}, Now: now},
			} {
				for _, d := range b.step(instance, in) {
					if a, ok := d.(handover.Aim); ok && a.Goal.Kind == handover.GoalCommit {
						mu.Lock()
						commits++
						mu.Unlock()
					}
				}
			}
		})
	}
	wg.Wait()
	if commits != 1 {
		t.Errorf("%d commits, want the trial's", commits)
	}
}
