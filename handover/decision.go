package handover

import "time"

// Decision is one of [Begin], [Arm], [Try], [Aim], [Observe], [AskHosts],
// [Alarm], [Verdict] and [End].
type Decision interface{ decision() }

// Begin opens a handover; every following decision up to [End] is its own.
type Begin struct{ Why string }

// Arm asks for the instance's ports and their rows; answer with [Rows].
type Arm struct{}

// Aim gives a port a goal, in place of the one it had.
type Aim struct {
	Port string
	Goal Goal
	// Other is the migration's other host: where rows that are wrong may have to be
	// brought back from.
	Other string
	// Deadline, of a commit, on the caller's monotonic clock: not to be sent
	// later.
	Deadline time.Duration
	// Doubtful, of a verify: Nova alone says that the guest is there. The hosts are to be asked
	// when it has finished and the rows are wrong.
	Doubtful bool
	Why      string
}

// Observe tells that a port would have been committed now, and why it is not.
// Said once per port.
type Observe struct {
	Port string
	Why  string
}

// Try tells the [Breaker] that this handover commits as a circuit's trial.
type Try struct{ Circuit Circuit }

// Verdict tells the [Breaker] what came of this handover's commits for one
// circuit.
type Verdict struct {
	Circuit Circuit
	Result  Result
	Trial   bool   // this handover was the circuit's trial
	Why     string // of a bad one
}

// AskHosts asks the publishers for the states of their domains.
type AskHosts struct{ Why string }

// Alarm tells an operator that earlybind flips nothing and why. Ports are those
// of which nothing is known any more: they are to be looked at until they are
// right.
type Alarm struct {
	Why   string
	Ports []string
	// CutOff: the handover ends without its end being known.
	CutOff bool
	// Homes are the hosts to which ports were being restored then, by port; those that were not are missing.
	Homes map[string]string
}

// End closes the handover.
type End struct{ Outcome Outcome }

// GoalKind is what is to become of a port.
type GoalKind int

// The goals of a port.
const (
	GoalCommit  GoalKind = iota + 1 // activate the destination's row
	GoalRestore                     // bring it back to ACTIVE and bound on the source
	GoalVerify                      // read only: is it right on the guest's host?
	GoalHold                        // hands off
)

var goalNames = [...]string{"", "commit", "restore", "verify", "hold"}

func (k GoalKind) String() string { return goalNames[k] }

// Goal is what is to become of a port, and where.
type Goal struct {
	Kind GoalKind
	Host string
	// NovaDone: Nova has finished with this migration; what it left is not
	// going to change by itself.
	NovaDone bool
	// Mend, of a verify: repair covers the port, and a host has said that its guest
	// runs there. What is still wrong when Nova has finished is brought right. Of a restore: the
	// migration by which the guest came there is over, whatever the other row announces.
	Mend bool
}

// Outcome is how a handover ended.
type Outcome string

// The outcomes.
const (
	OutcomeMigrated   Outcome = "migrated"   // the guest is on the destination, every port right
	OutcomeRestored   Outcome = "restored"   // the migration failed, every port right on the source
	OutcomeWrong      Outcome = "wrong"      // a port is not right; an alarm was raised
	OutcomeSuperseded Outcome = "superseded" // another migration of the instance began, or had long begun
	OutcomeExpired    Outcome = "expired"    // nothing was heard for too long
)

func (Begin) decision()    {}
func (Arm) decision()      {}
func (Try) decision()      {}
func (Verdict) decision()  {}
func (Aim) decision()      {}
func (Observe) decision()  {}
func (AskHosts) decision() {}
func (Alarm) decision()    {}
func (End) decision()      {}
