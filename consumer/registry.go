package consumer

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// searchesAtOnce bounds the searches for left-overs, looksAtOnce the reads of
// the journal's ports.
const (
	searchesAtOnce = 2
	looksAtOnce    = 4
)

// registry gives each sign to the actor of its instance. It lives as long as a
// session and is used by one goroutine.
type registry struct {
	ctx    context.Context //nolint:containedctx // the session's
	tools  *tools
	actors map[string]*actor
	latest map[string]wire.Order // per host, of its lists of domains
	known  map[string]wire.Order // a copy of latest, which actors share; nil when it is not one any more
	muted  map[string]bool       // hosts whose publisher speaks another version
	// running holds, per host, the instances that its last list said run there; an
	// older one than listLasts proves nothing any more.
	running map[string]guests
	// searching bounds how many hosts are searched at once: at a take-over all
	// of them send their lists.
	searching chan struct{}
	// reviewing bounds how many ports of the journal are read at once.
	reviewing chan struct{}
	// searched holds the hosts that were searched for left-overs, which come
	// through leftOvers.
	searched  map[string]bool
	leftOvers chan found
	// ended is told, at the session's end, of each instance whose actor settles
	// nothing any more. May be nil.
	ended func(instance string)
	// ordered: what is told all actors is told them in a fixed order, so that every run of
	// the same things is the same.
	ordered bool
	// asking: the hosts are about to be asked, for what was taken over.
	asking atomic.Bool
	wg     sync.WaitGroup
}

const (
	// listLasts is for how long a host's list of its domains tells where a guest runs.
	// A host is asked before its list is used: one that does not answer may be dead,
	// and its guests elsewhere.
	listLasts = 30 * time.Second
	// settleIn is what a take-over is given, before the hosts are asked what was missed.
	settleIn = 2 * time.Second
)

// guests are the instances that a host has, by the list that was heard at heard: instances run,
// others are paused, or come in.
type guests struct {
	heard     time.Duration
	instances map[string]bool
	others    map[string]bool
}

func newRegistry(ctx context.Context, t *tools) *registry {
	return &registry{
		ctx: ctx, tools: t, actors: map[string]*actor{}, latest: map[string]wire.Order{}, muted: map[string]bool{},
		running: map[string]guests{}, searching: make(chan struct{}, searchesAtOnce),
		reviewing: make(chan struct{}, looksAtOnce),
		searched:  map[string]bool{}, leftOvers: make(chan found),
	}
}

// all gives the actors.
func (r *registry) all() iter.Seq[*actor] {
	if !r.ordered {
		return maps.Values(r.actors)
	}
	return func(yield func(*actor) bool) {
		for _, instance := range slices.Sorted(maps.Keys(r.actors)) {
			if !yield(r.actors[instance]) {
				return
			}
		}
	}
}

// take takes in what was read off a message. freshFor tells for how long a host
// event may lead to a commit.
func (r *registry) take(read any, freshFor func(wire.HostEvent) time.Duration, again bool, settle func()) {
	switch m := read.(type) {
	case wire.NovaEvent:
		r.nova(m, again, settle)
	case wire.HostEvent:
		r.event(m, freshFor(m), again, settle)
	case wire.HostStates:
		r.states(m)
		settle()
	case muted:
		r.mute(m.host)
		settle()
	default:
		settle()
	}
}

// mute tells every instance, once until the host is understood again, that a host
// is not.
func (r *registry) mute(host string) {
	if r.muted[host] {
		return
	}
	r.muted[host] = true
	for a := range r.all() {
		r.tell(a, message{input: handover.Muted{Host: host, Now: r.tools.clock()}})
	}
}

// understood tells that a host has sent what is understood.
func (r *registry) understood(host string) { delete(r.muted, host) }

// nova takes a notification in; again says that it was delivered before, settle
// acknowledges it.
func (r *registry) nova(e wire.NovaEvent, again bool, settle func()) {
	e.PublisherHost, e.PayloadHost, e.Flavor.Name = port.Intern(e.PublisherHost), port.Intern(e.PayloadHost), port.Intern(e.Flavor.Name)
	a, ok := r.actors[e.Instance]
	if !ok {
		a = r.start(e.Instance, r.since(again))
		r.catchUp(again)
	}
	edge := "start"
	if e.Ended {
		edge = "end"
	}
	r.tell(a, message{
		input:  handover.NovaSign{NovaEvent: e, Now: r.tools.clock()},
		saw:    fmt.Sprintf("Nova: %s.%s", e.Step, edge),
		host:   e.PublisherHost,
		again:  again,
		settle: settle,
	})
}

