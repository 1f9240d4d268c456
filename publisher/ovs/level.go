package ovs

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/wire"
)

const (
	// longestWatch is how long a saved interface is watched that was not taken off yet, or that
	// is not wired again, from when the guest is known to run here again. Neutron's agent
	// takes it off at the beginning of its next loop: after 2 s by default, and after minutes
	// where the loop before waits for a neutron-server that does not answer (its RPC
	// timeout is 60 s, and doubled each time: neutron_lib/rpc.py, BackingOffClient).
	longestWatch = 15 * time.Minute
	// window is how long one is watched that was put back and is wired again.
	window = time.Minute
	// An attempt is made when the interface has been missing for the shortest delay, so that
	// whoever takes it off for good has taken its QoS row and its device away too
	// (vif_plug_ovs' ovsdb_lib.py, delete_ovs_vif_port), and not sooner after the attempt
	// before than the shortest, doubled each time, up to the longest.
	shortestDelay = 300 * time.Millisecond
	longestDelay  = 2 * time.Second
)

// levels is what is known of the guests that stand still for a migration or have
// come back from one. It decides what to put back, and is pure: it is told what
// happens and what time it is.
//
//	         SUSPENDED/MIGRATED          RESUMED, or read as running      every interface is done with
//	(none) ---------------------> still ----------------------------> level ------------> (none)
//	                                ^                                   |
//	                                +-------- SUSPENDED/MIGRATED -------+
//	STOPPED, SUSPENDED/POSTCOPY..., or not read at all: (none), from everywhere
//
// Only in level is anything put back. UNDEFINED says nothing: Nova undefines a domain that goes
// on running for a live snapshot (nova/virt/libvirt/driver.py, _live_snapshot).
type levels struct {
	guests map[string]*guest // by instance
	lines  []line            // to be written
	unkept bool              // guests or what is saved of them has changed
	// unkeepable: what is saved could not be kept for the next start, so that nothing more
	// is announced.
	unkeepable bool
}

type guest struct {
	plugs map[string]*plug // by Neutron port; those that are done with are left out
	since time.Time        // the guest is known to run here again; zero in still
}

// plug is one saved interface and what was done for it.
type plug struct {
	saved    saved
	attempts int
	last     time.Time // when the last attempt began, or was refused
	busy     bool      // a transaction is under way
	ours     string    // UUID of the Port row that the last plug made
	missing  time.Time // since when it is missing; zero: it is there
	trouble  time.Time // since when it is missing, or not wired after that; zero: it is well
	told     bool      // that the trouble lasts
	verified time.Time // of the last plug: it runs and the agent has wired it
	lost     bool      // given up: its device has gone
	fault    string    // of the last attempt
}

// task is a transaction to be sent.
type task struct {
	instance string
	saved    saved
	attempt  int
	// remove is the UUID of the Port row to be taken out; empty: plug.
	remove string
}

// What a line says of a port that nothing more is done for.
const (
	sayVerified = "replug verified"
	sayGaveUp   = "replug gave up"
)

// sayLong is said of a port that is not well a minute after it was found missing; it is
// still tried.
const sayLong = "replug takes long"

// line is one decision for the log.
type line struct {
	level    zerolog.Level
	what     string
	instance string
	saved    *saved        // one interface
	ports    []string      // several Neutron ports
	leftOut  []string      // ports and why not
	attempt  int           // 0: none
	took     time.Duration // 0: none
	ofport   int           // 0: none
	why      string
	mend     string
}

func newLevels() *levels { return &levels{guests: map[string]*guest{}} }

func (l *levels) say(s line) { l.lines = append(l.lines, s) }

// takeLines gives what is to be written since the last call.
func (l *levels) takeLines() []line {
	lines := l.lines
	l.lines = nil
	return lines
}

// heard takes a domain's event. Of SUSPENDED/MIGRATED it gives the Neutron ports
// that can be plugged in again, sorted; c is nil while the database is away.
func (l *levels) heard(c *contents, instance string, event wire.Event, detail wire.Detail, now time.Time) []string {
	switch event {
	case wire.Suspended:
		switch detail {
		case wire.Migrated:
			return l.still(c, instance)
		case wire.PostCopy, wire.PostCopyFailed:
			l.forget(instance, "post-copy: the guest cannot come back")
		}
	case wire.Resumed:
		l.back(instance, "the guest was resumed", now)
	case wire.Stopped:
		l.forget(instance, "the guest has left: "+string(event)+"/"+string(detail))
	}
	return nil
}

// read takes what libvirt says of all domains, after a gap in its events.
func (l *levels) read(states []wire.DomainState, now time.Time) {
	byID := map[string]wire.DomainState{}
	for _, s := range states {
		byID[s.Instance] = s
	}
	for _, instance := range slices.Sorted(maps.Keys(l.guests)) {
		s, here := byID[instance]
		switch {
		case !here || s.Incoming || s.State == "shutoff" || s.State == "crashed":
			l.forget(instance, "the guest is not here any more")
		case strings.HasPrefix(s.Reason, string(wire.PostCopy)):
			l.forget(instance, "post-copy: the guest cannot come back")
		case s.State == "running":
			l.back(instance, "libvirt says that the guest runs", now)
		}
	}
}

