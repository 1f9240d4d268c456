package handover

import (
	"cmp"
	"maps"
	"slices"
)

// Result is what came of a handover's commits, for one circuit.
type Result int

// The results. Unknown: the handover was cut off before it could be told, or
// its activate is not known to have been answered.
const (
	Unknown Result = iota
	Good
	Bad
)

// commitment is a port that was aimed at the destination by a commit.
type commitment struct {
	driver    string
	activated bool // the activate was answered
}

// activated notes that a port's commit was answered.
func (h *Handover) activated(id string) {
	if c, ok := h.commits[id]; ok {
		c.activated = true
		h.commits[id] = c
	}
}

// verdicts tell the breaker what came of a handover's commits:
//
//	ended as                  the pair             the driver of a committed port
//	migrated, port up         good                 good
//	migrated, port not up     bad                  bad
//	wrong, this port          bad                  bad
//	wrong, another port       bad                  good, or none
//	restored, port up         bad                  none
//	restored, port not up     bad                  bad
//	expired                   bad                  as its port was found
//	superseded, had failed    bad                  as its port was found
//	superseded                as its ports were found, which is mostly not yet: none
//
// A migration that has failed after a commit has cost its guest an outage that
// it would not have had, and is likely to fail between the same two hosts again:
// it counts for the pair. It says nothing of the driver: otherwise a few
// migrations that fail for a reason of their own would stop the commits of the
// whole cloud. A port that does not come up afterwards is the driver's.
func (h *Handover) verdicts(o Outcome) []Decision {
	if len(h.commits) == 0 {
		return nil
	}
	pair := h.pair()
	found := map[Circuit]Verdict{pair: {Circuit: pair}}
	for _, id := range slices.Sorted(maps.Keys(h.commits)) {
		result, why := h.judge(id)
		for _, c := range h.circuits(h.commits[id].driver) {
			if v, ok := found[c]; !ok || result > v.Result {
				found[c] = Verdict{Circuit: c, Result: result, Why: why}
			}
		}
	}
	if v := found[pair]; v.Result != Bad {
		phase := h.phase()
		switch {
		case phase == Failing || phase == Failed || phase == Contradicted || phase == Lost:
			v.Result, v.Why = Bad, "the migration failed after a commit"
		case o == OutcomeWrong:
			v.Result, v.Why = Bad, "a port did not end right"
		case o == OutcomeExpired:
			v.Result, v.Why = Bad, "nothing was heard of the migration any more after a commit"
		}
		found[pair] = v
	}
	var out []Decision
	for _, c := range slices.SortedFunc(maps.Keys(found), func(a, b Circuit) int { return cmp.Compare(a.Driver, b.Driver) }) {
		v := found[c]
		if v.Trial = h.trials[c]; v.Trial || v.Result != Unknown {
			out = append(out, v)
		}
	}
	return out
}

// judge tells what came of one port's commit.
func (h *Handover) judge(id string) (Result, string) {
	done, ok := h.done[id]
	switch {
	case !ok || done.Goal != h.goals[id]:
		return Unknown, ""
	case !done.Right:
		return Bad, "port " + id + " did not end right"
	case !done.Up:
		return Bad, "the status of port " + id + " was not ACTIVE in time"
	case h.phase() == Left && h.commits[id].activated:
		return Good, ""
	}
	return Unknown, ""
}

// pair is the circuit of the two hosts.
func (h *Handover) pair() Circuit { return Circuit{Source: h.Source, Destination: h.Destination} }

// circuits are what a port of a driver is counted by; a driver that is not
// shown has none.
func (h *Handover) circuits(driver string) []Circuit {
	if driver == "" {
		return []Circuit{h.pair()}
	}
	return []Circuit{h.pair(), {Driver: driver}}
}
