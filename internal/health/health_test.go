package health

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestJudge(t *testing.T) {
	const bound = 30 * time.Second
	here, away := Fact{Says: "connected"}, Fact{Lacks: true, Says: "refused\nat two nodes\n"}
	for name, c := range map[string]struct {
		beats       []Beat
		facts       map[string]Fact
		live, ready bool
		says        string
	}{
		"nothing is known":          {nil, nil, true, false, "not ready: nothing is known yet"},
		"all is well":               {[]Beat{{"a", bound, time.Minute - bound}}, map[string]Fact{"broker": here, "libvirt": here}, true, true, "ready: broker: connected; libvirt: connected"},
		"a loop is stuck":           {[]Beat{{"b", bound, time.Minute - bound - 1}, {"a", bound, time.Minute}}, map[string]Fact{"broker": here}, false, false, "not ready: b: stuck: has not come round for 30s, and may take 30s"},
		"a server is away":          {[]Beat{{"a", bound, time.Minute}}, map[string]Fact{"broker": away, "libvirt": here}, true, false, "not ready: broker: refused; at two nodes"},
		"both, what is worse first": {[]Beat{{"a", bound, 0}}, map[string]Fact{"broker": away}, false, false, "not ready: a: stuck: has not come round for 1m0s, and may take 30s; broker: refused; at two nodes"},
	} {
		v := Judge(c.beats, c.facts, time.Minute)
		if v.Live() != c.live || v.Ready() != c.ready || v.String() != c.says {
			t.Errorf("%s: live %t, ready %t, %q", name, v.Live(), v.Ready(), v)
		}
	}
}

func TestLoopIsWatchedFromItsFirstBeatUntilItRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard()
		loop, other := b.Loop("a", time.Minute), b.Loop("a", time.Hour)
		stuck := func() int { return len(b.Verdict().Stuck) }
		time.Sleep(2 * time.Minute)
		if stuck() != 0 {
			t.Error("stuck before it began")
		}
		loop.Beat()
		other.Beat() // of the same name, as two sessions have
		time.Sleep(time.Minute)
		if stuck() != 0 {
			t.Error("stuck within its bound")
		}
		time.Sleep(1)
		if stuck() != 1 {
			t.Error("not stuck after it")
		}
		loop.Beat()
		if stuck() != 0 {
			t.Error("stuck after a beat")
		}
		loop.Rest()
		time.Sleep(time.Minute)
		if stuck() != 0 || len(b.beats) != 1 {
			t.Errorf("stuck while it rests, or kept: %v", b.beats)
		}
	})
}

func TestTheLastWordOnAThingCounts(t *testing.T) {
	b := NewBoard()
	b.Lacks("broker", "refused")
	b.Has("broker", "connected")
	b.Lacks("libvirt", "no socket")
	if v := b.Verdict(); !slices.Equal(v.Having, []string{"broker: connected"}) || !slices.Equal(v.Lacking, []string{"libvirt: no socket"}) {
		t.Errorf("got %+v", v)
	}
}

func TestNilBoardTakesEverything(t *testing.T) {
	var b *Board
	b.Has("broker", "connected")
	b.Lacks("broker", "refused")
	loop := b.Loop("a", time.Minute)
	loop.Beat()
	loop.Rest()
}
