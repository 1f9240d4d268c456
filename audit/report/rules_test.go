package report

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
)

// is gives a condition on lines.
func is(event audit.Event, decided string) func(audit.Entry) bool {
	return func(e audit.Entry) bool { return e.Event == event && e.Decided == decided }
}

// change gives the lines with some changed.
func change(lines []audit.Entry, which func(audit.Entry) bool, how func(*audit.Entry)) []audit.Entry {
	out := slices.Clone(lines)
	for i := range out {
		if which(out[i]) {
			how(&out[i])
		}
	}
	return out
}

func without(lines []audit.Entry, which func(audit.Entry) bool) []audit.Entry {
	return slices.DeleteFunc(slices.Clone(lines), which)
}

// insert puts a line after the first that is so.
func insert(lines []audit.Entry, after func(audit.Entry) bool, line audit.Line, times int) []audit.Entry {
	i := slices.IndexFunc(lines, after)
	e := lines[i]
	line.Handover = e.Handover
	e.Line = line
	return slices.Insert(slices.Clone(lines), i+1, slices.Repeat([]audit.Entry{e}, times)...)
}

// Each rule is broken by the fault that it is there for, and no rule that has nothing to
// do with it.
func TestEachRuleIsBrokenByItsFault(t *testing.T) {
	success, failure, lost := logs["success suspended"], logs["failed-in-switchover suspended"], logs["post-copy-failed suspended"]
	decided, written := is(audit.PortDecided, commit), is(audit.PortWritten, activate)
	ended := func(e audit.Entry) bool { return e.Event == audit.HandoverEnded }
	begun := func(e audit.Entry) bool { return e.Event == audit.HandoverBegun }
	final := func(e audit.Entry) bool {
		return e.Event == audit.PortVerified && (e.Decided == verify || e.Decided == restore)
	}
	port := success[slices.IndexFunc(success, decided)].Port
	held := lost[slices.IndexFunc(lost, is(audit.PortDecided, hold))].Port
	active := audit.Entry{Line: audit.Line{Event: audit.ConsumerActive}, Time: success[0].Time, Replica: "r1"}
	later := audit.Entry{Line: audit.Line{Event: audit.LeftOversRead}, Time: success[0].Time.Add(2 * time.Hour), Replica: "r1"}
	ends := func(outcome string) func(*audit.Entry) { return func(e *audit.Entry) { e.Outcome = outcome } }
	for name, c := range map[string]struct {
		broken string
		lines  []audit.Entry
	}{
		"a commit after a failure":            {"commit-phase", change(success, decided, func(e *audit.Entry) { e.Phase = "failed" })},
		"a commit that nobody answers":        {"commit-outcome", change(without(success, func(e audit.Entry) bool { return written(e) || e.Port != "" && !decided(e) }), ended, ends(superseded))},
		"an activate without a commit":        {"write-decided", without(success, decided)},
		"two activates for one commit":        {"write-decided", insert(success, written, audit.Line{Event: audit.PortWritten, Port: port, Host: "compute2", Decided: activate, Outcome: "activated"}, 1)},
		"an activate of the source":           {"write-decided", insert(success, written, audit.Line{Event: audit.PortWritten, Port: port, Host: "compute1", Decided: activate, Outcome: "answered"}, 1)},
		"an activate of the destination late": {"write-decided", insert(failure, is(audit.PortDecided, restore), audit.Line{Event: audit.PortWritten, Port: failure[slices.IndexFunc(failure, decided)].Port, Host: "compute2", Decided: activate, Outcome: "activated"}, 1)},
		"a rebind without a restore":          {"write-decided", without(failure, is(audit.PortDecided, restore))},
		"writes after a hold":                 {"write-decided hold", insert(lost, is(audit.PortDecided, hold), audit.Line{Event: audit.PortWritten, Port: held, Host: "compute1", Decided: "rebind", Outcome: "answered"}, 2)},
		"a restore that nobody verified":      {"verified end-proof", without(failure, final)},
		"a restore that was cut off":          {"verified", change(without(failure, final), ended, ends("expired"))},
		"rows wrong in the end":               {"end-proof", change(success, final, func(e *audit.Entry) { e.Outcome = "rows wrong: no ACTIVE row" })},
		"a port that was not looked at":       {"end-proof", change(success, func(e audit.Entry) bool { return e.Event == audit.HandoverArmed }, func(e *audit.Entry) { e.Figures = map[string]int64{"ports": 2} })},
		"wrong without an alarm":              {"wrong-alarm", change(success, ended, ends(wrong))},
		"a write without an outcome":          {"answered", change(failure, is(audit.PortWritten, "rebind"), func(e *audit.Entry) { e.Outcome = "" })},
		"a failure without an error":          {"answered", change(failure, is(audit.PortWritten, "rebind"), func(e *audit.Entry) { e.Outcome, e.Err = "failed", nil })},
		"a beginning that is missing":         {"begins", append([]audit.Entry{active}, without(success, begun)...)},
		"an end that is missing":              {"ends", append(without(success, ended), later)},
		"begun again without an end":          {"ends", append(without(success, ended), success...)},
	} {
		r := of(Options{}, c.lines...)
		var got []string
		for _, rule := range r.Rules {
			if rule.Broken > 0 {
				got = append(got, rule.Name)
			}
		}
		if strings.Join(got, " ") != c.broken {
			t.Errorf("%s: broken are %v", name, got)
		}
		if r.Fine() || r.Counts.NotRight == 0 {
			t.Errorf("%s: it is fine", name)
		}
	}
}

