package publisher

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/wire"
)

func withOne(b *bench) { b.libvirt.answer = []reading{runningOn(one)} }

func TestStartPublishesStatesAsReconnected(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		s := statesAfterGap(t, b.broker.take())
		if s.Epoch != testEpoch || s.Host != hostName || s.Schema != wire.SchemaVersion {
			t.Errorf("got %+v", s)
		}
		if want := (wire.DomainState{Instance: one, State: "running", Reason: "booted"}); len(s.Domains) != 1 || s.Domains[0] != want {
			t.Errorf("got %+v", s.Domains)
		}
	})
}

func TestEventsKeepTheOrderOfCallbacksAndTheirSequenceRises(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		last := lastStates(t, b.broker.take()).Order
		for range 50 {
			b.libvirt.call(one, wire.Suspended, wire.Paused)
			b.libvirt.call(one, wire.Resumed, wire.Unpaused)
		}
		synctest.Wait()
		all := b.broker.take()
		if len(all) != 100 {
			t.Fatalf("got %d messages", len(all))
		}
		for i, g := range all {
			want := wire.Suspended
			if i%2 == 1 {
				want = wire.Resumed
			}
			if g.event == nil || g.event.Event != want || !last.Before(g.event.Order) {
				t.Fatalf("message %d: %+v after %+v", i, g.event, last)
			}
			last = g.event.Order
			if g.routingKey != "libvirt.compute1."+string(want)+"."+one || g.kind != "libvirt.domain."+string(want) {
				t.Errorf("key %q, type %q", g.routingKey, g.kind)
			}
		}
		lines := b.log.lines(t, "host event published")
		if len(lines) != 100 {
			t.Fatalf("%d lines", len(lines))
		}
		for _, field := range []string{"host", "instance", "event", "detail", "epoch", "sequence", "at", "confirmed_ms"} {
			if _, ok := lines[0][field]; !ok {
				t.Errorf("the line lacks %s: %v", field, lines[0])
			}
		}
	})
}

func TestForeignDomainIsIgnored(t *testing.T) {
	inBubble(t, func(b *bench) {
		b.libvirt.answer = []reading{runningOn(one), {instance: two, condition: condition{"running", "booted"}, persistent: true, owner: foreign}}
	}, func(t *testing.T, b *bench) {
		if s := statesAfterGap(t, b.broker.take()); len(s.Domains) != 1 {
			t.Errorf("got %+v", s.Domains)
		}
		b.libvirt.call(two, wire.Suspended, wire.Migrated)
		synctest.Wait()
		if all := b.broker.take(); len(all) != 0 {
			t.Errorf("got %s", events(all))
		}
	})
}

func TestUnknownDomainIsPublishedAtOnceAndAskedAboutAtItsStartOnly(t *testing.T) {
	inBubble(t, func(b *bench) { b.libvirt.owners[two] = foreign; b.libvirt.owners[three] = ownedByNova }, func(t *testing.T, b *bench) {
		b.broker.take()
		b.libvirt.call(one, wire.Suspended, wire.Migrated) // never seen before
		synctest.Wait()
		if got := events(b.broker.take()); got != "suspended/migrated 1" || len(b.libvirt.asked) != 0 {
			t.Fatalf("got %q, asked %v", got, b.libvirt.asked)
		}
		b.libvirt.call(two, wire.Started, "booted")
		b.libvirt.call(three, wire.Started, wire.Migrated)
		synctest.Wait()
		if got := events(b.broker.take()); got != "started/booted 2, started/migrated 3" {
			t.Fatalf("got %q", got)
		}
		slices.Sort(b.libvirt.asked)
		if !slices.Equal(b.libvirt.asked, []string{two, three}) {
			t.Fatalf("asked %v", b.libvirt.asked)
		}
		b.libvirt.call(two, wire.Suspended, wire.Paused)
		b.libvirt.call(three, wire.Defined, "added") // in the switchover
		b.libvirt.call(three, wire.Resumed, wire.Migrated)
		synctest.Wait()
		if got := events(b.broker.take()); got != "defined/added 3, resumed/migrated 3" || len(b.libvirt.asked) != 2 {
			t.Errorf("got %q, asked %v", got, b.libvirt.asked)
		}
	})
}

