package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/audit/report"
)

const (
	guest  = "67322275-37eb-4301-9b66-d8d416b4cca1"
	nobody = "0a322275-37eb-4301-9b66-d8d416b4cca1"
)

// idleLog is of a consumer that has had nothing to do.
func idleLog(t *testing.T, dir string) string {
	t.Helper()
	var b bytes.Buffer
	var now time.Time
	log := audit.NewAt(func() time.Time { return now }, &b, zerolog.InfoLevel, "r")
	for _, now = range []time.Time{time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)} {
		log.Record(audit.Line{Event: audit.ConsumerActive})
	}
	return write(t, dir, "idle.log", b.Bytes())
}

func write(t *testing.T, dir, name string, text []byte) string {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// logOf is what a consumer has written of a recording.
func logOf(t *testing.T, dir, recording string) string {
	t.Helper()
	file := filepath.Join(dir, recording+".log")
	var out, faults bytes.Buffer
	if code := run(t.Context(), []string{"replay", "-policy", "suspended", "-audit", file, "../../recordings/" + recording + ".jsonl"}, &out, &faults); code != done {
		t.Fatalf("%d %s", code, &faults)
	}
	return file
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

// halfZipped gives the first half of a file that was compressed.
func halfZipped(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	packed := zipped(t, text)
	return packed[:len(packed)/2]
}

func TestAudit(t *testing.T) {
	dir := t.TempDir()
	right, lost := logOf(t, dir, "success"), logOf(t, dir, "post-copy-failed")
	text, err := os.ReadFile(right)
	if err != nil {
		t.Fatal(err)
	}
	packed := write(t, dir, "packed.log.gz", zipped(t, text))
	cut := write(t, dir, "cut.log", text[:len(text)-100])
	short := write(t, dir, "short.log.gz", zipped(t, text)[:600])
	lostShort := write(t, dir, "lost.log.gz", halfZipped(t, lost))
	unread := write(t, dir, "unread.log.gz", zipped(t, text)[:12])
	empty := write(t, dir, "empty.log", nil)
	foreign := write(t, dir, "foreign.log", []byte("Hello.\n{\"level\":\"info\"}\n"))
	journal := write(t, dir, "system.journal", []byte("LPKSHHRH\x00\x00"))
	idle := idleLog(t, dir)
	newer := write(t, dir, "newer.log", bytes.ReplaceAll(text, []byte(`"schema":1`), []byte(`"schema":2`)))
	broken := write(t, dir, "broken.gz", []byte{0x1f, 0x8b, 0, 0})
	page := filepath.Join(dir, "page.html")
	for _, c := range []struct {
		args        string
		code        int
		out, faults string
	}{
		{"audit", wrongUsage, "", "at least one FILE is needed"},
		{"audit -h", done, "Exit status: 0 nothing in them is not right", ""},
		{"audit -nonsense " + right, wrongUsage, "", "How it is called: earlybind audit -h"},
		{"audit -since yesterday " + right, wrongUsage, "", `-since: "yesterday" is no time`},
		{"audit " + right, done, "1 right: 1 migrated", ""},
		{"audit " + packed, done, "1 right: 1 migrated", ""},
		{"audit " + cut, done, "1 lines are cut or damaged", ""},
		{"audit " + right + " " + empty, done, "empty.log holds no line", ""},
		{"audit " + lost, notRight, "expired", ""},
		{"audit -json " + lost, notRight, `"not_right": 1`, ""},
		{"audit -since 2027-01-01 " + lost, failed, "", "no line is of the time since 2027-01-01 00:00:00 (UTC); the log has "},
		{"audit -until 1999-01-01 -since 1998-01-01 " + lost, failed, "", "of the time since 1998-01-01 00:00:00, until 1999-01-01 00:00:00 (UTC)"},
		{"audit -since 2026-11-25 -until 2026-11-24 " + lost, wrongUsage, "", "-since is after -until"},
		{"audit -since 5d -until 9d " + lost, wrongUsage, "", "-since is after -until"},
		{"audit -instance " + guest + " -since 2027-01-01 " + right, failed, "", "no line is about instance " + guest + ", of the time since 2027"},
		{"audit " + idle, done, "Handovers: 0", ""},
		{"audit -since 2026-11-20 " + idle, done, "of that time 1 of 2 lines of the audit log", ""},
		{"audit -since 2026-11-20 -json " + idle, done, `"lines_of_other_times": 1`, ""},
		{"audit -until 2026-11-24 " + lost, notRight, "Handovers: 1", ""},
		{"audit -instance " + guest + " " + right, done, "SUSPENDED/MIGRATED", ""},
		{"audit -port 00000000-0000-4000-8000-000000000001 " + right, done, "activate compute2: activated", ""},
		{"audit -instance " + strings.ToUpper(guest) + " " + right, done, "SUSPENDED/MIGRATED", ""},
		{"audit -instance " + nobody + " " + right, failed, "", "no line is about instance " + nobody + "; the log has 11 lines"},
		{"audit -instance nobody " + right, wrongUsage, "", `invalid value "nobody" for flag -instance: it must be an instance's id, a UUID`},
		{"audit -instance " + guest[1:] + " " + right, wrongUsage, "", "it must be an instance's id"},
		{"audit -port " + guest + "0 " + right, wrongUsage, "", "for flag -port: it must be a port's id, a UUID"},
		{"audit -request req-1 " + right, wrongUsage, "", `invalid value "req-1" for flag -request: it must be a request's id, req- and a UUID`},
		{"audit -request " + nobody + " " + right, wrongUsage, "", "it must be a request's id"},
		{"audit " + right + " " + foreign, failed, "1 right: 1 migrated", "foreign.log holds no line of earlybind's audit log: the report is of the others alone"},
		{"audit " + lost + " " + foreign, notRight, "expired", "foreign.log holds no line"},
		{"audit -request REQ-" + nobody + " " + right, failed, "", "no line is about request req-" + nobody},
		{"audit " + short, failed, "a compressed file is cut", "short.log.gz: cut short: its compressed data has no end, and what came there is not told of"},
		{"audit -json " + short, failed, `"file_cut_short": true`, "short.log.gz: cut short"},
		{"audit " + right + " " + short, failed, "Handovers: ", "short.log.gz: cut short"},
		{"audit " + lost + " " + lostShort + " " + foreign, notRight, "expired", "foreign.log holds no line of earlybind's audit log: the report is of the others alone; " + lostShort + ": cut short"},
		{"audit -instance " + nobody + " " + short, failed, "", "are those of all replicas given?; " + short + ": cut short"},
		{"audit " + unread, failed, "", "no line of earlybind's audit log in it: its compressed data has no end"},
		{"audit -html " + page + " " + right, done, "Handovers: 1", ""},
		{"audit -html /nowhere/page.html " + right, failed, "", "-html /nowhere/page.html: no file can be made in /nowhere: no such file"},
		{"audit /nowhere/log", failed, "", "/nowhere/log: no such file"},
		{"audit " + dir, failed, "", "is a directory"},
		{"audit " + right + " " + right, wrongUsage, "", "was given twice"},
		{"audit " + empty, failed, "", "no line of earlybind's audit log in it: it is empty"},
		{"audit " + foreign, failed, "", "but 1 lines of text, 1 of other JSON"},
		{"audit " + newer, failed, "", "a newer earlybind reads them"},
		{"audit " + journal, failed, "", "journalctl --file " + journal + " -a -o json | earlybind audit -"},
		{"audit " + broken, failed, "", "broken.gz: "},
	} {
		var out, faults bytes.Buffer
		code := run(t.Context(), strings.Fields(c.args), &out, &faults)
		if code != c.code || !strings.Contains(out.String(), c.out) || !strings.Contains(faults.String(), c.faults) || (c.faults == "") != (faults.Len() == 0) {
			t.Errorf("earlybind %s: %d\n%s\n%s", c.args, code, &out, &faults)
		}
		if code == failed && strings.Count(faults.String(), "\n") != 1 {
			t.Errorf("earlybind %s: more than one line: %s", c.args, &faults)
		}
	}
	if written, err := os.ReadFile(page); err != nil || !bytes.Contains(written, []byte("</html>")) {
		t.Errorf("%v: %s", err, written)
	}
}

// Rotated files may be given in any order, and a log may come by a pipe.
func TestAuditReadsTheFilesInTheirOrder(t *testing.T) {
	dir := t.TempDir()
	text, err := os.ReadFile(logOf(t, dir, "success"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	newest := write(t, dir, "consumer.log", bytes.Join(lines[8:], nil))
	middle := write(t, dir, "consumer.log.1", bytes.Join(lines[4:8], nil))
	oldest := write(t, dir, "consumer.log.2.gz", zipped(t, bytes.Join(lines[:4], nil)))
	var out, faults bytes.Buffer
	if code := run(t.Context(), []string{"audit", "-json", newest, middle, oldest}, &out, &faults); code != done {
		t.Fatalf("%d %s%s", code, &out, &faults)
	}
	var r report.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Counts.Right != 1 || len(r.Log.Notes) > 0 {
		t.Errorf("%v %+v %+v", err, r.Counts, r.Log)
	}

	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	os.Stdin = reader
	t.Cleanup(func() { os.Stdin = stdin })
	go func() {
		_, _ = io.Copy(writer, bytes.NewReader(text))
		_ = writer.Close()
	}()
	out.Reset()
	if code := run(t.Context(), []string{"audit", "-"}, &out, &faults); code != done || !strings.Contains(out.String(), "1 migrated") {
		t.Errorf("%d %s%s", code, &out, &faults)
	}
}

// A command that has failed, as one of another host can, leaves an empty pipe: what is told is then half of it.
func TestAuditOfAPipeWithoutALine(t *testing.T) {
	right := logOf(t, t.TempDir(), "success")
	feeds(t, nil)
	var out, faults bytes.Buffer
	code := run(t.Context(), []string{"audit", right, "-"}, &out, &faults)
	if code != failed || !strings.Contains(out.String(), "1 right") || faults.String() != "earlybind audit: - holds no line of earlybind's audit log: the report is of the others alone\n" {
		t.Errorf("%d %s%s", code, &out, &faults)
	}
}

func TestMoments(t *testing.T) {
	now := time.Date(2026, 11, 25, 4, 30, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"": {}, "2026-11-23": time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), "2026-11-23 04:00": time.Date(2026, 11, 23, 4, 0, 0, 0, time.UTC),
		"7d": now.AddDate(0, 0, -7), "12h": now.Add(-12 * time.Hour), "90m": now.Add(-90 * time.Minute),
		"2026-11-23T04:00:00+02:00": time.Date(2026, 11, 23, 2, 0, 0, 0, time.UTC),
	} {
		if got, err := moment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"x", "-1h", "-7d", "d", "2026-13-01"} {
		if got, err := moment(text, now); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
	if got := fmt.Sprint(asked(report.Options{Instance: "i", Port: "p"})); got != "about instance i and port p" {
		t.Error(got)
	}
}
