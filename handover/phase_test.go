package handover

import (
	"slices"
	"testing"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// The columns: a story for every phase. left is twice there, since Nova's word
// alone can be taken back.
var columns = []struct {
	name  string
	phase Phase
	story []Input
}{
	{"watching", Watching, nil},
	{"paused", Paused, []Input{at(src, 1, SignPaused)}},
	{"postcopy", PostCopy, []Input{at(src, 1, SignPaused), at(src, 2, SignPostCopy)}},
	{"arrived", Arrived, []Input{at(src, 1, SignPaused), at(dst, 2, SignResumed)}},
	{"left", Left, []Input{at(src, 1, SignPaused), at(src, 2, SignLeft)}},
	{"left, says Nova", Left, []Input{at(src, 1, SignPaused), start("req", wire.NovaPost)}},
	{"failing", Failing, []Input{at(src, 1, SignPaused), start("req", wire.NovaRollback)}},
	{"failed", Failed, []Input{at(src, 1, SignPaused), at(src, 2, SignResumed)}},
	{"failed, gone", Failed, []Input{at(src, 1, SignPaused), at(dst, 2, SignStopped)}},
	{"contradicted", Contradicted, []Input{at(src, 1, SignPaused), at(src, 2, SignResumed), at(dst, 2, SignResumed)}},
	{"lost", Lost, []Input{at(src, 1, SignPaused), at(src, 2, SignPostCopy), at(dst, 2, SignStopped)}},
}

// The cells: what is learnt in each of the columns, in their order.
var table = []struct {
	name  string
	input Input
	next  [11]Phase
}{
	//                                                   watching  paused    postcopy  arrived       left  Nova left failing       failed        gone    contradicted  lost
	{"paused", at(src, 90, SignPaused), [11]Phase{Paused, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"post-copy", at(src, 90, SignPostCopy), [11]Phase{PostCopy, PostCopy, PostCopy, PostCopy, Left, Left, Lost, Lost, Lost, Lost, Lost}},
	{"post-copy failed", at(src, 90, SignPostCopyFailed), [11]Phase{Lost, Lost, Lost, Lost, Left, Left, Lost, Lost, Lost, Lost, Lost}},
	{"source in post-copy by its list", listed(src, 90, SignPostCopy), [11]Phase{PostCopy, PostCopy, PostCopy, PostCopy, Left, Left, Lost, Lost, Lost, Lost, Lost}},
	{"source lists a failed post-copy", listed(src, 90, SignPostCopyFailed), [11]Phase{Lost, Lost, Lost, Lost, Left, Left, Lost, Lost, Lost, Lost, Lost}},
	{"destination says that post-copy has failed", at(dst, 90, SignPostCopyFailed), [11]Phase{Lost, Lost, Lost, Lost, Left, Left, Lost, Lost, Lost, Lost, Lost}},
	{"source resumed", at(src, 90, SignResumed), [11]Phase{Failing, Failed, Lost, Contradicted, Left, Failed, Failed, Failed, Failed, Contradicted, Lost}},
	{"source reads running", listed(src, 90, SignRunning), [11]Phase{Watching, Failed, Lost, Contradicted, Left, Failed, Failed, Failed, Failed, Contradicted, Lost}},
	{"source died", at(src, 90, SignStopped), [11]Phase{Failed, Failed, Lost, Contradicted, Left, Failed, Failed, Failed, Failed, Contradicted, Lost}},
	{"source left", at(src, 90, SignLeft), [11]Phase{Left, Left, Left, Left, Left, Left, Left, Left, Left, Left, Left}},
	{"source absent", listed(src, 90, SignAbsent), [11]Phase{Watching, Paused, PostCopy, Left, Left, Left, Failing, Failed, Failed, Left, Lost}},
	{"source paused by user", at(src, 90, SignArrivedPaused), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"source halted by an I/O error", at(src, 90, SignHalted), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"destination halted by an I/O error", at(dst, 90, SignHalted), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"source missed events", listed(src, 90, SignMissedEvents), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"arrived", at(dst, 90, SignResumed), [11]Phase{Arrived, Arrived, PostCopy, Arrived, Left, Left, Contradicted, Contradicted, Failing, Contradicted, Lost}},
	{"arrived paused", at(dst, 90, SignArrivedPaused), [11]Phase{Arrived, Arrived, PostCopy, Arrived, Left, Left, Contradicted, Contradicted, Failing, Contradicted, Lost}},
	{"destination reads running", listed(dst, 90, SignRunning), [11]Phase{Arrived, Arrived, PostCopy, Arrived, Left, Left, Contradicted, Contradicted, Failing, Contradicted, Lost}},
	{"destination gone", at(dst, 90, SignStopped), [11]Phase{Failed, Failed, Lost, Failing, Left, Failed, Failed, Failed, Failed, Failed, Lost}},
	{"destination left", at(dst, 90, SignLeft), [11]Phase{Failed, Failed, Lost, Failing, Left, Failed, Failed, Failed, Failed, Failed, Lost}},
	{"destination absent", listed(dst, 90, SignAbsent), [11]Phase{Failed, Failed, Lost, Failing, Left, Failed, Failed, Failed, Failed, Failed, Lost}},
	{"destination incoming", listed(dst, 1, SignStarted), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"destination missed events", listed(dst, 90, SignMissedEvents), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"third host absent", listed(third, 90, SignAbsent), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"third host resumed", at(third, 90, SignResumed), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"Nova prepares", ended("req", wire.NovaPre), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"Nova takes over", start("req", wire.NovaPost), [11]Phase{Left, Left, Left, Left, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"Nova finishes", ended("req", wire.NovaPostDest), [11]Phase{Left, Left, Left, Left, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"Nova rolls back", start("req", wire.NovaRollback), [11]Phase{Failing, Failing, Lost, Contradicted, Left, Failing, Failing, Failed, Failed, Contradicted, Lost}},
	{"Nova rolls back on the destination", start("req", wire.NovaRollbackDest), [11]Phase{Failing, Failing, Lost, Contradicted, Left, Failing, Failing, Failed, Failed, Contradicted, Lost}},
	{"pre_live_migration raised", start("req", wire.NovaPreFailed), [11]Phase{Failing, Failing, Lost, Contradicted, Left, Failing, Failing, Failed, Failed, Contradicted, Lost}},
	{"the conductor refused", start("req", wire.NovaRefused), [11]Phase{Failing, Failing, Lost, Contradicted, Left, Failing, Failing, Failed, Failed, Contradicted, Lost}},
	{"abort asked", start("req", wire.NovaAbort), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
	{"force-complete asked", start("req", wire.NovaForceComplete), [11]Phase{Watching, Paused, PostCopy, Arrived, Left, Left, Failing, Failed, Failed, Contradicted, Lost}},
}

func TestEveryCellOfTheTransitionTable(t *testing.T) {
	cells, led := 0, goalTable(t, goals)
	for _, row := range table {
		for i, column := range columns {
			cells++
			t.Run(column.name+"+"+row.name, func(t *testing.T) {
				d := newDrive(suspended, ready("p1"))
				d.tell(prelude()...)
				d.tell(column.story...)
				wantPhase(t, d, column.phase)
				d.tell(row.input)
				wantPhase(t, d, row.next[i])
				if got, want := goal(d), led[goalsRow(row.input, row.next[i])][column.name]; got != want {
					t.Errorf("the goal is %q, want %q", got, want)
				}
			})
		}
	}
	signs, steps := map[Sign]bool{}, map[wire.NovaStep]bool{}
	for _, row := range table {
		switch in := row.input.(type) {
		case HostSign:
			signs[in.Sign] = true
		case NovaSign:
			steps[in.Step] = true
		}
	}
	if len(signs) != len(signNames) || len(steps) != int(wire.NovaRefused) {
		t.Errorf("the table has %d of %d signs and %d of %d steps of Nova", len(signs), len(signNames), len(steps), wire.NovaRefused)
	}
	if want := 34 * 11; cells != want {
		t.Errorf("%d cells, want %d", cells, want)
	}
}

// Whose STARTED was lost: that it has arrived shows that it was there.
func TestTheEndOfAGuestWhoseStartWasNotHeardOf(t *testing.T) {
	for name, c := range map[string]struct {
		story []Input
		want  Phase
	}{
		"in post-copy":                         {[]Input{at(src, 2, SignPostCopy), at(dst, 2, SignResumed), at(dst, 3, SignStopped)}, Lost},
		"in post-copy, listed":                 {[]Input{at(src, 2, SignPostCopy), at(dst, 2, SignResumed), listed(dst, 3, SignAbsent)}, Lost},
		"in post-copy, the end first":          {[]Input{at(src, 2, SignPostCopy), at(dst, 3, SignStopped), at(dst, 2, SignResumed)}, Lost},
		"after it has arrived":                 {[]Input{at(dst, 2, SignResumed), at(dst, 3, SignStopped)}, Failing},
		"and the source runs it":               {[]Input{at(dst, 2, SignResumed), at(src, 2, SignResumed), at(dst, 3, SignStopped)}, Failed},
		"it has not arrived":                   {[]Input{at(src, 2, SignPostCopy), listed(dst, 3, SignAbsent)}, PostCopy},
		"before it arrived":                    {[]Input{at(dst, 3, SignResumed), listed(dst, 2, SignAbsent)}, Arrived},
		"of an earlier stay":                   {[]Input{at(dst, 2, SignResumed), at(dst, 3, SignLeft), at(dst, 4, SignStarted)}, Paused},
		"of an earlier stay, in post-copy":     {[]Input{at(dst, 2, SignResumed), at(dst, 3, SignLeft), at(dst, 4, SignStarted), at(src, 2, SignPostCopy)}, PostCopy},
		"and the source has said that it left": {[]Input{at(dst, 2, SignResumed), at(dst, 3, SignStopped), at(src, 3, SignLeft)}, Left},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(src, 1, SignPaused))
		d.tell(c.story...)
		if got := d.phase(); got != c.want {
			t.Errorf("%s: %s, want %s", name, phaseName(got), c.want)
		}
	}
}

// Should the destination say so itself (an older libvirt; not run): post-copy has failed, and the guest stands still there.
func TestTheDestinationSaysThatPostCopyHasFailed(t *testing.T) {
	for _, said := range []HostSign{at(dst, 3, SignPostCopyFailed), listed(dst, 3, SignPostCopyFailed)} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused), said)
		wantPhase(t, d, Lost)
		d.tell(at(src, 2, SignLeft))
		wantPhase(t, d, Left)
	}
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), listed(dst, 2, SignPostCopy))
	wantPhase(t, d, Arrived)
	if got := aimed(d.log, GoalCommit); len(got) != 0 {
		t.Errorf("a list commits: %+v", got)
	}
}

