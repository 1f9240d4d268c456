package handover

import (
	"slices"
	"testing"

	"github.com/earlybind/earlybind/wire"
)

// goals are what the port is to become when an input of the table has led to a phase (rows) from
// another or the same (columns); "-": none does. The policy is suspended, both hosts have spoken, and
// the rows are as Nova has prepared them.
const goals = `
	               watching     paused       postcopy    arrived     left        left, says Nova  failing      failed       failed, gone  contradicted  lost
	watching       none         -            -           -           -           -                -            -            -             -             -
	paused         commit dst   commit dst   -           -           -           -                -            -            -             -             -
	postcopy       commit dst   commit dst   commit dst  commit dst  -           -                -            -            -             -             -
	arrived        commit dst   commit dst   -           commit dst  -           -                -            -            -             -             -
	listed there   none         commit dst   -           commit dst  -           -                -            -            -             -             -
	listed so      none         commit dst   commit dst  commit dst  -           -                -            -            -             -             -
	left           verify dst   verify dst   verify dst  verify dst  verify dst  verify dst       verify dst   verify dst   verify dst    verify dst    verify dst
	failing        none         hold         -           hold        -           verify dst       hold         -            hold          -             -
	failing, over  verify src   verify src   -           -           -           verify src       verify src   -            -             -             -
	failed         restore src  restore src  -           -           -           restore src      restore src  restore src  restore src   restore src   -
	contradicted   -            -            -           hold        -           -                hold         hold         -             hold          -
	lost           hold         hold         hold        hold        -           -                hold         hold         hold          hold          hold
`

// goalsRow is that of the phase that an input leads to.
func goalsRow(in Input, to Phase) string {
	switch in := in.(type) {
	case NovaSign:
		if to == Failing && (in.Step == wire.NovaPreFailed || in.Step == wire.NovaRefused) {
			return "failing, over" // nothing is to be rolled back
		}
	case HostSign:
		if to == Arrived && in.Host == dst && in.Sign == SignRunning {
			return "listed there" // a list leads to no commit of its own
		}
		if to == PostCopy && in.Sign == SignPostCopy && in.Listed {
			return "listed so"
		}
	}
	return to.String()
}

// prelude is what comes before each column's story: both hosts have spoken.
func prelude() []Input {
	return []Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), listed(src, 0, SignMissedEvents)}
}

// goal is that of the one port, in a table's words.
func goal(d *drive) string {
	g := goalNow(d)
	if g.Kind == 0 {
		return "none"
	}
	return g.Kind.String() + map[string]string{src: " src", dst: " dst"}[g.Host]
}

// goalTable reads a table over the columns; each is there, under its name.
func goalTable(t *testing.T, text string) map[string]map[string]string {
	t.Helper()
	names, cells := parseTable(t, text)
	for _, c := range columns {
		if !slices.Contains(names, c.name) {
			t.Fatalf("no column %q", c.name)
		}
	}
	return cells
}

// Each cell that gives a goal is one that an input leads to.
func TestTheGoalsAreThoseOfTheTable(t *testing.T) {
	led := goalTable(t, goals)
	for _, row := range table {
		for i, column := range columns {
			delete(led[goalsRow(row.input, row.next[i])], column.name)
		}
	}
	for row, cells := range led {
		for column, cell := range cells {
			if cell != "-" {
				t.Errorf("%s -> %s: no input leads there, and it says %q", column, row, cell)
			}
		}
	}
}

// others is what the inputs do that are no sign, of a host or of Nova, where no handover goes on and
// in each phase. ".": nothing is decided, and phase and goal stay; a goal is what the port has then; an
// outcome is the handover's, and an alarm tells of its port first. No worker answers a commit or a
// hold: "-".
const others = `
	                           none      watching     paused         postcopy       arrived           left        left, says Nova  failing        failed         failed, gone   contradicted  lost
	left-over                  begins    .            .              .              .                 .           .                .              .              .              .             .
	left-over, and all is old  begins    .            .              .              superseded        superseded  superseded       .              .              .              .             .
	rows, the first            .         .            commit dst     commit dst     commit dst        verify dst  verify dst       .              restore src    restore src    hold          hold
	rows, again                .         .            .              .              .                 .           .                .              .              .              .             .
	done                       .         -            -              -              -                 migrated    migrated         -              restored       restored       -             -
	done, and not right        .         -            -              -              -                 wrong       wrong            -              wrong          wrong          -             -
	done, of another goal      .         .            .              .              .                 .           .                .              .              .              .             .
	activated                  .         .            .              .              .                 .           .                .              .              .              .             .
	muted, the source          .         .            .              .              .                 .           .                .              .              .              .             .
	muted, the destination     .         .            .              .              .                 .           .                .              .              .              .             .
	expired                    .         expired      alarm expired  alarm expired  alarm expired     expired     expired          alarm expired  alarm expired  alarm expired  expired       expired
`

