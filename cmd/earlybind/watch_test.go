package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// feeds gives the program a standard input.
func feeds(t *testing.T, text []byte) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	os.Stdin = reader
	t.Cleanup(func() {
		os.Stdin = stdin
		_ = reader.Close()
	})
	go func() {
		_, _ = io.Copy(writer, bytes.NewReader(text))
		_ = writer.Close()
	}()
}

func TestWatch(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(logOf(t, dir, "failed-in-switchover"))
	if err != nil {
		t.Fatal(err)
	}
	name := write(t, dir, "consumer.log", text)
	packed := write(t, dir, "consumer.log.1.gz", zipped(t, text))
	journal := write(t, dir, "system.journal", []byte("LPKSHHRH\x00\x00"))
	for _, c := range []struct {
		args        string
		input       []byte
		code        int
		out, faults string
	}{
		{"watch", nil, wrongUsage, "", "at least one FILE is needed"},
		{"watch -h", nil, done, "It ends with Ctrl-C, or when its input does", ""},
		{"watch -n 0 -", nil, wrongUsage, "", "-n must be from 1 to 500"},
		{"watch -n many -", nil, wrongUsage, "", "invalid value"},
		{"watch /nowhere/log", nil, failed, "", "/nowhere/log: no such file"},
		{"watch " + dir, nil, failed, "", "is a directory"},
		{"watch " + name + " " + name, nil, wrongUsage, "", "was given twice"},
		{"watch " + packed, nil, failed, "", "nothing is added to it: earlybind audit " + packed},
		{"watch " + journal, nil, failed, "", "journalctl --file"},
		{"watch " + success, nil, failed, "", success + ": it is a recording: earlybind replay reads it; "},
		{"watch " + write(t, dir, "binary", []byte("\x7fELF\x02\x01\x01\x00\x00")), nil, failed, "", "binary: it is no text; "},
		{"watch " + write(t, dir, "other.log", []byte("Hello.\n")), nil, failed, "", "other.log: no line of earlybind's audit log in it, but 1 lines of text, 0 of other JSON, 0 that are cut; the log is what"},
		{"watch " + name + " " + filepath.Join(dir, "other.log"), nil, failed, "", "other.log: no line of earlybind's audit log in it"},
		{"watch -", nil, failed, "", "-: no line of earlybind's audit log in it: it is empty"},
		{"watch -", []byte("Hello.\n"), failed, "", "but 1 lines of text"},
		{"watch -", text, done, "ended restored, repaired, 1 port (1 early)", ""},
	} {
		feeds(t, c.input)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // one that should end and waits does then, by 0
		var out, faults bytes.Buffer
		code := run(ctx, strings.Fields(c.args), &out, &faults)
		cancel()
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(faults.String(), c.faults) || (c.faults == "") != (faults.Len() == 0) {
			t.Errorf("earlybind %s: %d\n%s\n%s", c.args, code, &out, &faults)
		}
		if code == failed && strings.Count(faults.String(), "\n") != 1 {
			t.Errorf("earlybind %s: more than one line: %s", c.args, &faults)
		}
	}
}

// Ctrl-C is how it is meant to end.
func TestWatchEndsWithoutAFault(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	var out, faults bytes.Buffer
	name := filepath.Join(t.TempDir(), "consumer.log")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code := run(ctx, []string{"watch", name}, &out, &faults); code != done || out.Len()+faults.Len() > 0 {
		t.Errorf("%d %s%s", code, &out, &faults)
	}
}

func TestWhatIsDrawnOn(t *testing.T) {
	for kind, want := range map[string]bool{"": false, "dumb": false, "xterm-256color": false} { // a buffer is no terminal
		t.Setenv("TERM", kind)
		if draws(&bytes.Buffer{}) != want || isTerminal(&bytes.Buffer{}) {
			t.Error(kind)
		}
	}
	t.Setenv("NO_COLOR", "")
	if !colours() {
		t.Error("an empty NO_COLOR forbids nothing")
	}
	t.Setenv("NO_COLOR", "0")
	if colours() {
		t.Error("in colours")
	}
}

// An empty file is waited for, since it may become an audit log, and that is said.
func TestWatchOfAFileWithoutALine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var out bytes.Buffer
	faults := &until{text: "\n", then: cancel}
	name := write(t, t.TempDir(), "empty.log", nil)
	want := "earlybind watch: " + name + ": no line of earlybind's audit log in it yet, one is waited for; the log is what a consumer writes to its standard output, at EARLYBIND_LOG_LEVEL=info\n"
	if code := run(ctx, []string{"watch", name}, &out, faults); code != done || out.Len() > 0 || faults.said.String() != want {
		t.Errorf("%d, %s%s", code, &out, &faults.said)
	}
}

// A log that has ended says nothing more: who pipes it is told what it holds, and that more is waited for.
func TestWatchOfALogThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	dir := t.TempDir()
	var out bytes.Buffer
	faults := &until{text: "\n", then: cancel}
	want := "earlybind watch: read what is there: handovers that have ended: 1, that go on: 0; what comes is waited for (Ctrl-C ends it)\n"
	if code := run(ctx, []string{"watch", logOf(t, dir, "success")}, &out, faults); code != done || out.Len() > 0 || faults.said.String() != want {
		t.Errorf("%d, %s%s", code, &out, &faults.said)
	}
}

// until does something when a text is written.
type until struct {
	said bytes.Buffer
	text string
	then func()
}

func (u *until) Write(p []byte) (int, error) {
	defer func() {
		if strings.Contains(u.said.String(), u.text) {
			u.then()
		}
	}()
	return u.said.Write(p)
}
