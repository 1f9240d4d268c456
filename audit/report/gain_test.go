package report

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
)

// migration is a handover as a log has it, made of a recorded one.
type migration struct {
	like                string // a name of logs
	driver              string // of its ports, several as "a+b"
	flavor              string
	source, destination string
	figures             map[string]int64
	why                 string // nothing was activated; "": as it was
}

// told are the lines of some migrations, one an hour.
func (m migration) lines(number int) []audit.Entry {
	began := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(number) * time.Hour)
	recorded := logs[m.like]
	drivers := strings.Split(m.driver, "+")
	var lines []audit.Entry
	for _, e := range recorded {
		e.Time = began.Add(e.Time.Sub(recorded[0].Time))
		e.Handover.Instance = fmt.Sprintf("%08d-0000-4000-8000-000000000000", number)
		e.Handover.RequestID = fmt.Sprintf("req-%d", number)
		for _, host := range []*string{&e.Handover.Source, &e.Handover.Destination} {
			*host = strings.NewReplacer("compute1", m.source, "compute2", m.destination).Replace(*host)
		}
		if e.Driver != "" {
			e.Driver = drivers[0]
		}
		if e.Event == audit.PortObserved && m.why != "" {
			e.Why = m.why
		}
		if e.Event == audit.HandoverEnded {
			e.Flavor, e.Figures = m.flavor, m.figures
			if len(drivers) > 1 {
				e.Driver = audit.DriverMixed
			}
		}
		lines = append(lines, e)
		if e.Event == audit.PortObserved { // its other ports
			for _, driver := range drivers[1:] {
				e.Port, e.Driver = "port of "+driver, driver
				lines = append(lines, e)
			}
		}
	}
	return lines
}

func linesOf(all ...migration) []audit.Entry {
	var lines []audit.Entry
	for i, m := range all {
		lines = append(lines, m.lines(i)...)
	}
	return lines
}

// alone is a migration that Nova did by itself: takes is from the guest's pause until Nova
// took over, of which it stood still for 100 ms.
func alone(driver, source, destination string, mib, takes int64) migration {
	m := migration{like: "lab-success observe", driver: driver, source: source, destination: destination, figures: map[string]int64{
		"pause_to_arrival_ms": 100, "pause_to_nova_ms": takes, "would_lead_suspended_ms": takes, "would_lead_resumed_ms": takes - 100,
	}}
	if mib > 0 {
		m.flavor = fmt.Sprintf("m1.%d", mib)
		m.figures["memory_mb"], m.figures["vcpus"] = mib, 1
	}
	return m
}

func started(at time.Time, safe bool, decided string) audit.Entry {
	return audit.Entry{Time: at, Replica: "r1", Line: audit.Line{
		Event: audit.ConsumerStarted, Outcome: audit.Ready, Saw: "version x; " + audit.ConcurrentActivate(safe) + " (detect)", Decided: decided,
	}}
}

// observed is a log of consumers that observe a cloud of several drivers, hosts and sizes.
func observed() []audit.Entry {
	var all []migration
	sizes := []int64{512, 2048, 4096, 16384, 65536}
	for i := range 60 {
		m := alone("openvswitch", fmt.Sprintf("compute%02d", i%13), fmt.Sprintf("compute%02d", (i*i)%11+20), sizes[i%len(sizes)], int64(400+i*17))
		switch {
		case i%6 == 5:
			m.driver = "ovn"
		case i%10 == 3:
			m.driver = "openvswitch+ovn"
		case i%17 == 4:
			m.driver = "linuxbridge"
		case i%29 == 9:
			m.driver = "vendor's own"
		}
		all = append(all, m)
	}
	silent := alone("openvswitch", "compute01", "compute02", 0, 0)
	silent.figures = nil
	failed := migration{like: "lab-failed-in-switchover observe", driver: "openvswitch", source: "compute01", destination: "compute02"}
	lines := linesOf(append(all, silent, failed)...)
	return append([]audit.Entry{started(lines[0].Time, true, "policy observe, networks none, drivers none, hosts none, canary 100%, repair own; breaker: 3 bad outcomes, 1h0m0s")}, lines...)
}

