package main

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
)

// called runs a command and gives its exit code and what it says on standard error.
func called(t *testing.T, args ...string) (code int, said string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // one that should end and waits does then, by 0
	defer cancel()
	var out, faults bytes.Buffer
	code = run(ctx, args, &out, &faults)
	return code, faults.String()
}

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func linked(t *testing.T, link func(old, new string) error, to, name string) string {
	t.Helper()
	if err := link(to, name); err != nil {
		t.Fatal(err)
	}
	return name
}

// What a command reads, and what it has not written itself, it does not write over.
func TestWhatACommandWritesBesideItsAnswer(t *testing.T) {
	for _, c := range []struct {
		command, option, kind string
		input                 func(dir string) string // a copy of what it reads
		ours                  string                  // how a file that it has written contains
	}{
		{"audit", "-html", "a page of earlybind audit", func(dir string) string { return logOf(t, dir, "success") }, "<title>earlybind audit"},
		{"replay", "-audit", "the audit log of a replay", func(dir string) string { return write(t, dir, "a.jsonl", []byte(text(t, success))) }, `"replica":"replay"`},
	} {
		dir := t.TempDir()
		input := c.input(dir)
		before := text(t, input)
		symbolic := linked(t, os.Symlink, filepath.Base(input), filepath.Join(dir, "symbolic"))
		hard := linked(t, os.Link, input, filepath.Join(dir, "hard"))
		precious := write(t, dir, "precious", []byte("precious\n"))
		consumers := write(t, dir, "consumer.log", []byte(strings.ReplaceAll(text(t, logOf(t, t.TempDir(), "success")), `"replay"`, `"controller1-7"`)))
		html := write(t, dir, "other.html", []byte("<!doctype html>\n<title>another</title>\n"))
		for name, want := range map[string]string{
			input: "it is what is to be read, and would be lost", dir + "/./" + filepath.Base(input): "it is what is to be read",
			symbolic: "it is what is to be read", hard: "it is what is to be read", dir: "it is a directory",
			precious:  "it is there already, and not " + c.kind + ": choose another name",
			consumers: "it is there already, and not " + c.kind, html: "it is there already, and not " + c.kind,
		} {
			kept := ""
			if name != dir {
				kept = text(t, name)
			}
			code, said := called(t, c.command, c.option, name, input)
			if begins := fmt.Sprintf("earlybind %s: %s %s: %s", c.command, c.option, name, want); code != wrongUsage || !strings.HasPrefix(said, begins) {
				t.Errorf("%s %s %s: %d %s", c.command, c.option, name, code, said)
			}
			if name != dir && text(t, name) != kept {
				t.Errorf("%s %s %s: written over", c.command, c.option, name)
			}
		}

		// Its own file is, and keeps its permissions and the link to it; so is an empty one.
		empty := write(t, dir, "empty", nil)
		if err := os.Chmod(empty, 0o640); err != nil { //nolint:gosec // a server of pages may read it
			t.Fatal(err)
		}
		link := linked(t, os.Symlink, "empty", filepath.Join(dir, "link"))
		toNothing := linked(t, os.Symlink, "nothing yet", filepath.Join(dir, "to nothing"))
		for _, name := range []string{filepath.Join(dir, "new"), empty, empty, link, toNothing} {
			if code, said := called(t, c.command, c.option, name, input); code != done || !strings.Contains(text(t, name), c.ours) {
				t.Errorf("%s %s %s: %d %s", c.command, c.option, name, code, said)
			}
		}
		for _, link := range []string{link, toNothing} {
			if info, err := os.Lstat(link); err != nil || info.Mode().Type() != os.ModeSymlink {
				t.Errorf("%s: the link %s is %v, %v", c.command, link, info, err)
			}
		}
		if info, err := os.Stat(empty); err != nil || info.Mode().Perm() != 0o640 {
			t.Errorf("%s: %v, %v", c.command, info, err)
		}
		if text(t, input) != before {
			t.Errorf("%s has changed what it reads", c.command)
		}
		if left, err := filepath.Glob(filepath.Join(dir, ".earlybind-*")); err != nil || len(left) > 0 {
			t.Errorf("%s leaves %s, %v", c.command, left, err)
		}
		if code, said := called(t, c.command, c.option, "/nowhere/x", input); code != failed || said != fmt.Sprintf("earlybind %s: %s /nowhere/x: no file can be made in /nowhere: no such file or directory\n", c.command, c.option) {
			t.Errorf("%d %s", code, said)
		}
		if _, err := os.Stat("/dev/full"); err == nil { // a device is written to
			if code, said := called(t, c.command, c.option, "/dev/full", input); code != failed || said != fmt.Sprintf("earlybind %s: %s /dev/full: no space left on device\n", c.command, c.option) {
				t.Errorf("%d %s", code, said)
			}
		}
	}
}

