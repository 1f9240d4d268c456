package report

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
)

// Prospect is what switching on would gain for the migrations of one mechanism driver in
// which nothing was activated early.
type Prospect struct {
	Driver     string `json:"driver"` // as of a [Gain]
	Migrations int    `json:"migrations"`
	Resumed    Would  `json:"resumed"`
	Suspended  Would  `json:"suspended"`
	// FailedPaused are migrations that failed when their guest had been paused: with
	// policy suspended their ports would have been moved, and brought back.
	FailedPaused int `json:"failed_paused"`
	// Auto is the policy that EARLYBIND_POLICY=auto has for the driver; empty for several.
	Auto string `json:"auto,omitempty"`
	// Setting switches it on; empty where it is not known what would, and where no migration
	// was kept back by the policy observe.
	Setting string `json:"setting,omitempty"`
	// Kept says why nothing was activated: the reasons that most migrations have, at
	// most [keptReasons], and how many others there are.
	Kept       []Reason `json:"kept_back_by"`
	OtherKepts int      `json:"other_reasons,omitempty"`
	// Next is what to do about it, of the most migrations first. Of all drivers it is empty.
	Next []Step `json:"next,omitempty"`

	observed bool // some by the policy observe, which is in force as far as is known
}

// Step is what to do about the ports that were kept back, and in how many migrations there
// are such.
type Step struct {
	Do         string `json:"do"`
	Migrations int    `json:"migrations"`
}

// Would is what a policy would have gained.
type Would struct {
	Lead    Spread `json:"lead_ms"`   // of those that tell
	None    int    `json:"none"`      // of these are without: Nova was as early, or earlier
	Unknown int    `json:"not_known"` // that do not tell
}

// Reason is why ports were not activated early, and in how many migrations.
type Reason struct {
	Why        string `json:"why"`
	Migrations int    `json:"migrations"`
}

const keptReasons = 3

// prospects tells what switching on would gain, by mechanism driver, and last, where there
// are several, for all.
// settings are the consumers' as last started, empty if not known.
func prospects(handovers []Handover, settings string) []Prospect {
	groups := map[string]*prospect{}
	all := newProspect()
	for _, h := range handovers {
		if h.tried || h.Outcome != migrated && h.Outcome != restored {
			continue
		}
		name := driversOf(h)
		if groups[name] == nil {
			groups[name] = newProspect()
		}
		groups[name].add(h)
		all.add(h)
	}
	maps.DeleteFunc(groups, func(_ string, p *prospect) bool { return p.migrations == 0 })
	out := []Prospect{}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		p := groups[name].told(name)
		p.Auto, p.Setting = switchesOn(name)
		out = append(out, p.advised(groups[name].steps, settings))
	}
	if len(out) > 1 {
		out = append(out, all.told(AllDrivers))
	}
	return out
}

// prospect gathers what the migrations of one driver tell.
type prospect struct {
	migrations, failed int
	resumed, suspended []int64
	kept               map[string]int
	steps              map[string]int // what to do, [bySetting] among it
}

func newProspect() *prospect { return &prospect{kept: map[string]int{}, steps: map[string]int{}} }

func (p *prospect) add(h Handover) {
	if h.Outcome == restored {
		if h.paused {
			p.failed++
		}
		return
	}
	p.migrations++
	for _, why := range h.kept {
		p.kept[why]++
	}
	var done []string // several ports may ask for the same
	for _, why := range h.kept {
		if step := stepFor(why); step != "" && !slices.Contains(done, step) {
			done = append(done, step)
			p.steps[step]++
		}
	}
	if h.sessions > 1 {
		return // see Gain.TakenOver
	}
	for figure, to := range map[string]*[]int64{"would_lead_resumed_ms": &p.resumed, "would_lead_suspended_ms": &p.suspended} {
		if ms, ok := h.Figures[figure]; ok {
			*to = append(*to, ms)
		}
	}
}

func (p *prospect) told(driver string) Prospect {
	would := func(leads []int64) Would {
		none := 0
		for _, ms := range leads {
			if ms <= 0 {
				none++
			}
		}
		return Would{Lead: spread(leads), None: none, Unknown: p.migrations - len(leads)}
	}
	kept := []Reason{}
	for why, n := range p.kept {
		kept = append(kept, Reason{why, n})
	}
	slices.SortFunc(kept, func(a, b Reason) int {
		return cmp.Or(-cmp.Compare(a.Migrations, b.Migrations), cmp.Compare(a.Why, b.Why))
	})
	others := max(len(kept)-keptReasons, 0)
	return Prospect{
		Driver: driver, Migrations: p.migrations, FailedPaused: p.failed, Resumed: would(p.resumed), Suspended: would(p.suspended),
		Kept: kept[:len(kept)-others], OtherKepts: others,
	}
}

