package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AllDrivers is the name of the gain of all migrations.
const AllDrivers = "all"

// Gain is what was gained in some of the migrations, or would have been. The fields before
// Migrated say in which; of a gain of all migrations Driver is [AllDrivers].
type Gain struct {
	// Driver is the mechanism driver of their ports. A migration with ports of several
	// stands under all their names, as "a+b".
	Driver string `json:"driver,omitempty"`
	// Source and Destination are their hosts. Pairs is, of the last gain by pairs of
	// hosts, how many it holds together.
	Source      string `json:"source,omitempty"`
	Destination string `json:"destination,omitempty"`
	Pairs       int    `json:"pairs,omitempty"`
	// Memory is the band of sizes that the memory of the instances' flavours is in,
	// see [gainsByMemory].
	Memory string `json:"memory,omitempty"`

	Migrated int `json:"migrated"` // handovers that ended so
	Early    int `json:"early"`    // of these, with a port that earlybind has activated
	// TakenOver are those of them that more than one session had in hand. Their figures
	// are not in the spreads: what is delivered again is timed again.
	TakenOver int `json:"taken_over,omitempty"`
	// ByNova are those of them in which an activate was answered and a port was Nova's all the
	// same: its row was ACTIVE already, or it was left to Nova. When it became ACTIVE is not in
	// the log, so they are in OutageAlone and not in Outage.
	ByNova int `json:"activated_by_nova,omitempty"`
	// Late are those whose lead is negative.
	Late int `json:"late,omitempty"`
	// Lead is how much earlier the destination was ACTIVE than Nova began to look: see
	// [Handover.Lead].
	Lead Spread `json:"lead_ms"`
	// WouldSuspended and WouldResumed are what the lead would have been, where
	// nothing was activated.
	WouldSuspended Spread `json:"would_lead_suspended_ms"`
	WouldResumed   Spread `json:"would_lead_resumed_ms"`
	// Outage is from the guest's pause until it ran on a destination that was ACTIVE,
	// where earlybind has activated it; OutageAlone what it was at least where Nova did,
	// or would have been: see [Handover.Outage].
	Outage      Spread `json:"outage_ms"`
	OutageAlone Spread `json:"outage_with_nova_alone_ms"`
}

