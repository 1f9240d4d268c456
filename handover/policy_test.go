package handover

import (
	"slices"
	"strings"
	"testing"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

const (
	net1 = "5f2c0d1e-0d4b-4c53-9a0e-5b1f0c9d7a11"
	net2 = "5f2c0d1e-0d4b-4c53-9a0e-5b1f0c9d7a22"
)

func driver(name string) port.Port { return with(func(p *port.Port) { p.Driver = name }) }

func on(network string, p port.Port) port.Port {
	p.Network = network
	return p
}

func TestPolicyTable(t *testing.T) {
	for _, c := range []struct {
		configured Policy
		port       port.Port
		want       Policy
		why        string
	}{
		{PolicyAuto, driver("openvswitch"), PolicyResumed, "openvswitch"},
		{PolicyAuto, driver("linuxbridge"), PolicyResumed, "linuxbridge"},
		{PolicyAuto, driver("ovn"), PolicyObserve, "ovn"},
		{PolicyAuto, driver("sriovnicswitch"), PolicyObserve, "sriovnicswitch"},
		{PolicyAuto, driver("macvtap"), PolicyObserve, "macvtap"},
		{PolicyAuto, driver("calico"), PolicyObserve, "calico"},
		{PolicyAuto, driver("vendor"), PolicyObserve, "unknown mechanism driver vendor"},
		{PolicyAuto, driver(""), PolicyObserve, "does not show"},
		{PolicyAuto, with(func(p *port.Port) { p.TrunkParent = true }), PolicyObserve, "trunk"},
		{PolicyAuto, with(func(p *port.Port) { p.DeviceOwner = "network:dhcp" }), PolicyObserve, "device_owner"},
		{PolicySuspended, driver("ovn"), PolicySuspended, "EARLYBIND_POLICY=suspended"},
		{PolicySuspended, driver(""), PolicySuspended, "EARLYBIND_POLICY=suspended"},
		{PolicySuspended, with(func(p *port.Port) { p.TrunkParent = true }), PolicyObserve, "trunk"},
		{PolicySuspended, with(func(p *port.Port) { p.DeviceOwner = "" }), PolicyObserve, "device_owner"},
		{PolicyResumed, driver("linuxbridge"), PolicyResumed, "EARLYBIND_POLICY=resumed"},
		{PolicyObserve, driver("linuxbridge"), PolicyObserve, "EARLYBIND_POLICY=observe"},
		{PolicyNamed, driver("linuxbridge"), PolicyObserve, "neither EARLYBIND_POLICY_NETWORKS nor EARLYBIND_POLICY_DRIVERS"},
	} {
		got, why := ofPort(Settings{Policy: c.configured}, c.port, false)
		if got != c.want || !strings.Contains(why, c.why) {
			t.Errorf("%s with driver %q: %s because %q, want %s because %q", c.configured, c.port.Driver, got, why, c.want, c.why)
		}
	}
	if len(driverPolicies) != 6 {
		t.Errorf("%d drivers have a policy, 6 are tested", len(driverPolicies))
	}
}

// Every line of ofPort's table wins over all that stand below it.
func TestThePrecedenceOfPolicies(t *testing.T) {
	type forced struct {
		name   string
		change func(*Settings, *port.Port)
		want   Policy
		why    string
	}
	lines := []forced{
		{"nothing on", func(s *Settings, _ *port.Port) { s.Policy, s.NothingOn = PolicyObserve, true }, PolicyObserve, "nothing is switched on"},
		{"observe", func(s *Settings, _ *port.Port) { s.Policy = PolicyObserve }, PolicyObserve, "EARLYBIND_POLICY=observe"},
		{"not compute", func(_ *Settings, p *port.Port) { p.DeviceOwner = "network:dhcp" }, PolicyObserve, "device_owner is not compute"},
		{"trunk parent", func(_ *Settings, p *port.Port) { p.TrunkParent = true }, PolicyObserve, "trunk parent"},
		{"network", func(s *Settings, _ *port.Port) { s.Networks = NetworkOverrides{net1: PolicySuspended} }, PolicySuspended, "EARLYBIND_POLICY_NETWORKS has " + net1 + "=suspended"},
		{"driver", func(s *Settings, _ *port.Port) { s.Drivers = DriverOverrides{openvswitch: PolicyObserve} }, PolicyObserve, "EARLYBIND_POLICY_DRIVERS has openvswitch=observe"},
		{"forced", func(s *Settings, _ *port.Port) { s.Policy = PolicyResumed }, PolicyResumed, "EARLYBIND_POLICY=resumed"},
		{"table", func(*Settings, *port.Port) {}, PolicySuspended, "mechanism driver openvswitch, and the source can plug it in again"},
	}
	for upper, line := range lines {
		// All lines below are there too, the upper ones not.
		s, p := Settings{Policy: PolicyAuto}, on(net1, driver(openvswitch))
		for i := len(lines) - 1; i >= upper; i-- {
			lines[i].change(&s, &p)
		}
		if got, why := ofPort(s, p, true); got != line.want || why != line.why {
			t.Errorf("%s: %s because %q, want %s because %q", line.name, got, why, line.want, line.why)
		}
	}
}

func TestOverrides(t *testing.T) {
	auto := Settings{
		Policy:   PolicyAuto,
		Networks: NetworkOverrides{net1: PolicyObserve, net2: PolicyResumed},
		Drivers:  DriverOverrides{"ovn": PolicyResumed, "vendor": PolicySuspended, "linuxbridge": PolicyObserve},
	}
	forced := auto
	forced.Policy = PolicySuspended
	for _, c := range []struct {
		settings Settings
		port     port.Port
		want     Policy
	}{
		{auto, driver("ovn"), PolicyResumed},
		{auto, driver("vendor"), PolicySuspended},
		{auto, driver("linuxbridge"), PolicyObserve},
		{auto, driver("openvswitch"), PolicyResumed}, // by the table
		{auto, driver("other"), PolicyObserve},       // by the table
		{auto, on(net1, driver("ovn")), PolicyObserve},
		{auto, on(net2, driver("linuxbridge")), PolicyResumed},
		{auto, on(net2, driver("")), PolicyResumed},
		{forced, driver("linuxbridge"), PolicyObserve},
		{forced, driver("ovn"), PolicyResumed},
		{forced, driver("openvswitch"), PolicySuspended},
		{forced, on(net1, driver("openvswitch")), PolicyObserve},
	} {
		if got, why := ofPort(c.settings, c.port, false); got != c.want {
			t.Errorf("%s, driver %q on network %q: %s because %q, want %s", c.settings.Policy, c.port.Driver, c.port.Network, got, why, c.want)
		}
	}
}

func TestAnObservedNetworkAmongOthersIsNotTouched(t *testing.T) {
	quiet, other := on(net1, ready("p1")), on(net2, ready("p2"))
	s := suspended
	s.Networks = NetworkOverrides{net1: PolicyObserve}
	d := newDrive(s, quiet, other)
	if got := aimed(d.tell(toThePause()...), GoalCommit); len(got) != 1 || got[0].Port != "p2" {
		t.Errorf("commits %+v", got)
	}
	if got := observed(d.log); len(got) != 1 || got[0].Port != "p1" || !strings.Contains(got[0].Why, "EARLYBIND_POLICY_NETWORKS") {
		t.Errorf("observed %+v", got)
	}
	if got := aimed(d.tell(at(src, 2, SignResumed)), GoalRestore); len(got) != 1 || got[0].Port != "p2" {
		t.Errorf("restores %+v", got)
	}
}

// pausedWith is the source's pause with the ports that it can plug in again.
func pausedWith(ports ...string) HostSign {
	s := at(src, 1, SignPaused)
	s.Replug = ports
	return s
}

var auto = Settings{Policy: PolicyAuto, Repair: RepairOwn, ConcurrentActivateSafe: true}

// early is auto with a driver whose ports are committed at the pause.
var early = Settings{Policy: PolicyAuto, Drivers: DriverOverrides{"vendor": PolicySuspended}, Repair: RepairOwn, ConcurrentActivateSafe: true}

func TestWhatTheSourceCanPlugInAgainIsCommittedAtThePause(t *testing.T) {
	bridge := with(func(p *port.Port) { p.ID, p.Driver = "p3", "ovn" })
	permute([]Input{start("req", wire.NovaPre), at(dst, 1, SignStarted), pausedWith("p1", "p3")}, func(order []Input) {
		d := newDrive(auto, ready("p1"), ready("p2"), bridge)
		got := aimed(d.tell(order...), GoalCommit)
		if len(got) != 1 || got[0].Port != "p1" || !strings.Contains(got[0].Why, "guest is paused") || !strings.Contains(got[0].Why, "the source can plug it in again") {
			t.Errorf("at the pause: %+v: %v", got, names(order))
		}
		if got := aimed(d.tell(at(dst, 2, SignResumed)), GoalCommit); len(got) != 1 || got[0].Port != "p2" {
			t.Errorf("at the arrival: %+v: %v", got, names(order))
		}
	})
}

func TestOnlyThePauseOfTheSourceSaysWhatCanBePluggedInAgain(t *testing.T) {
	list := func(s HostSign) HostSign {
		s.Replug = []string{"p1"}
		return s
	}
	for _, s := range []HostSign{
		list(at(dst, 2, SignPaused)), list(at(third, 1, SignPaused)), list(at(dst, 1, SignStarted)), pausedWith("other"), pausedWith(),
	} {
		d := newDrive(auto, ready("p1"))
		d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), s, at(src, 2, SignPaused))
		wantPhase(t, d, Paused)
		if got := aimed(d.log, GoalCommit); len(got) != 0 {
			t.Errorf("%s of %v: %+v", say(s), s.Replug, got)
		}
	}
}