func TestEventsFlowWhileLibvirtReadsItsDomains(t *testing.T) {
	hold := make(chan struct{})
	inBubble(t, func(b *bench) { hold = make(chan struct{}); b.libvirt.hold = hold; withOne(b) }, func(t *testing.T, b *bench) {
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		synctest.Wait()
		if got := events(b.broker.take()); got != "suspended/migrated 1" {
			t.Fatalf("got %q", got)
		}
		time.Sleep(libvirtPatience)
		synctest.Wait()
		if n := len(b.log.lines(t, "libvirt does not answer about its domains, still waiting")); n != 1 {
			t.Errorf("%d lines", n)
		}
		close(hold)
		synctest.Wait()
		// The reading began before the event and says "running"; the event is newer.
		all := b.broker.take()
		if s := lastStates(t, all); len(s.Domains) != 1 || s.Domains[0].State != "paused" || s.Domains[0].Reason != "migration" || s.Sequence < 2 {
			t.Errorf("got %+v", s)
		}
	})
}

func TestStatesAreAnsweredFromTheCache(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.take()
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		b.libvirt.call(two, wire.Started, wire.Migrated)
		synctest.Wait()
		before := b.libvirt.readings
		b.broker.link.out <- requested{"start"}
		synctest.Wait()
		all := b.broker.take()
		if got := events(all); got != "suspended/migrated 1, started/migrated 2, states" {
			t.Fatalf("got %q", got)
		}
		s := all[2].states
		want := []wire.DomainState{
			{Instance: one, State: "paused", Reason: "migration"},
			{Instance: two, State: "paused", Reason: "migration", Incoming: true},
		}
		if !slices.Equal(s.Domains, want) || s.Reconnected || !all[1].event.Before(s.Order) {
			t.Errorf("got %+v", s)
		}
		if b.libvirt.readings != before {
			t.Error("libvirt was asked")
		}
	})
}

func TestPauseAnnouncesWhatCanBePluggedInAgain(t *testing.T) {
	plugs := &fakePlugs{ports: []string{"p1", "p2"}}
	inBubble(t, func(b *bench) { withOne(b); b.watcher.plugs = plugs }, func(t *testing.T, b *bench) {
		if got := plugs.take(); got != "read running 1" {
			t.Errorf("told %q", got)
		}
		b.broker.take()
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		b.libvirt.call(one, wire.Resumed, wire.Unpaused)
		synctest.Wait()
		all := b.broker.take()
		if got := events(all); got != "suspended/migrated 1, resumed/unpaused 1" {
			t.Fatalf("got %q", got)
		}
		if got := all[0].event.Replug; !slices.Equal(got, plugs.ports) || all[1].event.Replug != nil {
			t.Errorf("announced %v, then %v", got, all[1].event.Replug)
		}
		if got := plugs.take(); got != "suspended/migrated 1, resumed/unpaused 1" {
			t.Errorf("told %q", got)
		}
		// A gap in libvirt's events: what has become of the guest, the reading says.
		b.libvirt.conn.gone <- errors.New("end of file")
		time.Sleep(2 * libvirtMaxDelay)
		synctest.Wait()
		if got := plugs.take(); got != "read running 1" {
			t.Errorf("told %q", got)
		}
	})
}

func TestForeignDomainIsNotPluggedIn(t *testing.T) {
	plugs := &fakePlugs{}
	inBubble(t, func(b *bench) {
		b.libvirt.answer = []reading{{instance: two, condition: condition{"running", "booted"}, persistent: true, owner: foreign}}
		b.watcher.plugs = plugs
	}, func(t *testing.T, b *bench) {
		b.libvirt.call(two, wire.Suspended, wire.Migrated)
		synctest.Wait()
		if got := plugs.take(); got != "read" {
			t.Errorf("told %q", got)
		}
	})
}