const policyAuto = "EARLYBIND_POLICY=auto"

// switchesOn gives the policy that auto has for the mechanism drivers of a name as
// [driversOf] gives it, and the setting that switches them on.
func switchesOn(name string) (auto, setting string) {
	if name == notKnown || name == audit.DriverMixed {
		return handover.PolicyObserve.String(), ""
	}
	drivers := strings.Split(name, "+")
	var observed []string
	for _, driver := range drivers {
		policy, _ := handover.ByDriver(driver)
		if policy == handover.PolicyObserve {
			observed = append(observed, driver+"="+handover.PolicyResumed.String())
		}
		if len(drivers) == 1 {
			auto = policy.String()
		}
	}
	if len(observed) == 0 {
		return auto, policyAuto
	}
	return auto, policyAuto + " EARLYBIND_POLICY_DRIVERS=" + strings.Join(observed, ",")
}

// bySetting stands for the step that switches a driver on: [Prospect.switching].
const bySetting = "by setting"

// stepsFor are what to do about a reason of a port.observed, in the words of package handover;
// of any other, such as a sign that was too old, no step is known.
var stepsFor = []struct {
	why *regexp.Regexp
	do  string
}{
	{regexp.MustCompile(`^(EARLYBIND_POLICY=observe|nothing is switched on)$`), bySetting},
	{regexp.MustCompile(`^neither EARLYBIND_POLICY_NETWORKS nor EARLYBIND_POLICY_DRIVERS names it$`), "name its driver in EARLYBIND_POLICY_DRIVERS, or its network in EARLYBIND_POLICY_NETWORKS"},
	{regexp.MustCompile(`^(unknown )?mechanism driver `), "auto observes this driver, since nothing is expected to be gained or nothing was measured; EARLYBIND_POLICY_DRIVERS with DRIVER=resumed acts on it (docs/settings.md)"},
	{regexp.MustCompile(`^the port does not show its mechanism driver`), "name its network in EARLYBIND_POLICY_NETWORKS, as UUID=resumed"},
	{regexp.MustCompile(`^EARLYBIND_POLICY_(NETWORKS|DRIVERS) has `), "change the entry in EARLYBIND_POLICY_$1"},
	{regexp.MustCompile(`^EARLYBIND_POLICY_HOSTS `), "have both hosts in EARLYBIND_POLICY_HOSTS, as HOST=auto"},
	{regexp.MustCompile(`^EARLYBIND_CANARY=`), "a larger EARLYBIND_CANARY"},
	{regexp.MustCompile(`^commits are paused`), "earlybind resume, if it is still so (earlybind pause -show)"},
	{regexp.MustCompile(`^commits from and to \S+ are paused`), "earlybind resume -host HOST, if it is still so (earlybind pause -show)"},
	{regexp.MustCompile(`^it is not known what is paused`), "earlybind resume, if nothing is to be paused (docs/pause.md#how-it-works)"},
	{regexp.MustCompile(`^commits (of mechanism driver .+|from \S+ to \S+) are stopped `), "look at what ended badly; they go on by themselves: docs/audit.md#when-commits-stop"},
	{regexp.MustCompile(`^Neutron is older than 23\.0\.0`), "Neutron 23.0.0 or later (EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE in docs/settings.md)"},
	{regexp.MustCompile(`^no publisher was heard on `), "have a publisher on both hosts that is heard: earlybind check"},
}

// stepFor gives what to do about a reason; empty where that is not known.
func stepFor(why string) string {
	for _, s := range stepsFor {
		if found := s.why.FindStringSubmatchIndex(why); found != nil {
			return string(s.why.ExpandString(nil, s.do, why, found))
		}
	}
	return ""
}

// advised is a prospect with its steps.
func (p Prospect) advised(steps map[string]int, settings string) Prospect {
	for do, n := range steps {
		if do == bySetting {
			do = p.switching(settings)
		}
		p.Next = append(p.Next, Step{do, n})
	}
	slices.SortFunc(p.Next, func(a, b Step) int {
		return cmp.Or(-cmp.Compare(a.Migrations, b.Migrations), cmp.Compare(a.Do, b.Do))
	})
	if p.observed = steps[bySetting] > 0 && !changed(settings); !p.observed {
		p.Setting = ""
	}
	return p
}

// changed tells whether the consumers, as last started, have another policy than observe.
func changed(settings string) bool {
	policy, _, _ := strings.Cut(settings, ",")
	return settings != "" && policy != "policy "+handover.PolicyObserve.String()
}

