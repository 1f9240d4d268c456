package watch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
)

// some is how much of a file is read, in these tests.
const some = 10_000

// text is a line of a log as a consumer writes it, which names its number.
func text(n int) string {
	var b bytes.Buffer
	audit.New(&b, zerolog.InfoLevel, "r").Record(audit.Line{Event: audit.ConsumerActive, Why: fmt.Sprint(n)})
	return b.String()
}

// tail is a file that is followed.
type tail struct {
	*testing.T
	name  string
	lines chan string
	stop  func() audit.Skipped
}

func follows(t *testing.T, name string) *tail {
	t.Helper()
	source, err := followFrom(name, some)
	if err != nil {
		t.Fatal(err)
	}
	f := &tail{T: t, name: name, lines: make(chan string, 100_000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan audit.Skipped, 1)
	go func() {
		skipped, err := source.read(ctx, func(e audit.Entry) { f.lines <- e.Why }, func() { f.lines <- "caught up" })
		if err != nil {
			t.Error(err)
		}
		done <- skipped
	}()
	f.stop = func() audit.Skipped { cancel(); return <-done }
	return f
}

func (f *tail) wants(lines ...string) {
	f.Helper()
	for _, want := range lines {
		select {
		case got := <-f.lines:
			if got != want {
				f.Fatalf("read %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			f.Fatalf("%q does not come", want)
		}
	}
}

func (f *tail) writes(texts ...string) {
	f.Helper()
	file, err := os.OpenFile(f.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		f.Fatal(err)
	}
	defer file.Close()
	for _, text := range texts {
		if _, err := file.WriteString(text); err != nil {
			f.Fatal(err)
		}
	}
}

func newTail(t *testing.T, texts ...string) *tail {
	t.Helper()
	name := filepath.Join(t.TempDir(), "consumer.log")
	(&tail{T: t, name: name}).writes(append(texts, "")...)
	return follows(t, name)
}

func TestAFileThatGrows(t *testing.T) {
	f := newTail(t, text(1), text(2))
	f.wants("1", "2", "caught up")
	f.writes(text(3))
	f.wants("3")
	half := text(4)
	f.writes(half[:20])
	time.Sleep(2 * poll)
	f.writes(half[20:], text(5))
	f.wants("4", "5")
	if skipped := f.stop(); skipped != (audit.Skipped{}) {
		t.Errorf("%+v", skipped)
	}
}

func TestAFileThatIsReplaced(t *testing.T) {
	f := newTail(t, text(1))
	f.wants("1", "caught up")
	half := text(2)
	f.writes(half[:len(half)-10])
	if err := os.Rename(f.name, f.name+".1"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * poll)
	f.writes(text(3))
	f.wants("3")
	// One that comes later.
	if err := os.Remove(f.name); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * poll)
	f.writes(text(4))
	f.wants("4")
	if skipped := f.stop(); skipped != (audit.Skipped{Cut: 1}) {
		t.Errorf("%+v", skipped)
	}
}

func TestAFileThatIsTruncated(t *testing.T) {
	f := newTail(t, text(1), text(2), text(3))
	f.wants("1", "2", "3", "caught up")
	if err := os.Truncate(f.name, 0); err != nil {
		t.Fatal(err)
	}
	f.writes(text(4))
	f.wants("4")
	f.stop()
}

// Of a long file the end is read, from a whole line on.
func TestTheEndOfALongFile(t *testing.T) {
	line := text(1)
	n := some/len(line) + 1000
	f := newTail(t, strings.Repeat(line, n), text(2))
	read := 0
	for got := ""; got != "2"; read++ {
		got = <-f.lines
	}
	f.wants("caught up")
	if most := some/len(line) + 2; read > most || read < most-2 {
		t.Errorf("%d lines were read of %d", read, n)
	}
	f.writes(text(3))
	f.wants("3")
	if skipped := f.stop(); skipped != (audit.Skipped{}) {
		t.Errorf("%+v", skipped)
	}
}

// One line that is longer than what is read of the end.
func TestALongLine(t *testing.T) {
	f := newTail(t, strings.Repeat("x", some+100))
	f.wants("caught up")
	f.writes("\n", text(1))
	f.wants("1")
	f.stop()
}

func TestWhatCannotBeFollowed(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[string]string{dir: "is a directory", filepath.Join(dir, "nothing"): "no such file"} {
		if _, err := Follow(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// What is no regular file is read as it comes, and has an end: <(docker logs -f c).
func TestAPipeHasAnEnd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	go func() {
		w, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(w, text(1))
		_ = w.Close()
	}()
	f := follows(t, name)
	f.wants("caught up", "1")
	f.stop()
}
