// Package audit writes the audit log: one JSON line per decision, which can be
// understood alone. docs/audit.md describes the schema to its readers; a change
// of a field's meaning raises [Schema].
package audit

import (
	"io"
	"time"

	"github.com/rs/zerolog"
)

// Schema is the version of the line format, in every line as "schema".
const Schema = 1

// Event says what a line is about.
type Event string

// The events.
const (
	HandoverBegun    Event = "handover.begun"    // a live migration was noticed
	HandoverArmed    Event = "handover.armed"    // its ports and rows are known
	HandoverAlarm    Event = "handover.alarm"    // an operator is needed
	HandoverEnded    Event = "handover.ended"    // with outcome and lead
	EvidenceSeen     Event = "evidence.seen"     // a host event or notification that a handover took in
	CommitsStopped   Event = "commits.stopped"   // the breaker has stopped those of a pair of hosts or of a driver
	CommitsResumed   Event = "commits.resumed"   // and lets them through again
	PortDecided      Event = "port.decided"      // a port got a goal
	PortObserved     Event = "port.observed"     // a port was not activated, and why
	PortWritten      Event = "port.written"      // a request to Neutron and its answer
	PortVerified     Event = "port.verified"     // the rows were read at the end
	HostsAsked       Event = "hosts.asked"       // the publishers were asked for their domains
	LeftOversRead    Event = "leftovers.read"    // a host was searched for ports that an earlier migration has left wrong
	JournalRead      Event = "journal.read"      // what earlier replicas have left in the journal is known
	HostRefused      Event = "host.refused"      // a host event without its host's own identity
	MessageParked    Event = "message.parked"    // a message that cannot be understood
	ConsumerActive   Event = "consumer.active"   // this replica acts
	ConsumerStarted  Event = "consumer.started"  // with settings and what the cloud allows
	ConsumerBlocked  Event = "consumer.blocked"  // the broker reads nothing from its senders, or reads again
	ConsumerLost     Event = "consumer.lost"     // the session with the broker has ended
	ConsumerStopping Event = "consumer.stopping" // this replica was asked to stop
	ConsumerStopped  Event = "consumer.stopped"  // another replica acts, nothing is under way here
	ConsumerGivesUp  Event = "consumer.gives_up" // a share, to a replica that acts for fewer
)

// CouldNotBegin is the outcome of a start that ends the program.
const CouldNotBegin = "could not begin"

// Blocked is the outcome of a broker that has begun to read nothing.
const Blocked = "blocked"

// Handover names the handover that a line belongs to.
type Handover struct {
	Instance    string
	RequestID   string
	Source      string
	Destination string
}

// Line is one line. Empty fields are left out.
type Line struct {
	Event    Event
	Handover Handover
	Phase    string // of the handover, after this
	Port     string
	Host     string // whose row, or who spoke
	Saw      string // what was seen
	Decided  string // what was decided or done
	Outcome  string // what came of it
	Why      string
	Err      error
	Took     time.Duration
	At       time.Time        // when a host saw it, on the host's clock
	Figures  map[string]int64 // milliseconds or counts, by name
}

// Log writes lines. It is safe for concurrent use.
type Log struct{ logger zerolog.Logger }

// New writes to w. Lines of a level below the given one are left out.
func New(w io.Writer, level zerolog.Level, replica string) Log {
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000000Z07:00"
	zerolog.DurationFieldUnit = time.Millisecond
	return Log{zerolog.New(w).Level(level).With().Timestamp().Int("schema", Schema).Str("replica", replica).Logger()}
}

// Of gives a log whose lines name the broker, or the share, that they are about: for
// a replica that serves several.
func (l Log) Of(what, name string) Log {
	return Log{l.logger.With().Str(what, name).Logger()}
}

// Record writes one line: alarms, refusals and errors as warnings or errors,
// all else as information.
func (l Log) Record(line Line) {
	e := l.logger.WithLevel(line.level())
	e.Str("event", string(line.Event))
	if h := line.Handover; h.Instance != "" {
		e.Str("handover", h.Instance+"/"+h.RequestID).Str("instance", h.Instance)
		text(e, "request_id", h.RequestID)
		text(e, "source", h.Source)
		text(e, "destination", h.Destination)
	}
	text(e, "phase", line.Phase)
	text(e, "port", line.Port)
	text(e, "host", line.Host)
	text(e, "saw", line.Saw)
	text(e, "decided", line.Decided)
	text(e, "outcome", line.Outcome)
	text(e, "why", line.Why)
	if line.Err != nil {
		e.Str("error", line.Err.Error())
	}
	if line.Took > 0 {
		e.Float64("took_ms", float64(line.Took.Microseconds())/1000)
	}
	if !line.At.IsZero() {
		e.Str("at", line.At.UTC().Format(zerolog.TimeFieldFormat))
	}
	for name, value := range line.Figures {
		e.Int64(name, value)
	}
	e.Send()
}

func (l Line) level() zerolog.Level {
	switch {
	case l.Event == HandoverAlarm, l.Event == ConsumerStarted && l.Outcome == CouldNotBegin:
		return zerolog.ErrorLevel
	case l.Err != nil, l.Event == CommitsStopped, l.Event == HostRefused, l.Event == MessageParked, l.Event == ConsumerLost,
		l.Event == ConsumerBlocked && l.Outcome == Blocked:
		return zerolog.WarnLevel
	}
	return zerolog.InfoLevel
}

func text(e *zerolog.Event, name, value string) {
	if value != "" {
		e.Str(name, value)
	}
}
