package handover

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/earlybind/earlybind/wire"
)

// outcomes are the recorded ends of a migration (libvirt-events/), each as what
// its hosts and Nova say, in the order in which it happened.
var outcomes = []struct {
	name  string
	truth Phase
	says  []Input
	// never phases: where the story may not end even if its beginning was lost.
	never []Phase
}{
	{"success", Left, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(dst, 2, SignResumed),
		at(src, 2, SignLeft), start("req", wire.NovaPost),
	}, []Phase{Failing, Failed, Contradicted, Lost}},
	{"success, Nova finishes", Left, []Input{
		at(dst, 1, SignStarted), at(src, 1, SignPaused), at(dst, 2, SignResumed),
		at(src, 2, SignLeft), ended("req", wire.NovaPost), ended("req", wire.NovaPostDest),
	}, []Phase{Failing, Failed, Contradicted, Lost}},
	{"destination dies in the switchover", Failed, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(dst, 2, SignStopped),
		at(src, 2, SignResumed), ended("req", wire.NovaRollback),
	}, []Phase{Left, Arrived, Contradicted, Lost}},
	{"abort in the switchover", Failed, []Input{
		start("req-abort", wire.NovaAbort), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed), at(dst, 2, SignStopped),
		start("req", wire.NovaRollback), ended("req", wire.NovaRollbackDest),
	}, []Phase{Left, Arrived, Contradicted, Lost}},
	{"destination dies in the finish phase", Failed, []Input{
		ended("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(dst, 2, SignStopped), at(src, 2, SignResumed),
		start("req", wire.NovaRollback),
	}, []Phase{Left, Arrived, Contradicted, Lost}},
	{"abort in pre-copy", Failed, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(dst, 2, SignStopped), start("req", wire.NovaRollback), ended("req", wire.NovaRollback),
	}, []Phase{Left, Arrived, Contradicted, Lost}},
	{"destination's libvirtd dies", Failed, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed), start("req", wire.NovaRollback),
		listed(dst, 2, SignMissedEvents), listed(dst, 2, SignAbsent),
	}, []Phase{Left, Arrived, Contradicted, Lost}},
	{"post-copy", Left, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignPostCopy), at(dst, 2, SignResumed), at(dst, 3, SignResumed),
		at(src, 3, SignLeft),
	}, []Phase{Failing, Failed, Contradicted, Lost}},
	{"post-copy fails", Lost, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignPostCopy), at(dst, 2, SignResumed),
		at(dst, 3, SignStopped), start("req", wire.NovaRollback),
	}, []Phase{Left}},
	{"destination frozen (e8)", Contradicted, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(src, 2, SignResumed), listed(dst, 2, SignMissedEvents),
		at(dst, 3, SignResumed),
	}, []Phase{Left, Lost}},
	{"paused guest", Left, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(dst, 2, SignArrivedPaused), at(src, 2, SignLeft), start("req", wire.NovaPost),
	}, []Phase{Failing, Failed, Contradicted, Lost}},
	{"paused guest, no notification", Left, []Input{
		at(dst, 1, SignStarted), at(dst, 2, SignArrivedPaused), at(src, 2, SignLeft),
	}, []Phase{Failing, Failed, Contradicted, Lost}},
	{"user pauses before the switchover", Left, []Input{
		at(dst, 1, SignStarted), at(src, 1, SignPaused), start("req-force", wire.NovaForceComplete), at(dst, 2, SignResumed), at(src, 2, SignLeft),
		start("req", wire.NovaPost),
	}, []Phase{Failing, Failed, Contradicted, Lost}},
	{"source's libvirtd dies", Failed, []Input{
		start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), at(dst, 2, SignStopped),
		listed(src, 2, SignRunning), listed(src, 2, SignMissedEvents), start("req", wire.NovaRollback),
	}, []Phase{Left, Arrived, Contradicted, Lost}},
	{"success, last event lost", Left, []Input{
		at(dst, 1, SignStarted), at(src, 1, SignPaused), at(dst, 2, SignResumed), listed(src, 2, SignAbsent), listed(src, 2, SignMissedEvents),
	}, []Phase{Failing, Failed, Contradicted, Lost}},
}

// permute calls f with every order of the inputs.
func permute(inputs []Input, f func([]Input)) {
	var rec func(int)
	p := slices.Clone(inputs)
	rec = func(k int) {
		if k == len(p) {
			f(p)
			return
		}
		for i := k; i < len(p); i++ {
			p[k], p[i] = p[i], p[k]
			rec(k + 1)
			p[k], p[i] = p[i], p[k]
		}
	}
	rec(0)
}