func line(event audit.Event, change func(*audit.Line)) audit.Entry {
	e := audit.Entry{Replica: "r1", Time: time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC), Line: audit.Line{Event: event}}
	change(&e.Line)
	return e
}

// A replica that is killed, or loses its broker, leaves its handover to another.
func TestAHandoverThatIsTakenOver(t *testing.T) {
	lines := logs["failed-in-switchover suspended"]
	restoring := slices.IndexFunc(lines, is(audit.PortDecided, restore))
	second := func(e audit.Entry) audit.Entry { e.Replica = "r2"; e.Time = e.Time.Add(20 * time.Second); return e }
	var rest []audit.Entry
	for _, e := range lines { // it finds the activate done, and restores
		if !is(audit.PortDecided, commit)(e) && !(e.Event == audit.PortWritten && e.Host == "compute2") {
			rest = append(rest, second(e))
		}
	}
	lost := line(audit.ConsumerLost, func(l *audit.Line) { l.Err = errors.New("gone") })
	for name, log := range map[string][]audit.Entry{
		"killed":       append(slices.Clone(lines[:restoring+1]), rest...),
		"lost":         append(append(slices.Clone(lines[:restoring+1]), lost), rest...),
		"later first":  append(slices.Clone(rest), lines[:restoring+1]...),
		"same replica": append(append(slices.Clone(lines[:restoring+1]), lost), change(rest, func(audit.Entry) bool { return true }, func(e *audit.Entry) { e.Replica = "r1" })...),
	} {
		r := of(Options{}, log...)
		if len(r.Handovers) != 1 || !r.Fine() {
			t.Errorf("%s: %+v, %v", name, r.Handovers, brokenRules(r))
			continue
		}
		h := r.Handovers[0]
		if h.Outcome != restored || h.Activated != 1 || name != "same replica" && !slices.Equal(h.Replicas, []string{"r1", "r2"}) {
			t.Errorf("%s: %+v", name, h)
		}
	}
	alone := of(Options{}, append(slices.Clone(lines[:restoring+1]), lost)...)
	if alone.Counts.Unknown != 1 || !strings.Contains(alone.Handovers[0].Why[0], "lost its session") || len(alone.Handovers[0].Timeline) == 0 {
		t.Errorf("%+v", alone.Handovers)
	}
}

