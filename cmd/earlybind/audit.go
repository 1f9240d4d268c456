package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/audit/report"
)

const aboutAudit = `Reads audit logs of earlybind's consumers and tells how each handover ended, what was gained, or would be and by which
setting, by mechanism driver, hosts and size, and whether the log keeps to its own rules. FILE is what a consumer has
written to its standard output, alone or with prefixes, as journalctl -o json or docker have it, or compressed by gzip;
- is standard input. Give it the logs of all replicas, rotated ones too, in any order: a journal has only its own host's
consumer, and so those of two controllers are read as below, in bash, as root on both.

  earlybind audit consumer.log                            all of a log
  earlybind audit -since 7d /var/log/earlybind/*          did anything end wrong this week?
  earlybind audit -instance UUID consumer.log*            what happened to an instance; -port, -request too
  earlybind audit <(journalctl -u earlybind-consumer -a -o json) \
    <(ssh CONTROLLER2 journalctl -u earlybind-consumer -a -o json)
  earlybind audit -html report.html <(docker logs CONSUMER1) <(docker logs CONSUMER2)
  docker logs CONSUMER | earlybind audit -                one alone

Exit status: 0 nothing in them is not right; 1 a log could not be read, no line is about what was asked for or of that
time, a log has no line: its command may have failed, and the report is of the others alone (an empty file, as rotation
leaves it, is only noted), or a compressed one has no end (a plain one whose last line has none is only noted); 2 wrong
options, as an -html that is there and is no page of earlybind's; 3 something is not right, whatever else: a handover ended
wrong or expired, there was an alarm, or a rule is broken.`

// errNotRight is a log that was read, and in which something is not right; it was said.
var errNotRight = errors.New("something is not right")

func auditLogs(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("audit", flag.ContinueOnError)
	var o report.Options
	idFlag(f, &o.Instance, "instance", "", "an instance's id, a UUID", "tell what happened to the instance with this `UUID`")
	idFlag(f, &o.Port, "port", "", "a port's id, a UUID", "tell what happened to the port with this `UUID`")
	idFlag(f, &o.RequestID, "request", "req-", "a request's id, req- and a UUID", "tell what happened in the migration with this request `ID` of Nova (req-...)")
	since := f.String("since", "", "only handovers that went on at this `TIME` or later: 2026-11-23, \"2026-11-23 04:00\" (UTC), or 12h, 7d before now")
	until := f.String("until", "", "only handovers that went on at this `TIME` or before")
	asJSON := f.Bool("json", false, "print the report as JSON")
	page := f.String("html", "", "write the report to this `FILE` too, as one page of HTML that needs nothing else; in place of an earlier page, of no other file")
	files, err := parseFiles(f, aboutAudit, "FILE...", args, faults)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return misused(f, faults, "at least one FILE is needed, or - for standard input")
	}
	if fault := sameTwice(files); fault != "" {
		return misused(f, faults, fault)
	}
	now := time.Now()
	for _, bound := range []struct {
		name, text string
		to         *time.Time
	}{{"since", *since, &o.Since}, {"until", *until, &o.Until}} {
		if *bound.to, err = moment(bound.text, now); err != nil {
			return misused(f, faults, fmt.Sprintf("-%s: %v", bound.name, err))
		}
	}
	if !o.Until.IsZero() && o.Since.After(o.Until) {
		return misused(f, faults, "-since is after -until")
	}
	html := sideFile{"html", *page, "a page of earlybind audit", report.IsPage}
	if *page != "" {
		if fault := html.refused(files, out); fault != "" {
			return misused(f, faults, fault)
		}
	}
	r, lacking, err := readLogs(ctx, files, o)
	if err != nil {
		return err
	}
	if nothing(r, o) {
		if lacking != "" {
			lacking = "; " + lacking
		}
		return fmt.Errorf("no line is %s; the log has %d lines, %s to %s UTC: is it the right log, and are those of all replicas given?%s",
			asked(o), r.Log.Lines, r.Log.From.UTC().Format(time.DateTime), r.Log.To.UTC().Format(time.DateTime), lacking)
	}
	if *page != "" {
		if err := html.write(func(to io.Writer) error { return report.HTML(to, r, o, version) }); err != nil {
			return err
		}
	}
	if *asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", " ")
		err = encoder.Encode(r)
	} else {
		err = report.Text(out, r, o)
	}
	if err != nil {
		return err
	}
	if lacking != "" {
		err = errors.New(lacking)
	}
	if !r.Fine() {
		if err != nil {
			fmt.Fprintf(faults, "earlybind audit: %v\n", err)
		}
		return errNotRight
	}
	return err
}