func TestWhatCanBePluggedInAgainIsASetThatGrows(t *testing.T) {
	d := newDrive(auto)
	d.mute = true
	repeated := at(src, 2, SignPaused) // of the same pause, without a list
	d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted), pausedWith("p1"), repeated, pausedWith("p2"))
	d.ports = []port.Port{ready("p1"), ready("p2"), ready("p3")}
	got := aimed(d.rows(), GoalCommit)
	if len(got) != 2 || got[0].Port != "p1" || got[1].Port != "p2" {
		t.Errorf("commits %+v", got)
	}
}

func TestASourceThatBecomesKnownLaterHasSaidWhatItCanPlugInAgain(t *testing.T) {
	d := newDrive(auto, ready("p1"))
	d.mute = true
	pause := pausedWith("p1")
	pause.Listed = true // names nobody as the source
	d.tell(at(dst, 1, SignStarted), pause)
	wantHosts(t, d, "", "", dst)
	got := aimed(d.rows(), GoalCommit)
	wantHosts(t, d, "", src, dst)
	if len(got) != 1 {
		t.Errorf("commits %+v", d.log)
	}
}

func TestAnOverrideOfTheDriverWinsOverPluggingInAgain(t *testing.T) {
	for policy, commits := range map[Policy][2]int{PolicyObserve: {0, 0}, PolicyResumed: {0, 1}, PolicySuspended: {1, 0}} {
		for _, list := range [][]string{nil, {"p1"}} {
			s := auto
			s.Drivers = DriverOverrides{openvswitch: policy}
			d := newDrive(s, ready("p1"))
			d.tell(start("req", wire.NovaPre), at(dst, 1, SignStarted))
			atPause := len(aimed(d.tell(pausedWith(list...)), GoalCommit))
			atArrival := len(aimed(d.tell(at(dst, 2, SignResumed)), GoalCommit))
			if got := [2]int{atPause, atArrival}; got != commits {
				t.Errorf("openvswitch=%s, replug %v: %d commits, want %d", policy, list, got, commits)
			}
		}
	}
}