func TestLostLibvirtIsReconnectedAndReadAnew(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.take()
		old := b.libvirt.conn
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		b.libvirt.set(func() { b.libvirt.away = true })
		old.gone <- errors.New("end of file")
		synctest.Wait()
		// While libvirt is away nobody knows the states: no answer.
		b.broker.link.out <- requested{"start"}
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := events(b.broker.take()); got != "suspended/migrated 1" || !old.closed {
			t.Fatalf("got %q, closed %v", got, old.closed)
		}
		b.libvirt.set(func() { b.libvirt.away = false })
		time.Sleep(2 * libvirtMaxDelay)
		synctest.Wait()
		all := b.broker.take()
		if got := events(all); got != "states" {
			t.Fatalf("got %q", got)
		}
		if s := all[0].states; !s.Reconnected || s.Domains[0].State != "running" {
			t.Errorf("got %+v", s)
		}
		if n := len(b.log.lines(t, "libvirt is away")); n != 2 { // the end, and one for all refused attempts
			t.Errorf("%d lines about libvirt", n)
		}
	})
}

func TestStartRidesOutALibvirtThatIsAway(t *testing.T) {
	inBubble(t, func(b *bench) { b.libvirt.away = true }, func(t *testing.T, b *bench) {
		time.Sleep(time.Minute)
		if all := b.broker.take(); len(all) != 0 {
			t.Fatalf("got %s", events(all))
		}
		b.libvirt.set(func() { b.libvirt.away = false })
		time.Sleep(2 * libvirtMaxDelay)
		synctest.Wait()
		statesAfterGap(t, b.broker.take())
	})
}

func TestOverflowOfCallbacksLeadsToAReading(t *testing.T) {
	inBubble(t, func(b *bench) {
		withOne(b)
		b.watcher.newInbox = func() *inbox { return newInbox(2) }
		b.libvirt.onOpen = func(deliver func(lifecycle)) {
			for range 5 {
				deliver(lifecycle{instance: one, event: wire.Suspended, detail: wire.Paused, at: time.Now()})
			}
		}
	}, func(t *testing.T, b *bench) {
		if lines := b.log.lines(t, "events of libvirt were lost: too many at once; reading all domains"); len(lines) != 1 || lines[0]["lost"] != 3.0 {
			t.Errorf("lines %v", lines)
		}
		if b.libvirt.readings != 2 {
			t.Errorf("%d readings", b.libvirt.readings)
		}
		b.wantMetrics(t, "earlybind_publisher_events_lost_total 3")
		statesAfterGap(t, b.broker.take())
	})
}

// A cache that lacks events answers nobody: it could call a guest running that has left.
func TestNoStatesBeforeWhatWasLostIsReadAgain(t *testing.T) {
	hold := make(chan struct{})
	inBubble(t, func(b *bench) {
		withOne(b)
		b.watcher.newInbox = func() *inbox { return newInbox(2) }
		hold = make(chan struct{})
	}, func(t *testing.T, b *bench) {
		b.broker.take()
		b.libvirt.mu.Lock()
		b.libvirt.hold = hold
		b.libvirt.mu.Unlock()
		for range 10_000 { // faster than they are taken
			b.libvirt.call(one, wire.Suspended, wire.Paused)
		}
		synctest.Wait()
		if lines := b.log.lines(t, "events of libvirt were lost: too many at once; reading all domains"); len(lines) == 0 {
			t.Fatal("nothing was lost")
		}
		b.broker.link.out <- requested{"start"}
		synctest.Wait()
		if got := events(b.broker.take()); strings.Contains(got, "states") {
			t.Errorf("states before the reading: %.200s", got)
		}
		close(hold)
		synctest.Wait()
		statesAfterGap(t, b.broker.take())
	})
}