// The rows may have named another source before its pause does: what the destination has said is the destination's word still.
func TestThatPostCopyHasFailedIsNotForgottenWithTheSourceThatTheRowsNamed(t *testing.T) {
	p := ready("p1")
	p.Rows[0].Host = third
	p.Rows = append(p.Rows, port.Row{Host: src, VIFType: "ovs", VNICType: "normal"})
	pre := start("req", wire.NovaPre)
	pre.PayloadHost = ""
	d := newDrive(suspended, p)
	d.tell(pre, at(dst, 1, SignStarted), at(dst, 3, SignPostCopyFailed))
	if d.Current().Source != third {
		t.Fatalf("the rows name %q", d.Current().Source)
	}
	d.tell(at(src, 1, SignPaused))
	if d.Current().Source != src {
		t.Fatalf("the pause names %q", d.Current().Source)
	}
	wantPhase(t, d, Lost)
}

func TestAResumeFromBeforeThePauseIsNoFailure(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 7, SignPaused), at(src, 6, SignResumed))
	wantPhase(t, d, Paused)
}

func TestReadsRunningIsNewsOnlyAfterAPause(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), listed(src, 5, SignRunning))
	wantPhase(t, d, Watching)
	d.tell(at(src, 6, SignPaused))
	wantPhase(t, d, Paused)
	d.tell(listed(src, 7, SignRunning))
	wantPhase(t, d, Failed)
}

