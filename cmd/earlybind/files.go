package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/audit/report"
)

// beginning is how many bytes of a file are looked at to tell what it is.
const beginning = 64 << 10

// What a file can be that a command does not read.
const (
	isAuditLog  = "it is an audit log: earlybind audit reads it"
	isRecording = "it is a recording: earlybind replay reads it"
	isReport    = "it is a report that earlybind audit has made, of an audit log"
	isCapture   = "it was captured of libvirt or Nova for earlybind's tests, and is no recording: docs/recording.md tells of those"
	isSamples   = "it is a measurement's samples: docs/measurements.md tells of them"
	isBinary    = "it is no text"
)

// whatIs tells what a file is that begins so, compressed by gzip or not; empty if that is not known.
func whatIs(begin []byte) string {
	if unpacked, err := gzip.NewReader(bytes.NewReader(begin)); err == nil {
		begin, _ = io.ReadAll(io.LimitReader(unpacked, beginning)) // it may be cut
	}
	first, _, _ := bytes.Cut(begin, []byte("\n"))
	var fields map[string]any
	_ = json.Unmarshal(first, &fields) // most files have none
	has := func(names ...string) bool {
		for _, name := range names {
			if _, ok := fields[name]; !ok {
				return false
			}
		}
		return true
	}
	switch {
	case has("earlybind_recording"):
		return isRecording
	case isLog(begin):
		return isAuditLog
	case report.IsPage(begin), bytes.HasPrefix(begin, []byte("{")) && bytes.Contains(begin, []byte(`"earlybind_audit_report":`)):
		return isReport
	case has("t_ms", "host", "kind"), has("ms", "publisher_id", "event_type"):
		return isCapture
	case has("release", "right"), has("release", "rows_right"), has("nova_host", "to_right_s"):
		return isSamples
	case bytes.IndexByte(begin, 0) >= 0:
		return isBinary
	}
	return ""
}

// isLog tells whether there is a line of an audit log, of whichever version.
func isLog(begin []byte) bool {
	found := false
	skipped, _ := audit.Read(bytes.NewReader(begin), func(audit.Entry) bool { found = true; return false })
	return found || skipped.Schema > 0
}

// ofReplay tells whether an audit log that begins so was written by earlybind replay, and is no consumer's.
func ofReplay(begin []byte) bool {
	first, _, _ := bytes.Cut(begin, []byte("\n"))
	e, err := audit.Parse(first)
	return err == nil && e.Replica == replica
}

// head keeps the beginning of what is written to it.
type head struct{ bytes.Buffer }

func (h *head) Write(p []byte) (int, error) {
	if room := beginning - h.Len(); room > 0 {
		h.Buffer.Write(p[:min(len(p), room)])
	}
	return len(p), nil
}

// statOf gives what a name stands for; - is standard input.
func statOf(name string) (os.FileInfo, error) {
	if name == "-" {
		return os.Stdin.Stat()
	}
	return os.Stat(name)
}

// sameTwice says which file is given twice, by one name or by two; empty if none is.
func sameTwice(names []string) string {
	if name := twice(names); name != "" {
		return name + " was given twice"
	}
	infos := make([]os.FileInfo, len(names)) // nil of what cannot be looked at: reading it tells why
	for i, name := range names {
		info, err := statOf(name)
		if err != nil {
			continue
		}
		infos[i] = info
		for j, before := range infos[:i] {
			if before != nil && os.SameFile(before, info) {
				return fmt.Sprintf("%s was given twice: it is the same file as %s", name, names[j])
			}
		}
	}
	return ""
}

// sideFile is a file that a command writes beside its answer.
type sideFile struct {
	option string // that names it
	name   string
	holds  string                  // what the command writes
	ours   func(begin []byte) bool // whether that is what begins so
}

// refused says why the file must not be written: it is read, standard output goes to it, or it is there
// and holds something else. It is empty if it may.
func (s sideFile) refused(inputs []string, out io.Writer) string {
	info, err := os.Stat(s.name)
	if err != nil { // it is not there, or writing tells why
		return ""
	}
	because := func(what string) string { return fmt.Sprintf("-%s %s: it is %s", s.option, s.name, what) }
	if info.IsDir() {
		return because("a directory")
	}
	if !info.Mode().IsRegular() {
		return ""
	}
	for _, input := range inputs {
		if read, err := statOf(input); err == nil && os.SameFile(read, info) {
			return because("what is to be read, and would be lost: choose another name")
		}
	}
	if isFile(out, info) {
		return because("where standard output goes")
	}
	if info.Size() == 0 {
		return ""
	}
	if begin, err := beginsWith(s.name); err != nil || !s.ours(begin) {
		return because("there already, and not " + s.holds + ": choose another name")
	}
	return ""
}

// isFile tells whether what is written there goes to this file.
func isFile(out io.Writer, info os.FileInfo) bool {
	file, ok := fileOf(out)
	if !ok {
		return false
	}
	there, err := file.Stat()
	return err == nil && os.SameFile(there, info)
}

// beginsWith gives a file's beginning.
func beginsWith(name string) ([]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, beginning))
}

// write has the file filled. A file appears whole or not at all, in the place of the one that is there; a pipe or
// a device is written to. The error names the option.
func (s sideFile) write(fill func(io.Writer) error) error {
	info, err := os.Stat(s.name)
	if err == nil && !info.Mode().IsRegular() {
		err = s.into(fill)
	} else {
		err = s.beside(info, fill)
	}
	if err != nil {
		return fmt.Errorf("-%s %s: %w", s.option, s.name, err)
	}
	return nil
}

// into writes to what is no file.
func (s sideFile) into(fill func(io.Writer) error) error {
	to, err := os.OpenFile(s.name, os.O_WRONLY, 0)
	if err != nil {
		return cause(err)
	}
	return errors.Join(cause(filled(to, fill)), to.Close())
}

// beside writes to a file beside this one, which then takes its name, and its permissions if there is one. A link
// stays what it is.
func (s sideFile) beside(there os.FileInfo, fill func(io.Writer) error) error {
	name, err := filepath.EvalSymlinks(s.name)
	if err != nil {
		name = s.name
	}
	if to, err := os.Readlink(name); err == nil { // to what is not there yet
		if name = to; !filepath.IsAbs(to) {
			name = filepath.Join(filepath.Dir(s.name), to)
		}
	}
	dir := filepath.Dir(name)
	to, err := os.CreateTemp(dir, ".earlybind-*")
	if err != nil {
		return fmt.Errorf("no file can be made in %s: %w", dir, cause(err))
	}
	err = filled(to, fill)
	if err == nil {
		err = to.Sync() // a disk that is full may be noticed here first
	}
	if there != nil && err == nil {
		err = to.Chmod(there.Mode().Perm())
	}
	if fault := to.Close(); err == nil {
		err = fault
	}
	if err == nil {
		err = os.Rename(to.Name(), name)
	}
	if err != nil {
		return errors.Join(cause(err), os.Remove(to.Name()))
	}
	return nil
}

func filled(to io.Writer, fill func(io.Writer) error) error {
	b := bufio.NewWriter(to)
	if err := fill(b); err != nil {
		return err
	}
	return b.Flush()
}

// cause gives what is wrong without the name of a file that nobody has named.
func cause(err error) error {
	var path *os.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
