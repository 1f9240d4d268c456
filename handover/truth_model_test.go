package handover

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"
)

// The truth of a recorded migration: where its guest really was at each moment,
// from libvirt's own event numbers and nothing of the code under test.

// domain is what one host's libvirt has of the guest.
type domain int

const (
	absent   domain = iota
	incoming        // started by a migration, not run yet
	running
	standing // paused, and here: by a user, or as it came
	outgoing // paused while it migrates away
	handed   // the same, in post-copy: it runs on the destination, and never here again
	broken   // the same, and post-copy has failed
)

// after is what a lifecycle event leaves of a domain.
func (d domain) after(r record) domain {
	switch r.Event {
	case 2:
		if r.Detail == 1 {
			return incoming
		}
		return running
	case 3:
		switch r.Detail {
		case 0:
			return standing
		case 7:
			return handed
		case 8:
			return broken
		}
		return outgoing
	case 4:
		return running
	case 5:
		return absent
	}
	return d
}

func (d domain) here() bool { return d == running || d == standing }

// listedAs is the sign that a list of states gives of it.
func (d domain) listedAs() Sign {
	return map[domain]Sign{absent: SignAbsent, incoming: SignStarted, running: SignRunning, standing: SignArrivedPaused, outgoing: SignPaused,
		handed: SignPostCopy, broken: SignPostCopyFailed}[d]
}

// gap is a time without events from one host, since its libvirt was killed or
// frozen, and what became of the domain meanwhile. No recording can show that.
type gap struct {
	host         string
	from, to, at float64 // ms; at: when the domain changed
	becomes      domain
}

var gaps = map[string]gap{
	"e4-kill9-dst-libvirtd-at-suspend": {"compute2", 868.54, 2291.286, 1291.286, absent},    // when the source gave up; its libvirtd is back 1 s later
	"e6-kill9-src-libvirtd-at-suspend": {"compute1", 867.956, 2746.72, 1468.873, running},   // when the destination was destroyed
	"e8-dst-libvirtd-frozen-in-finish": {"compute2", 824.027, 55980.612, 824.027, incoming}, // nothing changed
}

// telling is what a message proves to whoever has it.
type telling int

const (
	nothing telling = iota
	begins          // STARTED on the destination
	stops           // the pause: the guest stands still on the source
	beyond          // post-copy
	arrives
	fails // the migration has failed
	due   // the guest has left the source: Nova's own activate is due
)

// fact is one message that was sent: what it says, and when that was true.
type fact struct {
	at     time.Duration
	tells  telling
	inputs []Input
	leg    int
}

func (f fact) host() string {
	if s, ok := f.inputs[0].(HostSign); ok {
		return s.Host
	}
	return ""
}

func (f fact) listed() bool { s, ok := f.inputs[0].(HostSign); return ok && s.Listed }

// opens tells whether it begins a handover where there is none.
func (f fact) opens() bool { return f.tells == begins || !f.listed() && opens(f.inputs[0]) }

func (f fact) String() string { return strings.Join(names(f.inputs), " + ") }

// moment is what the hosts have of the guest from then on.
type moment struct {
	at                  time.Duration
	source, destination domain
}

// leg is one migration as it truly went.
type leg struct {
	name, source, destination, request string

	facts []fact // in the order of the truth
	went  []moment
	ends  Phase
	from  time.Duration // STARTED
	// till is when it was decided, either way.
	till   time.Duration
	failed bool // at till
	away   gap
}

// truly are the recorded migrations, each of one guest from compute1 to compute2.
func truly(t testing.TB) []leg {
	t.Helper()
	var legs []leg
	for _, name := range migrationsRecorded(t) {
		legs = append(legs, trulyOf(name, load(t, name)))
	}
	return legs
}

