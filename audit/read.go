package audit

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

// longest is the length of a line, in bytes, above which it is not read. The longest
// that a consumer writes are of instances with some hundred ports: handover.armed
// holds each port's rows.
const longest = 4 << 20

// Skipped counts what is in a log beside the lines of the audit log.
type Skipped struct {
	Text     int  `json:"text"`              // plain text
	JSON     int  `json:"json"`              // other programs'
	Cut      int  `json:"cut"`               // a line of which a part is missing, or that is longer than 4 MiB
	Emptied  int  `json:"without_message"`   // journalctl -o json without -a gives null for a field above 4096 bytes
	Schema   int  `json:"of_another_schema"` // lines of another version of the audit log
	CutShort bool `json:"file_cut_short"`    // the file ends within its compressed data
}

// Add adds what was counted in another log.
func (s *Skipped) Add(o Skipped) {
	s.Text += o.Text
	s.JSON += o.JSON
	s.Cut += o.Cut
	s.Emptied += o.Emptied
	s.Schema += o.Schema
	s.CutShort = s.CutShort || o.CutShort
}

// Read gives each line of the audit log that it finds in r to each, in order, until
// each says that it has enough. It finds them alone on a line, behind a prefix
// (docker compose, Kubernetes, syslog, journalctl's short form), wrapped as journalctl
// -o json and Docker's json-file have them, and run together with another for want of a
// newline; compressed by gzip or not. All else is counted. The error is that of r or of
// the compression.
func Read(r io.Reader, each func(Entry) (more bool)) (Skipped, error) {
	var skipped Skipped
	in := bufio.NewReaderSize(r, 1<<16)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return skipped, err
		}
		in = bufio.NewReaderSize(unpacked, 1<<16)
	}
	for {
		line, err := readLine(in)
		whole := !errors.Is(err, errTooLong)
		if whole && len(line) > 0 && !skipped.take(line, each) {
			return skipped, nil
		}
		switch {
		case !whole:
			skipped.Cut++
		case errors.Is(err, io.EOF):
			return skipped, nil
		case errors.Is(err, io.ErrUnexpectedEOF): // of gzip
			skipped.CutShort = true
			return skipped, nil
		case err != nil:
			return skipped, err
		}
	}
}

var errTooLong = errors.New("the line is too long")

// readLine gives the next line, which is good until the next call; with an error what
// there was before it. A line that is too long is read over.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return bytes.TrimSpace(line), err
	}
	long := bytes.Clone(line)
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = in.ReadSlice('\n')
		if len(long) <= longest {
			long = append(long, line...)
		}
	}
	if len(long) > longest && (err == nil || errors.Is(err, io.EOF)) {
		return nil, errTooLong
	}
	return bytes.TrimSpace(long), err
}

// take gives what a line of a file holds to each, or counts it.
func (s *Skipped) take(line []byte, each func(Entry) bool) (more bool) {
	return s.takeObjects(line, func(fields map[string]any) bool {
		message, wrapped := fields["MESSAGE"] // systemd.journal-fields(7)
		if !wrapped {
			message, wrapped = fields["log"] // Docker's json-file
		}
		ofMessage := func(fields map[string]any) bool { return s.takeFields(fields, each) }
		switch m := message.(type) {
		case string:
			return s.takeObjects([]byte(m), ofMessage)
		case []any: // a message that is not UTF-8, byte by byte
			return s.takeObjects(bytesOf(m), ofMessage)
		case nil:
			if wrapped {
				s.Emptied++
				return true
			}
		}
		return s.takeFields(fields, each)
	})
}

// takeObjects gives the JSON objects of a line, and counts what stands where one should be. There is
// one, behind a prefix or not, unless lines have run together: behind a whole one where a file has no
// last newline and the next follows it, behind a part of one where a write was torn.
func (s *Skipped) takeObjects(line []byte, each func(map[string]any) bool) (more bool) {
	for torn := false; ; {
		begin := bytes.IndexByte(line, '{')
		if begin < 0 {
			s.damaged(line)
			return true
		}
		line = line[begin:]
		end := len(line)
		if torn { // a part alone, so that none is read over and over
			end = nextLine(line)
		}
		fields, size, err := object(line[:end])
		switch {
		case err == nil:
			if !each(fields) {
				return false
			}
			if line = bytes.TrimSpace(line[size:]); len(line) == 0 {
				return true
			}
			continue
		case !torn:
			torn, end = true, nextLine(line)
		}
		s.damaged(line[:end])
		if line = line[end:]; len(line) == 0 {
			return true
		}
	}
}

// starts are how lines begin that may stand behind a part of another: the log's own, and those of
// Docker's json-file and of journalctl -o json. In a string their quotes would be escaped.
var starts = [][]byte{[]byte(`{"level":"`), []byte(`{"log":"`), []byte(`{"__CURSOR":"`), []byte(`{"MESSAGE":`)}

// nextLine gives where in a line another begins; its length if none does.
func nextLine(line []byte) int {
	for i := 1; i < len(line); i++ {
		found := bytes.Index(line[i:], []byte(`{"`))
		if found < 0 {
			break
		}
		i += found
		if slices.ContainsFunc(starts, func(start []byte) bool { return bytes.HasPrefix(line[i:], start) }) {
			return i
		}
	}
	return len(line)
}

// damaged counts what is no JSON.
func (s *Skipped) damaged(part []byte) {
	if cutOff(part) {
		s.Cut++
	} else {
		s.Text++
	}
}

func (s *Skipped) takeFields(fields map[string]any, each func(Entry) bool) (more bool) {
	entry, err := parse(fields)
	switch {
	case err == nil:
		return each(entry)
	case errors.Is(err, ErrSchema):
		s.Schema++
	case errors.Is(err, ErrOther):
		s.JSON++
	default:
		s.Cut++
	}
	return true
}

// cutOff tells whether this is the beginning of a line of the audit log, wrapped or not: each
// begins with its level, schema and replica.
func cutOff(line []byte) bool {
	return bytes.HasPrefix(line, []byte(`{"level":`)) && bytes.Contains(line, []byte(`,"schema":`)) ||
		bytes.Contains(line, []byte(`{\"level\":`)) && bytes.Contains(line, []byte(`,\"schema\":`))
}

func bytesOf(numbers []any) []byte {
	text := make([]byte, 0, len(numbers))
	for _, n := range numbers {
		number, _ := n.(json.Number)
		if b, err := number.Int64(); err == nil && b >= 0 && b < 256 {
			text = append(text, byte(b))
		}
	}
	return text
}