func spreadOf(ms ...int64) string {
	s := spread(ms)
	return fmt.Sprint(s.Count, s.P50, s.P99, s.Max)
}

func says(s Spread) string { return fmt.Sprint(s.Count, s.P50, s.P99, s.Max) }

func TestGainsByPairOfHosts(t *testing.T) {
	var all []migration
	want := map[string][]int64{} // would-be leads by pair
	var rest []int64
	for i := range 13 { // pair i has 13-i migrations; the last three are the rest
		for n := range 13 - i {
			takes := int64(1000*i + n + 200)
			m := alone("openvswitch", fmt.Sprintf("a%02d", i), "b", 0, takes)
			if i >= keptPairs { // with every figure that there is
				m.like = "lab-success auto"
				m.figures["lead_ms"], m.figures["pause_to_active_ms"], m.figures["would_lead_resumed_ms"] = takes, takes, takes
				all, rest = append(all, m), append(rest, takes)
				continue
			}
			all = append(all, m)
			pair := fmt.Sprintf("a%02d -> b", i)
			want[pair] = append(want[pair], takes)
		}
	}
	slices.Reverse(all) // the order in the log is of no account
	r := of(Options{}, linesOf(all...)...)
	if len(r.GainsByHosts) != keptPairs+1 {
		t.Fatalf("%+v", r.GainsByHosts)
	}
	for i, g := range r.GainsByHosts[:keptPairs] {
		name := fmt.Sprintf("a%02d -> b", i)
		if g.name() != name || g.Migrated != 13-i || says(g.WouldSuspended) != spreadOf(want[name]...) || g.Driver != "" || g.Memory != "" {
			t.Errorf("%d: %+v, want %s with %v", i, g, name, want[name])
		}
	}
	last := r.GainsByHosts[keptPairs]
	if last.name() != "3 other pairs" || last.Migrated != 3+2+1 || last.Source != "" {
		t.Errorf("%+v", last)
	}
	for _, c := range columns {
		if got := says(c.of(last)); got != spreadOf(rest...) {
			t.Errorf("%s of the rest: %s, want %s", c.name, got, spreadOf(rest...))
		}
	}
	// There and back are two pairs; as many migrations go by name.
	r = of(Options{}, linesOf(alone("ovn", "b", "a", 0, 5), alone("ovn", "a", "b", 0, 5))...)
	if g := r.GainsByHosts; len(g) != 2 || g[0].name() != "a -> b" || g[1].name() != "b -> a" {
		t.Errorf("%+v", g)
	}
}

func TestGainsByMemoryOfTheFlavor(t *testing.T) {
	var all []migration
	want := map[string][]int64{}
	for i, c := range []struct {
		mib  int64
		band string
	}{
		{1, "up to 2 GiB"}, {2048, "up to 2 GiB"}, {2049, "over 2, up to 8 GiB"}, {8192, "over 2, up to 8 GiB"}, {8193, "over 8, up to 32 GiB"},
		{32768, "over 8, up to 32 GiB"}, {32769, "over 32 GiB"}, {1 << 40, "over 32 GiB"}, {0, notKnown},
	} {
		takes := int64(500 + i)
		all = append(all, alone("openvswitch", "a", "b", c.mib, takes))
		want[c.band] = append(want[c.band], takes)
	}
	r := of(Options{}, linesOf(all...)...)
	var names []string
	for _, g := range r.GainsByMemory {
		names = append(names, g.Memory)
		if g.name() != g.Memory || g.Migrated != len(want[g.Memory]) || says(g.OutageAlone) != spreadOf(want[g.Memory]...) {
			t.Errorf("%+v, want %v", g, want[g.Memory])
		}
	}
	if !slices.Equal(names, []string{"up to 2 GiB", "over 2, up to 8 GiB", "over 8, up to 32 GiB", "over 32 GiB", notKnown}) {
		t.Errorf("%q", names)
	}
	if r.Handovers[3].Flavor != "m1.8192" || r.Handovers[8].Flavor != "" {
		t.Errorf("%q, %q", r.Handovers[3].Flavor, r.Handovers[8].Flavor)
	}
	// Without a flavour there is no table of them.
	if grids := of(Options{}, linesOf(all[8])...).grids(); len(grids) != 1 || grids[0].Of != "hosts" {
		t.Errorf("%+v", grids)
	}
}