func TestWhatMayBeOurs(t *testing.T) {
	without := func(network string) port.Port { // an ACTIVE row
		p := on(network, driver(""))
		p.Rows[0].Active = false
		return p
	}
	unbound := driver("")
	unbound.Rows[0].VIFType = port.VIFUnbound
	trunk := without("")
	trunk.TrunkParent = true
	nothing := DriverOverrides{"openvswitch": PolicyObserve, "linuxbridge": PolicyObserve}
	for _, c := range []struct {
		name     string
		settings Settings
		port     port.Port
		want     bool
	}{
		{"observe", Settings{Policy: PolicyObserve, Drivers: DriverOverrides{"ovn": PolicyResumed}, Networks: NetworkOverrides{net1: PolicyResumed}}, without(net1), false},
		{"auto, a driver that is committed", Settings{Policy: PolicyAuto}, driver("openvswitch"), true},
		{"auto, a driver that is not", Settings{Policy: PolicyAuto}, driver("ovn"), false},
		{"auto, no ACTIVE row", Settings{Policy: PolicyAuto}, without(""), true},
		{"auto, unbound", Settings{Policy: PolicyAuto}, unbound, true},
		{"auto, bound, and the driver is never shown", Settings{Policy: PolicyAuto}, driver(""), false},
		{"auto, no ACTIVE row of a trunk parent", Settings{Policy: PolicyAuto}, trunk, false},
		{"no driver is committed", Settings{Policy: PolicyAuto, Drivers: nothing}, without(""), false},
		{"one driver is, by override", Settings{Policy: PolicyAuto, Drivers: DriverOverrides{"openvswitch": PolicyObserve, "linuxbridge": PolicyObserve, "ovn": PolicySuspended}}, without(""), true},
		{"a driver is, by override", Settings{Policy: PolicyAuto, Drivers: DriverOverrides{"vendor": PolicyResumed}}, driver("vendor"), true},
		{"a driver is not, by override", Settings{Policy: PolicySuspended, Drivers: nothing}, driver("openvswitch"), false},
		{"forced, all known drivers observed, not shown", Settings{Policy: PolicySuspended, Drivers: nothing}, without(""), true},
		{"its network is observed", Settings{Policy: PolicySuspended, Networks: NetworkOverrides{net1: PolicyObserve}}, without(net1), false},
		{"its network is committed", Settings{Policy: PolicyAuto, Drivers: nothing, Networks: NetworkOverrides{net1: PolicyResumed}}, without(net1), true},
		{"another network is", Settings{Policy: PolicyAuto, Drivers: nothing, Networks: NetworkOverrides{net2: PolicyResumed}}, without(net1), false},
	} {
		if got := mayBeOurs(c.settings, c.port, src, dst); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// Where the two hosts have different drivers the destination's is read after the
// commit: what was committed here is restored whatever it is.
func TestWhatWasCommittedIsRestoredWhateverIsReadOfItLater(t *testing.T) {
	d := newDrive(early, driver("vendor"))
	if got := aimed(d.tell(toThePause()...), GoalCommit); len(got) != 1 {
		t.Fatalf("commits %+v", got)
	}
	moved := driver("ovn")
	moved.Rows[0].Active, moved.Rows[1].Active = false, true
	d.ports = []port.Port{moved}
	d.rows()
	if got := aimed(d.tell(at(src, 2, SignResumed)), GoalRestore); len(got) != 1 {
		t.Errorf("restores %+v", got)
	}
}

func TestNamesOfPoliciesAndRepairsAreReadBack(t *testing.T) {
	for p := PolicyObserve; p <= PolicyAuto; p++ {
		var got Policy = -1
		if err := got.Decode(p.String()); err != nil || got != p {
			t.Errorf("%s is read as %v, %v", p, got, err)
		}
	}
	for r := RepairOff; r <= RepairAll; r++ {
		var got Repair = -1
		if err := got.Decode(r.String()); err != nil || got != r {
			t.Errorf("%s is read as %v, %v", r, got, err)
		}
	}
	var p Policy
	if err := p.Decode("Suspended"); err == nil || strings.Contains(err.Error(), "Suspended") {
		t.Errorf("an unknown policy: %v", err)
	}
	var r Repair
	if err := r.Decode(""); err == nil || !strings.Contains(err.Error(), "off, own, all") {
		t.Errorf("an empty repair: %v", err)
	}
}

func TestOverridesAreReadBack(t *testing.T) {
	var d DriverOverrides
	if err := d.Decode(" ovn = resumed ,calico=suspended,openvswitch=observe"); err != nil || d.String() != "calico=suspended,openvswitch=observe,ovn=resumed" {
		t.Errorf("%s, %v", d, err)
	}
	var n NetworkOverrides
	if err := n.Decode(strings.ToUpper(net2) + "=observe," + net1 + "=resumed"); err != nil || n.String() != net1+"=resumed,"+net2+"=observe" {
		t.Errorf("%s, %v", n, err)
	}
	for _, text := range []string{"", "  "} {
		if err := d.Decode(text); err != nil || len(d) != 0 {
			t.Errorf("%q: %s, %v", text, d, err)
		}
	}
}

func TestFaultsOfOverridesAreNamedAtOnceAndShowNoValue(t *testing.T) {
	var d DriverOverrides
	err := d.Decode("ovn,=observe,ovn=resumed,calico=auto,vendor=hunter2,ovn=observe,")
	want := []string{
		"entry 1: must read NAME=POLICY", "entry 2: a mechanism driver is named", "entry 4: the policy is one of observe, resumed, suspended",
		"entry 5: the policy is one of", "entry 6: has the name of an earlier one", "entry 7: must read NAME=POLICY",
	}
	if err == nil || len(d) != 0 {
		t.Fatalf("%s, %v", d, err)
	}
	if got := strings.Split(err.Error(), "; "); len(got) != len(want) || slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(err.Error(), w) }) {
		t.Errorf("faults %q, want %q", got, want)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("shows a value: %v", err)
	}
	var n NetworkOverrides
	err = n.Decode("production=observe," + net1 + "=often," + net1[:35] + "=observe," + net1[:35] + "g=observe," + strings.ReplaceAll(net1, "-", "0") + "=observe")
	if err == nil || strings.Count(err.Error(), "a network is named by its UUID") != 4 || strings.Count(err.Error(), "the policy is one of") != 1 || strings.Contains(err.Error(), "production") {
		t.Errorf("%v", err)
	}
}

