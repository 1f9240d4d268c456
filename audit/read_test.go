package audit

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rs/zerolog"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

func full() Entry {
	return Entry{
		Time: noon, Replica: "replica-1", Broker: "rabbit1:5672/cell2", Share: "2 of 4",
		Line: Line{
			Event:    PortWritten,
			Handover: Handover{Instance: "uuid", RequestID: "req-1", Source: "a", Destination: "b"},
			Kind:     AlarmRows, Phase: "paused", Port: "p1", Driver: "ovs", Flavor: "m1.large", Host: "b", Saw: "rows \x1b[31m\n", Decided: "activate", Outcome: "failed", Why: "because",
			Err: errors.New("500\n\"quoted\""), Took: 157300 * time.Microsecond, At: noon.Add(-time.Second),
			Figures: map[string]int64{"lead_ms": -5, "bytes": 9007199254740993},
		},
	}
}

// written is an entry as a log has it.
func written(e Entry) []byte {
	var b bytes.Buffer
	log := NewAt(func() time.Time { return e.Time }, &b, zerolog.DebugLevel, e.Replica)
	log = log.Of(e.Broker, e.Share)
	log.Record(e.Line)
	return b.Bytes()
}

// same compares entries; errors by what they say.
func same(a, b Entry) bool {
	if (a.Err == nil) != (b.Err == nil) || a.Err != nil && a.Err.Error() != b.Err.Error() {
		return false
	}
	a.Err, b.Err = nil, nil
	if !a.Time.Equal(b.Time) || !a.At.Equal(b.At) {
		return false
	}
	a.Time, a.At, b.Time, b.At = time.Time{}, time.Time{}, time.Time{}, time.Time{}
	return reflect.DeepEqual(a, b)
}

// Every field that there is, so that one that is added and not read back is noticed.
func TestWhatIsWrittenIsReadBack(t *testing.T) {
	entry := full()
	for _, part := range []reflect.Value{reflect.ValueOf(entry), reflect.ValueOf(entry.Line), reflect.ValueOf(entry.Handover)} {
		for field, value := range part.Fields() {
			if value.IsZero() {
				t.Errorf("the test leaves %s out", field.Name)
			}
		}
	}
	for _, e := range []Entry{entry, {Line: Line{Event: ConsumerActive}, Time: noon, Replica: "r"}} {
		got, err := Parse(written(e))
		if err != nil || !same(got, e) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, e)
		}
	}
}

