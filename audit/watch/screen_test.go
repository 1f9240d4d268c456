package watch

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// terminal is what a terminal of that size shows, for the control sequences that
// Screen writes. What would scroll, wrap or stand outside is a fault.
type terminal struct {
	*testing.T
	Size
	cells    [2][][]rune // of its two screens
	on       int
	row, col int
	cursor   bool
	wraps    bool
	held     bool
	shown    int // how often what is shown may have changed
	written  int
}

func newTerminal(t *testing.T, size Size) *terminal {
	x := &terminal{T: t, cursor: true, wraps: true}
	x.resize(size)
	return x
}

func (x *terminal) resize(size Size) {
	x.Size = size
	for i := range x.cells {
		x.cells[i] = make([][]rune, size.Height)
		for j := range x.cells[i] {
			x.cells[i][j] = []rune(strings.Repeat("?", size.Width)) // as a terminal may leave them
		}
	}
}

var sequence = regexp.MustCompile(`^\x1b\[(\??)([0-9]*)([A-Za-z])`)

func (x *terminal) Write(p []byte) (int, error) {
	x.written += len(p)
	s := string(p)
	for s != "" {
		if m := sequence.FindStringSubmatch(s); m != nil {
			s = s[len(m[0]):]
			x.obey(m[1]+m[3], m[2])
			continue
		}
		r := []rune(s)[0]
		s = s[len(string(r)):]
		switch r {
		case '\r':
			x.col = 0
		case '\n':
			if x.row++; x.row == x.Height && x.on == 1 {
				x.Fatal("it scrolls")
			}
			x.row = min(x.row, x.Height-1)
		case '\x1b':
			x.Fatalf("an unknown sequence: %q", s)
		default:
			if x.on == 0 {
				continue
			}
			if x.col >= x.Width-1 {
				x.Fatalf("%q stands in the last column, or beyond", string(r))
			}
			x.cells[x.on][x.row][x.col] = r
			x.col++
		}
		if !x.held {
			x.shown++
		}
	}
	return len(p), nil
}

func (x *terminal) obey(what, n string) {
	number, _ := strconv.Atoi(n)
	clear := func(cells []rune) {
		for i := range cells {
			cells[i] = ' '
		}
	}
	switch {
	case what == "H":
		x.row, x.col = 0, 0
	case what == "K":
		clear(x.cells[x.on][x.row][x.col:])
	case what == "J":
		clear(x.cells[x.on][x.row][x.col:])
		for _, row := range x.cells[x.on][x.row+1:] {
			clear(row)
		}
	case what == "m":
	case what == "?h" && number == 1049:
		x.on = 1
	case what == "?l" && number == 1049:
		x.on = 0
	case number == 25:
		x.cursor = what == "?h"
	case number == 7:
		x.wraps = what == "?h"
	case number == 2026:
		if x.held = what == "?h"; !x.held {
			x.shown++
		}
	default:
		x.Fatalf("an unknown sequence: %s%s", what, n)
	}
}

func (x *terminal) text() string {
	var rows []string
	for _, row := range x.cells[x.on] {
		rows = append(rows, strings.TrimRight(string(row), " "))
	}
	return strings.TrimRight(strings.Join(rows, "\n"), "\n")
}

func TestAScreenShowsEachFrameInPlace(t *testing.T) {
	x := newTerminal(t, Size{12, 4})
	s, err := NewScreen(x, func() Size { return x.Size })
	if err != nil || x.on != 1 || x.cursor || x.wraps {
		t.Fatalf("%v: %+v", err, x)
	}
	x.shown = 0
	draw := func(frame string) {
		t.Helper()
		if err := s.Draw(func(size Size) string {
			if size != (Size{x.Width - 1, x.Height}) {
				t.Errorf("drawn for %v", size)
			}
			return frame
		}); err != nil {
			t.Fatal(err)
		}
		if got := x.text(); got != frame {
			t.Errorf("it shows\n%s\nwant\n%s", got, frame)
		}
	}
	for i, frame := range []string{"one\ntwo\nthree\nfour", "a\n\nlonger one.", "short", "", "elevenchars"} {
		draw(frame)
		if x.shown != i+1 {
			t.Errorf("frame %d: what is shown changed %d times: it flickers", i, x.shown)
		}
	}
	before := x.written
	draw("elevenchars")
	if x.written != before {
		t.Error("what is shown already is written again")
	}
	x.resize(Size{20, 3})
	draw("elevenchars")
	if err := s.Close(func(Size) string { return "the last" }); err != nil || x.on != 0 || !x.cursor || !x.wraps {
		t.Errorf("%v: %+v", err, x)
	}
}
