package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
)

const (
	// silence is for how long a handover may have no line while its replica writes
	// others: a consumer ends it after 45 minutes without a word, and looks each minute.
	silence = time.Hour
	// back is how far a replica's clock may go back between two lines: they are stamped
	// before they are written, by several goroutines.
	back = 2 * time.Second
	// keptEvidence bounds what is kept of an instance that has no handover: evidence
	// stands before the beginning that it leads to.
	keptEvidence = 16
	// keptRecent is how many of the segments that ended last are kept whole, right or
	// not: answers and alarms can come after an end, as long as the consumer remembers
	// the instance.
	keptRecent = 1000
	// keptNotRight is of how many handovers that are not right, and were not asked for,
	// the lines are kept: the last.
	keptNotRight = 1000
)

// Options choose what a report is about; the zero value is everything. Empty fields
// choose nothing out.
type Options struct {
	Instance, Port, RequestID string
	// Since and Until bound when a handover had any line, by its replica's clock.
	Since, Until time.Time
}

// asks tells whether something was asked for that is to be told in full.
func (o Options) asks() bool { return o.Instance != "" || o.Port != "" || o.RequestID != "" }

// Builder makes a report of lines.
type Builder struct {
	options  Options
	lines    int
	outside  int // of them, of other times than those that were asked for
	from, to time.Time
	replicas map[string]*replica
	segments []*segment // in the order of their first lines
	recent   []*segment // that ended last
	notRight []*segment // the last of which the lines are kept
	words    map[string]string
	events   map[audit.Event]*Happening
	alarms   []Alarm
	finds    map[string]find // by port, the newest
	beside   []audit.Entry
	started  audit.Entry // when a consumer was last ready
}

// find is how a port was found: by a look at the journal's ports, or right at the end of a
// handover.
type find struct {
	at      time.Time
	replica string
	outcome string
	left    *Left // nil: it was right, or gone
}

// replica is one process that has written.
type replica struct {
	name     string
	sessions map[[2]string]*session // by broker and share
	latest   time.Time
	wentBack int // lines that are older than one before them
}

// session is a replica's of one share with one broker, and the ones that follow when it is lost.
type session struct {
	replica   *replica
	broker    string
	whole     bool // it begins in the log
	lost      int  // times
	instances map[string]*course
}

// course is what a session has of one instance.
type course struct {
	open     *segment
	last     *segment // that was open before
	evidence []audit.Entry
}

// New makes a builder.
func New(o Options) *Builder {
	return &Builder{
		options: o, replicas: map[string]*replica{}, events: map[audit.Event]*Happening{}, words: map[string]string{},
		finds: map[string]find{},
	}
}

// Add takes the next line in.
func (b *Builder) Add(e audit.Entry) {
	b.lines++
	if !b.options.during(e.Time, e.Time) {
		b.outside++
	}
	if b.from.IsZero() || e.Time.Before(b.from) {
		b.from = e.Time
	}
	if e.Time.After(b.to) {
		b.to = e.Time
	}
	e.Handover.Source, e.Handover.Destination = b.word(e.Handover.Source), b.word(e.Handover.Destination)
	e.Driver, e.Outcome, e.Flavor = b.word(e.Driver), b.word(e.Outcome), b.word(e.Flavor)
	if e.Event == audit.PortObserved {
		e.Why = b.word(e.Why) // mostly the same for many
	}
	r := b.replicas[e.Replica]
	if r == nil {
		r = &replica{name: e.Replica, sessions: map[[2]string]*session{}}
		b.replicas[e.Replica] = r
	}
	if e.Time.Before(r.latest.Add(-back)) {
		r.wentBack++
	}
	if e.Time.After(r.latest) {
		r.latest = e.Time
	}
	of := [2]string{e.Broker, e.Share}
	s := r.sessions[of]
	if s == nil {
		s = &session{replica: r, broker: e.Broker, instances: map[string]*course{}}
		r.sessions[of] = s
	}
	if e.Event == audit.PortVerified && b.concerns(e) {
		b.found(e)
	}
	if ofHandover(e) {
		b.ofHandover(s, e)
		return
	}
	b.ofNone(s, e)
}

