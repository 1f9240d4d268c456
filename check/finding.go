package check

import "slices"

// Level is how a finding stands.
type Level string

// Levels, from bad to good.
const (
	// Blocker: as it is, earlybind does not start, does nothing, or can do harm.
	Blocker Level = "blocker"
	// Note: it works, less well than it could; or a thing to know.
	Note Level = "note"
	// Unknown: it could not be seen.
	Unknown Level = "unknown"
	Fit     Level = "fit"
)

var levels = []Level{Blocker, Note, Unknown, Fit}

// Finding is what was seen of one thing, and what to do about it.
type Finding struct {
	// ID names the thing, the same in every cloud: "neutron.role".
	ID    string `json:"id"`
	Level Level  `json:"level"`
	// Broker is whose finding it is, where there are several.
	Broker string `json:"broker,omitempty"`
	// Hosts are the compute hosts that it is about, all of them.
	Hosts []string `json:"hosts,omitempty"`
	Saw   string   `json:"saw"`
	// Means is what follows for earlybind; empty where it goes without saying.
	Means string   `json:"means,omitempty"`
	Do    []Remedy `json:"do,omitempty"`
}

// Remedy is what to change, in words of one deployment tool; of [AnyTool] in every cloud.
type Remedy struct {
	Tool string `json:"tool"`
	Text string `json:"text"`
}

// Deployment tools.
const (
	AnyTool = "any"
	Kolla   = "kolla-ansible"
	OSA     = "openstack-ansible"
	Helm    = "openstack-helm"
	Plain   = "nova.conf"
)

// Tools are those that remedies are told for.
var Tools = []string{Kolla, OSA, Helm, Plain}

// For keeps the remedies of one tool; all, if it is empty.
func For(tool string, findings []Finding) []Finding {
	if tool == "" {
		return findings
	}
	kept := slices.Clone(findings)
	for i := range kept {
		kept[i].Do = slices.DeleteFunc(slices.Clone(kept[i].Do), func(r Remedy) bool { return r.Tool != tool && r.Tool != AnyTool })
	}
	return kept
}

// Verdict is what findings come to.
type Verdict string

// Verdicts.
const (
	IsFit    Verdict = "fit"
	IsNotFit Verdict = "not fit"
	IsOpen   Verdict = "not known to be fit"
)

// Judgement gives the verdict on findings: not fit with a blocker, and open where something
// could not be asked at all.
func Judgement(findings []Finding, unread []string) Verdict {
	switch {
	case Count(Blocker, findings) > 0:
		return IsNotFit
	case len(unread) > 0:
		return IsOpen
	}
	return IsFit
}

// Count tells how many findings have a level.
func Count(level Level, findings []Finding) int {
	n := 0
	for _, f := range findings {
		if f.Level == level {
			n++
		}
	}
	return n
}