// Figures of several groups add up to those of all.
func TestGainsOfAllDriversHoldThoseOfEach(t *testing.T) {
	r := of(Options{}, observed()...)
	migrations, told := 0, 0
	for _, g := range r.Gains[:len(r.Gains)-1] {
		migrations += g.Migrated
		told += g.WouldResumed.Count
	}
	if all := r.Gains[len(r.Gains)-1]; all.Driver != AllDrivers || all.Migrated != 61 || migrations != 61 || all.WouldResumed.Count != 60 || told != 60 {
		t.Errorf("%+v; %d, %d", all, migrations, told)
	}
	var drivers []string
	for _, g := range r.Gains {
		drivers = append(drivers, g.Driver)
	}
	if want := []string{"linuxbridge", "openvswitch", "openvswitch+ovn", "ovn", "vendor's own", AllDrivers}; !slices.Equal(drivers, want) {
		t.Errorf("%q, want %q", drivers, want)
	}
}

// What was delivered before comes again to another session all at once: its figures are no
// measurements.
func TestFiguresOfAHandoverThatWasTakenOverAreNotCounted(t *testing.T) {
	lines := linesOf(alone("openvswitch", "a", "b", 4096, 700), alone("openvswitch", "a", "b", 4096, 900))
	i := slices.IndexFunc(lines, func(e audit.Entry) bool { return e.Event == audit.HandoverArmed })
	first := slices.Clone(lines[:i])
	for i := range lines { // all of both, once more
		lines[i].Time = lines[i].Time.Add(time.Minute)
		lines[i].Replica = "r2"
	}
	r := of(Options{}, append(first, lines...)...)
	if len(r.Handovers) != 2 || len(r.Handovers[0].Replicas) != 2 {
		t.Fatalf("%+v", r.Handovers)
	}
	for _, gains := range [][]Gain{r.Gains, r.GainsByHosts, r.GainsByMemory} {
		if g := gains[0]; g.Migrated != 2 || g.TakenOver != 1 || says(g.WouldSuspended) != spreadOf(900) || says(g.OutageAlone) != spreadOf(900) {
			t.Errorf("%+v", g)
		}
	}
	if p := r.Prospects[0]; p.Migrations != 2 || says(p.Suspended.Lead) != spreadOf(900) || p.Suspended.Unknown != 1 {
		t.Errorf("%+v", p)
	}
	if notes := strings.Join(gainNotes(r.Gains), " "); !strings.Contains(notes, "1 migration more than one session had in hand") {
		t.Errorf("%s", notes)
	}
}

// A negative lead is explained at its figures: it does not say that earlybind has cost anything.
func TestANegativeLeadIsExplained(t *testing.T) {
	for lead, late := range map[int64]int{-2973: 1, 0: 0, 344: 0} {
		figures := map[string]int64{"pause_to_arrival_ms": 100, "pause_to_nova_ms": 900, "pause_to_active_ms": 900 - lead, "lead_ms": lead}
		r := of(Options{}, migration{like: "lab-success auto", driver: "openvswitch", source: "a", destination: "b", figures: figures}.lines(0)...)
		var text, page bytes.Buffer
		if err := errors.Join(Text(&text, r, Options{}), HTML(&page, r, Options{}, "test")); err != nil {
			t.Fatal(err)
		}
		if r.Gains[0].Late != late || strings.Count(page.String(), "the lead is negative") != 2*late { // at the plot and in the table
			t.Errorf("lead %d: %d late: %s", lead, r.Gains[0].Late, &page)
		}
		for _, out := range []string{text.String(), html.UnescapeString(page.String())} {
			_, after, _ := strings.Cut(out, "outage with Nova alone, at least")
			before, _, _ := strings.Cut(after, "outage: from the guest's pause")
			told := strings.Contains(before, "in 1 migration the lead is negative") && strings.Contains(before, "took_ms")
			if told != (late > 0) || strings.Contains(out, "a -> b *") != (late > 0) || strings.Contains(out, "with negative leads") != (late > 0) {
				t.Errorf("lead %d: %s", lead, out)
			}
		}
	}
}