// ofHandover tells whether a line belongs to a handover: those of an instance that name
// a host, but for what is said of the journal's ports.
func ofHandover(e audit.Entry) bool {
	h := e.Handover
	if h.Instance == "" || h.Source == "" && h.Destination == "" {
		return false
	}
	return !ofJournal(e)
}

func ofJournal(e audit.Entry) bool {
	return e.Event == audit.PortVerified && strings.HasPrefix(e.Why, "the journal:")
}

func (b *Builder) ofHandover(s *session, e audit.Entry) {
	c := s.instances[e.Handover.Instance]
	if c == nil {
		c = &course{}
		s.instances[e.Handover.Instance] = c
	}
	of := c.open
	switch {
	case e.Event == audit.HandoverBegun:
		if of != nil {
			of.tally.judge(ends, false, e.Time, "", "the same replica began another before it")
			b.close(c, "its end is missing: the same replica began another")
		}
		of = b.open(c, s, e)
		of.tally.judge(begins, true, e.Time, "", "")
	case e.Event == audit.PortWritten && of != nil && !of.asked(e.Port) && c.last != nil && c.last.asked(e.Port):
		of = c.last // a request of the handover that was cut off
	case of != nil && (of.isOf(e.Handover) || c.last == nil || !c.last.isOf(e.Handover)):
	case c.last != nil && c.last.isOf(e.Handover) && e.Event != audit.HandoverEnded && e.Event != audit.EvidenceSeen:
		of = c.last // an answer that came after the end, or an alarm
	case e.Event == audit.EvidenceSeen:
		if c.evidence = append(c.evidence, e); len(c.evidence) > keptEvidence {
			c.evidence = c.evidence[1:]
		}
		return
	default:
		of = b.open(c, s, e)
		if s.whole {
			of.tally.judge(begins, false, e.Time, "", "%s comes before the handover has begun, and the log does not begin here: lines are missing", e.Event)
		} else {
			of.tally.unjudged[begins]++
		}
	}
	of.take(e)
	if of.ended && of == c.open {
		of.tally.judge(ends, true, e.Time, "", "")
		b.close(c, "")
	}
}

// open begins a segment with the evidence that has led to it.
func (b *Builder) open(c *course, s *session, e audit.Entry) *segment {
	of := newSegment(s, e)
	for _, earlier := range c.evidence {
		if of.isOf(earlier.Handover) {
			of.take(earlier)
			of.first = minTime(of.first, earlier.Time)
		}
	}
	c.evidence = nil
	c.open = of
	b.segments = append(b.segments, of)
	return of
}

// close ends what is open.
func (b *Builder) close(c *course, cut string) {
	of := c.open
	c.open, c.last = nil, of
	if cut != "" {
		of.leave(cut)
	}
	of.selected = b.selects(of)
	b.recent = append(b.recent, of)
	if len(b.recent) <= keptRecent {
		return
	}
	old := b.recent[0]
	b.recent = b.recent[1:]
	if c := old.session.instances[old.instance]; c != nil && c.open == nil && c.last == old {
		delete(old.session.instances, old.instance)
	}
	switch {
	case b.told(old):
	case old.right():
		old.drop()
	default:
		if b.notRight = append(b.notRight, old); len(b.notRight) > keptNotRight {
			b.notRight[0].drop()
			b.notRight = b.notRight[1:]
		}
	}
}

// word gives the one copy of a name that many handovers have.
func (b *Builder) word(name string) string {
	if known, ok := b.words[name]; ok {
		return known
	}
	if len(b.words) < 100_000 {
		b.words[name] = name
	}
	return name
}

// told tells whether a segment's lines are to be kept.
func (b *Builder) told(s *segment) bool { return b.options.asks() && s.selected }