// nothing tells whether no line is about what was asked for, or of that time: whether nothing had to be done then, or
// the log is not of then, cannot be told. With a line, of a consumer that became active say, it is known that one ran.
func nothing(r report.Report, o report.Options) bool {
	if len(r.Handovers)+len(r.Beside) > 0 {
		return false
	}
	return o.Instance+o.Port+o.RequestID != "" || r.Log.Outside == r.Log.Lines
}

// twice names the first file that was given before; empty if none was.
func twice(files []string) string {
	for i, name := range files {
		if slices.Contains(files[:i], name) {
			return name
		}
	}
	return ""
}

// asked says what was asked for, for people; empty for everything.
func asked(o report.Options) string {
	var what, when, all []string
	for _, by := range []struct{ name, value string }{{"instance ", o.Instance}, {"port ", o.Port}, {"request ", o.RequestID}} {
		if by.value != "" {
			what = append(what, by.name+by.value)
		}
	}
	for _, bound := range []struct {
		name string
		at   time.Time
	}{{"since ", o.Since}, {"until ", o.Until}} {
		if !bound.at.IsZero() {
			when = append(when, bound.name+bound.at.UTC().Format(time.DateTime))
		}
	}
	if len(what) > 0 {
		all = append(all, "about "+strings.Join(what, " and "))
	}
	if len(when) > 0 {
		all = append(all, "of the time "+strings.Join(when, ", ")+" (UTC)")
	}
	return strings.Join(all, ", ")
}

// moment reads a time: a date, a date and a time of UTC, or how long before now.
func moment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02 15:04", time.DateTime, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n >= 0 {
			return now.AddDate(0, 0, -n), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: 2026-11-23, \"2026-11-23 04:00\", 12h and 7d are", text)
}

// log is a file that is to be read.
type log struct {
	name  string
	first time.Time // its first line
	file  bool      // and no pipe
}

// readLogs reads the logs in the order of their first lines, so that rotated files of a
// replica may be given in any order. Pipes are read last, as they were given. lacking says of which logs there should be
// lines and are none: of a pipe, whose command may have failed, of a file that holds something else, and of one whose
// compressed data has no end.
func readLogs(ctx context.Context, names []string, o report.Options) (r report.Report, lacking string, err error) {
	var logs []log
	for _, name := range names {
		l := log{name: name, first: time.Now()}
		if info, err := os.Stat(name); name != "-" && err == nil && info.Mode().IsRegular() {
			l.file = true
			if _, _, err := readLog(ctx, name, func(e audit.Entry) bool { l.first = e.Time; return false }); err != nil {
				return r, "", err
			}
		}
		logs = append(logs, l)
	}
	slices.SortStableFunc(logs, func(a, b log) int { return a.first.Compare(b.first) })
	b := report.New(o)
	var skipped audit.Skipped
	var none, other, short []string
	var empty silent
	for _, l := range logs {
		lines := 0
		s, begin, err := readLog(ctx, l.name, func(e audit.Entry) bool { b.Add(e); lines++; return ctx.Err() == nil })
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return r, "", err
		}
		if lines == 0 {
			what := empty.add(l.name, s, begin)
			said := l.name + " holds no line of earlybind's audit log"
			if what != "" {
				said += " (" + what + ")"
			}
			none = append(none, said)
			if !l.file || s != (audit.Skipped{}) {
				other = append(other, said)
			}
		}
		if s.CutShort {
			short = append(short, l.name)
		}
		skipped.Add(s)
	}
	if len(none) == len(logs) {
		return r, "", empty.fault()
	}
	var faults []string
	if len(other) > 0 {
		faults = append(faults, strings.Join(other, ", ")+": the report is of the others alone")
	}
	if len(short) > 0 {
		faults = append(faults, strings.Join(short, ", ")+cutShort)
	}
	return b.Report(skipped, none...), strings.Join(faults, "; "), nil
}

