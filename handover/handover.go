package handover

import (
	"iter"
	"slices"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/wire"
)

// Handover is one live migration of one instance.
type Handover struct {
	RequestID   string // of Nova; empty until a notification has come
	Source      string
	Destination string

	evidence
	ports      []port.Lean // as last read; see each
	armed      bool        // ports were read
	arm        bool        // they are to be read (again)
	asking     bool        // they were asked for at least once
	asked      bool        // the hosts were asked where the guest is
	questioned bool        // and because Nova says that it is elsewhere
	wondered   bool        // and because the destination's word that it has arrived is doubted
	came       bool        // of a left-over: the guest is on its source alone, see [LeftOver]
	byRows     bool        // the source is the host of the ACTIVE rows, and nobody has said so
	rowed      []string    // the hosts that had a row in any answer since: by the time the source speaks, Nova may have deleted its row
	alarmed    Phase       // the last phase that raised an alarm
	// reported: a host has sent an event since, and not only lists of its domains. fresh:
	// one that was neither old nor delivered before.
	reported, fresh bool
	deadline        time.Duration // until when the freshest sign may lead to a commit
	goals           map[string]Goal
	done            map[string]PortDone
	observed        map[string]bool
	keptBack        map[string]string     // ports whose commit was due while it was paused, and why
	commits         map[string]commitment // by port, kept for good
	moved           map[string]bool       // ports that were aimed at by a write, kept for good
	trials          map[Circuit]bool      // this handover is the trial of
	// latest is where each host's stream stands: the instance's.
	latest *streams
	// floor is where each host's stream stood when the handover began: what is
	// not above it belongs to an earlier migration: the news since, as in latest.
	floor []reach
	// rolled is where each host's stream stood when Nova was first heard to roll back: what
	// is above it says how things stand since.
	rolled *streams
	// finished is where it stood when Nova was first heard to have finished on the destination.
	finished *streams
	// muted holds the hosts whose publisher was not understood since it last was.
	muted map[string]bool
	// unplaced are the signs of hosts that are neither source nor destination,
	// while one of the two is unknown.
	unplaced []HostSign
	placed   [2]string // for which source and destination place has run
}

// maxUnplaced bounds the signs that wait for their host's part to become known:
// a list of domains comes from every host of the cloud.
const maxUnplaced = 4096

// Phase reads where the handover stands.
func (h *Handover) Phase() Phase { return h.phase() }

func (h *Handover) phase() Phase {
	if h.belied() {
		return Failing
	}
	return h.evidence.phase()
}

// evident tells whether a host has shown that this migration runs, or ran just now. That
// the guest runs where the migration was to lead, and no more on its source, lists of
// domains say of every migration that is long over, and events that are old, or were
// delivered before, may be of one that is. Where two activates at once are not safe, those
// count all the same: Nova's own may be due.
func (h *Handover) evident(safe bool) bool {
	switch h.phase() {
	case Watching:
		return h.started.known()
	case Failing: // by Nova's word, mostly: the source may have paused the guest all the same
		return h.started.known() || h.paused.known() && (h.fresh || !safe)
	case Arrived, Left:
		return h.fresh || !safe && (h.started.known() || h.reported)
	default:
		return true
	}
}

// home is the host that the guest is on by the hosts' own word; empty where they have not
// said, or are not to be believed.
func (h *Handover) home() string {
	switch h.phase() {
	case Watching, Failing:
		if h.running.known() {
			return h.Source
		}
	case Paused, Failed:
		return h.Source
	case Arrived:
		return h.Destination
	case Left:
		if h.landed() {
			return h.Destination
		}
	}
	return ""
}

// stayed tells whether Nova has rolled back and both hosts have said since that the guest
// runs on the source, and on the destination has not even come in since. This is how a failure
// looks whose events were taken for an earlier migration's, or lost.
func (h *Handover) stayed() bool { return h.rollback && h.alone(h.rolled) }

