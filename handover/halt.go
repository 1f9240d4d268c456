package handover

import (
	"slices"
	"strings"
)

// Halt is the commits that an operator has stopped. Its zero value is none. A restore
// is never paused, nor is what was committed before: only what is yet to be committed.
type Halt struct {
	All   bool
	Hosts []string // nothing from or to these
	// Why is said with each port that is not committed: who has paused, and for what.
	Why string
	// Unknown, where it is not known what is paused, says why: then all is.
	Unknown string
}

// Refuse gives the reason why nothing is committed between two hosts; empty if it may be.
func (h Halt) Refuse(source, destination string) string {
	host := source
	if !slices.Contains(h.Hosts, source) {
		host = destination
	}
	switch {
	case h.Unknown != "":
		return "it is not known what is paused: " + h.Unknown
	case h.All:
		return "commits are paused" + h.why()
	case slices.Contains(h.Hosts, host):
		return "commits from and to " + host + " are paused" + h.why()
	}
	return ""
}

func (h Halt) why() string {
	if h.Why == "" {
		return ""
	}
	return ": " + h.Why
}

// Any tells whether anything is paused.
func (h Halt) Any() bool { return h.Unknown != "" || h.All || len(h.Hosts) > 0 }

// String says what is paused.
func (h Halt) String() string {
	switch {
	case h.Unknown != "":
		return "nothing is committed until it is known what is paused"
	case h.All && len(h.Hosts) > 0:
		return "nothing is committed; by name paused: " + strings.Join(h.Hosts, ", ")
	case h.All:
		return "nothing is committed"
	case len(h.Hosts) > 0:
		return "nothing is committed from or to " + strings.Join(h.Hosts, ", ")
	}
	return "nothing is paused"
}
