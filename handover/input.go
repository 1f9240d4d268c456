package handover

import (
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// Input is one of [HostSign], [NovaSign], [LeftOver], [Rows], [Activated],
// [PortDone], [Muted] and [Expired].
type Input interface{ input() }

// Sign is what one host says of one domain.
type Sign int

// The signs, with the libvirt event that gives them (seen on libvirt 9.0.0 and
// 11.3.0 for every outcome of a migration) or the state that stands for it.
const (
	SignStarted        Sign = iota + 1 // STARTED/MIGRATED, or an incoming domain is listed
	SignPaused                         // SUSPENDED/MIGRATED, or the state is paused/migration
	SignPostCopy                       // SUSPENDED/POSTCOPY, or the state is paused/postcopy
	SignPostCopyFailed                 // SUSPENDED/POSTCOPY_FAILED, or the state is paused/postcopy_failed
	SignResumed                        // RESUMED, any detail
	SignArrivedPaused                  // SUSPENDED/PAUSED: a paused guest has arrived
	SignHalted                         // SUSPENDED, any other detail (IOERROR, WATCHDOG): by no migration
	SignLeft                           // STOPPED/MIGRATED
	SignStopped                        // STOPPED, any other detail
	SignRunning                        // the state is running
	SignAbsent                         // the host does not list the domain
	SignMissedEvents                   // the host's libvirt or publisher was away: events may be missing
)

var signNames = map[Sign]string{
	SignStarted: "started/migrated", SignPaused: "suspended/migrated", SignPostCopy: "suspended/postcopy",
	SignPostCopyFailed: "suspended/postcopy_failed",
	SignResumed:        "resumed", SignArrivedPaused: "suspended/paused", SignLeft: "stopped/migrated",
	SignHalted: "suspended", SignStopped: "stopped", SignRunning: "reads running", SignAbsent: "absent", SignMissedEvents: "missed events",
}

func (s Sign) String() string { return signNames[s] }

// HostSign is a sign from a host whose publisher was verified.
type HostSign struct {
	Host  string
	Sign  Sign
	Order wire.Order
	// Listed: taken from a list of states, not from an event. It adds to what
	// is known of a handover's two hosts and names neither, but for a source that pauses the
	// guest where the rows alone have named another.
	Listed bool
	// FreshFor is how long from Now the sign may still lead to a commit: zero
	// if it is too old, was delivered before, or its age is unknown.
	FreshFor time.Duration
	// Replug lists the ports that the host can plug in again; see
	// [wire.HostEvent].
	Replug []string
	Now    time.Duration // the caller's monotonic clock
}

// NovaSign is what Nova says of a live migration.
type NovaSign struct {
	wire.NovaEvent
	Now time.Duration
}

// Rows is what Neutron said when asked for the instance's ports: the answer to
// [Arm].
type Rows struct {
	Ports []port.Port
	Now   time.Duration
}

// PortDone tells that a port's goal was reached, or given up.
type PortDone struct {
	Port  string
	Goal  Goal
	Right bool // the rows are right for the goal
	Up    bool // and the agent has reported the port up
	Now   time.Duration
}

// Activated tells that a port's commit was answered: the destination's row is
// ACTIVE.
type Activated struct {
	Port string
	Now  time.Duration
}

// LeftOver tells that an instance's rows are wrong although its guest runs on
// Host and no migration was noticed for a while: an earlier one has left them
// so, and nobody else is about to mend them.
type LeftOver struct {
	Host  string // where the guest is
	Other string // the host of the other row
	// Alone: the rows were found so twice, each time after the hosts had said that the guest is on Host and on no other. A
	// migration to Host that they announce is over, and Nova has left them so.
	Alone bool
	Now   time.Duration
}

// Muted tells that what a host's publisher says cannot be read any more: a failure
// there would not be heard of.
type Muted struct {
	Host string
	Now  time.Duration
}

// Expired tells that nothing was heard for longer than a migration may take.
type Expired struct{}

func (HostSign) input()  {}
func (NovaSign) input()  {}
func (LeftOver) input()  {}
func (Rows) input()      {}
func (Activated) input() {}
func (PortDone) input()  {}
func (Muted) input()     {}
func (Expired) input()   {}
