package report

import (
	"fmt"
	"time"
)

// rule is one thing that holds in every log. They follow from the design's invariants
// and from how the consumer writes its lines; where a part of a handover is missing, what
// needs that part is not judged.
type rule int

const (
	commitPhase rule = iota
	commitOutcome
	writeDecided
	holds
	verified
	endProof
	wrongAlarm
	answered
	begins
	ends
	rules
)

var ruleTexts = [rules]struct{ name, says string }{
	commitPhase:   {"commit-phase", "a commit is decided only while the guest is paused by its migration or has arrived, never after a sign of failure"},
	commitOutcome: {"commit-outcome", "every commit has an outcome: an answer, a reason why it was not sent, a later decision, or an alarm"},
	writeDecided:  {"write-decided", "every write follows a decision that asks for it: an activate of the destination one commit, anything else a restore"},
	holds:         {"hold", "after a hold nothing more is written to the port"},
	verified:      {"verified", "every restore and every verify has a verification before its handover ends, or an alarm"},
	endProof:      {"end-proof", "a handover that ends migrated or restored has found every port's rows right, or the port gone"},
	wrongAlarm:    {"wrong-alarm", "a handover that ends wrong has an alarm that names a port"},
	answered:      {"answered", "every write tells its outcome, and its error if it failed"},
	begins:        {"begins", "every line of a handover comes after its beginning"},
	ends:          {"ends", "every handover that began has an end"},
}

// keptCases bounds the cases of one rule that are told; all are counted.
const keptCases = 100

// Rule is what became of one of the log's own rules.
type Rule struct {
	Name string `json:"name"`
	Says string `json:"says"`
	// Held and Broken are how often it was judged, Unjudged how often it could not be:
	// the log begins, ends or is cut there.
	Held     int    `json:"held"`
	Broken   int    `json:"broken"`
	Unjudged int    `json:"unjudged"`
	Cases    []Case `json:"cases,omitempty"` // where it is broken, the first 100
}

// Case is where a rule is broken.
type Case struct {
	Time      time.Time `json:"time"`
	Instance  string    `json:"instance"`
	RequestID string    `json:"request_id,omitempty"`
	Port      string    `json:"port,omitempty"`
	What      string    `json:"what"`
}

// tally counts for one handover, so that one that was not asked for counts for nothing.
type tally struct {
	held, unjudged [rules]uint32 // small: there is one for each handover
	broken         []broken
}

type broken struct {
	rule rule
	port string
	what string
	at   time.Time
}

// judge counts a rule that was to be kept; what says how it was broken.
func (t *tally) judge(r rule, kept bool, at time.Time, port, what string, args ...any) {
	if kept {
		t.held[r]++
		return
	}
	t.broken = append(t.broken, broken{r, port, fmt.Sprintf(what, args...), at})
}

func newRules() []Rule {
	out := make([]Rule, rules)
	for r, text := range ruleTexts {
		out[r].Name, out[r].Says = text.name, text.says
	}
	return out
}

// add counts a handover's.
func (t *tally) add(to []Rule, s *segment) {
	for r := range rules {
		to[r].Held += int(t.held[r])
		to[r].Unjudged += int(t.unjudged[r])
	}
	for _, b := range t.broken {
		to[b.rule].Broken++
		if len(to[b.rule].Cases) < keptCases {
			to[b.rule].Cases = append(to[b.rule].Cases, Case{b.at, s.instance, s.requestID, b.port, b.what})
		}
	}
}
