package report

import (
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
)

// The words of the log that decide something here; docs/audit.md has them.
const (
	commit   = "commit"
	restore  = "restore"
	verify   = "verify"
	hold     = "hold"
	activate = "activate"

	migrated   = "migrated"
	restored   = "restored"
	wrong      = "wrong"
	superseded = "superseded"

	activated = "activated"
	already   = "was ACTIVE already"

	notSent = "not sent" // no line says so in these words
)

// segment is what one session of one replica did of one handover: all of it, unless
// another had to take it over.
type segment struct {
	session             *session
	nth                 int // how often the session had been lost before
	instance, requestID string
	source, destination string
	first, last         time.Time
	begun, ended        bool   // its beginning, its end are in the log
	cut                 string // why it has no end, where it has none
	outcome             string
	figures             map[string]int64
	alarms              []Alarm
	drivers             []string
	flavor              string
	paused              bool                  // the guest was, by its migration
	kept                []string              // why ports were not activated, each reason once
	ports               map[string]*portState // nil once dropped
	heardOf             int                   // ports
	armed               int                   // ports, as last read; -1: not told
	activates           []early               // one for each port that has any
	lines               []audit.Entry         // nil once dropped
	dropped             bool
	selected            bool // it was asked for
	tally               tally
}

// early is what became of an activate of the destination: the answer's outcome, or notSent;
// empty where no answer of Neutron's tells.
type early struct{ port, outcome string }

// portState is what a segment's lines say of one port, as far as the rules need it.
type portState struct {
	goal, host string // as last decided
	verified   bool   // since that goal was first decided
	found      string // the outcome of its last verification
	alarm      bool
	commitHost string // of the last commit
	waiting    bool   // that commit has no outcome yet
	accounted  bool   // and was judged for it, at the end
	commits    int    // that were decided
	overtaken  bool   // something else was decided meanwhile
	restoring  string // the host that it was ever to be restored to
	sinceHold  int    // writes
}

func newSegment(of *session, e audit.Entry) *segment {
	h := e.Handover
	return &segment{
		session: of, nth: of.lost, instance: h.Instance, requestID: h.RequestID, source: h.Source, destination: h.Destination,
		first: e.Time, last: e.Time, ports: map[string]*portState{}, armed: -1,
	}
}

func (s *segment) port(id string) *portState {
	p := s.ports[id]
	if p == nil {
		p = &portState{}
		s.ports[id] = p
		s.heardOf++
	}
	return p
}

// isOf tells whether a line may be this handover's, by what it names.
func (s *segment) isOf(h audit.Handover) bool {
	agree := func(a, b string) bool { return a == "" || b == "" || a == b }
	return agree(s.requestID, h.RequestID) && agree(s.source, h.Source) && agree(s.destination, h.Destination)
}

// asked tells whether a decision about the port is in the segment that may lead to a
// write.
func (s *segment) asked(port string) bool {
	p := s.ports[port]
	return p != nil && (p.commits > 0 || p.restoring != "")
}

// take takes a line of this handover in.
func (s *segment) take(e audit.Entry) {
	s.last = e.Time
	if s.requestID == "" {
		s.requestID = e.Handover.RequestID
	}
	if s.source == "" {
		s.source = e.Handover.Source
	}
	if s.destination == "" {
		s.destination = e.Handover.Destination
	}
	if s.dropped {
		if e.Event == audit.HandoverAlarm {
			s.alarms = append(s.alarms, alarmOf(e))
		}
		return
	}
	s.lines = append(s.lines, e)
	if e.Driver != "" && !slices.Contains(s.drivers, e.Driver) {
		s.drivers = append(s.drivers, e.Driver)
		slices.Sort(s.drivers)
	}
	s.paused = s.paused || e.Phase == "paused"
	switch e.Event {
	case audit.HandoverBegun:
		s.begun = true
	case audit.HandoverArmed:
		if ports, ok := e.Figures["ports"]; ok {
			s.armed = int(ports)
		}
	case audit.PortDecided:
		s.decided(e)
	case audit.PortObserved:
		if e.Why != "" && !slices.Contains(s.kept, e.Why) {
			s.kept = append(s.kept, e.Why)
		}
		if p := s.port(e.Port); e.Decided == "" && p.waiting {
			p.waiting = false
			s.activate(e.Port, notSent)
			s.tally.judge(commitOutcome, true, e.Time, e.Port, "")
		}
	case audit.PortWritten:
		s.written(e)
	case audit.PortVerified:
		if e.Decided == restore || e.Decided == verify || e.Outcome == "gone" {
			p := s.port(e.Port)
			p.verified, p.found = true, e.Outcome
		}
	case audit.HandoverAlarm:
		s.alarm(e)
	case audit.HandoverEnded:
		s.end(e)
	}
}

