package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

func write(t *testing.T, level zerolog.Level, l Line) map[string]any {
	t.Helper()
	var b bytes.Buffer
	New(&b, level, "replica-1").Record(l)
	if b.Len() == 0 {
		return nil
	}
	if n := strings.Count(b.String(), "\n"); n != 1 || !strings.HasSuffix(b.String(), "\n") {
		t.Errorf("%d lines", n)
	}
	var fields map[string]any
	if err := json.Unmarshal(b.Bytes(), &fields); err != nil {
		t.Fatalf("%v: %s", err, b.String())
	}
	return fields
}

func TestAFullLine(t *testing.T) {
	got := write(t, zerolog.InfoLevel, Line{
		Event:    PortWritten,
		Handover: Handover{Instance: "uuid", RequestID: "req-1", Source: "a", Destination: "b"},
		Kind:     AlarmRows, Phase: "paused", Port: "p1", Driver: "ovn", Host: "b", Saw: "rows", Decided: "activate", Outcome: "failed", Why: "because",
		Err: errors.New("500\n\"quoted\""), Took: 157300 * time.Microsecond,
		At:      time.Date(2026, 11, 23, 6, 0, 0, 123456000, time.FixedZone("", 7200)),
		Figures: map[string]int64{"lead_ms": -5, "ports": 2},
	})
	want := map[string]any{
		"level": "warn", "schema": 1.0, "replica": "replica-1", "event": "port.written", "handover": "uuid/req-1", "instance": "uuid",
		"request_id": "req-1", "source": "a", "destination": "b", "kind": "rows", "phase": "paused", "port": "p1", "driver": "ovn", "host": "b", "saw": "rows",
		"decided": "activate", "outcome": "failed", "why": "because", "error": "500\n\"quoted\"", "took_ms": 157.3,
		"at": "2026-11-23T04:00:00.123456Z", "lead_ms": -5.0, "ports": 2.0,
	}
	written, ok := got["time"].(string)
	if _, err := time.Parse("2006-01-02T15:04:05.000000Z07:00", written); !ok || err != nil {
		t.Errorf("time is %v", got["time"])
	}
	delete(got, "time")
	if !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestEveryLineIsCountedWithItsBrokerAndItsShare(t *testing.T) {
	var b bytes.Buffer
	var counted []string
	log := New(&b, zerolog.WarnLevel, "r").Counted(func(broker, share string, l Line) { counted = append(counted, broker+" "+share+" "+string(l.Event)) })
	log.Record(Line{Event: ConsumerStarted})
	log.Of("cell1:5672", "2 of 4").Record(Line{Event: HandoverEnded})
	if b.Len() != 0 || !slices.Equal(counted, []string{"  consumer.started", "cell1:5672 2 of 4 handover.ended"}) {
		t.Errorf("counted %q, wrote %s", counted, b.String())
	}
}

// section gives what docs/audit.md has between two texts.
func section(t *testing.T, from, to string) string {
	t.Helper()
	page, err := os.ReadFile("../docs/audit.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, begins := strings.Cut(string(page), from)
	text, _, ends := strings.Cut(text, to)
	if !begins || !ends {
		t.Fatalf("docs/audit.md has nothing from %q to %q", from, to)
	}
	return text
}

// quoted gives what stands in backquotes.
func quoted(text string) []string {
	var all []string
	for _, q := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		all = append(all, q[1])
	}
	return all
}

// Who reads the log, and who counts its lines, knows every event.
func TestEveryEventIsDocumented(t *testing.T) {
	var documented []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section(t, "## Events", "Figures of"), -1) {
		documented = append(documented, row[1])
	}
	var known []string
	for _, e := range Events() {
		known = append(known, string(e))
	}
	slices.Sort(documented)
	slices.Sort(known)
	if !slices.Equal(documented, known) {
		t.Errorf("documented %q\nknown      %q", documented, known)
	}
}

func TestEveryFieldIsDocumented(t *testing.T) {
	var documented []string
	for _, row := range regexp.MustCompile(`(?m)^\|([^|]+)\|`).FindAllStringSubmatch(section(t, "## Fields", "## Events"), -1) {
		documented = append(documented, quoted(row[1])...)
	}
	known := slices.Sorted(maps.Keys(named))
	slices.Sort(documented)
	if !slices.Equal(documented, known) {
		t.Errorf("documented %q\nknown      %q", documented, known)
	}
}