func TestLinesThatAreNotRead(t *testing.T) {
	const head = `{"level":"info","schema":1,"replica":"r","event":"x",`
	for line, want := range map[string]string{
		``:                           ErrOther.Error(),
		`null`:                       ErrOther.Error(),
		`{}`:                         ErrOther.Error(),
		`{"schema":1,"replica":"r"}`: ErrOther.Error(),
		`{"schema":"1","replica":"r","event":"x"}`:                  ErrOther.Error(),
		`{"schema":2,"replica":"r","event":"x"}`:                    ErrSchema.Error() + ": 2",
		head + `"time":"2026"}`:                                     "the field time is 2026",
		head + `"time":7}`:                                          "the field time is 7",
		head + `"time":"2026-11-23T12:00:00.000000Z","at":"noon"}`:  "the field at is noon",
		head + `"time":"2026-11-23T12:00:00.000000Z","took_ms":-1}`: "the field took_ms is -1",
		string(written(full())) + `x`:                               ErrOther.Error(),
	} {
		if _, err := Parse([]byte(line)); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func zipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestLogsAsTheyAreFound(t *testing.T) {
	line := strings.TrimSpace(string(written(full())))
	quoted, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := json.Marshal(line + line)
	if err != nil {
		t.Fatal(err)
	}
	var numbers []string
	for _, b := range []byte(line) {
		numbers = append(numbers, fmt.Sprint(b))
	}
	future := strings.Replace(line, `"schema":1`, `"schema":2`, 1)
	badTime := strings.Replace(line, "2026-11-23", "2026-99-23", 1)
	for name, c := range map[string]struct {
		log     string
		lines   int
		skipped Skipped
	}{
		"nothing":                 {"", 0, Skipped{}},
		"plain":                   {line + "\n" + line + "\n", 2, Skipped{}},
		"without a last newline":  {line + "\n" + line, 2, Skipped{}},
		"from Windows":            {line + "\r\n\r\n" + line + "\r\n", 2, Skipped{}},
		"journalctl -o json":      {`{"__CURSOR":"s=1","PRIORITY":"6","MESSAGE":` + string(quoted) + `,"_PID":"7"}` + "\n", 1, Skipped{}},
		"journal, as bytes":       {`{"MESSAGE":[` + strings.Join(numbers, ",") + "]}\n", 1, Skipped{}},
		"journal, too long":       {`{"MESSAGE":null,"_PID":"7"}` + "\n", 0, Skipped{Emptied: 1}},
		"journal, others":         {`{"MESSAGE":"Started earlybind."}` + "\n" + `{"MESSAGE":"{\"level\":\"info\"}"}` + "\n", 0, Skipped{Text: 1, JSON: 1}},
		"journalctl -o short":     {"Nov 23 12:00:00 host earlybind-consumer[7]: " + line + "\n", 1, Skipped{}},
		"docker compose":          {"consumer1-1  | " + line + "\n", 1, Skipped{}},
		"Docker's json-file":      {`{"log":` + strings.TrimSuffix(string(quoted), `"`) + `\n","stream":"stdout","time":"x"}` + "\n", 1, Skipped{}},
		"Kubernetes":              {"2026-11-23T12:00:00.1Z stdout F " + line + "\n", 1, Skipped{}},
		"others between":          {"Hello.\n{\"level\":\"info\"}\n[1]\n{x}\n" + line + "\n", 1, Skipped{Text: 3, JSON: 1}},
		"the last is cut":         {line + "\n" + line[:len(line)/2], 1, Skipped{Cut: 1}},
		"one is cut in a journal": {`{"MESSAGE":"{\"level\":\"info\",\"schema\":1,\"rep"}` + "\n", 0, Skipped{Cut: 1}},
		"a time is not one":       {badTime + "\n" + line, 1, Skipped{Cut: 1}},
		"another version":         {future + "\n" + line + "\n", 1, Skipped{Schema: 1}},
		"two on a line":           {line + line + "\n" + line + "\n", 3, Skipped{}},
		"the next file's behind":  {line + "consumer1-1  | " + line + "\n", 2, Skipped{}},
		"an end behind one":       {line + line[len(line)/2:] + "\n" + line, 2, Skipped{Text: 1}},
		"others on the line":      {`{"level":"info"}` + line + `{"a":{"level":"info"}}` + line + "\n", 2, Skipped{JSON: 2}},
		"two in a message":        {`{"MESSAGE":` + string(twice) + "}\n", 2, Skipped{}},
		"wrapped, two on a line":  {`{"log":` + string(quoted) + `,"stream":"stdout"}{"log":` + string(quoted) + `,"stream":"stdout"}` + "\n", 2, Skipped{}},
		"a wrapped one is cut":    {`{"log":"{\"level\":\"info\",\"schema\":1,\"rep` + "\n", 0, Skipped{Cut: 1}},
		"a long line of others":   {line + "\n" + strings.Repeat("x", longest+5) + "\n" + line + "\n", 2, Skipped{Cut: 1}},
		"ends in a long line":     {line + "\n" + strings.Repeat("x", longest+5), 1, Skipped{Cut: 1}},
		"a line of 1 MiB":         {strings.Replace(line, "rows", strings.Repeat("rows", 1<<18), 1) + "\n" + line, 2, Skipped{}},
	} {
		for _, log := range []string{c.log, string(zipped(t, []byte(c.log)))} {
			lines := 0
			skipped, err := Read(iotest.HalfReader(strings.NewReader(log)), func(e Entry) bool {
				lines++
				if e.Port != "p1" {
					t.Errorf("%s: %+v", name, e)
				}
				return true
			})
			if err != nil || lines != c.lines || skipped != c.skipped {
				t.Errorf("%s: %d lines, %+v, %v", name, lines, skipped, err)
			}
		}
	}
}

// Of a write that was torn the part is counted, wherever it was, and the line behind it is read.
func TestALineBehindATornOneIsRead(t *testing.T) {
	line := strings.TrimSpace(string(written(full())))
	quoted, err := json.Marshal(line)
	if err != nil {
		t.Fatal(err)
	}
	for name, line := range map[string]string{
		"plain":              line,
		"journalctl -o json": `{"__CURSOR":"s=1","PRIORITY":"6","MESSAGE":` + string(quoted) + `,"_PID":"7"}`,
		"Docker's json-file": `{"log":` + strings.TrimSuffix(string(quoted), `"`) + `\n","stream":"stdout","time":"x"}`,
	} {
		for torn := 1; torn < len(line); torn++ {
			lines := 0
			skipped, err := Read(strings.NewReader(line[:torn]+line+"\n"+line), func(Entry) bool { lines++; return true })
			if err != nil || lines != 2 || skipped.Text+skipped.Cut != 1 || skipped != (Skipped{Text: skipped.Text, Cut: skipped.Cut}) {
				t.Errorf("%s, torn after %d: %d lines, %+v, %v", name, torn, lines, skipped, err)
			}
		}
	}
}

func TestReadingEnds(t *testing.T) {
	log := bytes.Repeat(written(full()), 1000)
	packed := zipped(t, log)
	lines := 0
	count := func(Entry) bool { lines++; return true }
	if skipped, err := Read(bytes.NewReader(packed[:len(packed)-20]), count); err != nil || !skipped.CutShort || lines == 0 {
		t.Errorf("cut: %d lines, %+v, %v", lines, skipped, err)
	}
	packed[len(packed)-6]++
	if _, err := Read(bytes.NewReader(packed), count); !errors.Is(err, gzip.ErrChecksum) {
		t.Errorf("wrong checksum: %v", err)
	}
	fault := errors.New("disk")
	if _, err := Read(io.MultiReader(bytes.NewReader(log), iotest.ErrReader(fault)), count); !errors.Is(err, fault) {
		t.Errorf("a reader that fails: %v", err)
	}
	lines = 0
	if _, err := Read(bytes.NewReader(log), func(Entry) bool { lines++; return lines < 3 }); err != nil || lines != 3 {
		t.Errorf("enough: %d lines, %v", lines, err)
	}
}

// Whatever is read can be written again, and is then read as the same.
func FuzzParse(f *testing.F) {
	f.Add(written(full()))
	f.Add(written(Entry{Time: noon, Replica: "r", Line: Line{Event: HandoverEnded, Handover: Handover{Instance: "i"}, Outcome: "migrated", Figures: map[string]int64{"lead_ms": 1}}}))
	f.Add([]byte(`{"schema":1,"replica":"","event":"x","time":"2026-11-23T12:00:00.000000+05:30","request_id":"no instance","took_ms":1e3,"error":""}`))
	f.Add([]byte(`{"MESSAGE":[123,125]}`))
	f.Add([]byte(`{"level":"info","schema":1,"rep{"level":"info"}x{"log":"{}"}{`))
	f.Fuzz(func(t *testing.T, line []byte) {
		if _, err := Read(bytes.NewReader(line), func(Entry) bool { return true }); err != nil && !bytes.HasPrefix(line, []byte{0x1f, 0x8b}) {
			t.Errorf("%v", err)
		}
		e, err := Parse(line)
		if err != nil || e.Time.UTC().Year() < 1 || e.At.UTC().Year() < 1 {
			return
		}
		again, err := Parse(written(e))
		if err != nil || !same(e, again) {
			t.Errorf("%v\nread  %+v\nagain %+v", err, e, again)
		}
	})
}
