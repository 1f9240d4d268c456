package ovs

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/wire"
)

// story is a guest with one port, or two, and a clock that only the test moves.
type story struct {
	t    *testing.T
	d    *fakeDatabase
	l    *levels
	now  time.Time
	away bool
	told []line
}

func newStory(t *testing.T, ports ...string) *story {
	s := &story{t: t, d: newFakeDatabase(), l: newLevels(), now: time.Unix(1000, 0)}
	for _, p := range ports {
		s.plug(p)
	}
	return s
}

func tapOf(port string) string { return "tap" + port[:1] }

func (s *story) plug(port string) {
	s.d.add("br-int", first(wired(tapOf(port), port, guest1)), second(wired(tapOf(port), port, guest1)))
}

// agentRemoves is what neutron-openvswitch-agent does after a deactivation.
func (s *story) agentRemoves(port string) { s.d.remove(tapOf(port)) }

// agentRemovesAndItIsDue is that, seen, and the time after which the port is plugged in again.
func (s *story) agentRemovesAndItIsDue(port string) {
	s.agentRemoves(port)
	s.next()
	s.after(300 * time.Millisecond)
}

// agentWires is what ovs-vswitchd and the agent do after a plug.
func (s *story) agentWires(port string) {
	s.d.update(tableInterface, tapOf(port), row{"ofport": raw(9)})
	none := json.RawMessage(`["set",[]]`)
	s.d.update(tablePort, tapOf(port), row{"tag": raw(3), "vlan_mode": none, "trunks": none})
}

func (s *story) contents() *contents {
	if s.away {
		return nil
	}
	return s.d.contents(s.t)
}

func (s *story) hear(event wire.Event, detail wire.Detail) []string {
	return s.l.heard(s.contents(), guest1, event, detail, s.now)
}

// migrationFails is the guest's pause, and that it runs on here.
func (s *story) migrationFails() {
	s.hear(wire.Suspended, wire.Migrated)
	s.hear(wire.Resumed, wire.Unpaused)
}

func (s *story) after(d time.Duration) { s.now = s.now.Add(d) }

// next runs what is due and shows it: "plug tapa 1", "remove tapa"; then in how
// many milliseconds it is to be asked again.
func (s *story) next() string {
	s.t.Helper()
	todo, at := s.l.next(s.contents(), s.now)
	var shown []string
	for len(todo) > 0 {
		t := todo[0]
		todo = todo[1:]
		one := fmt.Sprintf("plug %s %d", t.saved.name, t.attempt)
		operations, insert := t.saved.plug(), insertOfPort
		if t.remove != "" {
			one = "remove " + t.saved.name
			operations, insert = t.saved.unplug(t.remove), -1
		}
		var list [][]byte
		for _, o := range operations {
			list = append(list, raw(o))
		}
		var id string
		var err error
		s.d.change(func() { id, err = readOutcome(raw(s.d.transact(messages(list))), insert) })
		if err != nil {
			one += " refused"
		}
		shown = append(shown, one)
		if more := s.l.answered(t, id, err, s.now); more != nil {
			todo = append(todo, *more)
		}
	}
	if !at.IsZero() {
		shown = append(shown, fmt.Sprint(at.Sub(s.now).Milliseconds()))
	}
	return strings.Join(shown, ", ")
}

// said shows the messages since the last call.
func (s *story) said() string {
	var all []string
	lines := s.l.takeLines()
	s.told = append(s.told, lines...)
	for _, one := range lines {
		all = append(all, one.what)
	}
	return strings.Join(all, ", ")
}