// event takes a host event in. freshFor is for how long it may lead to a
// commit.
func (r *registry) event(e wire.HostEvent, freshFor time.Duration, again bool, settle func()) {
	e.Host = port.Intern(e.Host)
	r.understood(e.Host)
	sign, ok := signOf(e)
	if ok && (sign == handover.SignLeft || sign == handover.SignStopped) {
		delete(r.running[e.Host].instances, e.Instance)
	}
	a, known := r.actors[e.Instance]
	if !ok || !known && sign != handover.SignStarted && sign != handover.SignPaused && sign != handover.SignPostCopy {
		settle() // says nothing of a migration, or of one that is not known to go on
		return
	}
	if !known {
		a = r.start(e.Instance, r.since(again))
		r.catchUp(again)
	}
	r.tell(a, message{
		input:  handover.HostSign{Host: e.Host, Sign: sign, Order: e.Order, FreshFor: freshFor, Replug: e.Replug, Now: r.tools.clock()},
		saw:    fmt.Sprintf("libvirt: %s/%s", e.Event, e.Detail),
		host:   e.Host,
		at:     e.At,
		again:  again,
		settle: settle,
	})
}

// catchUp has the hosts asked where an instance stands whose first message here was
// delivered to another replica before: that one may have given it back late, when it had
// the answer to a write, and what its hosts said meanwhile was of an instance that nobody
// here knew.
func (r *registry) catchUp(again bool) {
	if !again || r.asking.Swap(true) {
		return
	}
	r.tools.time.Go(&r.wg, func() {
		waited := r.tools.time.Wait(r.ctx, settleIn, nil) // for what else is given back
		r.asking.Store(false)
		if waited {
			r.tools.ask("handovers were taken over")
		}
	})
}

// states takes a host's list of domains in: each instance that has an actor
// learns its state there, or that it is not there; an incoming domain begins a
// handover.
func (r *registry) states(s wire.HostStates) {
	if last, ok := r.latest[s.Host]; ok && !last.Before(s.Order) {
		return
	}
	r.latest[s.Host], r.known = s.Order, nil
	r.understood(s.Host)
	listed := map[string]bool{}
	say := func(a *actor, signs ...handover.Sign) {
		for _, sign := range signs {
			r.tell(a, message{
				input: handover.HostSign{Host: s.Host, Sign: sign, Order: s.Order, Listed: true, Now: r.tools.clock()},
				saw:   "libvirt lists: " + sign.String(),
				host:  s.Host,
			})
		}
	}
	for _, d := range s.Domains {
		listed[d.Instance] = true
		sign, ok := signOfState(d)
		a, known := r.actors[d.Instance]
		if !known && sign != handover.SignStarted {
			continue
		}
		if !known {
			a = r.start(d.Instance, nil)
		}
		say(a, signsOfList(sign, ok, s.Reconnected)...)
	}
	for a := range r.all() {
		if !listed[a.instance] {
			say(a, signsOfList(handover.SignAbsent, true, s.Reconnected)...)
		}
	}
	r.search(s)
}

// signsOfList puts what a list says of one domain in the order in which the core
// is to learn it, because it decides after each: that events were missed comes
// before an arrival, which it puts in doubt, and after anything else, because by
// it the host's publisher may be heard of for the first time. known: the state is
// a sign.
func signsOfList(sign handover.Sign, known, missed bool) []handover.Sign {
	arrived := sign == handover.SignRunning || sign == handover.SignArrivedPaused
	switch {
	case !known && missed:
		return []handover.Sign{handover.SignMissedEvents}
	case !known:
		return nil
	case missed && arrived:
		return []handover.Sign{handover.SignMissedEvents, sign}
	case missed:
		return []handover.Sign{sign, handover.SignMissedEvents}
	}
	return []handover.Sign{sign}
}

// search looks for what earlier migrations have left on a host, once per host.
func (r *registry) search(s wire.HostStates) {
	var running []string
	here := guests{heard: r.tools.clock(), instances: map[string]bool{}, others: map[string]bool{}}
	r.running[s.Host] = here
	for _, d := range s.Domains {
		switch {
		case d.State == "running" && !d.Incoming:
			running = append(running, d.Instance)
			here.instances[d.Instance] = true
		case d.State != "shutoff":
			here.others[d.Instance] = true
		}
	}
	if r.searched[s.Host] || len(running) == 0 {
		return
	}
	r.searched[s.Host] = true
	r.wg.Go(func() {
		select {
		case r.searching <- struct{}{}:
			defer func() { <-r.searching }()
		case <-r.ctx.Done():
			return
		}
		findLeftOvers(r.ctx, r.tools, s.Host, running, func(f found) {
			select {
			case r.leftOvers <- f:
			case <-r.ctx.Done():
			}
		})
	})
}

