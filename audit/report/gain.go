package report

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// AllDrivers is the name of the gain of all migrations.
const AllDrivers = "all"

// Gain is what was gained in the migrations whose ports are of one mechanism driver. A
// migration with ports of several stands under all their names, as "a+b".
type Gain struct {
	Driver   string `json:"driver"`
	Migrated int    `json:"migrated"` // handovers that ended so
	Early    int    `json:"early"`    // of these, with a port that earlybind has activated
	// Lead is how much earlier the destination was ACTIVE than Nova began to look.
	Lead Spread `json:"lead_ms"`
	// WouldSuspended and WouldResumed are what the lead would have been, where
	// nothing was activated.
	WouldSuspended Spread `json:"would_lead_suspended_ms"`
	WouldResumed   Spread `json:"would_lead_resumed_ms"`
	// Outage is from the guest's pause until it ran on a destination that was ACTIVE,
	// where earlybind has activated it; OutageAlone what it was at least where Nova did,
	// or would have been: see [Outage].
	Outage      Spread `json:"outage_ms"`
	OutageAlone Spread `json:"outage_with_nova_alone_ms"`
}

// Spread is how some durations lie, in milliseconds: nearest-rank percentiles.
type Spread struct {
	Count int   `json:"count"`
	P50   int64 `json:"p50"`
	P99   int64 `json:"p99"`
	Max   int64 `json:"max"`
	// Sorted are all, for plots.
	Sorted []int64 `json:"-"`
}

func spread(durations []int64) Spread {
	n := len(durations)
	if n == 0 {
		return Spread{}
	}
	slices.Sort(durations)
	rank := func(percent int) int64 { return durations[(n*percent+99)/100-1] }
	return Spread{Count: n, P50: rank(50), P99: rank(99), Max: durations[n-1], Sorted: durations}
}

// Outage gives for how many milliseconds a migration's guest was without a network, as
// far as the log tells: from its pause until it ran on the destination and the bindings
// there were ACTIVE. with is with earlybind, where it activated a port; alone is with
// Nova, which begins to activate no earlier than it says that it takes over. How long the
// agent takes to wire the port comes on top of both, and is not in the log. A missing one
// is negative: without Nova's notifications nothing is known of Nova.
func Outage(figures map[string]int64) (with, alone int64) {
	arrival, arrived := figures["pause_to_arrival_ms"]
	active, activated := figures["pause_to_active_ms"]
	nova, heard := figures["pause_to_nova_ms"]
	if lead, ok := figures["lead_ms"]; ok && heard && !activated { // an older log
		active, activated = nova-lead, true
	}
	with, alone = -1, -1
	if !arrived {
		return with, alone
	}
	if heard {
		alone = max(arrival, nova)
	}
	switch {
	case activated && heard:
		with = max(arrival, min(active, nova)) // Nova may have been first
	case activated:
		with = max(arrival, active)
	}
	return with, alone
}

// row is one figure of a gain.
type row struct {
	Name   string
	Spread Spread
}

func (g Gain) rows() []row {
	return []row{
		{"lead: ACTIVE before Nova began to activate", g.Lead},
		{"outage with earlybind", g.Outage},
		{"outage with Nova alone, at least", g.OutageAlone},
		{"lead it would have been, policy suspended", g.WouldSuspended},
		{"lead it would have been, policy resumed", g.WouldResumed},
	}
}

// gainNotes say what the figures mean, and why some are missing.
func gainNotes(gains []Gain) []string {
	notes := []string{
		"outage: from the guest's pause until it ran on a destination with ACTIVE rows; with Nova alone: until it took over, of every",
		"migration that tells. How long the agent takes to wire the port comes on top of both, and is not in the log.",
	}
	if all := gains[len(gains)-1]; all.Lead.Count+all.WouldSuspended.Count+all.WouldResumed.Count == 0 {
		notes = append(notes, "No lead is known: what speaks of Nova needs its notifications (README, \"Use it\").")
	}
	return notes
}

type gathered struct {
	gain                                            Gain
	lead, wouldSuspended, wouldResumed, with, alone []int64
}

// gains gathers what the handovers tell, by driver, and last of all.
func gains(handovers []Handover) []Gain {
	by := map[string]*gathered{}
	add := func(name string, h *Handover) {
		g := by[name]
		if g == nil {
			g = &gathered{gain: Gain{Driver: name}}
			by[name] = g
		}
		g.gain.Migrated++
		if h.Activated > 0 {
			g.gain.Early++
		}
		for figure, to := range map[string]*[]int64{
			"lead_ms": &g.lead, "would_lead_suspended_ms": &g.wouldSuspended, "would_lead_resumed_ms": &g.wouldResumed,
		} {
			if ms, ok := h.Figures[figure]; ok {
				*to = append(*to, ms)
			}
		}
		with, alone := Outage(h.Figures)
		if with >= 0 {
			g.with = append(g.with, with)
		}
		if alone >= 0 {
			g.alone = append(g.alone, alone)
		}
	}
	for i := range handovers {
		h := &handovers[i]
		if h.Outcome != "migrated" {
			continue
		}
		add(cmp.Or(strings.Join(h.Drivers, "+"), "not known"), h)
		add(AllDrivers, h)
	}
	all := by[AllDrivers]
	delete(by, AllDrivers)
	var out []Gain
	for _, name := range slices.Sorted(maps.Keys(by)) {
		out = append(out, by[name].spreads())
	}
	if len(out) > 1 {
		out = append(out, all.spreads())
	}
	return out
}

func (g *gathered) spreads() Gain {
	gain := g.gain
	gain.Lead, gain.WouldSuspended, gain.WouldResumed = spread(g.lead), spread(g.wouldSuspended), spread(g.wouldResumed)
	gain.Outage, gain.OutageAlone = spread(g.with), spread(g.alone)
	return gain
}
