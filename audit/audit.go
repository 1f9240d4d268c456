// Package audit writes the audit log, and reads it: one JSON line per decision,
// which can be understood alone. docs/audit.md describes the schema to its readers;
// a change of a field's meaning raises [Schema]. What a log says as a whole is told
// by audit/report.
package audit

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

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
	MessageParked    Event = "message.parked"    // a message that cannot be understood, or came back too often
	MessageSettled   Event = "message.settled"   // a message is about to be acknowledged; at level trace
	ConsumerActive   Event = "consumer.active"   // this replica acts
	ConsumerStarted  Event = "consumer.started"  // with settings and what the cloud allows
	ConsumerBlocked  Event = "consumer.blocked"  // the broker reads nothing from its senders, or reads again
	ConsumerLost     Event = "consumer.lost"     // the session with the broker has ended
	ConsumerStopping Event = "consumer.stopping" // this replica was asked to stop
	ConsumerStopped  Event = "consumer.stopped"  // another replica acts, nothing is under way here
	ConsumerGivesUp  Event = "consumer.gives_up" // a share, to a replica that acts for fewer
	ConsumerPaused   Event = "consumer.paused"   // commits are paused: which, and by whom
	ConsumerResumed  Event = "consumer.resumed"  // none is any more
)

// Events lists them all.
func Events() []Event {
	return []Event{
		HandoverBegun, HandoverArmed, HandoverAlarm, HandoverEnded, EvidenceSeen, CommitsStopped, CommitsResumed, PortDecided,
		PortObserved, PortWritten, PortVerified, HostsAsked, LeftOversRead, JournalRead, HostRefused, MessageParked, MessageSettled,
		ConsumerActive, ConsumerStarted, ConsumerBlocked, ConsumerLost, ConsumerStopping, ConsumerStopped, ConsumerGivesUp,
		ConsumerPaused, ConsumerResumed,
	}
}

// The outcomes of a start: Ready to act, and one that ends the program.
const (
	Ready         = "ready"
	CouldNotBegin = "could not begin"
)

// ConcurrentActivate says in the line of a start whether two activates of a port at once
// are safe; where they are not, nothing is activated early. [ConcurrentActivateOf] reads it.
func ConcurrentActivate(safe bool) string { return fmt.Sprintf("concurrent activate safe: %t", safe) }

// ConcurrentActivateOf reads what [ConcurrentActivate] has said in the line of a start; told
// is false where it says nothing of it.
func ConcurrentActivateOf(l Line) (safe, told bool) {
	safe = strings.Contains(l.Saw, ConcurrentActivate(true))
	return safe, safe || strings.Contains(l.Saw, ConcurrentActivate(false))
}

// Blocked is the outcome of a broker that has begun to read nothing.
const Blocked = "blocked"

// Kind is of what kind a fault is that a line tells of: what an operator does about it,
// and what alarms and messages are counted by, follows from it.
type Kind string

// The kinds of an alarm. docs/runbook.md has a section for each.
const (
	AlarmGuest      Kind = "guest"      // the hosts do not agree where the guest runs
	AlarmRows       Kind = "rows"       // a port's rows are wrong
	AlarmDown       Kind = "down"       // they are, or were, right, and the port is not known to be up
	AlarmUnfinished Kind = "unfinished" // a handover was cut off: nothing is known of how its ports stand
	AlarmJournal    Kind = "journal"    // the journal does not take what it is to keep
)

// The kinds of a message that is refused, or parked.
const (
	FaultIdentity Kind = "identity" // refused: it was not sent by whom it speaks for
	FaultSchema   Kind = "schema"   // refused: a version that this program does not know
	FaultEnvelope Kind = "envelope" // parked: no oslo.messaging notification
	FaultPayload  Kind = "payload"  // parked: a notification whose payload is not what it should be
	FaultReturned Kind = "returned" // parked: it has come back so often that the broker would drop it
)

// Handover names the handover that a line belongs to.
type Handover struct {
	Instance    string
	RequestID   string
	Source      string
	Destination string
}

// DriverMixed stands for the mechanism driver of a handover whose ports have several.
const DriverMixed = "mixed"