func (s *segment) decided(e audit.Entry) {
	p := s.port(e.Port)
	if p.goal != e.Decided || p.host != e.Host {
		p.goal, p.host, p.verified, p.found, p.sinceHold = e.Decided, e.Host, false, "", 0
	}
	switch e.Decided {
	case commit:
		allowed := e.Phase == "" || slices.Contains([]string{"paused", "postcopy", "arrived"}, e.Phase)
		s.tally.judge(commitPhase, allowed, e.Time, e.Port, "a commit was decided in phase %s", e.Phase)
		p.commitHost, p.waiting, p.accounted, p.overtaken = e.Host, true, false, false
		p.commits++
		s.activate(e.Port, "")
	case restore:
		p.restoring = e.Host
		p.overtaken = true
	default:
		p.overtaken = true
	}
}

func (s *segment) written(e audit.Entry) {
	p := s.port(e.Port)
	says := e.Outcome != "" && (e.Outcome != "failed" || e.Err != nil)
	s.tally.judge(answered, says, e.Time, e.Port, "%s on %s: outcome %q without an error", e.Decided, e.Host, e.Outcome)
	if p.goal == hold {
		p.sinceHold++
		// One request may have been under way.
		s.tally.judge(holds, p.sinceHold <= 1, e.Time, e.Port, "%s on %s was written after a hold", e.Decided, e.Host)
	}
	answer := e.Outcome
	if lost(e.Err) {
		answer = ""
	}
	ofCommit := e.Decided == activate && (e.Host == p.commitHost || p.restoring == "" && e.Host == s.destination)
	switch {
	case ofCommit && p.waiting:
		p.waiting = false
		if !p.accounted {
			s.tally.judge(commitOutcome, e.Outcome != "", e.Time, e.Port, "the activate of %s has none", e.Host)
		}
		s.tally.judge(writeDecided, true, e.Time, e.Port, "")
		s.activate(e.Port, answer)
	case !s.begun && p.commits == 0 && p.restoring == "":
		s.tally.unjudged[writeDecided]++ // the decision came before the log begins
		if ofCommit {
			s.activate(e.Port, answer)
		}
	case ofCommit:
		s.tally.judge(writeDecided, false, e.Time, e.Port, "an activate of %s that no commit had asked for", e.Host)
	default:
		asked := p.restoring != "" && (e.Decided != activate || e.Host == p.restoring)
		s.tally.judge(writeDecided, asked, e.Time, e.Port, "%s on %s, and no restore was decided", e.Decided, e.Host)
	}
}

// lost tells whether a request's error leaves open what became of it, in the words of
// package binding.
func lost(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "it may still take effect") || strings.Contains(err.Error(), "it may have taken effect"))
}

// activate notes what became of a port's activate; one that was done stays so.
func (s *segment) activate(port, outcome string) {
	i := slices.IndexFunc(s.activates, func(a early) bool { return a.port == port })
	switch {
	case i < 0:
		s.activates = append(s.activates, early{port, outcome})
	case s.activates[i].outcome != activated:
		s.activates[i].outcome = outcome
	}
}