func TestAnAlarmAfterTheEndIsTold(t *testing.T) {
	r := of(Options{}, logs["destination-thaws suspended"]...)
	if h := r.Handovers[0]; h.Verdict != NotRight || h.Outcome != restored || len(h.Alarms) != 1 {
		t.Errorf("%+v", h)
	}
}

func TestWhatIsOfNoHandover(t *testing.T) {
	about := func(port, outcome string) audit.Entry {
		return line(audit.PortVerified, func(l *audit.Line) {
			l.Handover.Instance, l.Port, l.Outcome, l.Why = "i", port, outcome, "the journal: its handover was cut off"
		})
	}
	r := of(Options{}, about("p1", "rows wrong: x"), about("p2", "rows wrong: x"), about("p1", "rows right"),
		line(audit.HandoverAlarm, func(l *audit.Line) { l.Handover.Instance, l.Why = "i", "the hosts do not agree" }),
		line(audit.MessageParked, func(l *audit.Line) { l.Why = "a" }), line(audit.MessageParked, func(l *audit.Line) { l.Why = "b" }))
	if r.Fine() || len(r.Journal) != 1 || r.Journal[0].Port != "p2" || len(r.Alarms) != 1 {
		t.Errorf("%+v, %+v", r.Journal, r.Alarms)
	}
	if len(r.Events) != 1 || r.Events[0].Count != 2 || r.Events[0].What != "b" {
		t.Errorf("%+v", r.Events)
	}
	if r = of(Options{Port: "p2"}, about("p1", "rows wrong: x"), about("p2", "rows wrong: x")); len(r.Journal) != 1 || len(r.Beside) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsWrongAndRightLater(t *testing.T) {
	bad := logs["post-copy-failed suspended"]
	good := change(logs["success suspended"], func(audit.Entry) bool { return true }, func(e *audit.Entry) {
		e.Handover.Instance = bad[0].Handover.Instance
		e.Time = e.Time.Add(1000 * time.Hour)
	})
	r := of(Options{}, append(slices.Clone(bad), good...)...)
	if h := r.Handovers[0]; r.Fine() || !strings.HasPrefix(h.Since, "a later migration of the instance ended migrated") {
		t.Errorf("%+v", h)
	}
}

func TestNotesOfALogThatIsLessThanWhole(t *testing.T) {
	lines := logs["success suspended"]
	b := New(Options{})
	for _, e := range append(slices.Clone(lines), lines...) {
		b.Add(e)
	}
	r := b.Report(audit.Skipped{Emptied: 1, Schema: 2, Cut: 3, CutShort: true}, "x holds nothing")
	text := strings.Join(r.Log.Notes, "\n")
	for _, want := range []string{"x holds nothing", "older than one before", "1 journal entries", "2 lines are of a version", "3 lines are cut", "compressed file is cut"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// An outage ends with earlybind where it has activated every port itself: with a 200. A 409 says only
// that somebody else had done it by then.
func TestOutages(t *testing.T) {
	both := map[string]int64{"pause_to_arrival_ms": 100, "pause_to_nova_ms": 900, "pause_to_active_ms": 160, "lead_ms": 740}
	late := map[string]int64{"pause_to_arrival_ms": 400, "pause_to_nova_ms": 900, "pause_to_active_ms": 1000, "lead_ms": -100}
	for _, c := range []struct {
		ports, activated int
		figures          map[string]int64
		with, alone      int64
		lead             int64
		told             bool
	}{
		{1, 0, nil, -1, -1, 0, false},
		{1, 0, map[string]int64{"pause_to_nova_ms": 900}, -1, -1, 0, false},
		{1, 0, map[string]int64{"pause_to_arrival_ms": 100, "pause_to_nova_ms": 900}, -1, 900, 0, false},
		{1, 1, both, 160, 900, 740, true},
		{3, 3, both, 160, 900, 740, true},
		{1, 0, both, -1, 900, 0, false}, // somebody else was first, and Nova has not said that it was it
		{3, 2, both, -1, 900, 740, true},
		{1, 1, map[string]int64{"pause_to_arrival_ms": 400, "pause_to_nova_ms": 900, "pause_to_active_ms": 160}, 400, 900, 0, false},
		{1, 1, late, 1000, 900, -100, true}, // Nova had taken over, and was second
		{1, 0, late, -1, 900, -100, true},
		{3, 1, late, -1, 900, -100, true},
		{1, 1, map[string]int64{"pause_to_arrival_ms": 100, "pause_to_active_ms": 160}, 160, -1, 0, false},
		{1, 0, map[string]int64{"pause_to_arrival_ms": 100, "pause_to_active_ms": 160}, -1, -1, 0, false},
		{1, 1, map[string]int64{"pause_to_arrival_ms": 100, "pause_to_nova_ms": 900, "lead_ms": 700}, 200, 900, 700, true}, // of an older log
	} {
		h := Handover{Ports: c.ports, Activated: c.activated, Figures: c.figures}
		if with, alone := h.Outage(); with != c.with || alone != c.alone {
			t.Errorf("%d of %d, %v: %d, %d, want %d, %d", c.activated, c.ports, c.figures, with, alone, c.with, c.alone)
		}
		if lead, told := h.Lead(); lead != c.lead && c.told || told != c.told {
			t.Errorf("%d of %d, %v: a lead of %d, %t", c.activated, c.ports, c.figures, lead, told)
		}
	}
}

func TestSpread(t *testing.T) {
	var hundred []int64
	for i := range int64(100) {
		hundred = append(hundred, 100-i)
	}
	for _, c := range []struct {
		of            []int64
		p50, p99, max int64
	}{{[]int64{7}, 7, 7, 7}, {[]int64{3, 1}, 1, 3, 3}, {hundred, 50, 99, 100}} {
		if s := spread(c.of); s.P50 != c.p50 || s.P99 != c.p99 || s.Max != c.max || s.Count != len(c.of) {
			t.Errorf("%+v", s)
		}
	}
}

// A log may hold what anybody could send.
func TestWhatALogHoldsIsNotActedOn(t *testing.T) {
	evil := "\x1b[2J\u202e\n</pre><script>alert(1)</script>"
	lines := change(logs["post-copy-failed suspended"], func(audit.Entry) bool { return true }, func(e *audit.Entry) { e.Why += evil; e.Saw += evil })
	for _, o := range []Options{{}, {Instance: lines[0].Handover.Instance}} {
		r := of(o, lines...)
		var text, page strings.Builder
		if err := errors.Join(Text(&text, r, o), HTML(&page, r, o, "test")); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(text.String(), "\x1b\u202e") || strings.Contains(text.String(), "\n</pre>") {
			t.Errorf("the text has %q", text.String())
		}
		if strings.Contains(page.String(), "<script") || !strings.Contains(page.String(), "&lt;script") {
			t.Error("the page has a script")
		}
	}
}

// foundRight is what a handover says at its end of a port that is right.
func foundRight(port, decided string) audit.Entry {
	return line(audit.PortVerified, func(l *audit.Line) {
		l.Handover = audit.Handover{Instance: "i", Source: "compute1", Destination: "compute2"}
		l.Port, l.Decided, l.Outcome = port, decided, "rows right"
	})
}

func ofTheJournal(port, outcome string) audit.Entry {
	return line(audit.PortVerified, func(l *audit.Line) {
		l.Handover.Instance, l.Port, l.Outcome, l.Why = "i", port, outcome, "the journal: its handover was cut off"
	})
}

func at(minutes int, replica string, e audit.Entry) audit.Entry {
	e.Time, e.Replica = e.Time.Add(time.Duration(minutes)*time.Minute), replica
	return e
}

func TestAHandoverMendsAPortThatTheJournalFoundWrong(t *testing.T) {
	bad := ofTheJournal("p1", "rows wrong: x")
	gone := foundRight("p1", verify)
	gone.Outcome, gone.Err = "gone", errors.New("404")
	other := foundRight("p2", restore)
	wrongStill := foundRight("p1", restore)
	wrongStill.Outcome = "rows wrong: x"
	read := foundRight("p1", "") // after a commit: its handover goes on
	for name, c := range map[string]struct {
		later audit.Entry
		fine  bool
	}{
		"restored": {foundRight("p1", restore), true}, "verified": {foundRight("p1", verify), true}, "gone": {gone, true},
		"another port": {other, false}, "wrong still": {wrongStill, false}, "after a commit": {read, false},
	} {
		r := of(Options{}, bad, at(1, "r1", c.later))
		if r.Fine() != c.fine || (len(r.Journal) == 0) != c.fine {
			t.Errorf("%s: %+v", name, r.Journal)
		}
		if r = of(Options{}, c.later, at(1, "r1", bad)); len(r.Journal) != 1 {
			t.Errorf("%s, and found wrong since: %+v", name, r.Journal)
		}
	}
	alarm := line(audit.HandoverAlarm, func(l *audit.Line) {
		l.Handover = audit.Handover{Instance: "i", Source: "compute1", Destination: "compute2"}
		l.Port, l.Why = "p1", "no ACTIVE row"
	})
	r := of(Options{}, alarm, at(1, "r2", bad), at(2, "r2", foundRight("p1", restore)))
	if want := "port p1 was found right (rows right) at 2026-11-23 04:02:00"; len(r.Handovers) == 0 || r.Handovers[0].Since != want {
		t.Errorf("%+v", r.Handovers)
	}
}

// How replicas' lines are mixed does not decide which of them is the newest.
func TestTheNewestLineIsToldWhicheverIsReadFirst(t *testing.T) {
	alarm := line(audit.HandoverAlarm, func(l *audit.Line) { l.Handover.Instance, l.Port, l.Why = "i", "p1", "a" })
	parked := func(why string) audit.Entry {
		return line(audit.MessageParked, func(l *audit.Line) { l.Why = why })
	}
	started := func(settings string) audit.Entry {
		return line(audit.ConsumerStarted, func(l *audit.Line) { l.Outcome, l.Decided = audit.Ready, settings })
	}
	for name, pair := range map[string][2]audit.Entry{
		"found right by the journal": {at(0, "r1", ofTheJournal("p1", "rows wrong: x")), at(1, "r2", ofTheJournal("p1", "rows right"))},
		"found wrong by the journal": {at(0, "r1", ofTheJournal("p1", "rows right")), at(1, "r2", ofTheJournal("p1", "rows wrong: x"))},
		"found wrong twice":          {at(0, "r1", ofTheJournal("p1", "rows wrong: x")), at(1, "r2", ofTheJournal("p1", "rows wrong: y"))},
		"found right by a handover":  {at(0, "r1", ofTheJournal("p1", "rows wrong: x")), at(1, "r2", foundRight("p1", restore))},
		"at once":                    {at(0, "r1", ofTheJournal("p1", "rows wrong: x")), at(0, "r2", ofTheJournal("p1", "rows right"))},
		"alarms":                     {at(0, "r1", alarm), at(1, "r2", alarm)},
		"messages parked":            {at(0, "r1", parked("a")), at(1, "r2", parked("b"))},
		"parked at once":             {at(0, "r1", parked("a")), at(0, "r2", parked("b"))},
		"starts at once":             {at(0, "r1", started("a")), at(0, "r2", started("b"))},
	} {
		for _, o := range []Options{{}, {Port: "p1"}} {
			forth, back := of(o, pair[0], pair[1]), of(o, pair[1], pair[0])
			if !reflect.DeepEqual(forth, back) {
				t.Errorf("%s: %+v\n%+v", name, forth, back)
			}
		}
	}
	r := of(Options{}, at(1, "r2", ofTheJournal("p1", "rows right")), at(0, "r1", ofTheJournal("p1", "rows wrong: x")))
	if !r.Fine() {
		t.Errorf("%+v", r.Journal)
	}
	r = of(Options{}, at(1, "r2", parked("b")), at(0, "r1", parked("a")))
	if e := r.Events[0]; e.What != "b" || e.Count != 2 || !e.Last.Equal(parked("").Time.Add(time.Minute)) {
		t.Errorf("%+v", e)
	}
}

// answers has the activates answered so; "" for no answer.
func answers(lines []audit.Entry, outcome string, err error) []audit.Entry {
	written := is(audit.PortWritten, activate)
	if outcome == "" {
		return without(lines, written)
	}
	return change(lines, written, func(e *audit.Entry) { e.Outcome, e.Err = outcome, err })
}

func TestAPortThatWasACTIVEAlreadyWasActivatedByNova(t *testing.T) {
	lines := logs["success suspended"]
	end := slices.IndexFunc(lines, is(audit.PortDecided, verify))
	refused, silent := errors.New("activate: 404"), errors.New("activate: EOF; it may still take effect")
	for name, c := range map[string]struct {
		first, second string
		err           error // of the first
		activated     int
	}{
		"alone, first":                       {"", activated, nil, 1},
		"alone, Nova was first":              {already, already, nil, 0},
		"done, and found again":              {activated, already, nil, 1},
		"done, and its answer was cut off":   {"", already, nil, 1},
		"done, and its answer did not come":  {"failed", already, silent, 1},
		"refused, and Nova was first":        {"failed", already, refused, 0},
		"refused, and done by another":       {"failed", activated, refused, 1},
		"without an answer, and refused now": {"", "failed", nil, 0},
	} {
		var second []audit.Entry
		for _, e := range answers(lines, c.second, nil) {
			second = append(second, at(1, "r2", e))
		}
		log := append(slices.Clone(answers(lines[:end], c.first, c.err)), second...)
		if strings.HasPrefix(name, "alone") {
			log = second
		}
		r := of(Options{}, log...)
		ended := follow(NewLive(10), log...)
		if len(r.Handovers) != 1 || r.Handovers[0].Activated != c.activated || len(ended) != 1 || ended[0].Activated != c.activated {
			t.Errorf("%s: %+v", name, r.Handovers)
		}
		if name == "alone, Nova was first" && (r.Gains[0].Early != 0 || len(r.Prospects) != 0) {
			t.Errorf("%s: %+v, %+v", name, r.Gains[0], r.Prospects)
		}
	}
	observed := change(lines, is(audit.PortWritten, activate), func(e *audit.Entry) {
		e.Event, e.Decided, e.Outcome, e.Why = audit.PortObserved, "", "", "the deadline passed before the request was sent"
	})[:end]
	var second []audit.Entry
	for _, e := range answers(lines, already, nil) {
		second = append(second, at(1, "r2", e))
	}
	if r := of(Options{}, append(slices.Clone(observed), second...)...); len(r.Handovers) != 1 || r.Handovers[0].Activated != 0 {
		t.Errorf("nothing was sent: %+v", r.Handovers)
	}
}

// Each session activates a port of two.
func TestPortsThatSessionsActivatedAreCountedTogether(t *testing.T) {
	lines := logs["success suspended"]
	port := lines[slices.IndexFunc(lines, is(audit.PortWritten, activate))].Port
	end := slices.IndexFunc(lines, is(audit.PortDecided, verify))
	log := slices.Clone(lines[:end])
	for _, e := range lines {
		if e.Port == port {
			e.Port = "another"
		}
		log = append(log, at(1, "r2", e))
	}
	r := of(Options{}, log...)
	l := NewLive(10)
	follow(l, log[:len(log)-1]...)
	if g := l.Now().Going; len(r.Handovers) != 1 || r.Handovers[0].Activated != 2 || len(g) != 1 || g[0].Activated != 2 {
		t.Errorf("%+v\n%+v", r.Handovers, g)
	}
}

// A replica that dies before its acknowledgements arrive leaves a handover that has ended
// to the next, which is told all again.
func TestAHandoverThatHasEndedAndIsDeliveredAgainIsOne(t *testing.T) {
	lines := change(logs["success suspended"], func(audit.Entry) bool { return true }, func(e *audit.Entry) { e.Handover.RequestID = "req-1" })
	timedAgain := map[string]int64{"pause_to_arrival_ms": 1, "pause_to_active_ms": 2}
	again := func(replica string, how func(*audit.Entry)) []audit.Entry {
		return change(answers(lines, already, nil), func(audit.Entry) bool { return true }, func(e *audit.Entry) {
			e.Time, e.Replica = e.Time.Add(time.Hour), replica
			if e.Event == audit.HandoverEnded {
				e.Figures = timedAgain
			}
			how(e)
		})
	}
	ended := func(e *audit.Entry) bool { return e.Event == audit.HandoverEnded }
	same := func(*audit.Entry) {}
	lost := at(60, "r1", line(audit.ConsumerLost, func(*audit.Line) {}))
	lost.Time = lines[len(lines)-1].Time
	for name, c := range map[string]struct {
		first     []audit.Entry
		second    []audit.Entry
		handovers int
		outcome   string
	}{
		"to another replica":         {lines, again("r2", same), 1, migrated},
		"to the same, connected new": {append(slices.Clone(lines), lost), again("r1", same), 1, migrated},
		"in the same session":        {lines, again("r1", same), 2, migrated},
		"another migration":          {lines, again("r2", func(e *audit.Entry) { e.Handover.RequestID = "req-2" }), 2, migrated},
		"of no known request": {change(lines, func(audit.Entry) bool { return true }, func(e *audit.Entry) { e.Handover.RequestID = "" }),
			again("r2", func(e *audit.Entry) { e.Handover.RequestID = "" }), 2, migrated},
		"to another host": {lines, again("r2", func(e *audit.Entry) { e.Handover.Destination = "compute3" }), 2, migrated},
		"and ends worse": {lines, again("r2", func(e *audit.Entry) {
			if ended(e) {
				e.Outcome = "expired"
			}
		}), 1, "expired"},
		"and ends better": {change(lines, func(e audit.Entry) bool { return ended(&e) }, func(e *audit.Entry) { e.Outcome = "expired" }), again("r2", same), 1, "expired"},
		"and has no end":  {lines, without(again("r2", same), func(e audit.Entry) bool { return ended(&e) }), 1, ""},
	} {
		log := append(slices.Clone(c.first), c.second...)
		r := of(Options{}, log...)
		if len(r.Handovers) != c.handovers || r.Handovers[0].Outcome != c.outcome {
			t.Errorf("%s: %d handovers, %+v", name, len(r.Handovers), r.Handovers)
			continue
		}
		l := NewLive(10)
		follow(l, log...)
		if s := l.Now(); len(s.Ended)+len(s.Going) != c.handovers && c.outcome != "" {
			t.Errorf("%s: live tells of %d", name, len(s.Ended))
		}
		h := r.Handovers[0]
		if c.handovers > 1 {
			continue
		}
		figures := lines[len(lines)-1].Figures
		switch name {
		case "and ends worse":
			figures = timedAgain
		case "and has no end":
			figures = nil
		}
		if h.sessions != 2 || h.Activated != 1 || !maps.Equal(h.Figures, figures) {
			t.Errorf("%s: %+v", name, h)
		}
		if c.outcome == migrated && (h.Verdict != Right || len(r.Gains) != 1 || r.Gains[0].Migrated != 1 || r.Gains[0].TakenOver != 1 || r.Gains[0].Outage.Count != 0) {
			t.Errorf("%s: %+v, %+v", name, h, r.Gains)
		}
		if c.outcome != migrated && h.Verdict == Right {
			t.Errorf("%s: it is right", name)
		}
	}
}