// Nothing is left of a page that could not be written whole, and an earlier one stays.
func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	dir := t.TempDir()
	there := write(t, dir, "there", []byte("earlier"))
	full := func(to io.Writer) error {
		if _, err := to.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		return &os.PathError{Op: "write", Path: dir + "/.earlybind-1", Err: syscall.ENOSPC}
	}
	for _, name := range []string{there, filepath.Join(dir, "new")} {
		if err := (sideFile{option: "html", name: name}).write(full); err == nil || err.Error() != "-html "+name+": no space left on device" {
			t.Error(err)
		}
	}
	if names, err := os.ReadDir(dir); err != nil || len(names) != 1 || text(t, there) != "earlier" {
		t.Errorf("%s, %v, %q", names, err, text(t, there))
	}
}

// The shell has made standard output's file: a page that takes its name takes the report away.
func TestAPageIsNotWrittenWhereStandardOutputGoes(t *testing.T) {
	dir := t.TempDir()
	log := logOf(t, dir, "success")
	out, err := os.Create(filepath.Join(dir, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var faults bytes.Buffer
	if code := run(t.Context(), []string{"audit", "-html", out.Name(), log}, out, &faults); code != wrongUsage || !strings.Contains(faults.String(), "it is where standard output goes") {
		t.Errorf("%d %s", code, &faults)
	}
}

// A file that is given for another is said to be what it is, and so is which command reads it.
func TestWhatAFileIs(t *testing.T) {
	dir := t.TempDir()
	log := logOf(t, dir, "success")
	page, report := filepath.Join(dir, "page.html"), filepath.Join(dir, "report.json")
	var out, faults bytes.Buffer
	if code := run(t.Context(), []string{"audit", "-json", "-html", page, log}, &out, &faults); code != done {
		t.Fatalf("%d %s", code, &faults)
	}
	write(t, dir, "report.json", out.Bytes())
	journal := `{"__CURSOR":"s=1","MESSAGE":` + fmt.Sprintf("%q", strings.SplitN(text(t, log), "\n", 2)[0]) + `}` + "\n"
	files := map[string]string{
		log: isAuditLog, success: isRecording, page: isReport, report: isReport,
		write(t, dir, "journal", []byte(journal)):                                                    isAuditLog,
		write(t, dir, "newer", []byte(strings.ReplaceAll(text(t, log), `"schema":1`, `"schema":2`))): isAuditLog,
		write(t, dir, "log.gz", zipped(t, []byte(text(t, log)))):                                     isAuditLog,
		write(t, dir, "recording.gz", zipped(t, []byte(text(t, success)))):                           isRecording,
		write(t, dir, "newer.jsonl", []byte(`{"earlybind_recording":9}`+"\n")):                       isRecording,
		write(t, dir, "binary", []byte("\x7fELF\x02\x01\x01\x00\x00\n")):                             isBinary,
		write(t, dir, "passwd", []byte("root:x:0:0:root:/root:/bin/bash\n")):                         "",
		write(t, dir, "other.json", []byte("{\"level\":\"info\"}\n")):                                "",
		write(t, dir, "nothing", nil):                                                                "",
	}
	for folder, what := range map[string]string{
		"../../recordings": isRecording, "../../handover/testdata": isCapture, "../../handover/testdata/notifications": isCapture, "../../docs/measurements": isSamples,
	} {
		names, err := filepath.Glob(folder + "/*.jsonl")
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", folder, err)
		}
		for _, name := range names {
			files[name] = what
		}
	}
	for name, want := range files {
		begin, err := beginsWith(name)
		if got := whatIs(begin); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, want)
		}
		if want != "" && want != isAuditLog {
			code, said := called(t, "audit", name)
			if code != failed || !strings.HasPrefix(said, "earlybind audit: "+name+": "+want+"; ") {
				t.Errorf("audit %s: %d %s", name, code, said)
			}
		}
		if want != "" && want != isRecording {
			if code, said := called(t, "replay", name); code != failed || said != "earlybind replay: "+name+": "+want+"\n" {
				t.Errorf("replay %s: %d %s", name, code, said)
			}
		}
		if want == "" && len(begin) > 0 {
			if code, said := called(t, "replay", name); code != failed || !strings.Contains(said, "it has no earlybind_recording (what a recording is: docs/recording.md)\n") {
				t.Errorf("replay %s: %d %s", name, code, said)
			}
		}
	}
	packed := filepath.Join(dir, "recording.gz")
	if code, said := called(t, "replay", packed); code != failed || said != "earlybind replay: "+packed+" is compressed by gzip: earlybind replay <(zcat "+packed+")\n" {
		t.Errorf("%d %s", code, said)
	}
	if code, said := called(t, "audit", log, success); code != failed || said != "earlybind audit: "+success+" holds no line of earlybind's audit log ("+isRecording+"): the report is of the others alone\n" {
		t.Errorf("%d %s", code, said)
	}
	if code, said := called(t, "audit", success, filepath.Join(dir, "passwd")); code != failed ||
		said != "earlybind audit: "+success+": "+isRecording+"; "+filepath.Join(dir, "passwd")+": no line of earlybind's audit log in it, but 1 lines of text, 0 of other JSON, 0 that are cut; "+whatTheLogIs+"\n" {
		t.Errorf("%d %s", code, said)
	}
}