// activatedIn counts the ports that the segments of one handover have activated, and tells
// whether any activate was answered. Where the row was ACTIVE already Nova was first, unless
// the answer to an activate of a session before was lost.
func activatedIn(parts []*segment) (ports int, tried bool) {
	last := map[string]string{}
	for _, s := range parts {
		for _, a := range s.activates {
			before, ok := last[a.port]
			switch {
			case before == activated, a.outcome == already && ok && before == "":
				last[a.port] = activated
			case !ok || a.outcome != notSent:
				last[a.port] = a.outcome
			}
		}
	}
	for _, outcome := range last {
		if outcome == activated {
			ports++
		}
		tried = tried || outcome == activated || outcome == already
	}
	return ports, tried
}

func (s *segment) alarm(e audit.Entry) {
	s.alarms = append(s.alarms, alarmOf(e))
	for id, p := range s.ports {
		if id == e.Port || strings.Contains(e.Why, id) {
			p.alarm = true
		}
	}
	if e.Port != "" {
		s.port(e.Port).alarm = true
	}
}

func alarmOf(e audit.Entry) Alarm {
	return Alarm{Time: e.Time, Instance: e.Handover.Instance, Port: e.Port, Host: e.Host, Why: e.Why, Saw: e.Saw, Do: e.Decided}
}

// end takes the last line, and judges what must hold by then.
func (s *segment) end(e audit.Entry) {
	s.ended, s.outcome, s.figures, s.flavor = true, e.Outcome, e.Figures, e.Flavor
	finished := s.outcome == migrated || s.outcome == restored || s.outcome == wrong
	proven, alarmed := 0, false
	for _, id := range sortedPorts(s.ports) {
		p := s.ports[id]
		alarmed = alarmed || p.alarm
		if p.waiting {
			p.accounted = true // an answer may still come
			s.tally.judge(commitOutcome, p.overtaken || p.alarm, e.Time, id, "the commit to %s has none", p.commitHost)
		}
		if p.goal == restore || p.goal == verify {
			if p.verified || p.alarm || finished {
				s.tally.judge(verified, p.verified || p.alarm, e.Time, id, "the %s has none", p.goal)
			} else {
				// Cut off: only a restore must be told to an operator.
				s.tally.judge(verified, p.goal == verify, e.Time, id, "the handover ended %s within the restore, and no alarm says so", s.outcome)
			}
		}
		if p.verified {
			proven++
		}
		if (s.outcome == migrated || s.outcome == restored) && p.verified {
			s.tally.judge(endProof, !strings.HasPrefix(p.found, "rows wrong"), e.Time, id, "it ended %s, and the last that was found is %s", s.outcome, p.found)
		}
	}
	switch {
	case !s.begun:
		s.tally.unjudged[endProof]++
		s.tally.unjudged[verified]++
	case s.outcome == wrong:
		s.tally.judge(wrongAlarm, alarmed, e.Time, "", "it ended wrong without one")
	case finished && s.armed >= 0:
		s.tally.judge(endProof, proven >= s.armed, e.Time, "", "it ended %s, and %d of %d ports were verified", s.outcome, proven, s.armed)
	}
}

func sortedPorts(ports map[string]*portState) []string {
	ids := make([]string, 0, len(ports))
	for id := range ports {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// leave ends a segment that has no last line.
func (s *segment) leave(why string) {
	s.cut = why
	for _, p := range s.ports {
		if p.waiting && !p.overtaken {
			s.tally.unjudged[commitOutcome]++
		}
		if (p.goal == restore || p.goal == verify) && !p.verified {
			s.tally.unjudged[verified]++
		}
	}
}

// right tells whether nothing of the segment is to be told in full.
func (s *segment) right() bool {
	return s.ended && (s.outcome == migrated || s.outcome == restored || s.outcome == superseded) && len(s.alarms) == 0 && len(s.tally.broken) == 0
}

// drop lets go of what only a segment that goes on, or that is told, needs.
func (s *segment) drop() {
	s.lines, s.ports, s.dropped = nil, nil, true
}