// belied tells whether Nova, and it alone, has said that it has finished on the destination, and
// both hosts have said since that the guest runs on the source. This is how an earlier migration
// looks of which Nova's messages come late, when the guest has long come back.
func (h *Handover) belied() bool {
	told := h.paused.known() || h.postCopy || h.started.known() || h.landed()
	return h.finished != nil && !told && h.evidence.phase() == Left && h.absent.Before(h.running.Order) && h.alone(h.finished)
}

// alone tells whether both hosts have said, since their streams stood so, that the guest runs on
// the source, and on the destination has not even come in since.
func (h *Handover) alone(since *streams) bool {
	came := h.arrived.known() && !h.arrived.Before(h.incoming.Order) || h.incoming.known() && !h.incoming.Before(h.gone.Order)
	return !came &&
		h.running.known() && since.precede(h.Source, h.running.Order) &&
		h.gone.known() && since.precede(h.Destination, h.gone.Order)
}

// learn adds a host's sign to the evidence. The caller has settled which host
// is which.
func (h *Handover) learn(s HostSign) {
	switch {
	case s.Host == h.Source:
		h.learnFromSource(s)
	case s.Host == h.Destination:
		h.learnFromDestination(s)
	case len(h.unplaced) >= maxUnplaced:
	case h.Source == "" || h.Destination == "", h.unnamed() && s.Sign != SignAbsent && s.Sign != SignMissedEvents: // which every host's list says
		h.unplaced = append(h.unplaced, s)
	}
}

// name takes for the source, where nobody has named one, the host that has a row and lists the
// guest as running there: it leaves from where it runs.
func (h *Handover) name() {
	if h.Destination == "" || !h.unnamed() {
		return
	}
	for _, s := range h.unplaced {
		if s.Sign == SignRunning && s.Host != h.Destination && slices.Contains(h.rowed, s.Host) {
			h.from(s.Host)
			return
		}
	}
}

// place learns again what hosts said whose part was not known then.
func (h *Handover) place() {
	h.name()
	pair := [2]string{h.Source, h.Destination}
	if h.placed == pair {
		return
	}
	h.placed = pair
	waiting := h.unplaced
	h.unplaced = nil
	for _, s := range waiting {
		h.learn(s)
	}
}

func (h *Handover) learnFromSource(s HostSign) {
	switch s.Sign {
	case SignPaused:
		h.paused.set(s.Order)
		h.freshen(s)
		for _, id := range s.Replug {
			put(&h.replug, id, true)
		}
	case SignPostCopy:
		h.postCopy = true
		h.freshen(s)
	case SignPostCopyFailed:
		h.postFailed = true
	case SignResumed:
		h.resumed.set(s.Order)
	case SignRunning:
		h.running.set(s.Order)
	case SignArrivedPaused, SignHalted:
		h.halted.set(s.Order)
	case SignLeft:
		h.left.set(s.Order)
	case SignStopped:
		h.died.set(s.Order)
	case SignAbsent:
		h.absent.set(s.Order)
	}
}

func (h *Handover) learnFromDestination(s HostSign) {
	switch s.Sign {
	case SignStarted:
		h.started.set(s.Order)
		h.incoming.set(s.Order)
	case SignResumed, SignArrivedPaused, SignRunning:
		h.arrived.set(s.Order)
		h.freshen(s)
	case SignPostCopy: // of an older libvirt, not run: the guest is there, and stands still
		h.arrived.set(s.Order)
	case SignPostCopyFailed: // and without all of its memory
		h.arrived.set(s.Order)
		h.torn = true
	case SignStopped, SignLeft, SignAbsent:
		h.gone.set(s.Order)
	case SignMissedEvents:
		if !slices.Contains(h.missed, s.Order) {
			h.missed = append(h.missed, s.Order)
		}
	}
}

