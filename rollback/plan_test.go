package rollback

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/port"
)

// planned is what Plan is to say, to be read from the top: the first line that
// fits counts. "*" fits anything. Columns: the source's row, the destination's,
// an ACTIVE row on a third host, migrating_to in the source's profile, Nova is
// done, what the port holds.
const planned = `
source   destination  third  migrating  nova  holds       step
ACTIVE   ACTIVE       *      *          *     *           hands off
ACTIVE   *            yes    *          *     *           hands off
failed   ACTIVE       *      *          *     *           hands off
unbound  ACTIVE       *      *          *     *           hands off
*        *            yes    *          *     *           hands off
none     *            no     *          *     *           hands off
failed   *            no     *          *     *           hands off
unbound  *            no     *          *     *           rebind src
ACTIVE   made         no     *          *     *           delete dst
ACTIVE   *            no     yes        no    *           wait
ACTIVE   *            no     yes        yes   *           rebind src
ACTIVE   INACTIVE     no     no         no    *           wait
ACTIVE   INACTIVE     no     no         yes   *           done
ACTIVE   none         no     no         *     *           done
INACTIVE ACTIVE       no     *          *     *           activate src
INACTIVE *            no     *          *     device      hands off
INACTIVE *            no     *          *     allocation  hands off
INACTIVE none         no     *          *     nothing     create dst
INACTIVE *            no     *          no    nothing     wait
INACTIVE *            no     *          yes   nothing     delete dst
`

func lookUp(t *testing.T, used map[int]bool, cell ...string) string {
	t.Helper()
lines:
	for i, line := range strings.Split(strings.TrimSpace(planned), "\n")[1:] {
		fields := strings.Fields(line)
		for j, want := range cell {
			if fields[j] != "*" && fields[j] != want {
				continue lines
			}
		}
		used[i] = true
		return strings.Join(fields[len(cell):], " ")
	}
	t.Fatalf("no line fits %v", cell)
	return ""
}

func TestPlanForEveryCombination(t *testing.T) {
	held := map[string]any{"os_vif_delegation": true}
	rows := map[string]port.Row{
		"ACTIVE": {Active: true, VIFType: "ovs"}, "unbound": {Active: true, VIFType: "unbound"},
		"failed": {Active: true, VIFType: "binding_failed"}, "INACTIVE": {VIFType: "unbound"},
		"made": {VIFType: "ovs", Profile: map[string]any{MadeHere: "src"}},
	}
	cells, used := 0, map[int]bool{}
	for _, source := range []string{"none", "ACTIVE", "unbound", "failed", "INACTIVE"} {
		for _, destination := range []string{"none", "ACTIVE", "INACTIVE", "made"} {
			for _, other := range []string{"no", "yes"} {
				for _, migrating := range []string{"no", "yes"} {
					for _, nova := range []string{"no", "yes"} {
						for _, holds := range []string{"nothing", "device", "allocation"} {
							cells++
							p := port.Port{ID: "p"}
							profile := maps.Clone(held)
							if migrating == "yes" {
								profile[port.MigratingTo] = "dst"
							}
							if holds == "allocation" {
								profile["allocation"] = map[string]any{"a": "b"}
							}
							if source != "none" {
								r := rows[source]
								r.Host, r.VNICType, r.Profile = "src", "normal", profile
								if holds == "device" {
									r.VNICType = "direct"
								}
								p.Rows = append(p.Rows, r)
							}
							if destination != "none" {
								r := rows[destination]
								r.Host = "dst"
								p.Rows = append(p.Rows, r)
							}
							if other == "yes" {
								p.Rows = append(p.Rows, port.Row{Host: "third", Active: true, VIFType: "ovs"})
							}
							want := lookUp(t, used, source, destination, other, migrating, nova, holds)
							got := Plan(Situation{Port: p, Source: "src", Destination: "dst", NovaDone: nova == "yes"})
							if said := strings.TrimSpace(got.Action.String() + " " + got.Host); said != want {
								t.Errorf("source %s, destination %s, third %s, migrating %s, Nova done %s, holds %s: %s, want %s",
									source, destination, other, migrating, nova, holds, said, want)
							}
							checkStep(t, got, profile)
						}
					}
				}
			}
		}
	}
	if cells != 5*4*2*2*2*3 {
		t.Errorf("%d cells", cells)
	}
	if lines := strings.Count(strings.TrimSpace(planned), "\n"); len(used) != lines {
		t.Errorf("%d of %d lines of the table were needed", len(used), lines)
	}
}

func checkStep(t *testing.T, s Step, profile map[string]any) {
	t.Helper()
	switch s.Action {
	case Rebind:
		want := maps.Clone(profile)
		delete(want, port.MigratingTo)
		if fmt.Sprint(s.Profile) != fmt.Sprint(want) {
			t.Errorf("rebinds with %v, want %v", s.Profile, want)
		}
	case Create:
		if s.VNIC != "normal" || len(s.Profile) != 1 || s.Profile[MadeHere] != "src" {
			t.Errorf("creates %s with %v", s.VNIC, s.Profile)
		}
	case Wait, HandsOff:
		if s.Host != "" || s.Why == "" {
			t.Errorf("%+v", s)
		}
	}
}

func TestPlanDoesNotChangeWhatItWasGiven(t *testing.T) {
	profile := map[string]any{port.MigratingTo: "dst", "a": 1}
	p := port.Port{Rows: []port.Row{{Host: "src", Active: true, VIFType: "unbound", Profile: profile}}}
	step := Plan(Situation{Port: p, Source: "src", Destination: "dst"})
	if len(profile) != 2 || len(step.Profile) != 1 {
		t.Errorf("was given %v, gives %v", profile, step.Profile)
	}
}

func TestAProfileThatIsMissingBecomesEmptyAndNotNull(t *testing.T) {
	p := port.Port{Rows: []port.Row{{Host: "src", Active: true, VIFType: "unbound"}}}
	if step := Plan(Situation{Port: p, Source: "src", Destination: "dst"}); step.Profile == nil {
		t.Error("the profile is nil")
	}
}

func TestWithoutAKnownDestinationNoRowIsMade(t *testing.T) {
	p := port.Port{ID: "p", Rows: []port.Row{{Host: "compute1", VIFType: "unbound", VNICType: "normal"}}}
	if step := Plan(Situation{Port: p, Source: "compute1", NovaDone: true}); step.Action != HandsOff {
		t.Errorf("%+v", step)
	}
}

// With Nova silent, what nobody moved is left to it; what is unbound was moved.
func TestNovasSilenceIsNoWordOnAPortThatNobodyMoved(t *testing.T) {
	row := port.Row{Host: "compute1", Active: true, VIFType: "ovs", VNICType: "normal", Profile: map[string]any{"migrating_to": "compute2"}}
	s := Situation{Port: port.Port{ID: "p", Rows: []port.Row{row}}, Source: "compute1", Destination: "compute2", NovaDone: true, Presumed: true}
	if step := Plan(s); step.Action != Wait {
		t.Errorf("bound: %+v", step)
	}
	s.Port.Rows[0].VIFType = "unbound"
	if step := Plan(s); step.Action != Rebind {
		t.Errorf("unbound: %+v", step)
	}
}