func (s *story) want(what, got, want string) {
	s.t.Helper()
	if got != want {
		s.t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func TestFailedMigrationIsPluggedInAgain(t *testing.T) {
	s := newStory(t, portA, portB)
	if got := s.hear(wire.Suspended, wire.Migrated); !slices.Equal(got, []string{portA, portB}) {
		t.Fatalf("announced %v", got)
	}
	s.want("still", s.next(), "")
	s.want("said", s.said(), "replug armed")
	s.agentRemoves(portA)
	s.want("still, removed", s.next(), "") // the guest is not here yet
	s.after(time.Second)
	if got := s.hear(wire.Resumed, wire.Migrated); got != nil {
		t.Errorf("RESUMED announces %v", got)
	}
	s.want("resumed", s.next(), "300")
	s.after(300 * time.Millisecond)
	s.want("missing for long enough", s.next(), "plug tapa 1, 899700") // the other is watched
	s.want("said", s.said(), "replug begins, port plugged in again")
	s.want("again", s.next(), "59700") // until it takes long
	s.agentRemoves(portB)              // seconds after RESUMED
	s.after(2 * time.Second)
	s.want("removed late", s.next(), "300")
	s.after(300 * time.Millisecond)
	s.want("removed late", s.next(), "plug tapb 1, 57400")
	s.agentWires(portA)
	s.want("wired", s.next(), "59700")
	s.want("said", s.said(), "port plugged in again, replug verified")
	s.agentWires(portB)
	s.next()
	s.after(time.Minute)
	s.want("over", s.next(), "")
	s.want("said", s.said(), "replug verified, replug disarmed")
	s.agentRemoves(portA) // a detach by Nova
	s.want("after the minute", s.next(), "")
	if got := s.d.row(tablePort, "tapb"); string(got["other_config"]) == "" || s.d.names() != "tapb" {
		t.Errorf("ports %q, row %s", s.d.names(), raw(got))
	}
}

func TestPortThatIsTakenOffAgainIsPluggedInAgainWithGrowingDelays(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.said()
	s.agentRemoves(portA)
	for i, delay := range []int{300, 300, 600, 1200, 2000, 2000} {
		s.agentRemoves(portA)
		s.want("too early", s.next(), fmt.Sprint(delay))
		s.after(time.Duration(delay-1) * time.Millisecond)
		s.want("still too early", s.next(), "1")
		s.after(time.Millisecond)
		s.want("due", s.next(), fmt.Sprintf("plug tapa %d", i+1))
	}
	// Verified and then taken off: verified anew.
	s.agentWires(portA)
	s.next()
	s.said()
	s.agentRemoves(portA)
	s.next()
	s.after(2 * time.Second)
	s.next()
	s.agentWires(portA)
	s.next()
	s.want("said", s.said(), "port plugged in again, replug verified")
}

// The agent takes the port off when its loop comes round, whose RPC can wait for minutes.
func TestAgentThatIsMinutesLate(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.want("nothing to do", s.next(), "900000")
	s.after(90 * time.Second)
	s.agentRemoves(portA)
	s.want("missing", s.next(), "300")
	s.after(300 * time.Millisecond)
	s.want("due", s.next(), "plug tapa 1")

	// The same while the database is away for longer than a minute.
	s = newStory(t, portA)
	s.migrationFails()
	s.away = true
	s.agentRemoves(portA)
	s.after(70 * time.Second)
	s.want("away", s.next(), "830000")
	s.away = false
	s.next()
	s.after(300 * time.Millisecond)
	s.want("there again", s.next(), "plug tapa 1")

	// For ever is too long.
	s = newStory(t, portA)
	s.migrationFails()
	s.after(longestWatch)
	s.want("over", s.next(), "")
	s.want("said", s.said(), "replug armed, replug begins, replug disarmed")
}

// Nova undefines a domain that runs on, for a live snapshot.
func TestGuestThatIsUndefinedRunsOn(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.hear(wire.Undefined, "removed")
	s.agentRemovesAndItIsDue(portA)
	s.want("due", s.next(), "plug tapa 1")
}

// An agent that is older than its own isolation leaves it: the guest is not reached.
func TestPortThatStaysIsolatedIsNotVerified(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.agentRemovesAndItIsDue(portA)
	s.next()
	s.d.update(tableInterface, "tapa", row{"ofport": raw(9)})
	s.d.update(tablePort, "tapa", row{"tag": raw(3)})
	s.next()
	s.after(time.Minute)
	s.next()
	s.want("said", s.said(), "replug armed, replug begins, port plugged in again, replug takes long")
	if why := s.told[len(s.told)-1].why; !strings.Contains(why, "tag 3, vlan_mode trunk") {
		t.Errorf("why %q", why)
	}
}

func TestOnlyAfterAMigrationsPause(t *testing.T) {
	for _, tc := range []struct {
		name   string
		events []string // "event/detail"
		said   string
	}{
		{"never paused", []string{"resumed/unpaused"}, ""},
		{"paused by a user", []string{"suspended/paused", "resumed/unpaused"}, ""},
		{"still paused", []string{"suspended/migrated"}, "replug armed"},
		{"paused by a user meanwhile", []string{"suspended/migrated", "suspended/paused"}, "replug armed"},
		{"success", []string{"suspended/migrated", "stopped/migrated"}, "replug armed, replug disarmed"},
		{"success, definition removed first", []string{"suspended/migrated", "undefined/removed", "stopped/migrated"}, "replug armed, replug disarmed"},
		{"died", []string{"suspended/migrated", "resumed/unpaused", "stopped/crashed"}, "replug armed, replug begins, replug disarmed"},
		{"post-copy", []string{"suspended/migrated", "suspended/postcopy", "resumed/postcopy"}, "replug armed, replug disarmed"},
		{"post-copy failed", []string{"suspended/migrated", "suspended/postcopy_failed", "resumed/unpaused"}, "replug armed, replug disarmed"},
		{"next migration under way", []string{"suspended/migrated", "resumed/unpaused", "suspended/migrated"}, "replug armed, replug begins, replug armed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStory(t, portA)
			for _, e := range tc.events {
				event, detail, _ := strings.Cut(e, "/")
				s.hear(wire.Event(event), wire.Detail(detail))
			}
			s.agentRemoves(portA)
			s.want("nothing is put back", s.next(), "")
			s.want("said", s.said(), tc.said)
		})
	}
}

func TestSecondMigrationKeepsWhatTheFirstHasLeftToDo(t *testing.T) {
	s := newStory(t, portA, portB)
	s.hear(wire.Suspended, wire.Migrated)
	s.agentRemoves(portA)
	s.hear(wire.Resumed, wire.Unpaused)
	// The next migration pauses the guest before anything could be done.
	if got := s.hear(wire.Suspended, wire.Migrated); !slices.Equal(got, []string{portB}) {
		t.Fatalf("announced %v", got) // the other is not plugged in
	}
	s.want("still", s.next(), "")
	s.agentRemoves(portB)
	s.after(time.Hour)
	s.hear(wire.Resumed, wire.Unpaused)
	s.want("resumed", s.next(), "300")
	s.after(300 * time.Millisecond)
	s.want("due", s.next(), "plug tapa 1, plug tapb 1")
}

func TestResumedTwiceDoesNotLengthenTheWatch(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.after(59 * time.Second)
	s.hear(wire.Suspended, wire.Paused)
	s.hear(wire.Resumed, wire.Unpaused)
	s.want("next", s.next(), "841000")
}

func TestReadingOfLibvirt(t *testing.T) {
	for _, tc := range []struct {
		name  string
		state *wire.DomainState
		next  string
		said  string
	}{
		{"runs", &wire.DomainState{State: "running", Reason: "migrated"}, "plug tapa 1", "replug begins, port plugged in again"},
		{"still", &wire.DomainState{State: "paused", Reason: "migration"}, "", ""},
		{"paused by a user", &wire.DomainState{State: "paused", Reason: "user"}, "", ""},
		{"gone", nil, "", "replug disarmed"},
		{"shut off", &wire.DomainState{State: "shutoff", Reason: "crashed"}, "", "replug disarmed"},
		{"comes in again", &wire.DomainState{State: "paused", Reason: "migration", Incoming: true}, "", "replug disarmed"},
		{"post-copy", &wire.DomainState{State: "paused", Reason: "postcopy"}, "", "replug disarmed"},
		{"post-copy failed", &wire.DomainState{State: "paused", Reason: "postcopy_failed"}, "", "replug disarmed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newStory(t, portA)
			s.hear(wire.Suspended, wire.Migrated)
			s.said()
			s.agentRemoves(portA)
			states := []wire.DomainState{{Instance: guest2, State: "running"}}
			if tc.state != nil {
				tc.state.Instance = guest1
				states = append(states, *tc.state)
			}
			s.l.read(states, s.now)
			s.next()
			s.after(shortestDelay)
			s.want("next", s.next(), tc.next)
			s.want("said", s.said(), tc.said)
		})
	}
}

