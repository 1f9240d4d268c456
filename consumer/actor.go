package consumer

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

const (
	// maxHeld bounds what one instance holds; a migration has about 20 messages.
	// Held messages count against the session's prefetch.
	maxHeld = 64
	// expireAfter is how long a handover may stay silent.
	expireAfter = 45 * time.Minute
	// rememberFor is how long an instance without a handover is remembered, so
	// that late messages of its last one are known for what they are.
	rememberFor = 10 * time.Minute
)

// message is an input with where it came from.
type message struct {
	input  handover.Input
	saw    string
	host   string
	at     time.Time // on the host's clock, for people
	again  bool      // delivered before: another session has acted on it, or this one
	settle func()    // acknowledges; may be nil
}

type heldMessage struct {
	settle func()
	since  time.Duration
}

// actor is one instance: it feeds the core and carries out its decisions. It has no goroutine
// of its own, since very many may be armed at once: who has something for it runs it, the
// session with what was delivered, workers and arms with what they have found. It waits for
// nothing but its log and the broker's connection; one that hangs stops the session's rounds,
// which health watches.
type actor struct {
	instance string
	tools    *tools
	turn     sync.Mutex // of whoever runs it; guards all below but wg
	core     *handover.Instance

	// of the handover that goes on
	about    audit.Handover
	scope    *scope // there while an arm or a worker needs it
	workers  map[string]*worker
	leaving  map[string]*worker // of handovers before, each port's last; a request may be under way
	held     []heldMessage
	timeline timeline
	told     time.Duration // when what is being taken in was delivered, or found
	adopted  bool          // from another session: its last write may still take effect
	arming   bool          // a read is under way
	armAgain bool          // and another is wanted after it

	heardAt   time.Duration  // when the instance was last heard of
	idleSince time.Duration  // when it last was told of a migration, or one ended, if none goes on
	wg        sync.WaitGroup // workers and arms
}

// scope ends with the handover.
type scope struct {
	ctx context.Context //nolint:containedctx // its own
	end context.CancelFunc
}

func newActor(instance string, t *tools) *actor {
	return &actor{
		instance: instance,
		tools:    t,
		heardAt:  t.clock(),

		idleSince: t.clock(),
		core:      handover.NewInstance(&t.settings),
	}
}

// hear has it take a message, unless the session has ended.
func (a *actor) hear(ctx context.Context, m message) {
	delivered := a.tools.clock()
	a.turn.Lock()
	defer a.turn.Unlock()
	if ctx.Err() == nil {
		a.told = delivered
		a.take(ctx, m)
	}
}

func (a *actor) take(ctx context.Context, m message) {
	earlier := len(a.held)
	// What Nova says of a migration whose handover has ended is not kept for the one that goes on: another
	// replica would be given both, and take them for one.
	if n, ok := m.input.(handover.NovaSign); ok && m.settle != nil && a.core.Over(n) {
		m.settle()
		m.settle = nil
	}
	if m.settle != nil {
		a.held = append(a.held, heldMessage{m.settle, a.tools.clock()})
		if len(a.held) > maxHeld {
			a.held[0].settle()
			a.held, earlier = a.held[1:], max(earlier-1, 0)
		}
	}
	if m.saw != "" && tellsOfMigration(m.input) {
		a.heardAt = a.tools.clock()
	}
	before := a.core.Current()
	a.core.Pause(a.tools.halt())
	decisions := a.tools.breaker.step(a.core, m.input)
	if a.core.Current() != before {
		a.adopted = false
	}
	a.adopted = a.adopted || m.again
	superseded := handover.End{Outcome: handover.OutcomeSuperseded}
	if i := slices.Index(decisions, handover.Decision(superseded)); i >= 0 {
		// The lines of the old handover, before the new one takes its place.
		for _, d := range decisions[:i+1] {
			a.carryOut(ctx, d)
		}
		decisions = decisions[i+1:]
		for _, h := range a.held[:earlier] {
			h.settle()
		}
		a.held = a.held[earlier:]
	}
	a.refresh()
	a.timeline.note(m.input, a.core.Current(), a.tools.clock())
	a.sendOff(ctx, decisions)
	if m.saw != "" && (before != nil || a.core.Current() != nil) && a.concerns(m.input) {
		a.record(audit.Line{Event: audit.EvidenceSeen, Saw: m.saw, Host: m.host, At: m.at})
	}
	for _, d := range decisions {
		a.carryOut(ctx, d)
	}
	if a.core.Current() == nil {
		a.settleHeld(0)
		if before != nil || tellsOfMigration(m.input) {
			a.idleSince = a.tools.clock()
		}
	}
}