// An activate that is answered with 409 has gained nothing, and its answer is nobody's outage.
func TestWhatNovaHasActivatedIsNoGain(t *testing.T) {
	figures := map[string]int64{"pause_to_arrival_ms": 100, "pause_to_nova_ms": 900, "pause_to_active_ms": 160, "lead_ms": 740}
	early := migration{like: "lab-success auto", driver: "openvswitch", source: "a", destination: "b", figures: figures}.lines(0)
	ports := 0
	for _, e := range early {
		if e.Event == audit.PortWritten {
			ports++
		}
	}
	if ports != 3 {
		t.Fatalf("%d ports", ports)
	}
	one := 0
	for name, c := range map[string]struct {
		lines         []audit.Entry
		early, byNova int
		lead, outage  string
	}{
		"every port by earlybind": {early, 1, 0, spreadOf(740), spreadOf(160)},
		"every port by Nova":      {answers(early, already, nil), 0, 1, spreadOf(), spreadOf()},
		"one of them by Nova": {change(early, is(audit.PortWritten, activate), func(e *audit.Entry) {
			if one++; one == ports {
				e.Outcome = already
			}
		}), 1, 1, spreadOf(740), spreadOf()},
	} {
		r := of(Options{}, c.lines...)
		g := r.Gains[0]
		if g.Migrated != 1 || g.Early != c.early || g.ByNova != c.byNova || says(g.Lead) != c.lead || says(g.Outage) != c.outage || says(g.OutageAlone) != spreadOf(900) {
			t.Errorf("%s: %+v", name, g)
		}
		if notes := strings.Join(gainNotes(r.Gains), " "); strings.Contains(notes, "In 1 migration an activate was answered") != (c.byNova > 0) {
			t.Errorf("%s: %s", name, notes)
		}
		if l := listedOf(r.Handovers[0]); (l.Outage == "160 ms") != (c.byNova == 0) || (l.Lead == "740 ms") != (c.early > 0) {
			t.Errorf("%s: %+v", name, l)
		}
	}
}

func TestWhatSwitchingOnWouldGain(t *testing.T) {
	late := alone("openvswitch", "a", "b", 0, 100) // Nova took over when the guest arrived
	later := alone("openvswitch", "a", "b", 0, 60)
	silent := alone("openvswitch", "a", "b", 0, 0)
	silent.figures = nil
	held := alone("openvswitch", "a", "b", 0, 300)
	held.why = "commits are paused"
	early := migration{like: "lab-success auto", driver: "openvswitch", source: "a", destination: "b", figures: map[string]int64{"lead_ms": 500}}
	failed := migration{like: "lab-failed-in-switchover observe", driver: "openvswitch", source: "a", destination: "b"}
	before := migration{like: "lab-failed-in-pre-copy observe", driver: "openvswitch", source: "a", destination: "b"}
	other := alone("ovn", "a", "b", 0, 900)

	r := of(Options{}, linesOf(late, later, silent, held, early, failed, before, other)...)
	if len(r.Prospects) != 3 {
		t.Fatalf("%+v", r.Prospects)
	}
	p := r.Prospects[0]
	if p.Driver != "openvswitch" || p.Migrations != 4 || p.FailedPaused != 1 {
		t.Errorf("%+v", p)
	}
	if w := p.Resumed; says(w.Lead) != spreadOf(-40, 0, 200) || w.None != 2 || w.Unknown != 1 {
		t.Errorf("resumed: %+v", w)
	}
	if w := p.Suspended; says(w.Lead) != spreadOf(60, 100, 300) || w.None != 0 || w.Unknown != 1 {
		t.Errorf("suspended: %+v", w)
	}
	if want := []Reason{{"EARLYBIND_POLICY=observe", 3}, {"commits are paused", 1}}; !slices.Equal(p.Kept, want) || p.OtherKepts != 0 {
		t.Errorf("%+v, want %+v", p.Kept, want)
	}
	if all := r.Prospects[2]; all.Driver != AllDrivers || all.Migrations != 5 || all.FailedPaused != 1 || says(all.Suspended.Lead) != spreadOf(60, 100, 300, 900) {
		t.Errorf("%+v", all)
	}
	if r := of(Options{}, linesOf(early)...); len(r.Prospects) != 0 {
		t.Errorf("of what was activated: %+v", r.Prospects)
	}
	if r := of(Options{}, linesOf(failed)...); len(r.Prospects) != 0 {
		t.Errorf("of what has failed: %+v", r.Prospects)
	}
}