// selects tells whether a segment was asked for, by what is known of it then. Time is
// looked at last, of the handover as a whole.
func (b *Builder) selects(s *segment) bool {
	o := b.options
	_, hasPort := s.ports[o.Port]
	return (o.Instance == "" || o.Instance == s.instance) && (o.RequestID == "" || o.RequestID == s.requestID) && (o.Port == "" || hasPort)
}

// ofNone takes in a line that is of no handover.
func (b *Builder) ofNone(s *session, e audit.Entry) {
	switch e.Event {
	case audit.ConsumerActive: // comes after the first deliveries
		s.whole = true
	case audit.ConsumerLost:
		b.cutAll(s, "the replica lost its session with the broker")
		s.whole = true // the one that follows
		s.lost++
	case audit.ConsumerStopped:
		b.cutAll(s, "the replica was stopped")
	}
	if e.Event == audit.ConsumerStarted && e.Outcome == audit.Ready && newer(e, b.started.Time, b.started.Replica) {
		b.started = e
	}
	if !b.concerns(e) {
		return
	}
	if b.options.asks() {
		b.beside = append(b.beside, e)
	}
	switch {
	case ofJournal(e): // see found
	case e.Event == audit.HandoverAlarm:
		b.alarms = append(b.alarms, alarmOf(e))
	default:
		b.happened(e)
	}
}

// concerns tells whether a line that is of no handover was asked for.
func (b *Builder) concerns(e audit.Entry) bool {
	o := b.options
	return o.RequestID == "" && (o.Instance == "" || o.Instance == e.Handover.Instance) && (o.Port == "" || o.Port == e.Port) && o.during(e.Time, e.Time)
}

// newer tells whether a line is newer than what a replica has said at that time. Of lines
// of one time the later one of a replica is, and the last replica's by name: how the
// replicas' lines are mixed decides nothing.
func newer(e audit.Entry, at time.Time, replica string) bool {
	return cmp.Or(e.Time.Compare(at), cmp.Compare(e.Replica, replica)) >= 0
}

// found takes in how a port was found. A handover's word counts where it is right: it may
// have mended what the journal has found wrong.
func (b *Builder) found(e audit.Entry) {
	if last, ok := b.finds[e.Port]; ok && !newer(e, last.at, last.replica) {
		return
	}
	f := find{at: e.Time, replica: b.word(e.Replica), outcome: e.Outcome}
	switch gone := e.Outcome == "gone"; {
	case gone, e.Outcome == "rows right" && (ofJournal(e) || e.Decided == restore || e.Decided == verify):
	case ofJournal(e) && e.Err == nil:
		f.left = &Left{e.Time, e.Handover.Instance, e.Port, e.Outcome, strings.TrimPrefix(e.Why, "the journal: ")}
	default:
		return
	}
	b.finds[e.Port] = f
}

// left gives the ports of the journal that were last found wrong, the oldest first.
func (b *Builder) left() []Left {
	out := []Left{}
	for _, f := range b.finds {
		if f.left != nil {
			out = append(out, *f.left)
		}
	}
	slices.SortFunc(out, func(x, y Left) int { return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Port, y.Port)) })
	return out
}

func (b *Builder) happened(e audit.Entry) {
	h := b.events[e.Event]
	if h == nil {
		h = &Happening{Event: e.Event}
		b.events[e.Event] = h
	}
	h.Count++
	if newer(e, h.Last, h.replica) {
		h.Last, h.What, h.replica = e.Time, sentence(e), b.word(e.Replica)
	}
}

// cutAll cuts what a session has under way.
func (b *Builder) cutAll(s *session, why string) {
	for _, c := range s.instances {
		if c.open != nil {
			c.open.tally.unjudged[ends]++
			b.close(c, why)
		}
		c.evidence = nil
	}
}