// runsOn gives the one host that an instance runs on, by the lists that its hosts have
// sent of late: they are to be asked before.
func (r *registry) runsOn(instance string) (string, bool) {
	var hosts []string
	for host := range r.running {
		if r.runsAt(instance, host) {
			hosts = append(hosts, host)
		}
	}
	if len(hosts) != 1 {
		return "", false
	}
	return hosts[0], true
}

// without gives the hosts that have said of late that they do not have an instance, where no host
// has said that it has.
func (r *registry) without(instance string) map[string]bool {
	hosts := map[string]bool{}
	for host, listed := range r.running {
		if r.tools.clock()-listed.heard > listLasts {
			continue
		}
		if listed.instances[instance] || listed.others[instance] {
			return nil
		}
		hosts[host] = true
	}
	return hosts
}

func (r *registry) runsAt(instance, host string) bool {
	listed := r.running[host]
	return listed.instances[instance] && r.tools.clock()-listed.heard <= listLasts
}

// leftOver has an instance's left-over mended, unless a handover of it goes on.
// It must run on that host and on no other: a guest that runs on both is an
// operator's to look at. One that is dead must be on neither.
func (r *registry) leftOver(f found) {
	switch without := r.without(f.instance); {
	case f.dead && !(without[f.input.Host] && without[f.input.Other]):
		return
	case !f.dead && !r.runsAt(f.instance, f.input.Host):
		delete(r.searched, f.input.Host) // it has moved or stopped meanwhile, or the host is silent
		return
	}
	for host := range r.running {
		if host != f.input.Host && r.runsAt(f.instance, host) {
			r.tools.audit(audit.Line{
				Event: audit.HandoverAlarm, Kind: audit.AlarmGuest, Handover: audit.Handover{Instance: f.instance}, Host: f.input.Host,
				Why:     "rows are wrong, and the hosts do not agree that the guest runs here alone",
				Decided: "nothing is changed; look where the guest runs: virsh list on " + host + " and " + f.input.Host,
			})
			return
		}
	}
	a, known := r.actors[f.instance]
	if !known {
		a = r.start(f.instance, nil)
	}
	r.tell(a, message{input: f.input, saw: "rows left wrong", host: f.input.Host})
}

func (r *registry) tell(a *actor, m message) { a.hear(r.ctx, m) }

// since gives what the first message of an instance begins after: the hosts' last
// lists. An old event of an earlier migration, which comes after them to a replica
// that has just taken over, is so known for what it is, as it would be to an actor
// that was there when they came. What was delivered before goes back without: another
// session has taken it in, and all of that handover may come again.
func (r *registry) since(again bool) map[string]wire.Order {
	if again {
		return nil
	}
	if r.known == nil {
		r.known = maps.Clone(r.latest)
	}
	return r.known
}

func (r *registry) start(instance string, since map[string]wire.Order) *actor {
	a := newActor(instance, r.tools)
	a.core.Follows(since)
	r.actors[instance] = a
	return a
}

// restoring tells whether an instance's ports are being restored.
func (r *registry) restoring() bool {
	for _, a := range r.actors {
		if _, restoring := a.busy(); restoring {
			return true
		}
	}
	return false
}

// busy tells whether a handover goes on.
func (r *registry) busy() bool {
	for _, a := range r.actors {
		if busy, _ := a.busy(); busy {
			return true
		}
	}
	return false
}

// sweep is to be called every minute: it ends handovers that have been silent for long, and
// forgets instances that have had none for long.
func (r *registry) sweep() {
	for a := range r.all() {
		if forget := a.tidy(r.ctx); forget {
			delete(r.actors, a.instance)
			r.wg.Go(a.wg.Wait)
		}
	}
}

// wait returns when every write has been answered; the session's context must have ended.
func (r *registry) wait() {
	for _, a := range r.actors {
		r.wg.Go(func() {
			a.wg.Wait()
			if r.ended != nil {
				r.ended(a.instance)
			}
		})
	}
	r.wg.Wait()
}