func TestADestinationThatIsAbsentBeforeItsStartIsNotGone(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), listed(dst, 1, SignAbsent), at(src, 1, SignPaused))
	wantPhase(t, d, Paused)
	d.tell(at(dst, 2, SignStarted))
	wantPhase(t, d, Paused)
	d.tell(listed(dst, 3, SignAbsent))
	wantPhase(t, d, Failed)
}

func TestAResumeAfterTheDestinationsLibvirtWasAwayIsDoubted(t *testing.T) {
	for _, order := range [][]Input{
		{listed(dst, 2, SignMissedEvents), at(dst, 3, SignResumed)},
		{at(dst, 3, SignResumed), listed(dst, 2, SignMissedEvents)},
		{listed(dst, 2, SignRunning), listed(dst, 2, SignMissedEvents)}, // one list says both
		{listed(dst, 2, SignStarted), listed(dst, 2, SignMissedEvents), at(dst, 3, SignResumed)},
	} {
		d := newDrive(suspended, ready("p1"))
		d.mute = true
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 1, SignPaused))
		d.tell(order...)
		wantPhase(t, d, Paused)
		if got := aimed(d.rows(), GoalCommit); len(got) != 0 {
			t.Errorf("%v: committed on a doubted arrival: %v", names(order), got)
		}
		d.tell(at(src, 2, SignResumed))
		wantPhase(t, d, Contradicted)
	}
}