// during tells whether something from then to then was asked for.
func (o Options) during(from, to time.Time) bool {
	return (o.Since.IsZero() || !to.Before(o.Since)) && (o.Until.IsZero() || !from.After(o.Until))
}

// Report tells what the lines say. notes are what else makes the logs less than whole.
// No line may be added after it.
func (b *Builder) Report(skipped audit.Skipped, notes ...string) Report {
	b.leaveOpen()
	slices.SortStableFunc(b.alarms, func(x, y Alarm) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Instance, y.Instance), cmp.Compare(x.Port, y.Port))
	})
	slices.SortStableFunc(b.beside, func(x, y audit.Entry) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Replica, y.Replica))
	})
	r := Report{
		Version: Version, Rules: newRules(),
		Log:       Log{Lines: b.lines, Outside: b.outside, Skipped: skipped, From: b.from, To: b.to, Replicas: slices.Sorted(maps.Keys(b.replicas))},
		Counts:    Counts{Outcomes: map[string]int{}},
		Handovers: []Handover{}, Alarms: append([]Alarm{}, b.alarms...), Journal: b.left(),
	}
	r.Log.Notes = append(notes, b.notes(skipped)...)
	for _, parts := range b.handovers() {
		h := b.handover(parts)
		if !b.options.during(h.From, h.To) {
			continue
		}
		for _, s := range parts {
			s.tally.add(r.Rules, s)
		}
		r.Handovers = append(r.Handovers, h)
		r.Counts.add(h)
	}
	b.later(r.Handovers)
	r.Gains, r.GainsByHosts, r.GainsByMemory = gainsByDriver(r.Handovers), gainsByHosts(r.Handovers), gainsByMemory(r.Handovers)
	r.Settings, r.Activates = b.started.Decided, activates(b.started)
	r.Prospects = prospects(r.Handovers, r.Settings)
	for _, event := range slices.Sorted(maps.Keys(b.events)) {
		r.Events = append(r.Events, *b.events[event])
	}
	r.Beside = saidOf(b.beside)
	return r
}

// leaveOpen ends what still goes on where the log ends.
func (b *Builder) leaveOpen() {
	for _, r := range b.replicas {
		for _, s := range r.sessions {
			for _, c := range s.instances {
				if c.open != nil {
					b.leave(c)
				}
			}
		}
	}
}

// leave ends what still goes on where the log of its replica ends.
func (b *Builder) leave(c *course) {
	if on := c.open.session.replica.latest.Sub(c.open.last); on > silence {
		c.open.tally.judge(ends, false, c.open.last, "", "no line of it for %s, by the replica's clock, while the replica wrote others", on.Round(time.Minute))
		b.close(c, "it has neither ended nor expired, although the replica went on")
		return
	}
	c.open.tally.unjudged[ends]++
	b.close(c, "the log of its replica ends here")
}

func (b *Builder) notes(skipped audit.Skipped) []string {
	var notes []string
	for _, name := range slices.Sorted(maps.Keys(b.replicas)) {
		if n := b.replicas[name].wentBack; n > 0 {
			notes = append(notes, fmt.Sprintf("%d lines of replica %s are older than one before them: a log was given twice, files are in the wrong order, or its clock was set back. What is said of it may be wrong", n, name))
		}
	}
	if n := skipped.Emptied; n > 0 {
		notes = append(notes, fmt.Sprintf("%d journal entries have no message: journalctl -o json leaves out what is longer than 4096 bytes, unless -a is given too. If earlybind wrote them, what is said here may be wrong", n))
	}
	if n := skipped.Schema; n > 0 {
		notes = append(notes, fmt.Sprintf("%d lines are of a version of the audit log that is not known here: a newer earlybind reads them", n))
	}
	if n := skipped.Cut; n > 0 {
		notes = append(notes, fmt.Sprintf("%d lines are cut or damaged", n))
	}
	if skipped.CutShort {
		notes = append(notes, "a compressed file is cut: it was read until there")
	}
	return notes
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