func TestUnconfirmedMessagesAreSentAgainWithTheirAgeGrown(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.take()
		b.broker.set(func() { b.broker.silent = true })
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		b.libvirt.call(one, wire.Resumed, wire.Unpaused)
		synctest.Wait()
		first := b.broker.take()
		if events(first) != "suspended/migrated 1, resumed/unpaused 1" { // the second did not wait for the first
			t.Fatalf("got %q", events(first))
		}
		b.broker.set(func() { b.broker.away = true })
		b.broker.link.out <- lost{errors.New("connection reset")}
		time.Sleep(3 * time.Minute)
		b.broker.set(func() { b.broker.away, b.broker.silent = false, false })
		time.Sleep(time.Minute)
		synctest.Wait()
		again := b.broker.take()
		if got := events(again); got != "suspended/migrated 1, resumed/unpaused 1, states" {
			t.Fatalf("got %q", got)
		}
		for i := range first {
			a, z := first[i].event, again[i].event
			if a.Order != z.Order || !a.At.Equal(z.At) || a.AgeMS != 0 || z.AgeMS < (3*time.Minute).Milliseconds() || first[i].id == again[i].id {
				t.Errorf("first %+v, again %+v", a, z)
			}
		}
		if s := again[2].states; s.Reconnected || !again[1].event.Before(s.Order) {
			t.Errorf("states %+v", s)
		}
		if !b.broker.link.closed && b.broker.opened != 2 {
			t.Errorf("%d sessions", b.broker.opened)
		}
	})
}

func TestSilentBrokerIsLeftAfterTheBound(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.set(func() { b.broker.silent = true })
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		synctest.Wait()
		link := b.broker.link
		time.Sleep(confirmBound)
		synctest.Wait()
		b.broker.set(func() { b.broker.silent = false })
		if !link.closed {
			t.Fatal("session kept")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := b.sender.outbox.len(); n != 0 {
			t.Errorf("%d messages wait", n)
		}
	})
}

func TestRefusedMessageEndsTheSession(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.set(func() { b.broker.silent = true })
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		synctest.Wait()
		link := b.broker.link
		b.broker.set(func() { b.broker.silent = false })
		link.out <- settled{link.tag, false}
		synctest.Wait()
		if !link.closed || b.sender.outbox.len() == 0 {
			t.Errorf("closed %v, %d messages wait", link.closed, b.sender.outbox.len())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := b.sender.outbox.len(); n != 0 {
			t.Errorf("%d messages wait", n)
		}
	})
}

func TestFullBufferDropsTheOldestAndStatesFollow(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.set(func() { b.broker.away = true })
		b.broker.link.out <- lost{errors.New("connection reset")}
		synctest.Wait()
		b.broker.take()
		for i := range 130 { // the buffer holds 100
			b.libvirt.call(fmt.Sprintf("%08d-0000-4000-8000-000000000000", i), wire.Suspended, wire.Paused)
		}
		b.broker.set(func() { b.broker.away = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		all := b.broker.take()
		if len(all) != 101 || all[0].event.Instance[:8] != "00000030" || all[99].event.Instance[:8] != "00000129" {
			t.Fatalf("%d messages: %s", len(all), events(all))
		}
		if s := all[100].states; s == nil || !s.Reconnected {
			t.Errorf("got %+v", s)
		}
		if lines := b.log.lines(t, "messages were dropped: the buffer was full"); len(lines) != 1 || lines[0]["dropped"] != 30.0 {
			t.Errorf("lines %v", lines)
		}
		b.wantMetrics(t, `
			earlybind_publisher_messages_dropped_total 30
			earlybind_publisher_messages_total{kind="suspended"} 100
			earlybind_publisher_connections_total{to="broker"} 2
			earlybind_publisher_messages_unsent 0
			earlybind_publisher_oldest_unsent_age_seconds 0`)
	})
}

func TestWhatTheBrokerHasNotConfirmedIsSeenAtAScrape(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.set(func() { b.broker.away = true })
		b.broker.link.out <- lost{errors.New("connection reset")}
		synctest.Wait()
		for range 3 {
			b.libvirt.call(one, wire.Suspended, wire.Migrated)
			time.Sleep(20 * time.Second)
		}
		b.wantMetrics(t, `
			earlybind_publisher_messages_unsent 3
			earlybind_publisher_oldest_unsent_age_seconds 60
			earlybind_publisher_connections_total{to="broker"} 1
			earlybind_publisher_connections_total{to="libvirt"} 1
			earlybind_publisher_messages_total{kind="suspended"} 0
			earlybind_publisher_messages_unroutable_total 0`)
	})
}