// still saves the interfaces of a guest that stands still.
func (l *levels) still(c *contents, instance string) (announced []string) {
	said := line{level: zerolog.InfoLevel, instance: instance}
	fresh := map[string]saved{}
	switch {
	case c == nil:
		said.why = "the Open vSwitch database is away"
	case l.unkeepable:
		said.why = "what is saved cannot be kept on disk, and would not outlive a restart"
	default:
		for _, port := range c.ofInstance(instance) {
			if s, why := c.save(port); why == "" {
				fresh[port] = s
				announced = append(announced, port)
			} else {
				said.leftOut = append(said.leftOut, port+": "+why)
			}
		}
	}
	g := l.guests[instance]
	if g == nil {
		if len(fresh) == 0 {
			said.what = "replug: nothing to announce"
			l.say(said)
			return nil
		}
		g = &guest{plugs: map[string]*plug{}}
		l.guests[instance] = g
	}
	// What a failed migration before this one has left to be put back stays.
	g.since = time.Time{}
	for port, s := range fresh {
		before := g.plugs[port]
		g.plugs[port] = &plug{saved: s, busy: before != nil && before.busy}
	}
	l.unkept = true
	said.what, said.ports = "replug armed", announced
	l.say(said)
	return announced
}

// back begins the time in which what is missing is put back.
func (l *levels) back(instance, why string, now time.Time) {
	g := l.guests[instance]
	if g == nil || !g.since.IsZero() {
		return
	}
	g.since = now
	for _, p := range g.plugs {
		p.missing, p.trouble, p.told = time.Time{}, time.Time{}, false
	}
	l.say(line{level: zerolog.InfoLevel, what: "replug begins", instance: instance, why: why})
}

func (l *levels) forget(instance, why string) {
	if l.guests[instance] == nil {
		return
	}
	l.drop(instance, why)
}

func (l *levels) drop(instance, why string) {
	delete(l.guests, instance)
	l.unkept = true
	l.say(line{level: zerolog.InfoLevel, what: "replug disarmed", instance: instance, why: why})
}

// next gives what is to be sent now, and when to ask again if nothing happens
// until then; zero: no need. Without the database (c is nil) nothing is sent.
func (l *levels) next(c *contents, now time.Time) (todo []task, at time.Time) {
	again := func(t time.Time) {
		if at.IsZero() || t.Before(at) {
			at = t
		}
	}
	for _, instance := range slices.Sorted(maps.Keys(l.guests)) {
		g := l.guests[instance]
		if g.since.IsZero() {
			continue
		}
		for _, port := range slices.Sorted(maps.Keys(g.plugs)) {
			p := g.plugs[port]
			if p.busy {
				continue // its answer comes, or the database is lost
			}
			if c != nil && !p.lost {
				t, when := p.next(c, instance, now, l.say)
				if t != nil {
					p.busy = true
					todo = append(todo, *t)
					continue
				} else if !when.IsZero() {
					again(when)
				}
			}
			if over := p.over(g.since); now.Before(over) {
				again(over)
			} else {
				l.end(c, instance, p)
				delete(g.plugs, port)
				l.unkept = true
			}
		}
		if len(g.plugs) == 0 {
			l.drop(instance, "nothing is left to be done")
		}
	}
	return todo, at
}

// over is when nothing more is done for an interface.
func (p *plug) over(since time.Time) time.Time {
	switch {
	case p.lost:
		return p.last
	case !p.verified.IsZero():
		return p.verified.Add(window)
	}
	return since.Add(longestWatch)
}

// next decides for one interface: a task, or when to look again, or neither.
func (p *plug) next(c *contents, instance string, now time.Time, say func(line)) (*task, time.Time) {
	places := c.find(p.saved.port)
	if len(places) == 0 {
		p.verified = time.Time{}
		if p.missing.IsZero() {
			p.missing = now
		}
		if p.trouble.IsZero() {
			p.trouble = now
		}
		late := p.late(instance, "the interface is missing "+p.fault, p.saved.mend(), now, say)
		if due := latest(p.due(), p.missing.Add(shortestDelay)); now.Before(due) {
			return nil, due
		}
		p.attempts++
		p.last, p.ours, p.fault = now, "", ""
		return &task{instance: instance, saved: p.saved, attempt: p.attempts}, late
	}
	p.missing = time.Time{}
	if p.attempts == 0 || !p.verified.IsZero() {
		return nil, time.Time{}
	}
	one := places[0]
	if p.ours != "" && one.portID == p.ours && one.iface.fault != "" {
		p.fault = one.iface.fault
		// What ovs-vswitchd says where there is no device: "could not open
		// network device tap... (No such device)", ofport -1 (run, 3.1.0).
		if p.lost = strings.Contains(p.fault, "No such device"); p.lost {
			say(line{level: zerolog.WarnLevel, what: sayGaveUp, instance: instance, saved: &p.saved, attempt: p.attempts,
				why: "the device has gone: " + p.fault})
		}
		if due := p.due(); !p.lost && now.Before(due) {
			return nil, due
		}
		return &task{instance: instance, saved: p.saved, attempt: p.attempts, remove: p.ours}, time.Time{}
	}
	if one.runs() {
		p.verified, p.trouble, p.told = now, time.Time{}, false
		say(line{level: zerolog.InfoLevel, what: sayVerified, instance: instance, saved: &p.saved, attempt: p.attempts,
			ofport: one.iface.ofport, took: now.Sub(p.last)})
		return nil, time.Time{}
	}
	return nil, p.late(instance, one.notWired(), "", now, say)
}

