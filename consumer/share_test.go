package consumer

import (
	"fmt"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

func TestEveryInstanceFallsToOneShare(t *testing.T) {
	const instances = 4000
	for of := 1; of <= maxShares; of++ {
		count := map[int]int{}
		for i := range instances {
			id := fmt.Sprintf("%08x-37eb-4301-9b66-%012x", i*2654435761%(1<<32), i)
			for number := 1; number <= of; number++ {
				if (share{number, of}).has(id) {
					count[number]++
				}
			}
		}
		all := 0
		for number := 1; number <= of; number++ {
			if all += count[number]; count[number] < instances/of/2 || count[number] > instances/of*3/2 {
				t.Errorf("%d of %d has %d of %d", number, of, count[number], instances)
			}
		}
		if all != instances {
			t.Errorf("of %d shares: %d instances fall to one, want %d", of, all, instances)
		}
	}
	if !(share{}).has(guest) {
		t.Error("the whole lacks one")
	}
}

// A replica of another version must come to the same.
func TestTheShareOfAnInstanceStaysTheSame(t *testing.T) {
	for _, c := range []struct {
		id       string
		of4, of7 int
	}{{guest, 3, 4}, {"00000000-0000-4000-8000-000000000000", 2, 3}} {
		if got := (share{of: 4}).whose(c.id); got != (share{c.of4, 4}) {
			t.Errorf("%s: %s", c.id, got)
		}
		if got := (share{of: 7}).whose(c.id); got != (share{c.of7, 7}) {
			t.Errorf("%s: %s", c.id, got)
		}
	}
}

func TestTheQueuesOfAShare(t *testing.T) {
	s := defaults()
	one := queues{"earlybind", "earlybind.notifications", "earlybind.journal", "earlybind.parked", "earlybind.paused", "earlybind.layout"}
	for part, want := range map[share]queues{
		{}: one, {1, 4}: one,
		{3, 4}: {"earlybind.3", "earlybind.3.notifications", "earlybind.3.journal", "earlybind.parked", "earlybind.paused", "earlybind.layout"},
	} {
		if got := s.queuesOf(part); got != want {
			t.Errorf("%+v: %+v", part, got)
		}
	}
}

// What handovers hold leaves room for what is read and settled at once, of each share.
func TestTheSharesOfWhatIsHeld(t *testing.T) {
	for part, want := range map[share][2]int{
		{}: {10_000, 8_000}, {1, 1}: {10_000, 8_000}, {2, 4}: {2_500, 2_000}, {32, 32}: {1_000, 800},
	} {
		if got := [2]int{part.portion(prefetch), part.portion(maxShelf)}; got != want {
			t.Errorf("%+v: %v", part, got)
		}
	}
}

func TestASetOfSharesIsMadeForEachCell(t *testing.T) {
	s := defaults()
	r := Replica{ConcurrentActivateSafe: true, Log: audit.New(nil, zerolog.Disabled, "")}
	if got := r.perShare(s, "cell"); len(got) != 1 || got[0].part != (share{}) || got[0].name != " cell" {
		t.Errorf("%+v", got)
	}
	s.Shares = 2
	got := r.perShare(s, "cell")
	if len(got) != 2 || got[0].name != " cell share 1 of 2" || got[1].part != (share{2, 2}) || got[0].balance != got[1].balance || !got[1].core.ConcurrentActivateSafe {
		t.Errorf("%+v", got)
	}
}

func TestSharesSpreadOverReplicas(t *testing.T) {
	now := time.Hour
	b := &balance{clock: func() time.Duration { return now }}
	want := func(others int, gives bool) {
		t.Helper()
		if _, got := b.giveUp(others); got != gives {
			t.Errorf("%d here, %d there: gives up %t", b.held(), others, got)
		}
	}
	want(0, false)
	b.begins()
	want(0, false) // one is one
	b.begins()
	want(1, false)
	b.begins()
	b.begins()
	want(3, false)
	want(0, true)
	want(0, false) // the one that got it has not told yet
	b.ends()
	now += giveUpEvery
	want(1, true)
	b.ends()
	now += giveUpEvery
	want(2, false)
	want(1, false)
}

// ofShare is a session of the share that has the guest, or of one that has not.
func (s *site) ofShare(has bool) {
	whole := share{of: 2}
	s.session.part = whole.whose(guest)
	if !has {
		s.session.part.number = 3 - s.session.part.number
	}
}

func TestAShareTakesInWhatFallsToIt(t *testing.T) {
	for _, has := range []bool{true, false} {
		rollOut(t, 0, func(t *testing.T, s *site) {
			s.ofShare(has)
			for _, body := range [][]byte{
				encoded(t, wire.PublisherID(dst), wire.EventStates, wire.HostStates{Schema: 1, Host: dst, Order: wire.Order{Epoch: 1, Sequence: 1}, Domains: []wire.DomainState{incoming}}),
				encoded(t, wire.PublisherID(dst), "libvirt.domain.started", wire.HostEvent{Schema: 1, Host: dst, Order: wire.Order{Epoch: 1, Sequence: 2}, Instance: guest, Event: wire.Started, Detail: wire.Migrated}),
			} {
				s.deliver(t, wire.ExchangeEvents, "earlybind-"+dst, body)
			}
			s.deliver(t, "nova", "", encoded(t, "compute."+dst, "compute.instance.live_migration.pre.start", map[string]string{"instance_id": guest, "host": src}))
			if got := len(s.of(audit.HandoverBegun)) > 0; got != has || len(s.session.registry.actors) > 1 {
				t.Errorf("has it %t: %+v", has, s.all())
			}
			if held := len(s.session.shelf.held) > 0; held != has {
				t.Errorf("has it %t: held %t", has, held)
			}
			if !has && s.settles != 3 {
				t.Errorf("%d acknowledged", s.settles)
			}
		})
	}
}

// Each share gets what cannot be understood, one parks it.
func TestAShareLeavesPoisonToAnother(t *testing.T) {
	rollOut(t, 0, func(t *testing.T, s *site) {
		poison := []byte("poison")
		s.session.part = share{of: 2}.whose(string(poison))
		s.session.part.number = 3 - s.session.part.number
		s.deliver(t, "nova", "", poison)
		if s.settles != 1 {
			t.Errorf("%d acknowledged", s.settles)
		}
	})
}

func TestAShareWithAHandoverIsNotGivenUp(t *testing.T) {
	rollOut(t, 0, func(t *testing.T, s *site) {
		s.ofShare(true)
		s.session.log = audit.New(s.said, zerolog.InfoLevel, "r")
		s.session.balance = &balance{clock: s.tools.clock, acts: 2}
		tick := func() {
			t.Helper()
			if err := s.session.ticked(t.Context(), wire.Tick{Replica: "other"}); err != nil {
				t.Fatal(err)
			}
		}
		s.states(dst, true, incoming)
		tick()
		if s.session.givesUp() {
			t.Error("given up in the middle of a handover")
		}
		s.r.actors[guest].core = handover.NewInstance(&s.tools.settings)
		if s.session.givesUp() {
			t.Error("given up for a tick that was looked at before")
		}
		tick()
		if !s.session.givesUp() {
			t.Error("kept, although another replica acts for none")
		}
	})
}