// cutShort says of a compressed file what is missing.
const cutShort = ": cut short: its compressed data has no end, and what came there is not told of"

// silent are logs in which no line is.
type silent struct {
	known   []string // what they are
	names   []string // of the others
	skipped audit.Skipped
}

// add takes a log that begins so, and tells what it is if that is known.
func (n *silent) add(name string, s audit.Skipped, begin []byte) (what string) {
	what = whatIs(begin)
	if what == isAuditLog { // of another version: what was skipped tells
		what = ""
	}
	if what != "" {
		n.known = append(n.known, name+": "+what)
		return what
	}
	n.names = append(n.names, name)
	n.skipped.Add(s)
	return ""
}

// fault says that there is no line of the audit log in what was read.
func (n *silent) fault() error {
	said := n.known
	if len(n.names) > 0 {
		said = append(said, fmt.Sprintf("%s: no line of earlybind's audit log in it%s", strings.Join(n.names, ", "), beside(n.skipped)))
	}
	return fmt.Errorf("%s; %s", strings.Join(said, "; "), whatTheLogIs)
}

// noLine says that there is no line of the audit log in what was read.
func noLine(names []string, skipped audit.Skipped) error {
	n := silent{names: names, skipped: skipped}
	return n.fault()
}

const whatTheLogIs = "the log is what a consumer writes to its standard output, at EARLYBIND_LOG_LEVEL=info"

func beside(s audit.Skipped) string {
	switch {
	case s.CutShort:
		return ": its compressed data has no end"
	case s.Schema > 0:
		return fmt.Sprintf(", but %d lines of another version of it: a newer earlybind reads them", s.Schema)
	case s.Emptied > 0:
		return fmt.Sprintf(", but %d journal entries without a message: journalctl needs -a", s.Emptied)
	case s.Text+s.JSON+s.Cut > 0:
		return fmt.Sprintf(", but %d lines of text, %d of other JSON, %d that are cut", s.Text, s.JSON, s.Cut)
	}
	return ": it is empty"
}

// packed are the first bytes of files that hold a log in a form that is not read.
var packed = []struct{ magic, advice string }{
	{"LPKSHHRH", "a file of the journal: journalctl --file %s -a -o json | earlybind audit -"},
	{"\xfd7zXZ\x00", "compressed by xz: xzcat %s | earlybind audit -"},
	{"\x28\xb5\x2f\xfd", "compressed by zstd: zstdcat %s | earlybind audit -"},
	{"BZh", "compressed by bzip2: bzcat %s | earlybind audit -"},
}

// isPacked says what to do about a file that begins so, if it is in such a form.
func isPacked(name string, begin []byte) error {
	for _, p := range packed {
		if strings.HasPrefix(string(begin), p.magic) {
			return fmt.Errorf("%s is "+p.advice, name, name)
		}
	}
	return nil
}

// readLog gives each line of a log to each, until that says that it has enough, and how the log begins.
func readLog(ctx context.Context, name string, each func(audit.Entry) bool) (audit.Skipped, []byte, error) {
	var in io.Reader = os.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return audit.Skipped{}, nil, err
		}
		defer file.Close()
		magic := make([]byte, 8)
		n, err := io.ReadFull(file, magic)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return audit.Skipped{}, nil, err
		}
		if err := isPacked(name, magic[:n]); err != nil {
			return audit.Skipped{}, nil, err
		}
		in = io.MultiReader(bytes.NewReader(magic[:n]), file)
	}
	var begin head
	skipped, err := audit.Read(io.TeeReader(in, &begin), each)
	if err != nil && ctx.Err() == nil {
		return skipped, nil, fmt.Errorf("%s: %w", name, err)
	}
	return skipped, begin.Bytes(), nil
}