// What the hosts allow holds back what the port's policy would do, and never adds to it.
func TestHostsHoldBack(t *testing.T) {
	auto, observe, resumed, suspended := PolicyAuto, PolicyObserve, PolicyResumed, PolicySuspended
	const every = EveryHost
	type entries = HostOverrides
	for _, c := range []struct {
		hosts HostOverrides
		port  Policy // what the port's own policy is
		want  Policy
		why   string
	}{
		{nil, suspended, suspended, "EARLYBIND_POLICY="},
		{entries{}, resumed, resumed, "EARLYBIND_POLICY="},
		{entries{src: auto, dst: auto}, suspended, suspended, "EARLYBIND_POLICY="},
		{entries{src: auto, dst: auto}, resumed, resumed, "EARLYBIND_POLICY="},
		{entries{src: suspended, dst: suspended}, resumed, resumed, "EARLYBIND_POLICY="}, // never more
		{entries{src: suspended, dst: auto}, observe, observe, "EARLYBIND_POLICY="},
		{entries{src: auto, dst: observe}, suspended, observe, "EARLYBIND_POLICY_HOSTS has " + dst + "=observe"},
		{entries{src: observe, dst: auto}, suspended, observe, "EARLYBIND_POLICY_HOSTS has " + src + "=observe"},
		{entries{src: suspended, dst: resumed}, suspended, resumed, "EARLYBIND_POLICY_HOSTS has " + dst + "=resumed"},
		{entries{src: resumed, dst: suspended}, suspended, resumed, "EARLYBIND_POLICY_HOSTS has " + src + "=resumed"},
		{entries{src: resumed, dst: observe}, suspended, observe, "EARLYBIND_POLICY_HOSTS has " + dst + "=observe"},
		// Who is not named is observed, unless * is.
		{entries{src: auto}, suspended, observe, "EARLYBIND_POLICY_HOSTS does not name " + dst},
		{entries{dst: suspended}, suspended, observe, "EARLYBIND_POLICY_HOSTS does not name " + src},
		{entries{third: observe}, suspended, observe, "EARLYBIND_POLICY_HOSTS does not name " + src},
		{entries{third: observe, every: auto}, suspended, suspended, "EARLYBIND_POLICY="},
		{entries{src: observe, every: auto}, suspended, observe, "EARLYBIND_POLICY_HOSTS has " + src + "=observe"},
		{entries{every: resumed}, suspended, resumed, "EARLYBIND_POLICY_HOSTS has *=resumed, which is for " + src},
		{entries{src: auto, dst: auto, every: observe}, suspended, suspended, "EARLYBIND_POLICY="},
		{entries{src: auto, every: observe}, suspended, observe, "EARLYBIND_POLICY_HOSTS has *=observe, which is for " + dst},
	} {
		s := Settings{Policy: c.port, Hosts: c.hosts}
		if got, why := policyFor(s, ready("p1"), src, dst, false); got != c.want || !strings.HasPrefix(why, c.why) {
			t.Errorf("%s, port %s: %s because %q, want %s because %q", c.hosts, c.port, got, why, c.want, c.why)
		}
		// There and back are the same.
		if got, _ := policyFor(s, ready("p1"), dst, src, false); got != c.want {
			t.Errorf("%s, port %s, the other way: %s, want %s", c.hosts, c.port, got, c.want)
		}
	}
}

