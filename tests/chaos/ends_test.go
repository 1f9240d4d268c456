package main

import (
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/simulated/nova"
)

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

// migration is one of the instance "i" that began so many seconds after noon.
func migration(request, source, destination string, second int) played {
	return played{
		request: request, source: source, destination: destination,
		began: noon.Add(time.Duration(second) * time.Second), ended: noon.Add(time.Duration(second+5) * time.Second),
	}
}

func TestEndsAreTheirHandovers(t *testing.T) {
	end := func(request, source, destination, outcome string, second int) ending {
		return ending{request: request, source: source, destination: destination, outcome: outcome, at: noon.Add(time.Duration(second) * time.Second)}
	}
	there, back, further := migration("r1", "a", "b", 0), migration("r2", "b", "a", 100), migration("r3", "a", "b", 200)
	for name, c := range map[string]struct {
		ends []ending
		want [3]string
	}{
		"each by its request, in any order":                      {[]ending{end("r2", "b", "a", "migrated", 190), end("r1", "a", "b", "superseded", 191), end("r3", "a", "b", "restored", 300)}, [3]string{"superseded", "migrated", "restored"}},
		"the first that was told":                                {[]ending{end("r1", "a", "b", "migrated", 9), end("r1", "a", "b", "superseded", 101)}, [3]string{"migrated"}},
		"not one that is superseded while its migration goes on": {[]ending{end("r1", "a", "b", "superseded", 4), end("r1", "a", "b", "restored", 66)}, [3]string{"restored"}},
		"nor if it is told no more":                              {[]ending{end("r1", "a", "b", "superseded", 4)}, [3]string{}},
		"another's says nothing":                                 {[]ending{end("r0", "a", "b", "migrated", 9)}, [3]string{}},
		"without a request, by the way":                          {[]ending{end("", "b", "a", "migrated", 150)}, [3]string{"", "migrated", ""}},
		"without a request, the earliest without another end":    {[]ending{end("r1", "a", "b", "migrated", 9), end("", "a", "", "migrated", 250)}, [3]string{"migrated", "", "migrated"}},
		"without a request, one handover's":                      {[]ending{end("", "a", "b", "superseded", 210)}, [3]string{"superseded", "", ""}},
		"without a request, before it has begun":                 {[]ending{end("", "a", "b", "migrated", -1)}, [3]string{}},
	} {
		c2 := newConsumers("", "", newAccount(1), newServing())
		c2.ends["i"] = c.ends
		for i, p := range []played{there, back, further} {
			told := c2.hasEnded(p, "i", false)
			e, ok := c2.endOf(p, "i", false)
			if e.outcome != c.want[i] || ok != (c.want[i] != "") || told != ok {
				t.Errorf("%s: the end of %s is %q", name, p.request, e.outcome)
			}
		}
	}
}

func TestWhatIsToldOfAMigrationThatGoesOnCountsInTheQuiet(t *testing.T) {
	c := newConsumers("", "", newAccount(1), newServing())
	c.ends["i"] = []ending{{request: "r1", outcome: "superseded", at: noon.Add(time.Second)}}
	p := migration("r1", "a", "b", 0)
	if _, ok := c.endOf(p, "i", true); !ok || !c.hasEnded(p, "i", true) || c.hasEnded(p, "i", false) {
		t.Error("it does not")
	}
}