// opens tells whether an input begins a handover where there is none.
func opens(in Input) bool {
	if n, ok := in.(NovaSign); ok {
		asked := n.Step == wire.NovaAbort || n.Step == wire.NovaForceComplete
		return !asked && (!n.Ended || n.Step == wire.NovaPre)
	}
	s := in.(HostSign)
	return s.Sign == SignStarted && !s.Listed || s.Sign == SignPaused
}

// forbids tells why a commit after the input would do harm: it is a sign that
// the migration has failed, or that Nova's own activate is due.
func forbids(in Input, source, destination string) string {
	switch in := in.(type) {
	case HostSign:
		switch {
		case in.Sign == SignStopped, in.Sign == SignPostCopyFailed, in.Sign == SignAbsent && in.Host == destination,
			(in.Sign == SignResumed || in.Sign == SignRunning) && in.Host == source:
			return "a sign of failure"
		case in.Sign == SignLeft, in.Sign == SignAbsent && in.Host == source:
			return "the guest had left the source"
		}
	case NovaSign:
		switch in.Step {
		case wire.NovaRollback, wire.NovaRollbackDest, wire.NovaPreFailed, wire.NovaRefused:
			return "a sign of failure"
		case wire.NovaPost, wire.NovaPostDest:
			return "Nova had taken over"
		}
	}
	return ""
}

// tellAndWatch gives inputs in an order and fails at a commit that does harm, by
// any of the ways in which rows come: at once, or last.
func tellAndWatch(t *testing.T, d *drive, order []Input, source, destination string, lateRows bool) {
	t.Helper()
	d.mute = lateRows
	why := ""
	watch := func(got []Decision, by string) {
		if why != "" && len(aimed(got, GoalCommit)) > 0 {
			t.Errorf("%s: a commit after %s, by %s of %v", d.settings.Policy, why, by, names(order))
		}
	}
	for _, in := range order {
		// What came before any handover is forgotten, and what does not
		// rise in its host's stream afterwards is no news.
		if reason := forbids(in, source, destination); reason != "" && (d.Current() != nil || opens(in)) {
			why = reason
		}
		watch(d.tell(in), say(in))
	}
	if lateRows && d.Current() != nil {
		watch(d.rows(), "the rows")
	}
}

// committing are the policies under which something is committed, at each of
// the moments.
var committing = []Settings{suspended, chosen(PolicyResumed, RepairOwn, true), auto}

// withReplug has the source's pause say that both ports can be plugged in again.
func withReplug(inputs []Input) []Input {
	out := slices.Clone(inputs)
	for i, in := range out {
		if s, ok := in.(HostSign); ok && s.Sign == SignPaused {
			s.Replug = []string{"p1", "p2"}
			out[i] = s
		}
	}
	return out
}

func TestEveryOrderEndsWhereTheTruthDemands(t *testing.T) {
	for _, o := range outcomes {
		for _, lateRows := range []bool{false, true} {
			name := o.name
			if lateRows {
				name += ", rows come last"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				permute(withReplug(o.says), func(order []Input) {
					for _, s := range committing {
						if t.Failed() {
							return
						}
						d := newDrive(s, ready("p1"), ready("p2"))
						tellAndWatch(t, d, order, src, dst, lateRows)
						checkEnd(t, d, o.truth, o.never, opens(order[0]), order)
					}
				})
			})
		}
	}
}