func TestACanaryHoldsBack(t *testing.T) {
	of := func(instance int) port.Port { return with(func(p *port.Port) { p.Device = uuid(instance) }) }
	in, out := -1, -1
	for i := range 100 {
		if CanaryOf(10).has(uuid(i)) {
			in = i
		} else {
			out = i
		}
	}
	all := CanaryOf(100)
	for _, c := range []struct {
		settings Settings
		port     port.Port
		want     Policy
		why      string
	}{
		{Settings{Policy: PolicySuspended, Canary: CanaryOf(10)}, of(in), PolicySuspended, "EARLYBIND_POLICY=suspended"},
		{Settings{Policy: PolicySuspended, Canary: CanaryOf(10)}, of(out), PolicyObserve, "EARLYBIND_CANARY=10: the instance is not of that share"},
		{Settings{Policy: PolicySuspended, Canary: all}, of(out), PolicySuspended, "EARLYBIND_POLICY=suspended"},
		{Settings{Policy: PolicySuspended}, of(out), PolicySuspended, "EARLYBIND_POLICY=suspended"},
		{Settings{Policy: PolicySuspended, Canary: CanaryOf(0)}, of(in), PolicyObserve, "EARLYBIND_CANARY=0"},
		// What is observed anyhow says so.
		{Settings{Policy: PolicyObserve, Canary: CanaryOf(10)}, of(out), PolicyObserve, "EARLYBIND_POLICY=observe"},
		{Settings{Policy: PolicySuspended, Canary: CanaryOf(10), Hosts: HostOverrides{src: PolicyAuto}}, of(out), PolicyObserve, "EARLYBIND_POLICY_HOSTS does not name"},
		{Settings{Policy: PolicySuspended, Canary: CanaryOf(10), Hosts: HostOverrides{EveryHost: PolicyResumed}}, of(in), PolicyResumed, "EARLYBIND_POLICY_HOSTS has *"},
	} {
		if got, why := policyFor(c.settings, c.port, src, dst, false); got != c.want || !strings.HasPrefix(why, c.why) {
			t.Errorf("canary %s, hosts %s: %s because %q, want %s because %q", c.settings.Canary, c.settings.Hosts, got, why, c.want, c.why)
		}
	}
}