// What was told late is found, and what was not told at all has a reason.
func TestLateEndsAreFound(t *testing.T) {
	g := &game{consumers: newConsumers("", "", newAccount(1), newServing()), proxy: &proxy{}, directory: t.TempDir()}
	in := &instance{id: "i"}
	for i, request := range []string{"late", "open", "unseen", "refused"} {
		g.keepOpen(unended{played: migration(request, "a", "b", 100*i), in: in, record: record{Number: i, Right: true, Refused: request == "refused"}})
	}
	g.consumers.lines["i"] = []string{`{"request_id":"late"}`, `{"request_id":"open"}`}
	if !g.anyOpen() {
		t.Error("nothing is waited for")
	}
	g.consumers.ends["i"] = []ending{{request: "late", outcome: "superseded", at: noon.Add(95 * time.Second)}}
	var records []record
	g.findEnds(func(r record) error {
		records = append(records, r)
		return nil
	})
	want := []record{{Outcome: "superseded", ToEndMS: 90_000}, {NoEnd: leftOpen}, {NoEnd: notSeen}, {NoEnd: noneBegan}}
	if len(records) != len(want) {
		t.Fatalf("%+v", records)
	}
	for i, r := range records {
		if r.Number != i || r.Outcome != want[i].Outcome || r.ToEndMS != want[i].ToEndMS || r.NoEnd != want[i].NoEnd {
			t.Errorf("%+v", r)
		}
		if (r.Story != "") != (i == 1 || i == 2) {
			t.Errorf("%d: the story is %q", i, r.Story)
		}
	}
	if g.anyOpen() || g.failed() != nil {
		t.Error(g.failed())
	}
	text := strings.Join(strings.Fields(ends(records)), " ")
	for _, part := range []string{"of 4 handovers superseded 1 of them after 75 s 1 none was told 3", string(leftOpen) + " 1", string(notSeen) + " 1", string(noneBegan) + " 1"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q lacks %q", text, part)
		}
	}
}

func TestEndVerdict(t *testing.T) {
	for name, c := range map[string]struct {
		record
		fine bool
	}{
		"told":                    {record{Outcome: "migrated", Faults: []fault{calm}}, true},
		"refused":                 {record{NoEnd: noneBegan, Faults: []fault{calm}}, true},
		"not seen":                {record{NoEnd: notSeen, Faults: []fault{kill, lost}}, true},
		"left open, whatever was": {record{NoEnd: leftOpen, Faults: []fault{lost}}, false},
		"of an old sample":        {record{Faults: []fault{calm}}, true},
	} {
		if err := endVerdict([]record{c.record}); (err == nil) != c.fine {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The lines of the consumers' log have all that is read of an end.
func TestEndIsRead(t *testing.T) {
	c := newConsumers("", "", newAccount(1), newServing())
	c.account.unrouted.unbinds(noon)
	r := &replica{all: c}
	r.read(strings.NewReader(`{"time":"2026-11-29T12:00:09.000000Z","event":"consumer.started","saw":"exchange nova","outcome":"bound"}
{"time":"2026-11-29T12:00:10.000000Z","event":"handover.ended","instance":"i","request_id":"r","source":"a","destination":"b","outcome":"migrated"}
`))
	want := ending{request: "r", source: "a", destination: "b", outcome: "migrated", at: noon.Add(10 * time.Second)}
	if got := c.ends["i"]; len(got) != 1 || got[0] != want {
		t.Errorf("%+v", got)
	}
	if b := c.account.balance(); b.UnboundMS != 9000 {
		t.Errorf("%+v", b)
	}
}

// Each sample says which build it is of, and how many shares there were.
func TestBuild(t *testing.T) {
	r := newRecord("2025.1", "3e191e3", 7, 4, played{harms: []nova.Harm{}}, judgement{})
	if r.Build != "3e191e3" || r.Shares != 4 {
		t.Errorf("%+v", r)
	}
	if build, err := buildOf(t.Context(), "echo"); err == nil {
		t.Errorf("a program that has no version is of build %q", build)
	}
}

// Seen: a replica that knew a handover's request was lost, and the next one gave the handover an
// earlier request's id. Its end was told, and waited for until the last.
func TestAHandoverWhoseEndIsToldUnderAnotherRequestIsNotOpen(t *testing.T) {
	c := newConsumers("", "", newAccount(1), newServing())
	known, ended := `{"event":"evidence.seen","request_id":"r2"}`, `{"event":"handover.ended","request_id":"r1"}`
	for _, of := range []struct {
		lines []string
		want  noEnd
	}{
		{[]string{known, ended}, notSeen}, {[]string{ended, known}, leftOpen}, {[]string{known, ended, known}, leftOpen}, {[]string{ended}, notSeen},
	} {
		c.lines["i"] = of.lines
		if why := c.whyNoEnd(migration("r2", "a", "b", 0), "i"); why != of.want {
			t.Errorf("%q: %s", of.lines, why)
		}
	}
}
