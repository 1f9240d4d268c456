package consumer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// site is a session, from a delivery's bytes on, on a cloud where not every host
// has the same publisher.
type site struct {
	*stage
	session   *session
	said      *strings.Builder // the lines of the session itself, and "acknowledged"
	settles   int
	delivered uint64 // tag of the last delivery
	// redelivers: what comes was delivered before.
	redelivers bool
}

var _ amqp.Acknowledger = (*site)(nil)

func (s *site) Ack(uint64, bool) error {
	s.settles++
	s.said.WriteString("acknowledged\n")
	return nil
}
func (s *site) Nack(uint64, bool, bool) error { return errors.New("nothing is given back") }
func (s *site) Reject(uint64, bool) error     { return errors.New("nothing is rejected") }
func (s *site) refusals() []string {
	return slices.DeleteFunc(strings.Split(s.said.String(), "\n"), func(line string) bool { return !strings.Contains(line, string(audit.HostRefused)) })
}

func rollOut(t *testing.T, policy handover.Policy, test func(*testing.T, *site)) {
	t.Helper()
	act(t, newNeutron(prepared("p1")), func(t *testing.T, on *stage) {
		on.tools.settings.Policy = policy
		s := &site{stage: on, said: &strings.Builder{}}
		s.session = &session{
			Consumer: &Consumer{settings: defaults(), log: audit.New(s.said, 0, "r")},
			lease:    &lease{clock: on.tools.clock}, registry: on.r, shelf: newShelf(maxShelf), active: true,
		}
		test(t, s)
	})
}

// deliver gives the session a body as the broker would.
func (s *site) deliver(t *testing.T, exchange, user string, body []byte) {
	t.Helper()
	s.session.lease.renew(s.tools.clock())
	s.delivered++
	if err := s.session.deliver(context.Background(), amqp.Delivery{Acknowledger: s, DeliveryTag: s.delivered, Exchange: exchange, UserId: user, Redelivered: s.redelivers, Body: body}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
}

// publisherOf is one host's publisher.
type publisherOf struct {
	host   string
	schema int
	epoch  int64
	sent   uint64
	clock  time.Duration // by how much its wall clock is wrong
	change func(fields map[string]any)
}

func publishers() (source, destination *publisherOf) {
	return &publisherOf{host: src, schema: wire.SchemaVersion, epoch: 1}, &publisherOf{host: dst, schema: wire.SchemaVersion, epoch: 1}
}

// restart begins a new epoch.
func (p *publisherOf) restart() { p.epoch, p.sent = p.epoch+1, 0 }

func (p *publisherOf) next() wire.Order {
	p.sent++
	return wire.Order{Epoch: p.epoch, Sequence: p.sent}
}

func (p *publisherOf) sends(t *testing.T, s *site, kind string, payload any) {
	t.Helper()
	raw, err := json.Marshal(payload)
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]any{}
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	if p.change != nil {
		p.change(fields)
	}
	n, err := wire.NewNotification(wire.PublisherID(p.host), kind, fields, fmt.Sprint(p.sent), time.Now().Add(p.clock))
	if err != nil {
		t.Fatal(err)
	}
	body, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.deliver(t, wire.ExchangeEvents, defaults().HostUserPrefix+p.host, body)
}

func (p *publisherOf) event(t *testing.T, s *site, event wire.Event, detail wire.Detail) {
	t.Helper()
	e := wire.HostEvent{Schema: p.schema, Host: p.host, Order: p.next(), Instance: guest, Event: event, Detail: detail, At: time.Now().Add(p.clock)}
	p.sends(t, s, e.EventType(), e)
}

func (p *publisherOf) lists(t *testing.T, s *site, reconnected bool, domains ...wire.DomainState) {
	t.Helper()
	p.sends(t, s, wire.EventStates, wire.HostStates{Schema: p.schema, Host: p.host, Order: p.next(), Reconnected: reconnected, Domains: domains})
}

// says is a notification of Nova, in its legacy form.
func (s *site) says(t *testing.T, kind, publisher string) {
	t.Helper()
	payload, err := json.Marshal(map[string]string{"instance_id": guest, "host": src})
	if err != nil {
		t.Fatal(err)
	}
	body, err := wire.Notification{MessageID: "id", PublisherID: "compute." + publisher, EventType: "compute.instance." + kind, RequestID: "req", Payload: payload}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	s.deliver(t, "nova", "", body)
}