// freshen moves the commit's deadline; an old sign moves nothing.
func (h *Handover) freshen(s HostSign) {
	if s.FreshFor > 0 {
		h.deadline = max(h.deadline, s.Now+s.FreshFor)
	}
}

func (h *Handover) learnFromNova(n NovaSign) {
	switch n.Step {
	case wire.NovaPre:
		h.arm = true
	case wire.NovaPost:
		h.novaPost = true
	case wire.NovaPostDest:
		h.novaPost = true
		h.novaPostEnd = h.novaPostEnd || n.Ended
	case wire.NovaRollback, wire.NovaRollbackDest:
		h.rollback = true
		h.rollbackEnd = h.rollbackEnd || n.Ended
	case wire.NovaPreFailed, wire.NovaRefused:
		h.rollback = true
		h.rollbackEnd = true
	}
}

// take keeps what Neutron said. The host of the ACTIVE rows is the source where
// nothing else has told.
func (h *Handover) take(r Rows) {
	h.ports, h.armed = make([]port.Lean, len(r.Ports)), true
	for i, p := range r.Ports {
		h.ports[i] = p.Lean()
	}
	if h.Source == "" {
		h.sourceByRows(r.Ports)
	}
	if !h.byRows {
		return
	}
	for _, p := range r.Ports {
		for _, row := range p.Rows {
			if !slices.Contains(h.rowed, row.Host) {
				h.rowed = append(h.rowed, row.Host)
			}
		}
	}
}

func (h *Handover) sourceByRows(ports []port.Port) {
	for _, p := range ports {
		if active, ok := p.Active(); ok && active.Host != h.Destination {
			h.Source, h.byRows = active.Host, true
			return
		}
	}
}

// each gives the ports as last read.
func (h *Handover) each() iter.Seq[port.Port] {
	return func(yield func(port.Port) bool) {
		for _, kept := range h.ports {
			if !yield(kept.Port()) {
				return
			}
		}
	}
}

// unnamed tells whether nobody has said which host is the source, nor that host that its guest
// runs: rows may be wrong since an earlier migration.
func (h *Handover) unnamed() bool { return h.Source == "" || h.byRows && !h.running.known() }

// begunBefore tells whether the handover had begun when a host sent this.
func (h *Handover) begunBefore(host string, order wire.Order) bool {
	return streams{h.latest.first, h.floor}.precede(host, order)
}

// mayComeFrom tells whether a host may still prove to be the source: none is named, or the rows
// alone name one, and it has a row too.
func (h *Handover) mayComeFrom(host string) bool {
	return h.Source == "" || h.unnamed() && slices.Contains(h.rowed, host)
}

// from names the source. Where the rows had named another, what that one has said is no word
// of a source's.
func (h *Handover) from(host string) {
	if h.byRows && host != h.Source {
		e := h.evidence
		h.alarmed, h.asked = Watching, false
		h.evidence = evidence{
			started: e.started, incoming: e.incoming, arrived: e.arrived, gone: e.gone, missed: e.missed, torn: e.torn,
			novaPost: e.novaPost, novaPostEnd: e.novaPostEnd, rollback: e.rollback, rollbackEnd: e.rollbackEnd,
		}
	}
	h.Source, h.byRows, h.rowed = host, false, nil
}

// Driver is that of a port's ACTIVE row, as last read; empty where it does not show.
func (h *Handover) Driver(id string) string {
	for p := range h.each() {
		if p.ID == id {
			return p.Driver
		}
	}
	return ""
}

// publishersKnown tells whether both hosts have spoken by a publisher since the handover
// began: a pair is committed only when both have.
func (h *Handover) publishersKnown() (bool, string) {
	for _, host := range []string{h.Source, h.Destination} {
		if last, spoke := h.latest.of(host); !spoke || !h.begunBefore(host, last) || h.muted[host] {
			return false, "no publisher was heard on " + host
		}
	}
	return true, ""
}