// What is held back is neither committed nor, by its policy, restored: it is as good as
// observed. What was committed is restored all the same, see below.
func TestWhatIsHeldBackIsNotTouched(t *testing.T) {
	without := suspended
	for i := range 100 {
		if without.Canary = CanaryOf(i); without.Canary.has(ready("p1").Device) {
			without.Canary = CanaryOf(i - 1)
			break
		}
	}
	withoutHost := suspended
	withoutHost.Hosts = HostOverrides{src: PolicyAuto}
	withHosts := suspended
	withHosts.Hosts = HostOverrides{src: PolicyAuto, dst: PolicyAuto}
	for _, c := range []struct {
		settings Settings
		acts     int
		why      string
	}{
		{without, 0, "EARLYBIND_CANARY"}, {withoutHost, 0, "EARLYBIND_POLICY_HOSTS does not name " + dst}, {withHosts, 1, ""},
	} {
		d := newDrive(c.settings, ready("p1"))
		if got := aimed(d.tell(toThePause()...), GoalCommit); len(got) != c.acts {
			t.Errorf("%q: commits %+v", c.why, got)
		}
		if got := observed(d.log); len(got) != 1-c.acts || len(got) == 1 && !strings.Contains(got[0].Why, c.why) {
			t.Errorf("%q: observed %+v", c.why, got)
		}
		if got := aimed(d.tell(at(src, 2, SignResumed)), GoalRestore); len(got) != c.acts {
			t.Errorf("%q: restores %+v", c.why, got)
		}
	}
}