// late says once that the trouble has lasted for a minute, and gives when it is to be said.
func (p *plug) late(instance, why, mend string, now time.Time, say func(line)) time.Time {
	if p.told {
		return time.Time{}
	}
	if at := p.trouble.Add(window); now.Before(at) {
		return at
	}
	p.told = true
	say(line{level: zerolog.WarnLevel, what: sayLong, instance: instance, saved: &p.saved, attempt: p.attempts, why: strings.TrimSpace(why), mend: mend})
	return time.Time{}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// runs tells whether Open vSwitch has taken the interface and Neutron's agent has
// given its port a VLAN and taken away what kept it apart.
func (p place) runs() bool {
	return p.iface.ofport > 0 && p.iface.fault == "" && p.port.tag > 0 && p.port.tag != deadVLAN &&
		p.port.text("vlan_mode") != trunkMode && p.port.empty("trunks")
}

// notWired says why it does not run yet.
func (p place) notWired() string {
	return fmt.Sprintf("the interface is plugged in but not wired (ofport %d, tag %d%s%s): are the port's rows right, does Neutron's agent run?",
		p.iface.ofport, p.port.tag, prefixed(", vlan_mode ", p.port.text("vlan_mode")), prefixed(", ", p.iface.fault))
}

// due is when the next attempt may begin.
func (p *plug) due() time.Time {
	if p.attempts == 0 {
		return time.Time{}
	}
	delay := longestDelay
	if n := p.attempts - 1; n < 10 {
		delay = min(longestDelay, shortestDelay<<n)
	}
	return p.last.Add(delay)
}

// answered takes what came of a task: the UUID of the Port row that a plug has
// made, or why it failed. A plug that came too late, since the guest left
// meanwhile, is to be taken out again: then there is one more task.
func (l *levels) answered(t task, portRow string, err error, now time.Time) *task {
	var p *plug
	if g := l.guests[t.instance]; g != nil {
		p = g.plugs[t.saved.port]
	}
	if p != nil {
		p.busy = false
	}
	said := line{level: zerolog.InfoLevel, instance: t.instance, saved: &t.saved, attempt: t.attempt}
	switch {
	case t.remove != "":
		said.what = "replug: taken out again"
		if err != nil {
			said.level, said.what, said.why = zerolog.WarnLevel, "replug: could not be taken out again", err.Error()
			if p != nil {
				p.last, p.attempts = now, p.attempts+1
			}
		}
	case err == nil && p == nil:
		return &task{instance: t.instance, saved: t.saved, attempt: t.attempt, remove: portRow}
	case err == nil:
		p.ours, p.missing = portRow, time.Time{}
		said.what, said.took = "port plugged in again", now.Sub(p.last)
	default:
		said.level, said.what, said.why = zerolog.WarnLevel, "port could not be plugged in again", err.Error()
		if p != nil {
			p.fault = err.Error()
			if errors.Is(err, errReferences) {
				p.saved = p.saved.withoutReferences()
			}
		}
	}
	l.say(said)
	return nil
}

// away says that the database was lost: what is under way has no answer, and the
// next contents tell what came of it.
func (l *levels) away() {
	for _, g := range l.guests {
		for _, p := range g.plugs {
			p.busy = false
		}
	}
}

// end says what could not be mended of an interface.
func (l *levels) end(c *contents, instance string, p *plug) {
	said := line{level: zerolog.ErrorLevel, what: sayGaveUp, instance: instance, saved: &p.saved, attempt: p.attempts}
	var places []place
	if c != nil {
		places = c.find(p.saved.port)
	}
	switch {
	case p.lost:
		return // said already
	case c == nil:
		said.why, said.mend = "the Open vSwitch database is away: whether the interface is plugged in is not known", p.saved.mend()
	case len(places) == 0:
		said.why, said.mend = strings.TrimSpace("the interface is missing "+p.fault), p.saved.mend()
	case p.attempts > 0 && !places[0].runs():
		said.why = places[0].notWired()
	default:
		return
	}
	l.say(said)
}

func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}