func TestBlockedBrokerIsRiddenOut(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.take()
		b.broker.link.out <- blocked{true, "low on memory"}
		synctest.Wait()
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		time.Sleep(10 * confirmBound)
		synctest.Wait()
		if all := b.broker.take(); len(all) != 0 || b.broker.opened != 1 {
			t.Fatalf("got %s in %d sessions", events(all), b.broker.opened)
		}
		b.broker.link.out <- blocked{now: false}
		synctest.Wait()
		all := b.broker.take()
		if got := events(all); got != "suspended/migrated 1" || all[0].event.AgeMS != (10*confirmBound).Milliseconds() {
			t.Errorf("got %q", got)
		}
	})
}

func TestMissingConsumerIsSaidOncePerChange(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.set(func() { b.broker.unroutable = true })
		for range 3 {
			b.libvirt.call(one, wire.Suspended, wire.Paused)
		}
		synctest.Wait()
		b.broker.set(func() { b.broker.unroutable = false })
		b.libvirt.call(one, wire.Resumed, wire.Unpaused)
		synctest.Wait()
		if n := len(b.log.lines(t, "no queue takes the messages: is there a consumer?")); n != 1 {
			t.Errorf("%d warnings", n)
		}
		if lines := b.log.lines(t, "a queue takes the messages again"); len(lines) != 1 || lines[0]["discarded"] != 3.0 {
			t.Errorf("lines %v", lines)
		}
		if n := b.sender.outbox.len(); n != 0 {
			t.Errorf("%d messages wait", n)
		}
	})
}

func TestUnreadableRequestIsDroppedWithoutItsContent(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.take()
		_, err := readRequest([]byte(`{"oslo.version":"2.0","oslo.message":"hunter2"}`))
		if err == nil {
			t.Fatal("read")
		}
		b.broker.link.out <- unreadable{err, 47}
		synctest.Wait()
		if all := b.broker.take(); len(all) != 0 {
			t.Errorf("answered with %s", events(all))
		}
		lines := b.log.lines(t, "request dropped: not understood")
		if len(lines) != 1 || lines[0]["size"] != 47.0 || lines[0]["error"] != "not an oslo.messaging notification: inner message: broken JSON at byte 1" {
			t.Errorf("lines %v", lines)
		}
	})
}

func TestStopDrains(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.take()
		b.broker.set(func() { b.broker.silent = true })
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		b.cancel()
		b.libvirt.call(one, wire.Resumed, wire.Unpaused) // a callback that is still under way may be lost
		synctest.Wait()
		select {
		case <-b.done:
			t.Fatal("stopped without a confirmation")
		default:
		}
		b.broker.set(b.broker.link.settle)
		began := time.Now()
		<-b.done
		if all := b.broker.take(); len(all) == 0 || all[0].event.Event != wire.Suspended || time.Since(began) != 0 || !b.broker.link.closed {
			t.Errorf("got %s after %s", events(all), time.Since(began))
		}
		if n := len(b.log.lines(t, "publisher stopped")); n != 1 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestStopGivesUpAfterTheBound(t *testing.T) {
	inBubble(t, func(b *bench) { withOne(b); b.broker.away = true }, func(t *testing.T, b *bench) {
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		synctest.Wait()
		began := time.Now()
		b.cancel()
		<-b.done
		if took := time.Since(began); took != testDrain {
			t.Errorf("took %s", took)
		}
		if lines := b.log.lines(t, "publisher stopped before the broker had everything"); len(lines) != 1 || lines[0]["dropped"] != 2.0 {
			t.Errorf("lines %v", lines)
		}
	})
}

func TestStopDoesNotWaitForABrokerThatDoesNotRead(t *testing.T) {
	inBubble(t, withOne, func(t *testing.T, b *bench) {
		b.broker.set(func() { b.broker.stalled = true })
		b.libvirt.call(one, wire.Suspended, wire.Migrated)
		synctest.Wait()
		began := time.Now()
		b.cancel()
		<-b.done
		if took := time.Since(began); took != testDrain {
			t.Errorf("took %s", took)
		}
	})
}
