package watch

import (
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
)

// merging is a merge of two logs, at a time.
type merging struct {
	*testing.T
	*merge
	now time.Time
}

func (m *merging) says(log int, texts ...string) {
	for _, text := range texts {
		i := item{entry: audit.Entry{Time: noon.Add(time.Duration(text[0]) * time.Second), Replica: text}}
		switch text {
		case "caught up":
			i = item{caughtUp: true}
		case "end":
			i = item{end: &ended{}}
		}
		m.put(log, i, m.now)
	}
}

// wants is what comes now, and no more.
func (m *merging) wants(want string) {
	m.Helper()
	var got []string
	for {
		i, log, ok := m.next(m.now)
		if !ok {
			break
		}
		switch {
		case i.caughtUp:
			got = append(got, "caught-up-"+string(rune('0'+log)))
		case i.end != nil:
			got = append(got, "end-"+string(rune('0'+log)))
		default:
			got = append(got, i.entry.Replica)
		}
	}
	if text := strings.Join(got, " "); text != want {
		m.Fatalf("got %q, want %q", text, want)
	}
}

func TestLogsAreMerged(t *testing.T) {
	m := &merging{t, newMerge(2, noon), noon}
	m.says(0, "a", "c", "e")
	m.wants("")
	m.now = noon.Add(time.Hour) // however long a log takes to give what it had
	m.wants("")
	m.says(1, "b")
	m.wants("a b")
	m.says(1, "d", "f", "caught up")
	m.wants("c d e")
	m.says(0, "caught up")
	m.wants("caught-up-0")
	m.now = m.now.Add(silence)
	m.wants("f caught-up-1")

	m.says(0, "h")
	m.wants("")
	m.now = m.now.Add(patience - 1)
	m.says(1, "g")
	m.wants("g")
	m.now = m.now.Add(1) // the other was heard of just now
	m.wants("")
	m.now = m.now.Add(silence)
	m.wants("h")

	m.says(0, "j", "end")
	m.now = m.now.Add(patience)
	m.wants("j end-0")
	m.says(1, "k", "l")
	m.wants("k l")
	m.says(1, "end")
	m.wants("end-1")
}

func TestOneLogIsNotWaitedFor(t *testing.T) {
	m := &merging{t, newMerge(1, noon), noon}
	m.says(0, "b", "a", "caught up", "c", "end") // its own order stays
	m.wants("b a caught-up-0 c end-0")
}

// A program that is yet to start is waited for, but not for long.
func TestALogThatSaysNothing(t *testing.T) {
	m := &merging{t, newMerge(2, noon), noon}
	m.says(0, "caught up", "b")
	m.says(1, "caught up")
	m.wants("caught-up-0 caught-up-1")
	m.now = noon.Add(firstWord - 1)
	m.wants("")
	m.now = noon.Add(firstWord)
	m.wants("b")
}
