package doctor

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// Note is one line of the undo journal: before each write what is about to be sent and
// what takes it back, after it what came of it. It holds binding profiles, and no
// secret.
type Note struct {
	Time     time.Time `json:"time"` // UTC
	Port     string    `json:"port"`
	Instance string    `json:"instance"`
	// Before are the port's rows, as read before the request.
	Before []port.Row `json:"before,omitempty"`
	// Request is about to be sent; Undo is the request that brings back what it takes
	// away, empty where it takes nothing away.
	Request string `json:"request,omitempty"`
	Undo    string `json:"undo,omitempty"`
	// Host and Held are of a row that is deleted to be made again; Settled says that the
	// port is right there, and what was held is no longer needed.
	Host    string         `json:"host,omitempty"`
	Held    *rollback.Held `json:"held,omitempty"`
	Settled bool           `json:"settled,omitempty"`
	// Outcome is what came of the last request; empty in the line before it is sent.
	Outcome string `json:"outcome,omitempty"`
}

// Notes is the undo journal: a file of lines that is only ever added to. Each line is on
// the disk before what it tells of is done. It also serves as the roll-back's journal.
type Notes struct {
	file *os.File
	now  func() time.Time
	kept map[[2]string]rollback.Held // by port and host
}

var _ rollback.Journal = (*Notes)(nil)

// OpenNotes opens the journal, or begins one that only its owner may read. What an earlier
// run has written down is known from then on; a last line that was cut off is passed
// over, any other that is none is an error.
func OpenNotes(name string, now func() time.Time) (*Notes, error) {
	file, err := os.OpenFile(name, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	n := &Notes{file: file, now: now, kept: map[[2]string]rollback.Held{}}
	if err := n.read(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is no undo journal: %w", name, err), file.Close())
	}
	return n, nil
}

func (n *Notes) read() error {
	lines := bufio.NewReader(n.file)
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return err
		case len(line) == 0:
			return nil
		case number == 1 && !begun(line):
			return errors.New("line 1 is not of one")
		case err != nil: // cut off: it is ended, and read as at every later start
			if _, err := n.file.WriteString("\n"); err != nil {
				return err
			}
		}
		note, err := parseNote(line)
		if err != nil {
			continue // cut off: what it tells of was not done
		}
		switch {
		case note.Held != nil:
			n.kept[[2]string{note.Port, note.Host}] = *note.Held
		case note.Settled:
			delete(n.kept, [2]string{note.Port, note.Host})
		}
	}
}

// begun tells whether a line is the beginning of one of a journal, however short.
func begun(line []byte) bool {
	const begins = `{"time":`
	line = bytes.TrimSuffix(line, []byte("\n"))
	length := min(len(line), len(begins))
	return string(line[:length]) == begins[:length]
}

// parseNote keeps the numbers of a profile as they are.
func parseNote(line []byte) (Note, error) {
	var note Note
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	err := d.Decode(&note)
	return note, err
}

// write returns when the line is on the disk.
func (n *Notes) write(note Note) error {
	note.Time = n.now().UTC()
	line, err := json.Marshal(note)
	if err != nil {
		return err
	}
	if _, err := n.file.Write(append(line, '\n')); err != nil {
		return err
	}
	return n.file.Sync()
}

// held gives what was written down of a row; nil for a nil journal.
func (n *Notes) held(id, host string) *rollback.Held {
	if n == nil {
		return nil
	}
	if held, ok := n.kept[[2]string{id, host}]; ok {
		return &held
	}
	return nil
}

// ports are those of which a row was written down and is not known to be right since: an
// earlier run was ended between the row's deletion and its making, or after it.
func (n *Notes) ports() []string {
	if n == nil {
		return nil
	}
	var ids []string
	for key := range n.kept {
		ids = append(ids, key[0])
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Held gives what was written down of a row; the journal has always been read.
func (n *Notes) Held(id, host string) (*rollback.Held, bool) { return n.held(id, host), true }

// WriteDown returns when it is on the disk.
func (n *Notes) WriteDown(_ context.Context, id, host string, held rollback.Held) error {
	if err := n.write(Note{Port: id, Host: host, Held: &held}); err != nil {
		return err
	}
	n.kept[[2]string{id, host}] = held
	return nil
}

// settle tells that a port is right on host: what was held of its row is of the past.
func (n *Notes) settle(id, host string) error {
	key := [2]string{id, host}
	if _, ok := n.kept[key]; !ok {
		return nil
	}
	delete(n.kept, key)
	return n.write(Note{Port: id, Host: host, Settled: true})
}

// Close closes the file.
func (n *Notes) Close() error { return n.file.Close() }