func TestReasonsAreBounded(t *testing.T) {
	var all []migration
	for i := range 6 {
		for range 6 - i {
			m := alone("ovn", "a", "b", 0, 500)
			m.why = fmt.Sprintf("no publisher was heard on host%d", i)
			all = append(all, m)
		}
	}
	p := of(Options{}, linesOf(all...)...).Prospects[0]
	if len(p.Kept) != keptReasons || p.Kept[0] != (Reason{"no publisher was heard on host0", 6}) || p.OtherKepts != 3 || !strings.HasSuffix(p.why(), "; 3 other reasons") {
		t.Errorf("%+v: %s", p, p.why())
	}
}

// What is to be done about what keeps ports back, in the words in which handover tells it.
func TestWhatToDoAboutEachReason(t *testing.T) {
	paused := func(h handover.Halt) string { return h.Refuse("compute1", "compute2") }
	policy := func(s handover.Settings, driver string) string {
		_, why := handover.PolicyOf(s, port.Port{DeviceOwner: "compute:nova", Driver: driver, Network: "n"})
		return why
	}
	auto := handover.Settings{Policy: handover.PolicyAuto}
	network, driver := auto, auto
	network.Networks = handover.NetworkOverrides{"n": handover.PolicyObserve}
	driver.Drivers = handover.DriverOverrides{"ovn": handover.PolicyObserve}
	for _, c := range []struct{ why, do string }{
		{policy(handover.Settings{}, "ovn"), bySetting},
		{policy(handover.Settings{NothingOn: true}, "ovn"), bySetting},
		{policy(handover.Settings{Policy: handover.PolicyNamed}, "ovn"), "name its driver in EARLYBIND_POLICY_DRIVERS"},
		{policy(auto, "ovn"), "EARLYBIND_POLICY_DRIVERS with DRIVER=resumed"},
		{policy(auto, "vendor"), "EARLYBIND_POLICY_DRIVERS with DRIVER=resumed"},
		{policy(auto, ""), "name its network in EARLYBIND_POLICY_NETWORKS"},
		{policy(network, "ovn"), "change the entry in EARLYBIND_POLICY_NETWORKS"},
		{policy(driver, "ovn"), "change the entry in EARLYBIND_POLICY_DRIVERS"},
		{"EARLYBIND_POLICY_HOSTS does not name compute1", "as HOST=auto"},
		{"EARLYBIND_POLICY_HOSTS has compute1=observe", "as HOST=auto"},
		{"EARLYBIND_CANARY=5: the instance is not of that share", "a larger EARLYBIND_CANARY"},
		{paused(handover.Halt{All: true}), "earlybind resume, if"},
		{paused(handover.Halt{All: true, Why: "by alice@c: EARLYBIND_CANARY=5"}), "earlybind resume, if"},
		{paused(handover.Halt{Hosts: []string{"compute2"}, Why: "by alice@c"}), "earlybind resume -host HOST, if"},
		{paused(handover.Halt{Unknown: "the queue is empty"}), "docs/pause.md"},
		{"commits of mechanism driver vendor's own are stopped until 2026-11-23T13:00:00Z after 3 bad outcomes", "docs/audit.md#when-commits-stop"},
		{"commits from compute1 to compute2 are stopped after 3 bad outcomes, but for one handover on trial", "docs/audit.md#when-commits-stop"},
		{"Neutron is older than 23.0.0, or does not show that it is not: two activates at once could fail Nova's", "EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE"},
		{"no publisher was heard on compute1", "earlybind check"},
		{"trunk parent", ""},
		{"the sign is too old, or its age is unknown", ""},
	} {
		if do := stepFor(c.why); !strings.Contains(do, c.do) || (do == "") != (c.do == "") {
			t.Errorf("%q: %q, want %q", c.why, do, c.do)
		}
	}
}