func TestNothingIsAnnouncedThatIsNotThere(t *testing.T) {
	s := newStory(t)
	s.d.add("br-int", first(wired("tapz", portA, guest2)), second(wired("tapz", portA, guest2)))
	if got := s.hear(wire.Suspended, wire.Migrated); got != nil {
		t.Errorf("another guest's port: %v", got)
	}
	s.want("said", s.said(), "replug: nothing to announce")

	s = newStory(t, portA)
	s.away = true
	if got := s.hear(wire.Suspended, wire.Migrated); got != nil {
		t.Errorf("database away: %v", got)
	}
	s.said()
	if s.told[0].why != "the Open vSwitch database is away" {
		t.Errorf("why %q", s.told[0].why)
	}
	s.away = false
	s.agentRemoves(portA)
	s.hear(wire.Resumed, wire.Unpaused)
	s.want("not armed", s.next(), "")

	s = newStory(t, portA, portB)
	s.d.update(tableInterface, "tapb", row{"type": raw("dpdkvhostuserclient")})
	if got := s.hear(wire.Suspended, wire.Migrated); !slices.Equal(got, []string{portA}) {
		t.Errorf("got %v", got)
	}
	s.said()
	if left := s.told[0].leftOut; len(left) != 1 || !strings.HasPrefix(left[0], portB+": an interface of type") {
		t.Errorf("left out %v", left)
	}
}