func TestAnArrivalBeforeTheDestinationsLibvirtWasAwayIsBelieved(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 2, SignStarted), at(dst, 3, SignResumed), listed(dst, 4, SignMissedEvents), listed(dst, 1, SignMissedEvents))
	wantPhase(t, d, Arrived)
}

func TestNamesOfPhasesAndSigns(t *testing.T) {
	seen := map[string]bool{}
	for p := Watching; p <= Lost; p++ {
		seen[p.String()] = true
	}
	for s := SignStarted; s <= SignMissedEvents; s++ {
		seen[s.String()] = true
	}
	for k := GoalCommit; k <= GoalHold; k++ {
		seen[k.String()] = true
	}
	if seen[""] || len(seen) != int(Lost)+1+int(SignMissedEvents)+int(GoalHold) {
		t.Errorf("a name is missing or there twice: %v", seen)
	}
}

func TestTheFirstPauseCountsWhicheverComesFirst(t *testing.T) {
	for _, order := range [][]Input{
		{at(src, 3, SignPaused), at(src, 5, SignPaused), at(src, 4, SignResumed)},
		{at(src, 5, SignPaused), at(src, 3, SignPaused), at(src, 4, SignResumed)},
		{at(src, 4, SignResumed), at(src, 5, SignPaused), at(src, 3, SignPaused)},
	} {
		d := newDrive(suspended, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted))
		d.tell(order...)
		wantPhase(t, d, Failed)
	}
}

// A RESUMED whose pause was not heard of, and which a later list seems to make an
// earlier migration's, is this one's once Nova has rolled back.
func TestNovasRollBackSettlesWhoseResumedItWas(t *testing.T) {
	d := newDrive(suspended, ready("p1"))
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 2, SignResumed))
	wantPhase(t, d, Failing)
	d.tell(listed(src, 3, SignRunning))
	wantPhase(t, d, Watching)
	d.tell(start("req", wire.NovaRollback))
	wantPhase(t, d, Failing)
	d.tell(ended("req", wire.NovaRollback))
	wantPhase(t, d, Failed)
}

// A RESUMED whose pause was not heard of is a user's, or the end of a failed migration:
// who speaks next tells.
func TestAResumedAloneIsNoFailureYet(t *testing.T) {
	for name, c := range map[string]struct {
		next Input
		want Phase
	}{
		"its pause comes late":      {at(src, 2, SignPaused), Failed},
		"the guest is paused after": {at(src, 4, SignPaused), Paused},
		"the destination ends":      {at(dst, 2, SignStopped), Failed},
		"the source ends":           {at(src, 4, SignStopped), Failed},
		"the guest has left":        {at(src, 4, SignLeft), Left},
		"Nova takes over":           {start("req", wire.NovaPost), Left},
		"Nova rolls back":           {start("req", wire.NovaRollback), Failed},
		"it arrives":                {at(dst, 2, SignResumed), Contradicted},
		"post-copy":                 {at(src, 4, SignPostCopy), Lost},
		"the source lists it":       {listed(src, 4, SignRunning), Watching},
		"the destination has not":   {listed(dst, 2, SignAbsent), Failed},
	} {
		d := newDrive(suspended, ready("p1"))
		got := d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), at(src, 3, SignResumed))
		wantPhase(t, d, Failing)
		if !slices.ContainsFunc(got, func(d Decision) bool { _, ok := d.(AskHosts); return ok }) || len(aims(got)) != 0 {
			t.Errorf("decides %+v", got)
		}
		d.tell(c.next)
		if got := d.phase(); got != c.want {
			t.Errorf("%s: %s, want %s", name, phaseName(got), c.want)
		}
	}
}