func checkEnd(t *testing.T, d *drive, truth Phase, never []Phase, begun bool, order []Input) {
	t.Helper()
	phase := d.phase()
	if begun && phase != truth {
		t.Errorf("ends in %s, want %s: %v", phaseName(phase), truth, names(order))
	}
	if slices.Contains(never, phase) {
		t.Errorf("ends in %s: %v", phaseName(phase), names(order))
	}
	// What every port is to become.
	want := map[Phase]Goal{
		Left: {Kind: GoalVerify, Host: dst}, Failed: {Kind: GoalRestore, Host: src},
		Contradicted: {Kind: GoalHold}, Lost: {Kind: GoalHold},
	}
	last := map[string]Goal{}
	for _, a := range aims(d.log) {
		last[a.Port] = a.Goal
		if a.Goal.Kind == GoalRestore && truth == Left {
			t.Errorf("a restore in a migration that succeeds: %v", names(order))
		}
	}
	if begun && (len(last) != len(d.ports)) {
		t.Errorf("%d ports have a goal: %v", len(last), names(order))
	}
	for id, goal := range last {
		goal.NovaDone, goal.Mend = false, false
		if expected, ok := want[phase]; ok && goal != expected {
			t.Errorf("port %s is aimed at %s %s in phase %s: %v", id, goal.Kind, goal.Host, phase, names(order))
		}
	}
	// Once more, all of it: nothing.
	before := len(alarmsIn(d.log))
	for _, in := range order {
		for _, decision := range d.tell(in) {
			switch decision.(type) {
			case Arm: // to read again does no harm
			default:
				if begun {
					t.Errorf("duplicate of %s decides %T %+v: %v", say(in), decision, decision, names(order))
				}
			}
		}
	}
	if begun && d.phase() != truth {
		t.Errorf("duplicates move it to %s: %v", phaseName(d.phase()), names(order))
	}
	if alarmed := map[Phase]bool{Contradicted: true, Lost: true}[truth]; begun && alarmed && (before == 0 || before > 2) {
		t.Errorf("%d alarms: %v", before, names(order))
	}
}

// interleave calls f with every order in which each sender's messages keep
// theirs: what a broker can really deliver.
func interleave(streams [][]Input, f func([]Input)) {
	var rec func(taken []int, so []Input)
	total := 0
	for _, s := range streams {
		total += len(s)
	}
	rec = func(taken []int, so []Input) {
		if len(so) == total {
			f(so)
			return
		}
		for i, s := range streams {
			if taken[i] < len(s) {
				next := slices.Clone(taken)
				next[i]++
				rec(next, append(slices.Clone(so), s[taken[i]]))
			}
		}
	}
	rec(make([]int, len(streams)), nil)
}

func TestEveryOrderThatABrokerCanDeliverEndsRightAndIsForgotten(t *testing.T) {
	for _, o := range outcomes {
		if o.truth != Left && o.truth != Failed {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			streams := map[string][]Input{}
			for _, in := range o.says {
				sender := "nova"
				if s, ok := in.(HostSign); ok {
					sender = s.Host
				}
				streams[sender] = append(streams[sender], in)
			}
			interleave([][]Input{streams["nova"], streams[src], streams[dst]}, func(order []Input) {
				if !opens(order[0]) {
					return // the paused guest's STOPPED before anything else
				}
				d := newDrive(suspended, ready("p1"), ready("p2"))
				d.tell(order...)
				if d.phase() != o.truth {
					t.Fatalf("ends in %s: %v", phaseName(d.phase()), names(order))
				}
				want := OutcomeMigrated
				if o.truth == Failed {
					want = OutcomeRestored
				}
				if got := endsIn(d.finish(true)); !slices.Equal(got, []Outcome{want}) || d.Current() != nil {
					t.Fatalf("ends %v: %v", got, names(order))
				}
				// An hour later all of it comes again, from the broker's side as redelivered.
				for _, in := range order {
					if s, ok := in.(HostSign); ok {
						s.FreshFor = 0
						in = s
					}
					for _, decision := range d.tell(in) {
						switch decision := decision.(type) {
						case Aim:
							if decision.Goal.Kind == GoalCommit || decision.Goal.Kind == GoalRestore {
								t.Fatalf("a replay of %s writes: %+v: %v", say(in), decision, names(order))
							}
						}
					}
				}
			})
		})
	}
}

// What is lost or comes twice must not lead to a commit either. The pause is
// kept: without it, nothing tells that a source that reads running has run again.
func TestNoCommitDoesHarmWhateverIsLostOrComesTwice(t *testing.T) {
	for _, o := range outcomes {
		t.Run(o.name, func(t *testing.T) {
			for seed := range uint64(400) {
				random := rand.New(rand.NewPCG(seed, 1))
				var order []Input
				for _, in := range withReplug(o.says) {
					s, isHost := in.(HostSign)
					for range 1 + random.IntN(2) {
						if isHost && s.Sign == SignPaused || random.IntN(4) > 0 {
							order = append(order, in)
						}
					}
				}
				random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
				for _, s := range committing {
					tellAndWatch(t, newDrive(s, ready("p1"), ready("p2")), order, src, dst, seed%2 == 0)
				}
				unsafe := newDrive(chosen(PolicySuspended, RepairAll, false), ready("p1"), ready("p2"))
				if got := aimed(unsafe.tell(order...), GoalCommit); len(got) > 0 {
					t.Errorf("a commit although two activates at once are not safe: %v", names(order))
				}
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}