// otherInputs are the rows of others.
var otherInputs = map[string]func(*drive) Input{
	"left-over":                 func(*drive) Input { return LeftOver{Host: src, Other: dst} },
	"left-over, and all is old": func(*drive) Input { return LeftOver{Host: src, Other: dst} },
	"rows, the first":           func(d *drive) Input { return Rows{Ports: d.ports, Now: d.now} },
	"rows, again":               func(d *drive) Input { return Rows{Ports: d.ports, Now: d.now} },
	"done":                      func(d *drive) Input { return PortDone{Port: "p1", Goal: goalNow(d), Right: true, Up: true} },
	"done, and not right":       func(d *drive) Input { return PortDone{Port: "p1", Goal: goalNow(d)} },
	"done, of another goal":     func(*drive) Input { return PortDone{Port: "p1", Goal: Goal{Host: third}, Right: true} },
	"activated":                 func(*drive) Input { return Activated{Port: "p1"} },
	"muted, the source":         func(*drive) Input { return Muted{Host: src} },
	"muted, the destination":    func(*drive) Input { return Muted{Host: dst} },
	"expired":                   func(*drive) Input { return Expired{} },
}

// goalNow is the port's goal, none where no handover goes on.
func goalNow(d *drive) Goal {
	if d.Current() == nil {
		return Goal{}
	}
	return d.Current().goals["p1"]
}

// aged is a story of which each sign is too old for a commit.
func aged(story []Input) []Input {
	out := slices.Clone(story)
	for i, in := range out {
		if s, ok := in.(HostSign); ok {
			s.FreshFor = 0
			out[i] = s
		}
	}
	return out
}

func TestEveryCellOfTheOtherInputs(t *testing.T) {
	cells := goalTable(t, others)
	if len(cells) != len(otherInputs) {
		t.Errorf("%d rows, and inputs for %d", len(cells), len(otherInputs))
	}
	for name, input := range otherInputs {
		t.Run("none+"+name, func(t *testing.T) {
			d := newDrive(suspended, ready("p1"))
			decided := d.tell(input(d))
			if begun := d.Current() != nil; begun != (cells[name]["none"] == "begins") || !begun && len(decided) != 0 {
				t.Errorf("decides %+v", decided)
			}
		})
		for _, column := range columns {
			t.Run(column.name+"+"+name, func(t *testing.T) {
				want := cells[name][column.name]
				if want == "-" {
					return
				}
				d := newDrive(suspended, ready("p1"))
				d.mute = name == "rows, the first"
				story := append(prelude(), column.story...)
				if name == "left-over, and all is old" {
					story = aged(story)
				}
				d.tell(story...)
				wantPhase(t, d, column.phase)
				before := goal(d)
				decided := d.tell(input(d))
				if got := ending(decided); got != "" {
					if got != want {
						t.Errorf("%s, want %s", got, want)
					}
					return
				}
				wantPhase(t, d, column.phase)
				if want == "." && (len(decided) != 0 || goal(d) != before) || want != "." && goal(d) != want {
					t.Errorf("the goal is %s, decided %+v; want %s", goal(d), decided, want)
				}
			})
		}
	}
}

// ending gives how a handover has ended, in a table's words; empty if it has not.
func ending(decided []Decision) string {
	ends := endsIn(decided)
	if len(ends) == 0 {
		return ""
	}
	if len(alarmsIn(decided)) > 0 {
		return "alarm " + string(ends[0])
	}
	return string(ends[0])
}