// migrates tells a whole migration; a nil publisher is one that is not there. Nova
// moves the rows itself.
func (s *site) migrates(t *testing.T, source, destination *publisherOf) {
	t.Helper()
	tell := func(p *publisherOf, event wire.Event) {
		if p != nil {
			p.event(t, s, event, wire.Migrated)
		}
		pass(200 * time.Millisecond)
	}
	s.says(t, "live_migration.pre.start", dst)
	tell(destination, wire.Started)
	s.says(t, "live_migration.pre.end", dst)
	tell(source, wire.Suspended)
	tell(destination, wire.Resumed)
	tell(source, wire.Stopped)
	s.novaFinishes(t)
}

func (s *site) novaFinishes(t *testing.T) {
	t.Helper()
	s.says(t, "live_migration._post.start", src)
	s.neutron.change("p1", func(p *port.Port) { *p = *committed("p1") })
	s.says(t, "live_migration.post.dest.end", dst)
	pass(5 * time.Minute)
}

// wantObservedOnce checks that nothing was written, that the end is told, and
// that why is said once for the port.
func (s *site) wantObservedOnce(t *testing.T, why string) {
	t.Helper()
	if got := s.neutron.writes(); len(got) != 0 {
		t.Errorf("writes %q", got)
	}
	if got := s.of(audit.PortObserved); len(got) != 1 || !strings.Contains(got[0].Why, why) {
		t.Errorf("observed %+v, want once, because %q", got, why)
	}
	if l := s.last(t, audit.HandoverEnded); l.Outcome != "migrated" {
		t.Errorf("ends %s", l.Outcome)
	}
	if got := s.of(audit.HandoverBegun); len(got) != 1 {
		t.Errorf("%d handovers", len(got))
	}
}

func TestAHostWithoutAPublisherIsObservedAndItIsSaidOnce(t *testing.T) {
	for _, c := range []struct {
		name                string
		source, destination bool
		missing             string
	}{
		{"on the source", false, true, src}, {"on the destination", true, false, dst}, {"on both", false, false, src},
	} {
		for _, policy := range []handover.Policy{handover.PolicySuspended, handover.PolicyResumed} {
			t.Run(c.name+", "+policy.String(), func(t *testing.T) {
				rollOut(t, policy, func(t *testing.T, s *site) {
					source, destination := publishers()
					if !c.source {
						source = nil
					}
					if !c.destination {
						destination = nil
					}
					s.migrates(t, source, destination)
					s.wantObservedOnce(t, "no publisher was heard on "+c.missing)
				})
			})
		}
	}
}

// The next version's fields may be of other types.
func ofTheNextVersion(fields map[string]any) {
	fields["age_ms"] = "12ms"
	fields["host"] = map[string]any{"name": fields["host"]}
}

func TestAPublisherOfAnotherSchemaVersionIsAsNoneAndItIsSaidOnce(t *testing.T) {
	for _, version := range []int{wire.SchemaVersion - 1, wire.SchemaVersion + 1} {
		for _, host := range []string{src, dst} {
			t.Run(fmt.Sprintf("version %d on %s", version, host), func(t *testing.T) {
				rollOut(t, handover.PolicySuspended, func(t *testing.T, s *site) {
					source, destination := publishers()
					other := map[string]*publisherOf{src: source, dst: destination}[host]
					other.schema = version
					if version > wire.SchemaVersion {
						other.change = ofTheNextVersion
					}
					other.lists(t, s, true, runs)
					s.migrates(t, source, destination)
					s.wantObservedOnce(t, "no publisher was heard on "+host)
					if got := s.refusals(); len(got) != 1 || !strings.Contains(got[0], host) || !strings.Contains(got[0], fmt.Sprintf("version %d", version)) {
						t.Errorf("refusals %q, want one that names %s and version %d", got, host, version)
					}
					if want := 9; s.settles != want {
						t.Errorf("%d messages are settled, want %d", s.settles, want)
					}
				})
			})
		}
	}
}

func TestAPublishersWallClockDecidesNothing(t *testing.T) {
	for _, policy := range []handover.Policy{handover.PolicySuspended, handover.PolicyResumed} {
		var right []string
		for _, wrong := range []time.Duration{0, 10 * time.Minute, -10 * time.Minute} {
			rollOut(t, policy, func(t *testing.T, s *site) {
				source, destination := publishers()
				source.clock, destination.clock = wrong, -wrong
				source.lists(t, s, true, runs)
				destination.lists(t, s, true)
				s.migrates(t, source, destination)
				if right == nil {
					right = s.story()
				}
				wantStory(t, s.story(), right...)
			})
		}
		if !slices.Contains(right, "port.written p1 compute2 activate activated") {
			t.Errorf("%s: nothing was committed: %q", policy, right)
		}
	}
}

