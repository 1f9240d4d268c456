// Package report tells what an audit log says as a whole: how each handover ended,
// what was gained, and whether the log keeps to its own rules.
//
// A [Builder] takes the lines of one or more logs, one after the other, and gives a
// [Report]; it reads nothing and has no clock. It keeps a summary of each handover, and
// the lines only of those that go on, that were asked for, or that did not end right.
// Lines of one replica must come in the order in which they were written; those of
// several may be mixed in any way. Clocks of replicas are used to show when something
// happened, to find the replica that took a handover over, and to say what came later;
// durations are the figures of the lines.
package report

import (
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/timeline"
)

// Version is the version of the report as JSON. It rises when a field changes its
// meaning, not when one is added.
const Version = 1

// Verdict is what is to be said of a handover.
type Verdict string

// The verdicts.
const (
	// Right: it ended migrated or restored, without an alarm, and by the rules.
	Right Verdict = "right"
	// NotRight: it ended wrong or expired, or there was an alarm, or it breaks a rule.
	NotRight Verdict = "not right"
	// Superseded: another migration of the instance began, and nothing was left to be
	// brought to an end.
	Superseded Verdict = "superseded"
	// Unknown: its end is not in the log.
	Unknown Verdict = "unknown"
)

// Report is what a log says.
type Report struct {
	Version   int        `json:"earlybind_audit_report"`
	Log       Log        `json:"log"`
	Counts    Counts     `json:"counts"`
	Handovers []Handover `json:"handovers"` // in the order in which they began
	Alarms    []Alarm    `json:"alarms"`    // that are of no handover
	Journal   []Left     `json:"journal"`   // ports of the journal that were last found wrong
	Gains     []Gain     `json:"gains"`     // by mechanism driver, and of all
	// GainsByHosts are by pair of hosts, GainsByMemory by the size of the flavour.
	GainsByHosts  []Gain `json:"gains_by_hosts"`
	GainsByMemory []Gain `json:"gains_by_memory"`
	// Prospects are by mechanism driver, where nothing was activated early.
	Prospects []Prospect `json:"would_gain"`
	// Settings are the consumers' that decide whether there is a gain, as last started;
	// Activates is what Neutron allows, "safe" or "unsafe". Both are empty where no start
	// is in the log.
	Settings  string      `json:"settings,omitempty"`
	Activates string      `json:"concurrent_activate,omitempty"`
	Rules     []Rule      `json:"rules"`
	Events    []Happening `json:"events"` // beside the handovers
	// Lines of the instance that was asked for, outside its handovers.
	Beside []Said `json:"beside,omitempty"`
}

// Log is what was read.
type Log struct {
	Lines    int           `json:"lines"`
	Outside  int           `json:"lines_of_other_times,omitempty"` // of them, than [Options] ask for
	Skipped  audit.Skipped `json:"skipped"`
	From     time.Time     `json:"from,omitzero"`
	To       time.Time     `json:"to,omitzero"`
	Replicas []string      `json:"replicas"`
	// Notes say what makes the log less than whole.
	Notes []string `json:"notes,omitempty"`
}

// Counts are of handovers.
type Counts struct {
	Handovers  int            `json:"handovers"`
	Outcomes   map[string]int `json:"outcomes"` // as the log has them; "" for none
	Right      int            `json:"right"`
	NotRight   int            `json:"not_right"`
	Superseded int            `json:"superseded"`
	Unknown    int            `json:"unknown"`
}

// Handover is one live migration, by whichever replicas it was taken care of.
type Handover struct {
	Instance    string           `json:"instance"`
	RequestID   string           `json:"request_id,omitempty"`
	Source      string           `json:"source,omitempty"`
	Destination string           `json:"destination,omitempty"`
	Broker      string           `json:"broker,omitempty"`
	Replicas    []string         `json:"replicas"` // in the order in which they took it over
	From        time.Time        `json:"from"`     // its first line
	To          time.Time        `json:"to"`       // its last
	Outcome     string           `json:"outcome,omitempty"`
	Verdict     Verdict          `json:"verdict"`
	Why         []string         `json:"why,omitempty"` // it is not right, or not known
	Alarms      []Alarm          `json:"alarms,omitempty"`
	Since       string           `json:"since,omitempty"` // what was heard of it later
	Ports       int              `json:"ports"`
	Activated   int              `json:"activated"` // ports that earlybind has activated, before Nova did
	Drivers     []string         `json:"drivers,omitempty"`
	Flavor      string           `json:"flavor,omitempty"`
	Figures     map[string]int64 `json:"figures,omitempty"`
	// Timeline is left out of handovers that are right and were not asked for. It
	// counts from the guest's pause, or if that was not seen from the first line.
	Timeline  []timeline.Moment `json:"timeline,omitempty"`
	PauseSeen bool              `json:"pause_seen,omitempty"` // in the timeline

	sessions int      // that had it in hand, one after the other
	tried    bool     // an activate was answered, if only that Nova was first
	paused   bool     // its guest was
	kept     []string // why ports were not activated, each reason once
}

// Alarm is a line that calls an operator.
type Alarm struct {
	Time     time.Time `json:"time"`
	Instance string    `json:"instance,omitempty"`
	Port     string    `json:"port,omitempty"`
	Host     string    `json:"host,omitempty"`
	Why      string    `json:"why"`
	Saw      string    `json:"saw,omitempty"`
	Do       string    `json:"do,omitempty"`
}

// Left is a port of the journal, as it was last found.
type Left struct {
	Time     time.Time `json:"time"`
	Instance string    `json:"instance"`
	Port     string    `json:"port"`
	Found    string    `json:"found"`
	Why      string    `json:"why"`
}

// Said is a line in words.
type Said struct {
	Time time.Time `json:"time"`
	Who  string    `json:"who"`
	What string    `json:"what"`
}

// Happening is a kind of line that is of no handover.
type Happening struct {
	Event audit.Event `json:"event"`
	Count int         `json:"count"`
	Last  time.Time   `json:"last"`
	What  string      `json:"what"` // the last one said

	replica string // that said it
}

// Fine tells whether there is nothing for an operator to look at.
func (r Report) Fine() bool {
	for _, rule := range r.Rules {
		if rule.Broken > 0 {
			return false
		}
	}
	return r.Counts.NotRight == 0 && len(r.Alarms) == 0 && len(r.Journal) == 0
}