// sendOff has the ports' workers send what is to be activated; its lines are written while the
// requests are on their way. (A worker's own lines wait for them: see report.)
func (a *actor) sendOff(ctx context.Context, decisions []handover.Decision) {
	for _, d := range decisions {
		if aim, ok := d.(handover.Aim); ok && aim.Goal.Kind == handover.GoalCommit {
			first(&a.timeline.moments().cause, a.told)
			a.worker(ctx, aim.Port).mail.put(aim)
		}
	}
}

// busy tells whether a handover goes on, restoring whether it has failed and what is to be
// brought back is not yet.
func (a *actor) busy() (busy, restoring bool) {
	a.turn.Lock()
	defer a.turn.Unlock()
	h := a.core.Current()
	return h != nil, h != nil && h.Phase() == handover.Failed
}

func (a *actor) carryOut(ctx context.Context, d handover.Decision) {
	switch d := d.(type) {
	case handover.Begin:
		a.arming, a.armAgain = false, false
		a.timeline = timeline{began: a.tools.clock()}
		a.refresh()
		a.record(audit.Line{Event: audit.HandoverBegun, Why: d.Why})
	case handover.Arm:
		a.arm(ctx)
	case handover.Aim:
		a.record(audit.Line{Event: audit.PortDecided, Port: d.Port, Host: d.Goal.Host, Decided: d.Goal.Kind.String(), Why: d.Why})
		if d.Goal.Kind != handover.GoalCommit { // which was sent off
			a.worker(ctx, d.Port).mail.put(d)
		}
	case handover.Observe:
		a.record(audit.Line{Event: audit.PortObserved, Port: d.Port, Decided: "observe", Why: d.Why})
	case handover.AskHosts:
		a.record(audit.Line{Event: audit.HostsAsked, Why: d.Why})
		a.tools.ask(d.Why)
	case handover.Verdict:
		if line, changed := a.tools.breaker.judge(d); changed {
			line.Handover = a.about
			a.tools.audit(line)
		}
	case handover.Alarm:
		kind := audit.AlarmGuest
		if d.CutOff {
			kind = audit.AlarmUnfinished
		}
		a.record(audit.Line{Event: audit.HandoverAlarm, Kind: kind, Why: d.Why, Decided: "nothing is changed; look where the guest runs: virsh list on both hosts"})
		for _, port := range d.Ports {
			a.tools.doubt(wire.JournalEntry{Instance: a.instance, Port: port, Why: d.Why, Home: d.Homes[port]})
		}
	case handover.End:
		a.record(audit.Line{Event: audit.HandoverEnded, Outcome: string(d.Outcome), Driver: a.timeline.driver, Flavor: a.timeline.size().Name, Figures: a.timeline.figures()})
		a.closeHandover()
	}
}

// refresh takes over what is newly known of the handover.
func (a *actor) refresh() {
	h := a.core.Current()
	if h == nil {
		return
	}
	a.about = audit.Handover{Instance: a.instance, RequestID: h.RequestID, Source: h.Source, Destination: h.Destination}
}

// concerns tells whether an input says something of this handover: lists of
// domains come from every host.
func (a *actor) concerns(in handover.Input) bool {
	sign, ok := in.(handover.HostSign)
	return !ok || !sign.Listed || sign.Host == a.about.Source || sign.Host == a.about.Destination
}

// tellsOfMigration tells whether an input says that one goes on. The lists of all hosts come
// whenever one handover asks for them, and every instance is told of what it is absent from:
// what is only listed as running, or is missing, keeps no handover open.
func tellsOfMigration(in handover.Input) bool {
	sign, ok := in.(handover.HostSign)
	return !ok || !sign.Listed || sign.Sign == handover.SignStarted || sign.Sign == handover.SignPaused || sign.Sign == handover.SignPostCopy
}

func (a *actor) record(l audit.Line) {
	l.Handover = a.about
	if h := a.core.Current(); h != nil {
		if l.Port != "" {
			l.Driver = h.Driver(l.Port)
		}
		if l.Event != audit.HandoverEnded {
			l.Phase = h.Phase().String()
		}
	}
	a.tools.audit(l)
}

// arm reads the instance's ports, off this goroutine; one read at a time, and
// once more if it was asked for meanwhile.
func (a *actor) arm(ctx context.Context) {
	if a.arming {
		a.armAgain = true
		return
	}
	a.arming = true
	ofHandover, about := a.untilEnd(ctx), a.about
	a.tools.time.Go(&a.wg, func() {
		began := a.tools.clock()
		var ports []port.Port
		if a.tools.insist(ofHandover, audit.Line{Event: audit.HandoverArmed, Handover: about}, func(call context.Context) (err error) {
			ports, err = a.tools.neutron.Ports(call, a.instance)
			return err
		}) {
			a.post(ofHandover, func() { a.armed(ctx, ports, began) })
		}
	})
}