// figures reads the names of all figures out of the source of those who write the log:
// the keys of a line's Figures, and what the timeline of a handover measures.
func figures(t *testing.T) []string {
	t.Helper()
	found := map[string]bool{}
	add := func(e ast.Expr) {
		if name, ok := e.(*ast.BasicLit); ok && name.Kind == token.STRING {
			found[strings.Trim(name.Value, `"`)] = true
		}
	}
	for _, dir := range []string{"../consumer", "../cmd/earlybind-consumer"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", dir, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.CompositeLit:
					if n.Type != nil && types.ExprString(n.Type) == "map[string]int64" {
						for _, e := range n.Elts {
							add(e.(*ast.KeyValueExpr).Key)
						}
					}
				case *ast.CallExpr:
					if f := types.ExprString(n.Fun); f == "span" || f == "size" {
						add(n.Args[0])
					}
				}
				return true
			})
		}
	}
	return slices.Sorted(maps.Keys(found))
}

func TestEveryFigureIsDocumented(t *testing.T) {
	told, known := quoted(section(t, "## Events", "## When commits stop")), figures(t)
	if !slices.Contains(known, "lead_ms") || !slices.Contains(known, "entries") || !slices.Contains(known, "vcpus") {
		t.Fatalf("only %q were found", known)
	}
	for _, figure := range known {
		if !slices.Contains(told, figure) {
			t.Errorf("docs/audit.md does not have the figure %s", figure)
		}
	}
	for _, name := range told {
		if strings.HasSuffix(name, "_ms") && !slices.Contains(known, name) && !named[name] {
			t.Errorf("docs/audit.md has the figure %s, which nobody writes", name)
		}
	}
}

func TestWhatIsEmptyIsLeftOut(t *testing.T) {
	for _, c := range []struct {
		line Line
		want []string
	}{
		{Line{Event: ConsumerActive}, nil},
		{Line{Event: ConsumerActive, Handover: Handover{RequestID: "req", Source: "a"}}, nil}, // of no instance
		{Line{Event: HandoverBegun, Handover: Handover{Instance: "uuid"}}, []string{"handover", "instance"}},
		{Line{Event: PortWritten, Took: 300 * time.Nanosecond, Figures: map[string]int64{"n": 0}}, []string{"n", "took_ms"}},
	} {
		got := slices.Sorted(maps.Keys(write(t, zerolog.InfoLevel, c.line)))
		want := append([]string{"event", "level", "replica", "schema", "time"}, c.want...)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%+v: %q, want %q", c.line, got, want)
		}
	}
}

func TestLevels(t *testing.T) {
	fault := errors.New("x")
	for _, c := range []struct {
		line Line
		want string
	}{
		{Line{Event: HandoverAlarm}, "error"}, {Line{Event: HandoverAlarm, Err: fault}, "error"},
		{Line{Event: HostRefused}, "warn"}, {Line{Event: MessageParked}, "warn"}, {Line{Event: CommitsStopped}, "warn"}, {Line{Event: CommitsResumed}, "info"}, {Line{Event: ConsumerLost}, "warn"},
		{Line{Event: ConsumerBlocked, Outcome: Blocked}, "warn"}, {Line{Event: ConsumerBlocked, Outcome: "unblocked"}, "info"},
		{Line{Event: PortWritten, Err: fault}, "warn"}, {Line{Event: PortWritten}, "info"}, {Line{Event: HandoverEnded}, "info"},
		{Line{Event: EvidenceSeen}, "info"}, {Line{Event: MessageSettled}, "trace"},
	} {
		if got := write(t, zerolog.TraceLevel, c.line)["level"]; got != c.want {
			t.Errorf("%s: %v, want %s", c.line.Event, got, c.want)
		}
	}
}

func TestALogOfABrokerNamesItInEachLine(t *testing.T) {
	var b bytes.Buffer
	log := New(&b, zerolog.InfoLevel, "replica-1")
	log.Of("rabbit1:5672", "").Record(Line{Event: ConsumerActive})
	log.Record(Line{Event: ConsumerActive})
	first, second, _ := strings.Cut(b.String(), "\n")
	if !strings.Contains(first, `"broker":"rabbit1:5672"`) || strings.Contains(first, `"share"`) || strings.Contains(second, `"broker"`) {
		t.Errorf("got %s and %s", first, second)
	}
}

func TestLinesBelowTheLevelAreNotWritten(t *testing.T) {
	if got := write(t, zerolog.WarnLevel, Line{Event: HandoverBegun}); got != nil {
		t.Errorf("%v", got)
	}
	if got := write(t, zerolog.ErrorLevel, Line{Event: HandoverAlarm}); got == nil {
		t.Error("an alarm was not written")
	}
	for level, traces := range map[zerolog.Level]bool{zerolog.TraceLevel: true, zerolog.DebugLevel: false} {
		log := New(&bytes.Buffer{}, level, "replica-1")
		if log.Traces() != traces || log.Of("broker", "").Traces() != traces {
			t.Errorf("at %s: traces %t", level, !traces)
		}
	}
}