// says is what to do, of how many migrations where that is not all.
func (p Prospect) says() []string {
	var says []string
	for _, s := range p.Next {
		of := ""
		if s.Migrations < p.Migrations {
			of = fmt.Sprintf("for %d of %d: ", s.Migrations, p.Migrations)
		}
		says = append(says, of+s.Do)
	}
	return says
}

// switching is what is to be known of switching a driver on, with the setting.
func (p Prospect) switching(settings string) string {
	switch {
	case changed(settings):
		return "nothing: the policy was observe, and is not any more"
	case p.Setting == "":
		return "no line tells the mechanism drivers; auto observes ports whose driver Neutron does not show (bound_drivers)"
	case p.Auto == handover.PolicyObserve.String():
		return "to switch it on: " + p.Setting + ". Auto alone observes it, since nothing is expected to be gained or nothing was measured, whatever the lead is: docs/settings.md"
	case p.Auto == "":
		return "to switch them on: " + p.Setting
	}
	return "to switch it on: " + p.Setting + ", which is policy " + p.Auto + " for it" + replugs(p.Driver)
}

func replugs(driver string) string {
	if handover.Replugs(driver) {
		return ", or suspended where the source's publisher can plug it in again (EARLYBIND_OVSDB)"
	}
	return ""
}

// why says why nothing was activated early.
func (p Prospect) why() string {
	var parts []string
	for _, r := range p.Kept {
		parts = append(parts, fmt.Sprintf("%s (%d)", r.Why, r.Migrations))
	}
	if p.OtherKepts > 0 {
		parts = append(parts, count(p.OtherKepts, "other reason"))
	}
	return strings.Join(parts, "; ")
}

// wouldRow is a policy's line of a prospect.
type wouldRow struct {
	Policy string
	Would
	Auto bool // EARLYBIND_POLICY=auto has it
}

func (p Prospect) rows() []wouldRow {
	row := func(policy handover.Policy, w Would) wouldRow {
		return wouldRow{policy.String(), w, policy.String() == p.Auto}
	}
	return []wouldRow{row(handover.PolicyResumed, p.Resumed), row(handover.PolicySuspended, p.Suspended)}
}

// switchable tells whether the policy would switch on any of them.
func switchable(p []Prospect) bool {
	return slices.ContainsFunc(p, func(one Prospect) bool { return one.observed })
}

// waysOn are the ways to switch on, each with what the consumers are to be given.
func waysOn(p []Prospect) [][2]string {
	var committed []string
	for _, driver := range handover.Drivers(nil) {
		if policy, _ := handover.ByDriver(driver); policy != handover.PolicyObserve {
			committed = append(committed, driver)
		}
	}
	ways := [][2]string{{"all, by driver", policyAuto}}
	for _, one := range p {
		if slices.Contains(committed, one.Driver) {
			ways = append(ways, [2]string{one.Driver + " alone", "EARLYBIND_POLICY_DRIVERS=" + one.Driver + "=" + one.Auto})
		}
	}
	return append(ways,
		[2]string{"some hosts alone", "EARLYBIND_POLICY_HOSTS=HOST=auto,HOST=auto"},
		[2]string{"some networks alone", "EARLYBIND_POLICY_NETWORKS=UUID=resumed,UUID=resumed"},
		[2]string{"5% of the instances", "EARLYBIND_CANARY=5"})
}

// What Neutron allows, as [Report.Activates].
const (
	activatesSafe   = "safe"
	activatesUnsafe = "unsafe"
)

// activates reads what Neutron allows from the line of a start.
func activates(started audit.Entry) string {
	safe, told := audit.ConcurrentActivateOf(started.Line)
	switch {
	case !told:
		return ""
	case safe:
		return activatesSafe
	default:
		return activatesUnsafe
	}
}

// prospectNotes say what else decides whether there is a gain.
func (r Report) prospectNotes() []string {
	var notes []string
	if r.Settings != "" {
		notes = append(notes, "As last started: "+r.Settings+".")
	}
	switch r.Activates {
	case activatesUnsafe:
		notes = append(notes, "NOTHING IS GAINED BY ANY OF IT YET: this Neutron is older than 23.0.0, or does not show that it is not, and nothing is activated early there (EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE in docs/settings.md).")
	case "":
		notes = append(notes, "Whether Neutron is 23.0.0 or later, without which nothing is activated early, is said by consumer.started, which is not in this log.")
	}
	return append(notes,
		"A would-be lead is how much earlier than Nova the request could have been sent; its answer, to which a lead is counted, comes later (150 to 350 ms were measured).",
		"Trunk parents are observed whatever the settings, and so is a pair of hosts without both publishers.")
}