// A host that allows resumed alone has its ports wait for the guest's arrival.
func TestAHostThatAllowsLessIsCommittedLater(t *testing.T) {
	s := suspended
	s.Hosts = HostOverrides{EveryHost: PolicyAuto, dst: PolicyResumed}
	d := newDrive(s, ready("p1"))
	if got := aimed(d.tell(toThePause()...), GoalCommit); len(got) != 0 {
		t.Errorf("at the pause: %+v", got)
	}
	if got := aimed(d.tell(at(dst, 2, SignResumed)), GoalCommit); len(got) != 1 || !strings.Contains(got[0].Why, "EARLYBIND_POLICY_HOSTS has "+dst+"=resumed") {
		t.Errorf("at the arrival: %+v", got)
	}
}

// A killed process may have committed what hosts allow; where one is not known, anything.
func TestWhatMayBeOursByHosts(t *testing.T) {
	s := Settings{Policy: PolicySuspended, Hosts: HostOverrides{src: PolicyAuto, dst: PolicyAuto, third: PolicyObserve}}
	for pair, want := range map[[2]string]bool{
		{src, dst}: true, {src, third}: false, {third, dst}: false, {src, ""}: true, {"", dst}: true, {"", ""}: true, {third, ""}: false, {src, "host9"}: false,
	} {
		if got := mayBeOurs(s, driver(openvswitch), pair[0], pair[1]); got != want {
			t.Errorf("%q: %t, want %t", pair, got, want)
		}
	}
	s.Canary = CanaryOf(0)
	if mayBeOurs(s, driver(openvswitch), src, dst) {
		t.Error("what is of no canary may be ours")
	}
}

func TestHostsAreReadBack(t *testing.T) {
	var h HostOverrides
	if err := h.Decode(" compute2.example.org = auto ,*=observe,compute1=resumed"); err != nil || h.String() != "*=observe,compute1=resumed,compute2.example.org=auto" {
		t.Errorf("%s, %v", h, err)
	}
	err := h.Decode("compute 1=auto,compute2=often,*=auto,*=observe,compute*=auto,=auto")
	if err == nil || strings.Count(err.Error(), "a host is named as Nova names it, or *") != 3 || strings.Contains(err.Error(), "often") ||
		!strings.Contains(err.Error(), "entry 2: the policy is one of observe, resumed, suspended, auto") || !strings.Contains(err.Error(), "entry 4: has the name of an earlier one") {
		t.Errorf("%v", err)
	}
	var d DriverOverrides
	if err := d.Decode("ovn=auto"); err == nil {
		t.Error("a driver may have auto")
	}
}