func (a *actor) armed(ctx context.Context, ports []port.Port, began time.Duration) {
	a.arming = false
	a.timeline.shown(ports)
	saw := ""
	for i, p := range ports {
		if p.Device == a.instance {
			ports[i].Device = a.instance // one string for both: the ports are kept
		}
		if why := cutOff(p); why != "" && writes(a.tools.settings) && !a.tools.journal.holds(p.ID) {
			// Of another session, or of a handover that this one has cut off: who ends
			// this one may know nothing of it.
			a.tools.doubt(wire.JournalEntry{Instance: a.instance, Port: p.ID, Why: why})
		}
		saw += p.ID + ": driver " + p.Driver + "; " + p.Describe() + " "
	}
	now := a.tools.clock()
	a.record(audit.Line{Event: audit.HandoverArmed, Saw: saw, Outcome: "armed", Took: now - began, Figures: map[string]int64{"ports": int64(len(ports))}})
	a.take(ctx, message{input: handover.Rows{Ports: ports, Now: now}})
	if a.armAgain && a.core.Current() != nil {
		a.armAgain = false
		a.arm(ctx)
	}
	if !a.arming && len(a.workers) == 0 {
		a.leaveScope()
	}
}

// untilEnd gives a context that ends with the handover.
func (a *actor) untilEnd(ctx context.Context) context.Context {
	if a.scope == nil {
		inner, end := context.WithCancel(ctx)
		a.scope = &scope{inner, end}
	}
	return a.scope.ctx
}

func (a *actor) leaveScope() {
	if a.scope != nil {
		a.scope.end()
	}
	a.scope = nil
}

// post takes in what a worker or an arm has found, unless the handover that it belongs to
// has ended meanwhile.
func (a *actor) post(ofHandover context.Context, result func()) {
	a.turn.Lock()
	defer a.turn.Unlock()
	if ofHandover.Err() == nil {
		a.told = a.tools.clock()
		result()
	}
}

// worker gives the port's worker, started on first use.
func (a *actor) worker(ctx context.Context, id string) *worker {
	if w, ok := a.workers[id]; ok {
		return w
	}
	ofHandover, about, driver := a.untilEnd(ctx), a.about, a.core.Current().Driver(id)
	w := &worker{
		instance: a.instance,
		port:     id,
		tools:    a.tools,
		mail:     newMailbox(),
		before:   a.leaving[id],
		ended:    make(chan struct{}),
		report: func(l audit.Line) {
			l.Handover, l.Driver = about, driver
			a.turn.Lock() // what was decided is written before what came of it
			defer a.turn.Unlock()
			a.tools.audit(l)
		},
	}
	w.done = func(d handover.PortDone) {
		a.post(ofHandover, func() { a.take(ctx, message{input: d}) })
	}
	w.committed = func(sent, answered time.Duration) {
		a.post(ofHandover, func() {
			a.timeline.committed(sent, answered)
			a.take(ctx, message{input: handover.Activated{Port: id, Now: answered}})
		})
	}
	if a.adopted {
		w.unknown = a.tools.clock() + a.tools.unknownWatch
	}
	if a.workers == nil {
		a.workers = map[string]*worker{}
	}
	a.workers[id] = w
	a.tools.time.Go(&a.wg, func() { w.run(ofHandover) })
	return w
}

// closeHandover ends the workers; the answer to a request that is under way is waited for
// by them, and by those who have their ports after them.
func (a *actor) closeHandover() {
	a.leaveScope()
	if a.leaving == nil {
		a.leaving = a.workers
	} else {
		maps.Copy(a.leaving, a.workers)
	}
	a.workers = nil
}

// settleHeld acknowledges what has been held for longer than that.
func (a *actor) settleHeld(longer time.Duration) {
	now := a.tools.clock()
	kept := a.held[:0]
	for _, h := range a.held {
		if now-h.since < longer {
			kept = append(kept, h)
			continue
		}
		h.settle()
	}
	a.held = kept
}

// tidy lets go of what has been kept for too long, and tells whether the instance itself is to
// be forgotten.
func (a *actor) tidy(ctx context.Context) (forget bool) {
	a.turn.Lock()
	defer a.turn.Unlock()
	a.settleHeld(a.tools.holdFor)
	now := a.tools.clock()
	if a.core.Current() == nil {
		return now-a.idleSince > rememberFor
	}
	if now-a.heardAt > expireAfter {
		a.take(ctx, message{input: handover.Expired{}})
	}
	return false
}
