package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"
)

// Entry is a line as it was read, with what [Log] adds to it.
type Entry struct {
	Line
	Time    time.Time // when it was written, on its replica's clock: for people
	Replica string
	Broker  string // empty for a replica's first
	Share   string // empty where there is one only
}

var (
	// ErrOther is of what is no line of an audit log.
	ErrOther = errors.New("not a line of earlybind's audit log")
	// ErrSchema is of a line of a version that is not known.
	ErrSchema = errors.New("a line of an audit log of another version")
)

// Parse reads one line, as [Log.Record] has written it. Fields that are not known
// are left out, as they are added without notice. The error is [ErrOther],
// [ErrSchema], or tells which field is not what it should be.
func Parse(line []byte) (Entry, error) {
	fields, size, err := object(line)
	if err != nil || len(bytes.TrimSpace(line[size:])) > 0 {
		return Entry{}, ErrOther
	}
	return parse(fields)
}

// object reads the JSON object that a line begins with, and gives its length.
func object(line []byte) (fields map[string]any, size int, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber() // figures are whole, to the last digit
	if err := d.Decode(&fields); err != nil {
		return nil, 0, err
	}
	return fields, int(d.InputOffset()), nil
}

func parse(fields map[string]any) (Entry, error) {
	var e Entry
	schema, numbered := fields["schema"].(json.Number)
	event, _ := fields["event"].(string)
	replica, ours := fields["replica"].(string)
	switch {
	case !numbered || !ours || event == "":
		return e, ErrOther
	case schema != "1":
		return e, fmt.Errorf("%w: %s", ErrSchema, schema)
	}
	e.Event, e.Replica = Event(event), replica
	wrong := func(name string) error { return fmt.Errorf("the field %s is %v", name, fields[name]) }

	written, _ := fields["time"].(string)
	var err error
	if e.Time, err = time.Parse(stamp, written); err != nil {
		return e, wrong("time")
	}
	e.Broker, _ = fields["broker"].(string)
	e.Share, _ = fields["share"].(string)
	for _, table := range [...][]text{handoverTexts[:], texts[:]} {
		for _, f := range table {
			*f.of(&e.Line), _ = fields[f.name].(string)
		}
	}
	if e.Handover.Instance == "" {
		e.Handover = Handover{} // it is of no handover
	}
	if fault, ok := fields["error"].(string); ok {
		e.Err = errors.New(fault)
	}
	if took, ok := fields["took_ms"].(json.Number); ok {
		ms, err := took.Float64()
		if err != nil || ms < 0 || ms > float64(math.MaxInt64/int64(time.Millisecond)) {
			return e, wrong("took_ms")
		}
		e.Took = time.Duration(math.Round(ms*1000)) * time.Microsecond
	}
	if at, ok := fields["at"].(string); ok {
		if e.At, err = time.Parse(stamp, at); err != nil {
			return e, wrong("at")
		}
	}
	for name, value := range fields {
		number, ok := value.(json.Number)
		if !ok || named[name] {
			continue
		}
		if whole, err := number.Int64(); err == nil {
			if e.Figures == nil {
				e.Figures = map[string]int64{}
			}
			e.Figures[name] = whole
		}
	}
	return e, nil
}