// EARLYBIND_POLICY=auto is told to those alone whom it would help.
func TestWhatIsAdvisedIsWhatKeptItBack(t *testing.T) {
	kept := func(whys ...string) (all []migration) {
		for _, why := range whys {
			m := alone("openvswitch", "a", "b", 0, 300)
			m.why = why
			all = append(all, m)
		}
		return all
	}
	const paused, observing, off = "commits are paused: by alice@c", "EARLYBIND_POLICY=observe", "nothing is switched on"
	for name, c := range map[string]struct {
		settings   string
		kept       []migration
		says       []string
		switchable bool
	}{
		"all paused":     {"policy auto, canary 100%", kept(paused, paused), []string{"earlybind resume, if it is still so (earlybind pause -show)"}, false},
		"all, not known": {"", kept(paused), []string{"earlybind resume, if it is still so (earlybind pause -show)"}, false},
		"some": {"", kept(observing, paused, paused), []string{
			"for 2 of 3: earlybind resume, if it is still so (earlybind pause -show)", "for 1 of 3: to switch it on: EARLYBIND_POLICY=auto, which",
		}, true},
		"a share":         {"policy auto, canary 5%", kept("EARLYBIND_CANARY=5: the instance is not of that share"), []string{"a larger EARLYBIND_CANARY"}, false},
		"observed":        {"policy observe, canary 100%", kept(observing), []string{"to switch it on: EARLYBIND_POLICY=auto, which"}, true},
		"nothing was on":  {"policy observe, canary 100%", kept(off, off), []string{"to switch it on: EARLYBIND_POLICY=auto, which"}, true},
		"off, and before": {"policy observe, canary 100%", kept(off, observing), []string{"to switch it on: EARLYBIND_POLICY=auto, which"}, true},
		"was off":         {"policy auto, canary 100%", kept(off), []string{"nothing: the policy was observe, and is not any more"}, false},
		"observed before": {"policy auto, canary 100%", kept(observing), []string{"nothing: the policy was observe, and is not any more"}, false},
		"nothing to do":   {"policy auto, canary 100%", kept("trunk parent"), nil, false},
	} {
		lines := linesOf(c.kept...)
		if c.settings != "" {
			lines = append([]audit.Entry{started(lines[0].Time, true, c.settings)}, lines...)
		}
		r := of(Options{}, lines...)
		p := r.Prospects[0]
		if !slices.EqualFunc(p.says(), c.says, strings.HasPrefix) || (p.Setting != "") != c.switchable {
			t.Errorf("%s: %q, want %q; setting %q", name, p.says(), c.says, p.Setting)
		}
		var text, page bytes.Buffer
		if err := errors.Join(Text(&text, r, Options{}), HTML(&page, r, Options{}, "test")); err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{text.String(), page.String()} {
			if strings.Contains(out, "EARLYBIND_POLICY=auto") != c.switchable || strings.Contains(out, "To switch on, one of these") != c.switchable {
				t.Errorf("%s: %s", name, out)
			}
			for _, says := range c.says {
				if !strings.Contains(out, says) {
					t.Errorf("%s: %q is not in %s", name, says, out)
				}
			}
		}
	}
}