// trulyOf reads the truth off a stream. It puts in the list that a publisher
// sends after each connection to its libvirt.
func trulyOf(name string, records []record) leg {
	l := leg{name: name, source: src, destination: dst, request: "req", away: gaps[name], ends: -1, from: -1}
	ms := func(x float64) time.Duration { return time.Duration(x * float64(time.Millisecond)) }
	if l.away.host != "" {
		// Of the two lines at one moment the change is first, the connection last.
		records = slices.DeleteFunc(slices.Clone(records), func(r record) bool { return r.Ms == l.away.to && r.Kind == "connected" })
		records = append(records, record{Ms: l.away.at, Host: l.away.host, Kind: "unseen"}, record{Ms: l.away.to, Host: l.away.host, Kind: "reconnected"})
		slices.SortStableFunc(records, func(a, b record) int { return cmp.Compare(a.Ms, b.Ms) })
	}
	now := moment{source: running}
	postCopy, paused, arrived := false, false, false
	for _, r := range records {
		at := ms(r.Ms)
		onSource := r.Host == "compute1"
		d, host := &now.destination, dst
		if onSource {
			d, host = &now.source, src
		}
		before := *d
		f := fact{at: at}
		switch r.Kind {
		case "connected": // for the first time: nothing was missed
			continue
		case "unseen":
			*d = l.away.becomes
		case "reconnected":
			f = list(host, at, *d, true)
		default:
			*d = before.after(r)
			if sign, ok := r.sign(); ok {
				f.inputs = []Input{HostSign{Host: host, Sign: sign}}
			}
		}
		now.at = at
		l.went = append(l.went, now)
		left := onSource && r.Event == 5 && r.Detail == 3
		failed := onSource && paused && before == outgoing && now.source == running || // runs again
			onSource && before != absent && now.source == absent && !left || // died
			!onSource && before == incoming && now.destination == absent || // ended before it ran
			postCopy && (!onSource && now.destination == absent || onSource && r.Event == 3 && r.Detail == 8)
		switch {
		case !onSource && before == absent && now.destination == incoming:
			f.tells, l.from = begins, at
		case r.Event == 3 && r.Detail == 7:
			postCopy, f.tells = true, beyond
		case onSource && before != outgoing && now.source == outgoing:
			paused, f.tells = true, stops
		case !onSource && !before.here() && now.destination.here():
			arrived, f.tells = true, arrives
		case failed:
			f.tells = fails
			if !l.failed {
				l.failed, l.till = true, at
			}
		case left:
			f.tells, l.till = due, at
		}
		if len(f.inputs) > 0 {
			l.facts = append(l.facts, l.telling(f, *d))
		}
	}
	end := l.went[len(l.went)-1]
	switch {
	case postCopy && l.failed:
		l.ends = Lost
	case arrived && end.destination.here() && end.source == absent:
		l.ends = Left
	case end.source.here() && end.destination.here():
		l.ends = Contradicted
	case l.failed:
		l.ends = Failed
	}
	return l
}

// list is a host's list of its domains.
func list(host string, at time.Duration, d domain, reconnected bool) fact {
	f := fact{at: at, inputs: []Input{HostSign{Host: host, Sign: d.listedAs(), Listed: true}}}
	missed := HostSign{Host: host, Sign: SignMissedEvents, Listed: true}
	switch { // in the consumer's order
	case reconnected && d.here():
		f.inputs = slices.Insert(f.inputs, 0, Input(missed))
	case reconnected:
		f.inputs = append(f.inputs, missed)
	}
	return f
}

// telling says what a list proves, of a domain that is so in this leg.
func (l leg) telling(f fact, d domain) fact {
	if !f.listed() {
		return f
	}
	switch decided := l.till > 0 && f.at >= l.till; {
	case f.host() == l.destination && d == absent && decided && l.failed,
		f.host() == l.source && d == running && decided && l.failed:
		f.tells = fails
	case f.host() == l.source && d == absent && decided && !l.failed:
		f.tells = due
	case f.host() == l.destination && d == incoming:
		f.tells = begins
	}
	return f
}

// at gives what the hosts had then.
func (l leg) at(when time.Duration) moment {
	now := moment{source: running}
	for _, m := range l.went {
		if m.at <= when {
			now = m
		}
	}
	return now
}

// has gives what one host had then; hosts that take no part have nothing.
func (l leg) has(host string, when time.Duration) domain {
	now := l.at(when)
	return map[string]domain{l.source: now.source, l.destination: now.destination}[host]
}

// lists are what the hosts have then, those that can say it.
func (l leg) lists(when time.Duration) []fact {
	var out []fact
	for _, host := range []string{l.source, l.destination, third} {
		if l.silent(host, when) {
			continue
		}
		d := l.has(host, when)
		out = append(out, l.telling(list(host, when, d, false), d))
	}
	return out
}

// silent tells whether a host's publisher could not ask its libvirt then.
func (l leg) silent(host string, when time.Duration) bool {
	ms := func(x float64) time.Duration { return time.Duration(x * float64(time.Millisecond)) }
	whose := map[string]string{"compute1": l.source, "compute2": l.destination}[l.away.host]
	return whose == host && when >= ms(l.away.from) && when <= ms(l.away.to)
}

// first gives when the first message that tells something was sent; -1 if none was.
func (l leg) first(what telling) time.Duration {
	for _, f := range l.facts {
		if f.tells == what && !f.listed() {
			return f.at
		}
	}
	return -1
}

// What the truth is read to be, against what was seen when the streams were recorded.
func TestTheTruthOfTheRecordedStreams(t *testing.T) {
	ends := map[Phase]int{}
	for _, l := range truly(t) {
		ends[l.ends]++
		lost, both := strings.HasPrefix(l.name, "f-"), strings.HasPrefix(l.name, "e8")
		succeeds := slices.ContainsFunc([]string{"success", "paused-guest", "not-live", "suspend-flag", "suspend-forced", "c2-", "b-busy", "m2-", "of-two"}, func(word string) bool {
			return strings.Contains(l.name, word)
		})
		want := map[bool]Phase{true: Left, false: Failed}[succeeds]
		switch {
		case lost:
			want = Lost
		case both:
			want = Contradicted
		}
		if l.ends != want || l.from < 0 || l.till <= l.from || l.failed == succeeds {
			t.Errorf("%s ends %s, from %s till %s, failed %t; want %s", l.name, phaseName(l.ends), l.from, l.till, l.failed, want)
		}
	}
	if ends[Left] != 13 || ends[Failed] != 14 || ends[Contradicted] != 1 || ends[Lost] != 1 {
		t.Errorf("ends %v", ends)
	}
}
