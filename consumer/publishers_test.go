package consumer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/wire"
)

// sentBefore is a message that a publisher of an earlier version has made; see
// testdata/publishers/README.md.
type sentBefore struct {
	Part, Key, User, Type string
	Body                  json.RawMessage
}

// earlierPublishers plays a part of what each earlier version's publishers have sent.
func earlierPublishers(t *testing.T, part string, test func(t *testing.T, sent []sentBefore)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "publishers", "*.jsonl"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d versions, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var sent []sentBefore
		for text := range bytes.Lines(raw) {
			var m sentBefore
			if err := json.Unmarshal(text, &m); err != nil {
				t.Fatal(err)
			}
			if m.Part == part {
				sent = append(sent, m)
			}
		}
		t.Run(strings.TrimSuffix(filepath.Base(file), ".jsonl")+" "+part, func(t *testing.T) { test(t, sent) })
	}
}

// What an earlier publisher says is taken in whole: no message is parked or refused, no host is
// muted, and no field is dropped or read as something else.
func TestEachMessageOfAnEarlierPublisherIsUnderstood(t *testing.T) {
	earlierPublishers(t, "kinds", func(t *testing.T, sent []sentBefore) {
		signs := map[handover.Sign]bool{}
		shown := map[string]bool{}
		rollOut(t, handover.PolicyObserve, func(t *testing.T, s *site) {
			s.parksAside()
			for _, m := range sent {
				s.deliver(t, wire.ExchangeEvents, m.User, m.Body)
				read, err := defaults().read(delivered{wire.ExchangeEvents, m.User, m.Body})
				if err != nil {
					t.Errorf("%s: %v", m.Key, err)
					continue
				}
				n, err := wire.Decode(m.Body)
				if err != nil || n.EventType != m.Type {
					t.Errorf("%s: %q, %v", m.Key, n.EventType, err)
				}
				wantWhole(t, m.Key, n.Payload, read)
				switch read := read.(type) {
				case wire.HostEvent:
					if read.RoutingKey() != m.Key || read.EventType() != m.Type {
						t.Errorf("%s, %s is read as %+v", m.Key, m.Type, read)
					}
					if sign, ok := signOf(read); ok {
						signs[sign] = true
					}
					shown["ports to plug in again"] = shown["ports to plug in again"] || len(read.Replug) > 0
					shown["waited"] = shown["waited"] || read.AgeMS > 0
					shown["no event of a migration"] = shown["no event of a migration"] || read.Event == wire.Defined
				case wire.HostStates:
					if read.RoutingKey() != m.Key || m.Type != wire.EventStates {
						t.Errorf("%s, %s is read as %+v", m.Key, m.Type, read)
					}
					for _, d := range read.Domains {
						if sign, ok := signOfState(d); ok {
							signs[sign] = true
						}
						shown["incoming"] = shown["incoming"] || d.Incoming
					}
					shown["after a gap"] = shown["after a gap"] || read.Reconnected
					shown["no gap"] = shown["no gap"] || !read.Reconnected
					shown["no domains"] = shown["no domains"] || len(read.Domains) == 0
				default:
					t.Errorf("%s is read as %T", m.Key, read)
				}
			}
			s.wantUnderstood(t)
		})
		for _, sign := range []handover.Sign{
			handover.SignStarted, handover.SignPaused, handover.SignPostCopy, handover.SignPostCopyFailed, handover.SignArrivedPaused, handover.SignHalted,
			handover.SignResumed, handover.SignLeft, handover.SignStopped, handover.SignRunning, handover.SignAbsent,
		} {
			if !signs[sign] {
				t.Errorf("%s is not among them", sign)
			}
		}
		for _, what := range []string{"ports to plug in again", "waited", "no event of a migration", "incoming", "after a gap", "no gap", "no domains"} {
			if !shown[what] {
				t.Errorf("%s: not among them", what)
			}
		}
	})
}

// wantWhole checks that each field of a payload is in what was read of it, with its value; what
// was read may have more, of a later version.
func wantWhole(t *testing.T, name string, payload json.RawMessage, read any) {
	t.Helper()
	raw, err := json.Marshal(read)
	if err != nil {
		t.Fatal(err)
	}
	var said, got any
	for text, fields := range map[*any][]byte{&said: payload, &got: raw} {
		d := json.NewDecoder(bytes.NewReader(fields))
		d.UseNumber()
		if err := d.Decode(text); err != nil {
			t.Fatal(err)
		}
	}
	if what, whole := within(said, got); !whole {
		t.Errorf("%s: %s", name, what)
	}
}

// within tells whether all of a JSON value is in another one, and if not, what is missing.
func within(said, got any) (what string, whole bool) {
	switch said := said.(type) {
	case map[string]any:
		got, _ := got.(map[string]any)
		for field, value := range said {
			if what, whole := within(value, got[field]); !whole {
				return field + " " + what, false
			}
		}
		return "", true
	case []any:
		got, _ := got.([]any)
		if len(got) != len(said) {
			return fmt.Sprintf("has %d values, %d are read", len(said), len(got)), false
		}
		for i := range said {
			if what, whole := within(said[i], got[i]); !whole {
				return fmt.Sprintf("%d %s", i, what), false
			}
		}
		return "", true
	}
	return fmt.Sprintf("is %v, read as %v", said, got), said == got
}