// The setting that is named has the effect that is told.
func TestTheSettingThatSwitchesADriverOn(t *testing.T) {
	for name, want := range map[string]struct{ auto, setting, says string }{
		"openvswitch":     {"resumed", "EARLYBIND_POLICY=auto", "EARLYBIND_OVSDB"},
		"linuxbridge":     {"resumed", "EARLYBIND_POLICY=auto", "policy resumed for it"},
		"ovn":             {"observe", "EARLYBIND_POLICY=auto EARLYBIND_POLICY_DRIVERS=ovn=resumed", "Auto alone observes it"},
		"vendor":          {"observe", "EARLYBIND_POLICY=auto EARLYBIND_POLICY_DRIVERS=vendor=resumed", "Auto alone observes it"},
		"openvswitch+ovn": {"", "EARLYBIND_POLICY=auto EARLYBIND_POLICY_DRIVERS=ovn=resumed", "switch them on"},
		audit.DriverMixed: {"observe", "", "no line tells"},
		notKnown:          {"observe", "", "no line tells"},
	} {
		auto, setting := switchesOn(name)
		says := Prospect{Driver: name, Auto: auto, Setting: setting}.switching("policy observe, canary 100%")
		if auto != want.auto || setting != want.setting || !strings.Contains(says, want.says) || !strings.Contains(says, setting) {
			t.Errorf("%s: %q, %q: %s", name, auto, setting, says)
		}
	}
	ways := map[string]string{}
	for _, way := range waysOn([]Prospect{{Driver: "linuxbridge", Auto: "resumed"}, {Driver: "ovn", Auto: "observe"}, {Driver: AllDrivers}}) {
		ways[way[0]] = way[1]
	}
	if want := map[string]string{
		"all, by driver":      "EARLYBIND_POLICY=auto",
		"linuxbridge alone":   "EARLYBIND_POLICY_DRIVERS=linuxbridge=resumed",
		"some hosts alone":    "EARLYBIND_POLICY_HOSTS=HOST=auto,HOST=auto",
		"5% of the instances": "EARLYBIND_CANARY=5",
		"some networks alone": "EARLYBIND_POLICY_NETWORKS=UUID=resumed,UUID=resumed",
	}; !maps.Equal(ways, want) {
		t.Errorf("%q, want %q", ways, want)
	}
}

func TestWhatNeutronAllowsIsTold(t *testing.T) {
	lines := linesOf(alone("openvswitch", "a", "b", 0, 500))
	at := func(hours int) time.Time { return lines[0].Time.Add(time.Duration(hours) * time.Hour) }
	away := started(at(3), true, "to try again")
	away.Outcome = "Neutron is away"
	for name, c := range map[string]struct {
		starts   []audit.Entry
		is, says string
	}{
		"not in the log":    {nil, "", "which is not in this log"},
		"safe":              {[]audit.Entry{started(at(0), true, "policy observe")}, activatesSafe, "As last started: policy observe."},
		"unsafe":            {[]audit.Entry{started(at(0), false, "policy observe")}, activatesUnsafe, "NOTHING IS GAINED BY ANY OF IT YET"},
		"the last counts":   {[]audit.Entry{started(at(2), false, "policy auto"), started(at(1), true, "policy observe")}, activatesUnsafe, "As last started: policy auto."},
		"that was one only": {[]audit.Entry{started(at(0), false, "policy observe"), away}, activatesUnsafe, "As last started: policy observe."},
	} {
		r := of(Options{}, append(c.starts, lines...)...)
		if notes := strings.Join(r.prospectNotes(), " "); r.Activates != c.is || !strings.Contains(notes, c.says) {
			t.Errorf("%s: %q: %s", name, r.Activates, notes)
		}
	}
}
