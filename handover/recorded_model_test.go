package handover

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/wire"
)

// The recordings of the lab: what two hosts and Nova have really said of one migration, at the times
// between them.

// labRecordings gives the messages of each instance, by the recording's name and the instance's.
func labRecordings(t *testing.T) map[string][]fact {
	t.Helper()
	files, err := filepath.Glob("../recordings/lab-*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	out := map[string][]fact{}
	for _, name := range files {
		file, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		_, messages, err := recording.Read(file)
		file.Close()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, instance := range migrating(messages) {
			of := strings.TrimSuffix(filepath.Base(name), ".jsonl") + " " + instance[:8]
			for _, m := range messages {
				if f, ok := factOf(m, instance); ok {
					out[of] = append(out[of], f)
				}
			}
		}
	}
	return out
}

// migrating are the instances of which a host reports an incoming migration.
func migrating(messages []recording.Message) []string {
	found := map[string]bool{}
	for _, m := range messages {
		n, err := wire.Decode(m.Body)
		if err != nil {
			continue
		}
		if e, err := wire.ParseHostEvent(n); err == nil && e.Event == wire.Started && e.Detail == wire.Migrated {
			found[e.Instance] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// factOf is what a message says of an instance.
func factOf(m recording.Message, instance string) (fact, bool) {
	n, err := wire.Decode(m.Body)
	if err != nil {
		return fact{}, false
	}
	if e, ok, err := wire.ParseNova(n); ok && err == nil && e.Instance == instance {
		return fact{at: m.At(), inputs: []Input{NovaSign{NovaEvent: e}}}, true
	}
	if e, err := wire.ParseHostEvent(n); err == nil && e.Instance == instance {
		sign, ok := signRecorded(e)
		return fact{at: m.At(), inputs: []Input{HostSign{Host: e.Host, Sign: sign, Order: e.Order, Replug: e.Replug}}}, ok
	}
	states, err := wire.ParseHostStates(n)
	if n.EventType != wire.EventStates || err != nil { // an event of another instance is no list without this one
		return fact{}, false
	}
	d := absent
	for _, s := range states.Domains {
		if s.Instance == instance {
			d = domainOf(s)
		}
	}
	f := list(states.Host, m.At(), d, states.Reconnected)
	for i, in := range f.inputs {
		s := in.(HostSign)
		s.Order = states.Order
		f.inputs[i] = s
	}
	if d == incoming {
		f.tells = begins
	}
	return f, true
}

// signRecorded and domainOf read what a publisher says as the consumer does (consumer/intake.go).
func signRecorded(e wire.HostEvent) (Sign, bool) {
	sign, ok := map[wire.Event]map[wire.Detail]Sign{
		wire.Started:   {wire.Migrated: SignStarted},
		wire.Suspended: {wire.Migrated: SignPaused, wire.PostCopy: SignPostCopy, wire.PostCopyFailed: SignPostCopyFailed, wire.Paused: SignArrivedPaused},
		wire.Stopped:   {wire.Migrated: SignLeft},
	}[e.Event][e.Detail]
	if !ok {
		sign, ok = map[wire.Event]Sign{wire.Suspended: SignHalted, wire.Resumed: SignResumed, wire.Stopped: SignStopped}[e.Event]
	}
	return sign, ok
}

func domainOf(s wire.DomainState) domain {
	switch {
	case s.Incoming:
		return incoming
	case s.State == "running":
		return running
	case s.State == "paused" && s.Reason == "migration":
		return outgoing
	case s.State == "paused" && s.Reason == string(wire.PostCopy):
		return handed
	case s.State == "paused" && s.Reason == string(wire.PostCopyFailed):
		return broken
	case s.State == "paused":
		return standing
	}
	return absent
}

// labPlayer has rows as Nova has prepared them for each migration, and workers that are never done:
// the handover is there to be looked at.
func labPlayer(facts []fact, chosen Settings) *player {
	var begin []time.Duration // of each migration but the first
	var prepared []port.Port
	for _, f := range facts {
		if f.opens() && f.host() == "" && len(prepared) > len(begin) {
			begin = append(begin, f.at)
		}
		if f.listed() || f.host() == "" || f.inputs[0].(HostSign).Sign != SignStarted || len(prepared) > len(begin) {
			continue
		}
		p := lab("p1")
		if f.host() == p.Rows[0].Host {
			slices.Reverse(p.Rows)
			p.Rows[0].Active, p.Rows[1].Active = true, false
		}
		prepared = append(prepared, p)
	}
	return &player{
		drive: newDrive(chosen), chosen: chosen, rowsTake: 100 * time.Millisecond,
		rowsAt: func(now time.Duration) []port.Port {
			i, _ := slices.BinarySearch(begin, now)
			return []port.Port{prepared[min(i, len(prepared)-1)]}
		},
	}
}

// standing tells where a handover has come to.
func (p *player) standing() string {
	h := p.Current()
	if h == nil {
		return "no handover"
	}
	return fmt.Sprintf("from %s to %s: %s, %+v", h.Source, h.Destination, h.phase(), h.goals)
}

// asItWent plays a recording as it was consumed. It gives when each handover begins.
func (p *player) asItWent(facts []fact) (begun []time.Duration) {
	p.watch = func(s step) {
		if s.opened() {
			begun = append(begun, s.at)
		}
	}
	var schedule []delivery
	for _, f := range facts {
		schedule = append(schedule, delivery{at: f.at, fact: f})
	}
	p.play(schedule)
	return begun
}

// Late, more than once and out of turn, nothing lost: it comes to where it came to. Of the recordings
// of several migrations it is the last one that comes so, and what came in its turn before that comes
// again beside it.
func TestModelRecordingsOfTheLabEndAsTheyWent(t *testing.T) {
	several := 0
	for name, facts := range labRecordings(t) {
		begun := labPlayer(facts, suspended).asItWent(facts)
		last, earlier := begun[len(begun)-1], 0
		if len(begun) > 1 {
			several++
			earlier = slices.IndexFunc(facts, func(f fact) bool { return f.at >= last })
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var went []string
			for _, chosen := range committing {
				p := labPlayer(facts, chosen)
				p.asItWent(facts)
				went = append(went, p.standing())
			}
			drawn, judged := 0, 0
			rapid.Check(t, func(t *rapid.T) {
				drawn++
				settings := rapid.IntRange(0, len(committing)-1).Draw(t, "settings")
				schedule := drawSchedule(t, facts[earlier:], faults{anyTurn: rapid.Bool().Draw(t, "any turn"), longest: time.Hour})
				first := slices.IndexFunc(schedule, func(d delivery) bool { return d.fact.opens() })
				if misses(schedule, first, last) {
					return
				}
				judged++
				schedule = schedule[first:]
				for _, f := range facts[:earlier] {
					schedule = append(schedule, delivery{at: f.at, fact: f})
					if rapid.Bool().Draw(t, "comes again") {
						schedule = append(schedule, delivery{at: last + time.Microsecond + drawDelay(t, time.Hour), fact: f, again: true})
					}
				}
				p := labPlayer(facts, committing[settings])
				p.play(inTurn(schedule))
				if got := p.standing(); got != went[settings] {
					t.Fatalf("%s, and it went\n%s%s", got, went[settings], p.tale())
				}
			})
			if judged < drawn/2 {
				t.Errorf("%d of %d draws were judged", judged, drawn)
			}
		})
	}
	if several != 2 { // lab-back-to-back, lab-second-attempt
		t.Errorf("%d recordings are of several migrations", several)
	}
}