// Line is one line. Empty fields are left out.
type Line struct {
	Event    Event
	Handover Handover
	Kind     Kind   // of an alarm, a refusal, a parked message
	Phase    string // of the handover, after this
	Port     string
	Driver   string // the port's mechanism driver, as far as known; of a handover that has ended its ports', or DriverMixed
	Flavor   string // of a handover that has ended: the name of the instance's, if Nova has told it
	Host     string // whose row, or who spoke
	Saw      string // what was seen
	Decided  string // what was decided or done
	Outcome  string // what came of it
	Why      string
	Err      error
	Took     time.Duration
	At       time.Time        // when a host saw it, on the host's clock
	Figures  map[string]int64 // milliseconds, counts or MiB, by name
}

// Log writes lines. It is safe for concurrent use.
type Log struct {
	logger zerolog.Logger
	now    func() time.Time
	broker string
	share  string
	count  func(broker, share string, line Line) // may be nil
}

// New writes to w. Lines of a level below the given one are left out.
func New(w io.Writer, level zerolog.Level, replica string) Log {
	return NewAt(time.Now, w, level, replica)
}

// NewAt is [New] with another clock than the machine's, for what was not written
// when it happened.
func NewAt(now func() time.Time, w io.Writer, level zerolog.Level, replica string) Log {
	return Log{logger: zerolog.New(w).Level(level).With().Int("schema", Schema).Str("replica", replica).Logger(), now: now}
}

// Of gives a log whose lines name the broker and the share that they are about, unless
// they are empty: for a replica that serves several.
func (l Log) Of(broker, share string) Log {
	with := l.logger.With()
	if l.broker = broker; broker != "" {
		with = with.Str("broker", broker)
	}
	if l.share = share; share != "" {
		with = with.Str("share", share)
	}
	l.logger = with.Logger()
	return l
}

// Counted gives a log that has count told of each line, also of those that its level
// leaves out, and of the broker and the share that the line is about ([Log.Of]).
// Whoever records waits for it.
func (l Log) Counted(count func(broker, share string, line Line)) Log {
	l.count = count
	return l
}

// Traces tells whether lines of level trace are written: there is one for each
// message, and what it says is worked out for nothing where it is not.
func (l Log) Traces() bool { return l.logger.GetLevel() <= zerolog.TraceLevel }

// Record writes one line: alarms, refusals and errors as warnings or errors,
// settled messages as traces, all else as information. [Parse] reads it.
func (l Log) Record(line Line) {
	e := l.logger.WithLevel(line.level())
	e.Str("time", l.now().UTC().Format(stamp))
	e.Str("event", string(line.Event))
	if h := line.Handover; h.Instance != "" {
		e.Str("handover", h.Instance+"/"+h.RequestID)
		put(e, &line, handoverTexts[:])
	}
	put(e, &line, texts[:])
	if line.Err != nil {
		e.Str("error", line.Err.Error())
	}
	if line.Took > 0 {
		e.Float64("took_ms", float64(line.Took.Microseconds())/1000)
	}
	if !line.At.IsZero() {
		e.Str("at", line.At.UTC().Format(stamp))
	}
	for name, value := range line.Figures {
		e.Int64(name, value)
	}
	e.Send()
	if l.count != nil {
		l.count(l.broker, l.share, line)
	}
}

func put(e *zerolog.Event, line *Line, fields []text) {
	for _, f := range fields {
		if value := *f.of(line); value != "" {
			e.Str(f.name, value)
		}
	}
}

func (l Line) level() zerolog.Level {
	switch {
	case l.Event == HandoverAlarm, l.Event == ConsumerStarted && l.Outcome == CouldNotBegin:
		return zerolog.ErrorLevel
	case l.Err != nil, l.Event == CommitsStopped, l.Event == HostRefused, l.Event == MessageParked, l.Event == ConsumerLost,
		l.Event == ConsumerBlocked && l.Outcome == Blocked:
		return zerolog.WarnLevel
	case l.Event == MessageSettled:
		return zerolog.TraceLevel
	}
	return zerolog.InfoLevel
}
