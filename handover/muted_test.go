package handover

import (
	"strings"
	"testing"

	"github.com/earlybind/earlybind/wire"
)

func TestAHostIsHeardFromItsFirstWordInAHandoverOnUntilItIsMuted(t *testing.T) {
	paused := at(src, 9, SignPaused)
	stale := at(src, 5, SignRunning) // below what was heard of it last: no news, but a word
	for _, c := range []struct {
		name    string
		says    []Input
		commits bool
	}{
		{"both have spoken", []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), paused}, true},
		{"muted, and understood again", []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), Muted{Host: src}, paused}, true},
		{"muted before it has spoken", []Input{Muted{Host: dst}, start("req", wire.NovaPre), Muted{Host: dst}, at(dst, 1, SignStarted), paused}, true},
		{"muted since", []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), Muted{Host: dst}, paused}, false},
		{"muted since, and an older word comes", []Input{
			start("req", wire.NovaPre), at(dst, 2, SignStarted), at(src, 6, SignRunning), Muted{Host: dst}, at(dst, 1, SignStarted), paused,
		}, true},
		{"muted, and the handover ends: the next one goes by what is said in it", []Input{
			start("req0", wire.NovaPre), at(src, 2, SignRunning), Muted{Host: src}, Muted{Host: dst},
			start("req", wire.NovaPre), at(dst, 1, SignStarted), stale, paused,
		}, true},
		{"one has spoken before the handover only", []Input{
			start("req0", wire.NovaPre), at(dst, 3, SignAbsent), start("req", wire.NovaPre), at(dst, 3, SignAbsent), at(dst, 2, SignAbsent), paused,
		}, false},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(c.says...)
		if got := aimed(d.log, GoalCommit); (len(got) == 1) != c.commits {
			t.Errorf("%s: committed %+v, observed %+v", c.name, got, observed(d.log))
		}
		if got := observed(d.log); !c.commits && (len(got) != 1 || !strings.Contains(got[0].Why, "no publisher was heard on "+dst)) {
			t.Errorf("%s: observed %+v", c.name, got)
		}
	}
}

func TestStreamsKeepTheirHostsApart(t *testing.T) {
	s := streams{first: map[string]wire.Order{"b": {Epoch: 1, Sequence: 5}, "d": {Epoch: 2}}}
	then := s.now()
	for _, host := range []string{"c", "a", "e", "b", "a"} {
		s.set(host, wire.Order{Epoch: 3, Sequence: uint64(host[0])})
	}
	for _, host := range []string{"a", "b", "c", "e"} {
		want := wire.Order{Epoch: 3, Sequence: uint64(host[0])}
		if got, known := s.of(host); !known || got != want {
			t.Errorf("%s: %+v %t", host, got, known)
		}
		below, above := wire.Order{Epoch: 3, Sequence: want.Sequence - 1}, wire.Order{Epoch: 3, Sequence: want.Sequence + 1}
		if s.precede(host, want) || s.precede(host, below) || !s.precede(host, above) {
			t.Errorf("%s: what is above is not told from what is not", host)
		}
	}
	if got, known := s.of("d"); !known || got != (wire.Order{Epoch: 2}) {
		t.Errorf("of what was told at first: %+v %t", got, known)
	}
	if _, known := s.of("f"); known || !s.precede("f", wire.Order{}) || len(s.since) != 4 {
		t.Errorf("a host that was never heard of, or one kept twice: %+v", s.since)
	}
	if got, _ := then.of("b"); got != (wire.Order{Epoch: 1, Sequence: 5}) || !then.precede("a", wire.Order{}) {
		t.Errorf("how they stood then has changed: %+v", then)
	}
}