// parksAside has what is to be parked kept, so that it shows.
func (s *site) parksAside() {
	s.session.sender = &sender{}
	s.session.sender.blocked.Store(true)
}

func (s *site) wantUnderstood(t *testing.T) {
	t.Helper()
	if got := s.refusals(); len(got) != 0 {
		t.Errorf("refused %q", got)
	}
	if n := len(s.session.aside); n != 0 {
		t.Errorf("%d messages are to be parked", n)
	}
	if len(s.r.muted) != 0 {
		t.Errorf("muted %v", s.r.muted)
	}
}

// told is one step of a migration: what a host's publisher says, its list where no event is
// named, or what Nova does.
type told struct {
	host   string
	event  wire.Event
	detail wire.Detail
	nova   func(*testing.T, *site)
}

func nova(kind, host string) told {
	return told{nova: func(t *testing.T, s *site) { s.says(t, kind, host) }}
}

var (
	lists       = []told{{host: src}, {host: dst}}
	toldPause   = slices.Concat(lists, []told{nova("live_migration.pre.start", dst), {dst, wire.Started, wire.Migrated, nil}, nova("live_migration.pre.end", dst), {src, wire.Suspended, wire.Migrated, nil}})
	toldSuccess = slices.Concat(toldPause, []told{
		{dst, wire.Defined, "added", nil},
		{dst, wire.Resumed, wire.Migrated, nil},
		{src, wire.Shutdown, "finished", nil},
		{src, wire.Stopped, wire.Migrated, nil},
		{nova: func(t *testing.T, s *site) { s.novaFinishes(t) }},
	}, lists)
	toldFailure = slices.Concat(toldPause, []told{
		{dst, wire.Stopped, wire.Failed, nil},
		{src, wire.Resumed, wire.Unpaused, nil},
		nova("live_migration._rollback.start", src), nova("live_migration._rollback.end", src),
	}, lists)
)

// plays tells a migration to a consumer, and gives the story that it makes of it; says delivers
// what a publisher says in a step.
func plays(t *testing.T, steps []told, says func(t *testing.T, s *site, step told, first bool)) (story, writes []string, ended string) {
	t.Helper()
	rollOut(t, handover.PolicyAuto, func(t *testing.T, s *site) {
		s.parksAside()
		for i, step := range steps {
			if step.nova != nil {
				step.nova(t, s)
			} else {
				says(t, s, step, i < len(lists))
			}
			pass(100 * time.Millisecond)
			if got := s.neutron.writes(); i == len(toldPause)-1 && !slices.Equal(got, []string{"activate p1 compute2"}) {
				t.Errorf("at the pause it has written %q", got)
			}
		}
		pass(5 * time.Minute)
		s.wantUnderstood(t)
		if s.settles != int(s.delivered) {
			t.Errorf("%d of %d messages are settled", s.settles, s.delivered)
		}
		p := clone(s.neutron.ports["p1"])
		ended = s.last(t, audit.HandoverEnded).Outcome
		at := map[string]string{"migrated": dst, "restored": src}[ended]
		if right, why := p.RightOn(at); !right {
			t.Errorf("not right on %q: %s", at, why)
		}
		story, writes = s.story(), s.neutron.writes()
	})
	return story, writes, ended
}

// A publisher that is one version back is as good as today's: the consumer makes the same story
// of it. It activates at the pause, since the source can plug the port in again, and restores.
func TestAMigrationAsEarlierPublishersTellIt(t *testing.T) {
	for _, c := range []struct {
		part, ended string
		end         string // where the guest is then
		steps       []told
		writes      []string
	}{
		{"success", "migrated", dst, toldSuccess, []string{"activate p1 compute2"}},
		{"failure", "restored", src, toldFailure, []string{"activate p1 compute2", "activate p1 compute1", "profile p1"}},
	} {
		source, destination := publishers()
		source.change = func(fields map[string]any) {
			if fields["event"] == string(wire.Suspended) {
				fields["replug"] = []string{"p1"}
			}
		}
		today, _, _ := plays(t, c.steps, func(t *testing.T, s *site, step told, first bool) {
			p, guestAt := source, c.end
			if step.host == dst {
				p = destination
			}
			if first {
				guestAt = src
			}
			switch {
			case step.event != "":
				p.event(t, s, step.event, step.detail)
			case step.host == guestAt:
				p.lists(t, s, first, runs)
			default:
				p.lists(t, s, first)
			}
		})
		earlierPublishers(t, c.part, func(t *testing.T, sent []sentBefore) {
			story, writes, ended := plays(t, c.steps, func(t *testing.T, s *site, step told, _ bool) {
				key := wire.HostStates{Host: step.host}.RoutingKey()
				if step.event != "" {
					key = wire.HostEvent{Host: step.host, Instance: guest, Event: step.event}.RoutingKey()
				}
				if len(sent) == 0 || sent[0].Key != key {
					t.Fatalf("%s is not the next of %d messages", key, len(sent))
				}
				s.deliver(t, wire.ExchangeEvents, sent[0].User, sent[0].Body)
				sent = sent[1:]
			})
			if len(sent) != 0 {
				t.Errorf("%d messages are not played", len(sent))
			}
			if ended != c.ended || !slices.Equal(writes, c.writes) {
				t.Errorf("ends %s with the writes %q, want %s, %q", ended, writes, c.ended, c.writes)
			}
			wantStory(t, story, today...)
		})
	}
}
