package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// longest is later than any message of a recording: what is later is no time that a clock
// could count to.
const longest = 10 * 365 * 24 * time.Hour

// Read reads a whole recording. Its errors name the line.
func Read(from io.Reader) (Header, []Message, error) {
	lines := bufio.NewReader(from)
	var header Header
	var messages []Message
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			if number == 1 {
				return Header{}, nil, errors.New("line 1: there is no header: the file is empty")
			}
			return header, messages, nil
		}
		if errors.Is(err, io.EOF) {
			return Header{}, nil, fmt.Errorf("line %d is cut off: the recording has lost its end", number)
		}
		if err != nil {
			return Header{}, nil, fmt.Errorf("line %d: %w", number, err)
		}
		if number == 1 {
			header, err = readHeader(line)
		} else {
			messages, err = readMessage(messages, line)
		}
		if err != nil {
			return Header{}, nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
}

func readHeader(line []byte) (Header, error) {
	var version struct {
		Version int `json:"earlybind_recording"`
	}
	if err := json.Unmarshal(line, &version); err != nil || version.Version == 0 {
		return Header{}, errors.New("this is no header of a recording: it has no earlybind_recording")
	}
	if version.Version != Version {
		return Header{}, fmt.Errorf("the recording is of version %d, this program knows %d", version.Version, Version)
	}
	var h Header
	if err := json.Unmarshal(line, &h); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	return h, nil
}

func readMessage(earlier []Message, line []byte) ([]Message, error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	var m Message
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("message: something stands behind it")
	}
	switch {
	case (len(m.Body) > 0) == (m.Unreadable != nil):
		return nil, errors.New("message: it needs a body, or else unreadable")
	case m.MS < 0, len(earlier) > 0 && m.MS < earlier[len(earlier)-1].MS:
		return nil, errors.New("message: ms goes back")
	case m.MS > float64(longest.Milliseconds()):
		return nil, fmt.Errorf("message: ms is %g, which is more than ten years", m.MS)
	}
	return append(earlier, m), nil
}