func TestARecordingWithoutAMessage(t *testing.T) {
	header, _, _ := strings.Cut(text(t, success), "\n")
	name := write(t, t.TempDir(), "cut.jsonl", []byte(header+"\n"))
	if code, said := called(t, "replay", name); code != failed || said != "earlybind replay: "+name+": it holds no message: was it cut?\n" {
		t.Errorf("%d %s", code, said)
	}
}

// A log that is read twice makes two of each handover's lines.
func TestAFileThatIsGivenTwice(t *testing.T) {
	dir := t.TempDir()
	log := logOf(t, dir, "success")
	symbolic := linked(t, os.Symlink, log, filepath.Join(dir, "symbolic"))
	hard := linked(t, os.Link, log, filepath.Join(dir, "hard"))
	dotted := dir + "/./" + filepath.Base(log)
	for _, command := range []string{"audit", "watch"} {
		for _, other := range []string{dotted, symbolic, hard} {
			want := "earlybind " + command + ": " + other + " was given twice: it is the same file as " + log + "\n"
			if code, said := called(t, command, log, other); code != wrongUsage || !strings.HasPrefix(said, want) {
				t.Errorf("%s %s: %d %s", command, other, code, said)
			}
		}
		in, err := os.Open(log)
		if err != nil {
			t.Fatal(err)
		}
		stdin := os.Stdin
		os.Stdin = in
		code, said := called(t, command, log, "-")
		os.Stdin = stdin
		_ = in.Close()
		if code != wrongUsage || !strings.Contains(said, "- was given twice: it is the same file as "+log) {
			t.Errorf("%s -: %d %s", command, code, said)
		}
		if code, said := called(t, command, "/nowhere/a", "/nowhere/b"); code != failed {
			t.Errorf("%s: %d %s", command, code, said)
		}
	}
	if code, said := called(t, "audit", log, logOf(t, dir, "two-guests")); code != done {
		t.Errorf("two logs: %d %s", code, said)
	}
}