func TestDeviceThatHasGoneIsTakenOutAndSaidOnce(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.agentRemovesAndItIsDue(portA) // Nova: interface detached, device gone
	s.want("plug", s.next(), "plug tapa 1")
	s.said()
	s.d.update(tableInterface, "tapa", row{"ofport": raw(-1), "error": raw("could not open network device tapa (No such device)")})
	s.want("take out", s.next(), "remove tapa")
	s.want("said", s.said(), "replug gave up, replug: taken out again")
	s.want("over", s.next(), "")
	s.want("said", s.said(), "replug disarmed")
	if s.d.names() != "" || s.told[1].mend != "" {
		t.Errorf("ports %q, mend %q", s.d.names(), s.told[1].mend)
	}
}

func TestOtherFaultIsTriedAgain(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.agentRemovesAndItIsDue(portA)
	s.want("plug", s.next(), "plug tapa 1")
	s.d.update(tableInterface, "tapa", row{"ofport": raw(-1), "error": raw("could not add network device tapa to ofproto (Device or resource busy)")})
	s.want("wait", s.next(), "300")
	s.after(300 * time.Millisecond)
	s.want("take out", s.next(), "remove tapa")
	s.want("wait", s.next(), "300")
	s.after(300 * time.Millisecond)
	s.want("again", s.next(), "plug tapa 2")

	// A database that refuses the removal is not asked at once again.
	s.d.update(tableInterface, "tapa", row{"ofport": raw(-1), "error": raw("could not add network device tapa to ofproto (Device or resource busy)")})
	s.after(600 * time.Millisecond)
	s.d.refuse = "I/O error"
	s.want("refused", s.next(), "remove tapa refused")
	s.want("wait", s.next(), "1200")
}

// A fault of an interface that somebody else has plugged in is his.
func TestForeignInterfaceIsLeftAlone(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.agentRemovesAndItIsDue(portA)
	s.want("plug", s.next(), "plug tapa 1")
	s.agentRemoves(portA)
	s.plug(portA)
	s.d.update(tableInterface, "tapa", row{"ofport": raw(-1), "error": raw("No such device")})
	s.want("next", s.next(), "59700")
}

func TestRefusedPlugs(t *testing.T) {
	s := newStory(t, portA)
	s.d.update(tablePort, "tapa", row{"qos": uuidOf("q")})
	s.migrationFails()
	s.agentRemoves(portA)
	s.next()
	s.after(time.Second)
	s.d.refuse = "referential integrity violation"
	s.want("QoS has gone", s.next(), "plug tapa 1 refused")
	s.after(time.Second)
	s.want("without", s.next(), "plug tapa 2")
	if got := s.d.row(tablePort, "tapa"); got == nil || got["qos"] != nil {
		t.Errorf("row %s", raw(got))
	}
	s.agentRemoves(portA)
	s.next()
	s.d.refuse = "constraint violation"
	s.after(time.Second)
	s.want("refused", s.next(), "plug tapa 3 refused")
	s.after(2 * time.Second)
	s.want("again", s.next(), "plug tapa 4")
	s.want("said", s.said(), "replug armed, replug begins, port could not be plugged in again, port plugged in again, "+
		"port could not be plugged in again, port plugged in again")
}