// name says of which migrations a gain is.
func (g Gain) name() string {
	switch {
	case g.Driver != "":
		return g.Driver
	case g.Memory != "":
		return g.Memory
	case g.Pairs > 0:
		return count(g.Pairs, "other pair")
	}
	return cmp.Or(g.Source, "?") + " -> " + cmp.Or(g.Destination, "?")
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
// there were ACTIVE. with is with earlybind, where it activated every port; alone is with
// Nova, which begins to activate no earlier than it says that it takes over. A port whose
// activate was answered with 409 was ACTIVE by then, by somebody else and since when nobody
// knows: that answer ends no outage. How long the agent takes to wire the port comes on top
// of both, and is not in the log. A missing one is negative: without Nova's notifications
// nothing is known of Nova.
func (h Handover) Outage() (with, alone int64) {
	arrival, arrived := h.Figures["pause_to_arrival_ms"]
	active, answered := h.Figures["pause_to_active_ms"]
	nova, heard := h.Figures["pause_to_nova_ms"]
	if lead, ok := h.Figures["lead_ms"]; ok && heard && !answered { // an older log
		active, answered = nova-lead, true
	}
	with, alone = -1, -1
	if !arrived {
		return with, alone
	}
	if heard {
		alone = max(arrival, nova)
	}
	if answered && h.early() {
		with = max(arrival, active)
	}
	return with, alone
}

// early tells whether earlybind has activated every port.
func (h Handover) early() bool { return h.Activated > 0 && h.Activated >= h.Ports }

// Lead gives how many milliseconds earlier the destination was ACTIVE than Nova began to look. Where
// earlybind has activated no port it may only be negative, Nova having been first: what somebody else
// has gained is not told.
func (h Handover) Lead() (ms int64, told bool) {
	ms, told = h.Figures["lead_ms"]
	if h.Activated == 0 && ms > 0 {
		return 0, false
	}
	return ms, told
}

// row is one figure of a gain. What a lead would have been is told with the settings that
// bring it: [Prospect].
type row struct {
	Name   string
	Spread Spread
}

func (g Gain) rows() []row {
	return []row{
		{"lead: ACTIVE before Nova began to activate", g.Lead},
		{"outage with earlybind", g.Outage},
		{"outage with Nova alone, at least", g.OutageAlone},
	}
}

// caveat says why the outages do not compare where a lead is negative, and what to look at;
// empty where none is.
func (g Gain) caveat() []string {
	if g.Late == 0 {
		return nil
	}
	return []string{
		fmt.Sprintf("in %s the lead is negative: Nova was first, or Neutron slow. There the two outages do not compare: with earlybind it", count(g.Late, "migration")),
		"ends with Neutron's answers, with Nova alone as Nova begins to ask. Look at took_ms of port.written: is Neutron overloaded?",
	}
}

// lateMark stands at the name of gains with a negative lead where each has a line.
const (
	lateMark = " *"
	lateNote = "* with negative leads: there the outages do not compare, as said above."
)

// Note explains what stands in a grid; empty where nothing is to be explained.
func (g grid) Note() string {
	if slices.ContainsFunc(g.Lines, func(l gridLine) bool { return l.Late > 0 }) {
		return lateNote
	}
	return ""
}

// gainNotes say what the figures mean, and why some are missing.
func gainNotes(gains []Gain) []string {
	notes := []string{
		"outage: from the guest's pause until it ran on a destination with ACTIVE rows; with Nova alone: until it took over, of every",
		"migration that tells. How long the agent takes to wire the port comes on top of both, and is not in the log.",
	}
	all := gains[len(gains)-1]
	if all.TakenOver > 0 {
		notes = append(notes, fmt.Sprintf("%s more than one session had in hand; the figures of these are not counted, since what is delivered again is timed again.",
			count(all.TakenOver, "migration")))
	}
	if all.ByNova > 0 {
		notes = append(notes, fmt.Sprintf("In %s an activate was answered, and a port was Nova's all the same: it was ACTIVE already, or was left to Nova. When is",
			count(all.ByNova, "migration")), "not in the log: such outages are in the line of Nova alone, as what they were at least.")
	}
	if all.Lead.Count+all.WouldSuspended.Count+all.WouldResumed.Count == 0 {
		notes = append(notes, "No lead is known: what speaks of Nova needs its notifications (README, \"Use it\").")
	}
	return notes
}

// columns are the figures of a gain where there is a line for each gain.
var columns = []struct {
	name string
	of   func(Gain) Spread
}{
	{"lead", func(g Gain) Spread { return g.Lead }},
	{"lead if resumed", func(g Gain) Spread { return g.WouldResumed }},
	{"lead if suspended", func(g Gain) Spread { return g.WouldSuspended }},
	{"outage", func(g Gain) Spread { return g.Outage }},
	{"outage, Nova alone", func(g Gain) Spread { return g.OutageAlone }},
}

// grid is gains as a table: a line for each, and a column for each figure that any has.
type grid struct {
	Of    string // what the gains are by
	Heads []string
	Lines []gridLine
}

type gridLine struct {
	Gain
	Name    string
	Spreads []Spread
}

func gridOf(of string, gains []Gain) grid {
	g := grid{Of: of}
	lines := make([]gridLine, len(gains))
	for i, gain := range gains {
		lines[i] = gridLine{Gain: gain, Name: gain.name()}
		if gain.Late > 0 {
			lines[i].Name += lateMark
		}
	}
	for _, c := range columns {
		if !slices.ContainsFunc(gains, func(g Gain) bool { return c.of(g).Count > 0 }) {
			continue
		}
		g.Heads = append(g.Heads, c.name)
		for i := range lines {
			lines[i].Spreads = append(lines[i].Spreads, c.of(gains[i]))
		}
	}
	g.Lines = lines
	return g
}

// grids are the gains that are told as tables: by pairs of hosts, and by sizes where any
// is known.
func (r Report) grids() []grid {
	var grids []grid
	if len(r.GainsByHosts) > 0 {
		grids = append(grids, gridOf("hosts", r.GainsByHosts))
	}
	if slices.ContainsFunc(r.GainsByMemory, func(g Gain) bool { return g.Memory != notKnown }) {
		grids = append(grids, gridOf("memory of the flavour", r.GainsByMemory))
	}
	return grids
}

// gathered is what some migrations tell.
type gathered struct {
	gain                                            Gain
	lead, wouldSuspended, wouldResumed, with, alone []int64
}

func (g *gathered) add(h Handover) {
	g.gain.Migrated++
	if h.Activated > 0 {
		g.gain.Early++
	}
	if h.sessions > 1 {
		g.gain.TakenOver++
		return
	}
	if h.tried && !h.early() {
		g.gain.ByNova++
	}
	if lead, told := h.Lead(); told {
		g.lead = append(g.lead, lead)
		if lead < 0 {
			g.gain.Late++
		}
	}
	for figure, to := range map[string]*[]int64{
		"would_lead_suspended_ms": &g.wouldSuspended, "would_lead_resumed_ms": &g.wouldResumed,
	} {
		if ms, ok := h.Figures[figure]; ok {
			*to = append(*to, ms)
		}
	}
	with, alone := h.Outage()
	if with >= 0 {
		g.with = append(g.with, with)
	}
	if alone >= 0 {
		g.alone = append(g.alone, alone)
	}
}

func (g *gathered) merge(other *gathered) {
	g.gain.Migrated += other.gain.Migrated
	g.gain.Early += other.gain.Early
	g.gain.TakenOver += other.gain.TakenOver
	g.gain.ByNova += other.gain.ByNova
	g.gain.Late += other.gain.Late
	g.lead = append(g.lead, other.lead...)
	g.wouldSuspended = append(g.wouldSuspended, other.wouldSuspended...)
	g.wouldResumed = append(g.wouldResumed, other.wouldResumed...)
	g.with = append(g.with, other.with...)
	g.alone = append(g.alone, other.alone...)
}

func (g *gathered) spreads() Gain {
	gain := g.gain
	gain.Lead, gain.WouldSuspended, gain.WouldResumed = spread(g.lead), spread(g.wouldSuspended), spread(g.wouldResumed)
	gain.Outage, gain.OutageAlone = spread(g.with), spread(g.alone)
	return gain
}

// gather groups what the handovers tell that ended migrated.
func gather[K comparable](handovers []Handover, by func(Handover) K) map[K]*gathered {
	groups := map[K]*gathered{}
	for _, h := range handovers {
		if h.Outcome != migrated {
			continue
		}
		key := by(h)
		if groups[key] == nil {
			groups[key] = &gathered{}
		}
		groups[key].add(h)
	}
	return groups
}

// notKnown is the name of a driver or a size that no line has told.
const notKnown = "not known"

// driversOf names the mechanism drivers of a handover's ports.
func driversOf(h Handover) string { return cmp.Or(strings.Join(h.Drivers, "+"), notKnown) }

// gainsByDriver gives the gains by mechanism driver, and last, where there are several, of
// all.
func gainsByDriver(handovers []Handover) []Gain {
	groups := gather(handovers, driversOf)
	all := gathered{gain: Gain{Driver: AllDrivers}}
	out := []Gain{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		all.merge(groups[name])
		groups[name].gain.Driver = name
		out = append(out, groups[name].spreads())
	}
	if len(out) > 1 {
		out = append(out, all.spreads())
	}
	return out
}

// keptPairs is how many pairs of hosts have a gain of their own.
const keptPairs = 10

// gainsByHosts gives the gains by pair of hosts, from A to B, those with the most
// migrations first; what is more than [keptPairs] is one gain, the last.
func gainsByHosts(handovers []Handover) []Gain {
	type pair struct{ source, destination string }
	groups := gather(handovers, func(h Handover) pair { return pair{h.Source, h.Destination} })
	pairs := slices.SortedFunc(maps.Keys(groups), func(a, b pair) int {
		return cmp.Or(-cmp.Compare(groups[a].gain.Migrated, groups[b].gain.Migrated), cmp.Compare(a.source, b.source), cmp.Compare(a.destination, b.destination))
	})
	rest := gathered{}
	out := []Gain{}
	for i, p := range pairs {
		g := groups[p]
		if i >= keptPairs {
			rest.merge(g)
			rest.gain.Pairs++
			continue
		}
		g.gain.Source, g.gain.Destination = p.source, p.destination
		out = append(out, g.spreads())
	}
	if rest.gain.Pairs > 0 {
		out = append(out, rest.spreads())
	}
	return out
}

type band struct {
	upTo int64
	name string
}

// bands are the sizes that operators think in, by the memory of a flavour in MiB; the last
// has no end.
var bands = []band{
	{2 << 10, "up to 2 GiB"}, {8 << 10, "over 2, up to 8 GiB"}, {32 << 10, "over 8, up to 32 GiB"}, {0, "over 32 GiB"},
}

// gainsByMemory gives the gains by the memory of the instances' flavours, in [bands], the
// smallest first; last those that Nova has not told, see [notKnown].
func gainsByMemory(handovers []Handover) []Gain {
	groups := gather(handovers, func(h Handover) int {
		mib := h.Figures["memory_mb"]
		if mib <= 0 {
			return len(bands)
		}
		return slices.IndexFunc(bands, func(b band) bool { return mib <= b.upTo || b.upTo == 0 })
	})
	out := []Gain{}
	for _, i := range slices.Sorted(maps.Keys(groups)) {
		groups[i].gain.Memory = notKnown
		if i < len(bands) {
			groups[i].gain.Memory = bands[i].name
		}
		out = append(out, groups[i].spreads())
	}
	return out
}