func TestAPublisherThatRestartsInTheMiddle(t *testing.T) {
	begin := func(t *testing.T, s *site, destination *publisherOf) {
		s.says(t, "live_migration.pre.start", dst)
		destination.event(t, s, wire.Started, wire.Migrated)
	}
	t.Run("on the source before the pause: all is known, and it commits", func(t *testing.T) {
		rollOut(t, handover.PolicySuspended, func(t *testing.T, s *site) {
			source, destination := publishers()
			begin(t, s, destination)
			source.restart()
			source.lists(t, s, true, runs)
			source.event(t, s, wire.Suspended, wire.Migrated)
			if got := s.neutron.writes(); !slices.Equal(got, []string{"activate p1 compute2"}) {
				t.Errorf("writes %q", got)
			}
		})
	})
	t.Run("on the source over the pause: since when it is paused is not known", func(t *testing.T) {
		rollOut(t, handover.PolicySuspended, func(t *testing.T, s *site) {
			source, destination := publishers()
			begin(t, s, destination)
			source.restart()
			source.lists(t, s, true, outgoing)
			source.lists(t, s, false, outgoing)
			source.event(t, s, wire.Stopped, wire.Migrated)
			s.novaFinishes(t)
			s.wantObservedOnce(t, "its age is unknown")
		})
	})
	t.Run("on the source, and the pause of its last life comes after it", func(t *testing.T) {
		rollOut(t, handover.PolicySuspended, func(t *testing.T, s *site) {
			source, destination := publishers()
			begin(t, s, destination)
			late := *source
			source.restart()
			source.lists(t, s, true, outgoing)
			late.event(t, s, wire.Suspended, wire.Migrated)
			source.event(t, s, wire.Stopped, wire.Migrated)
			s.novaFinishes(t)
			s.wantObservedOnce(t, "its age is unknown")
		})
	})
	t.Run("on the destination over the arrival: that it runs there is doubted", func(t *testing.T) {
		rollOut(t, handover.PolicyResumed, func(t *testing.T, s *site) {
			source, destination := publishers()
			begin(t, s, destination)
			source.event(t, s, wire.Suspended, wire.Migrated)
			destination.restart()
			destination.lists(t, s, true, runs)
			destination.lists(t, s, false, runs)
			source.event(t, s, wire.Stopped, wire.Migrated)
			s.novaFinishes(t)
			s.wantObservedOnce(t, "the guest had left the source")
		})
	})
	t.Run("on the destination, with another schema version: its failure would not be heard", func(t *testing.T) {
		rollOut(t, handover.PolicySuspended, func(t *testing.T, s *site) {
			source, destination := publishers()
			begin(t, s, destination)
			destination.restart()
			destination.schema++
			destination.lists(t, s, true, incoming)
			source.event(t, s, wire.Suspended, wire.Migrated)
			source.event(t, s, wire.Stopped, wire.Migrated)
			s.novaFinishes(t)
			s.wantObservedOnce(t, "no publisher was heard on "+dst)
		})
	})
}

// A queue can serve another replica for a while, and this one again, on the same connection:
// what the other one took in is asked for. A tick that is late by less tells of none.
func TestASessionThatIsServedAgainAsksTheHosts(t *testing.T) {
	for _, c := range []struct {
		away time.Duration
		asks int32
	}{{leaseFor - time.Millisecond, 0}, {leaseFor, 1}} {
		rollOut(t, handover.PolicyObserve, func(t *testing.T, s *site) {
			own := func() {
				t.Helper()
				if err := s.session.ticked(t.Context(), wire.Tick{SentNS: int64(s.tools.clock())}); err != nil {
					t.Fatal(err)
				}
			}
			own()
			before := s.asked.Load() // its first lease
			pass(c.away)
			own()
			own()
			if got := s.asked.Load() - before; got != c.asks {
				t.Errorf("away for %s: asked %d times", c.away, got)
			}
		})
	}
}

// A bad message does not end the session of a broker that reads nothing: all that is held
// would come again, and the bad one too.
func TestWhatCannotBeParkedYetIsPutAside(t *testing.T) {
	rollOut(t, handover.PolicyObserve, func(t *testing.T, s *site) {
		s.session.sender = &sender{}
		s.session.sender.blocked.Store(true)
		s.deliver(t, "nova", "", []byte("poison"))
		if err := s.session.parkAside(t.Context()); err != nil || len(s.session.aside) != 1 || s.settles != 0 {
			t.Errorf("%v, %d aside, %d acknowledged", err, len(s.session.aside), s.settles)
		}
	})
}