func TestGuardsRefuseASecondPlugAndAMissingBridge(t *testing.T) {
	s := newStory(t, portA)
	one, _ := s.d.contents(t).save(portA)
	try := func() error {
		var list [][]byte
		for _, o := range one.plug() {
			list = append(list, raw(o))
		}
		var err error
		s.d.change(func() { _, err = readOutcome(raw(s.d.transact(messages(list))), insertOfPort) })
		return err
	}
	if err := try(); !errors.Is(err, errTaken) {
		t.Errorf("interface there: %v", err)
	}
	s.agentRemoves(portA)
	delete(s.d.tables[tableBridge], "br-1")
	if err := try(); !errors.Is(err, errTaken) {
		t.Errorf("bridge gone: %v", err)
	}
}

func TestWhatCouldNotBeMendedIsSaidWithTheCommand(t *testing.T) {
	s := newStory(t, portA, portB)
	s.migrationFails()
	s.agentRemoves(portA)
	s.agentRemovesAndItIsDue(portB)
	s.want("both", s.next(), "plug tapa 1, plug tapb 1")
	s.said()
	check := func(said string) {
		t.Helper()
		s.want("said", s.said(), said)
		gone, dead := s.told[len(s.told)-3], s.told[len(s.told)-2]
		if !strings.HasPrefix(gone.mend, "ovs-vsctl --may-exist add-port br-int tapa") || gone.why != "the interface is missing" {
			t.Errorf("missing: %+v", gone)
		}
		if dead.mend != "" || !strings.Contains(dead.why, "not wired (ofport 0, tag 4095, vlan_mode trunk)") {
			t.Errorf("not wired: %+v", dead)
		}
	}
	// The agent wires neither, and takes one off: told after a minute, and tried further.
	s.after(time.Minute)
	s.agentRemovesAndItIsDue(portA)
	s.want("tried", s.next(), "plug tapa 2, 839400")
	check("replug takes long, replug takes long, port plugged in again")
	s.after(longestWatch)
	s.agentRemoves(portA)
	s.next()
	check("replug gave up, replug gave up, replug disarmed")

	s = newStory(t, portA)
	s.migrationFails()
	s.away = true
	s.agentRemoves(portA)
	s.want("away", s.next(), "900000")
	s.after(longestWatch)
	s.next()
	s.want("said", s.said(), "replug armed, replug begins, replug gave up, replug disarmed")
}

// The guest leaves while a plug is under way: what it has made is taken out.
func TestPlugThatCameTooLateIsTakenOut(t *testing.T) {
	s := newStory(t, portA)
	s.migrationFails()
	s.agentRemoves(portA)
	s.next()
	s.after(shortestDelay)
	todo, _ := s.l.next(s.contents(), s.now)
	s.hear(wire.Stopped, "destroyed")
	more := s.l.answered(todo[0], "port-9", nil, s.now)
	if more == nil || more.remove != "port-9" {
		t.Fatalf("got %+v", more)
	}
	if again := s.l.answered(*more, "", nil, s.now); again != nil {
		t.Errorf("and again: %+v", again)
	}
	s.want("said", s.said(), "replug armed, replug begins, replug disarmed, replug: taken out again")
}

// A transaction whose answer was lost is neither taken for done nor for failed:
// the next contents tell.
func TestAnswerThatIsLost(t *testing.T) {
	for _, done := range []bool{false, true} {
		s := newStory(t, portA)
		s.migrationFails()
		s.agentRemoves(portA)
		s.next()
		s.after(shortestDelay)
		s.l.next(s.contents(), s.now)
		s.want("under way", s.next(), "")
		s.l.away()
		s.after(time.Second)
		if done {
			s.plug(portA)
			s.want("done", s.next(), "60000") // wired by whoever it was
		} else {
			s.want("not done", s.next(), "plug tapa 2")
		}
	}
}
