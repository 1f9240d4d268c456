package handover

import (
	"slices"
	"strings"

	"github.com/earlybind/earlybind/wire"
)

// Settings are what an operator chose, and what the cloud allows.
type Settings struct {
	Policy Policy
	// NothingOn: Policy is [PolicyObserve] since nothing is switched on, not since it is set.
	NothingOn bool
	Repair    Repair
	// Networks and Drivers override Policy for some ports, unless it is
	// [PolicyObserve].
	Networks NetworkOverrides
	Drivers  DriverOverrides
	// Hosts and Canary hold back what Policy and the overrides allow.
	Hosts  HostOverrides
	Canary Canary
	// ConcurrentActivateSafe: two activates of one port at once never answer
	// 500 (Neutron 23.0.0 and later). Where it is not, nothing is committed.
	ConcurrentActivateSafe bool
}

// rememberedRequests bounds how many ended migrations an instance remembers, to
// know their late messages.
const rememberedRequests = 8

// Instance tells the migrations of one instance apart and drives the current
// one. The zero value is not ready: use [NewInstance].
type Instance struct {
	settings *Settings // shared by all
	bars     Bars
	paused   *Halt // nil: nothing is
	current  *Handover
	ended    []string  // request ids
	restored string    // the destination of the handover that ended last, if the guest stayed on its source
	stayed   string    // that source
	away     bool      // it has said since that it does not have the guest any more
	doubted  *NovaSign // the last pre that the hosts contradict; it has a request id
	latest   streams
}

// NewInstance starts with nothing known. The settings are not to be changed any more.
func NewInstance(s *Settings) *Instance {
	return &Instance{settings: s}
}

// Follows tells, before the first input, how far the hosts' streams have come: what
// is not above is of earlier migrations. One that has been there as long knows it. The map
// is kept, and not to be changed any more.
func (i *Instance) Follows(latest map[string]wire.Order) { i.latest = streams{first: latest} }

// Over tells whether Nova says this of a migration whose handover has ended.
func (i *Instance) Over(n NovaSign) bool {
	return n.RequestID != "" && slices.Contains(i.ended, n.RequestID)
}

// Current is the handover that goes on, nil if none does.
func (i *Instance) Current() *Handover { return i.current }

// Heed tells of the commits that are stopped, until told of others. What a
// [Breaker] gives must be heeded, and the [Try] decided under it be taken, before
// another instance heeds it: one handover is the trial.
func (i *Instance) Heed(b Bars) { i.bars = b }

// Pause tells of the commits that an operator has paused, until told of others.
func (i *Instance) Pause(p Halt) {
	i.paused = nil
	if p.Any() {
		i.paused = new(p)
	}
}

// Step takes one input and answers with what is to be done, in order.
func (i *Instance) Step(in Input) []Decision {
	var out []Decision
	switch in := in.(type) {
	case HostSign:
		out = i.hostSign(in)
	case NovaSign:
		out = i.novaSign(in)
	case LeftOver:
		out = i.leftOver(in)
	case Rows:
		if i.current != nil {
			i.current.take(in)
		}
	case Activated:
		if i.current != nil {
			i.current.activated(in.Port)
		}
	case PortDone:
		if i.current != nil && i.current.goals[in.Port] == in.Goal {
			put(&i.current.done, in.Port, in)
		}
	case Muted:
		if i.current != nil {
			put(&i.current.muted, in.Host, true)
		}
	case Expired:
		if i.current != nil {
			return i.end(OutcomeExpired)
		}
	}
	if i.current == nil {
		return out
	}
	i.current.place()
	var paused Halt
	if i.paused != nil {
		paused = *i.paused
	}
	out = append(out, i.current.decide(*i.settings, i.bars, paused, nowOf(in))...)
	if outcome, over := i.current.outcome(); over {
		out = append(out, i.end(outcome)...)
	}
	return out
}

func (i *Instance) hostSign(s HostSign) []Decision {
	news := i.latest.precede(s.Host, s.Order)
	if !news {
		// Not rising: it may add to the evidence, but is not news.
		s.FreshFor = 0
	}
	var out []Decision
	switch {
	case i.confirms(s):
		out = i.believe()
	case i.opens(s):
		out = i.begin("", "host "+s.Host+": "+s.Sign.String())
		if s.Listed && leaves(s.Sign) {
			i.current.Source = s.Host // where it ran while a left-over was mended
		}
	}
	if news {
		i.latest.set(s.Host, s.Order)
	}
	h := i.current
	if h == nil {
		// A destination that was frozen resumes the guest when it thaws, also when
		// the source's has long been restored (libvirt-events/e8). Its list tells too,
		// but for a guest that has been stopped on the source, as by a cold migration.
		switch {
		case news && s.Host == i.stayed && (s.Sign == SignStopped || s.Sign == SignLeft || s.Sign == SignAbsent):
			i.away = true
		case news && s.Host == i.stayed && (s.Sign == SignResumed || s.Sign == SignRunning):
			i.away = false // rebooted there
		case news && s.Host == i.restored && (s.Sign == SignResumed || s.Sign == SignRunning && !i.away):
			i.restored = ""
			out = append(out, Alarm{Why: alarms[Contradicted]})
		}
		return out
	}
	if !h.begunBefore(s.Host, s.Order) {
		return out // of an earlier migration
	}
	if h.leftOver && s.Sign == SignLeft && s.Host == h.Source && !h.arrived.known() {
		// It has migrated, and nothing else was heard of that: not to the other row's host,
		// for all that is known.
		return append(out, i.end(OutcomeSuperseded)...)
	}
	switch {
	case s.Listed && leaves(s.Sign) && h.byRows && h.mayComeFrom(s.Host) && s.Host != h.Destination:
		h.from(s.Host) // what is paused while it migrates away is no left-over
	case s.Listed && s.Sign != SignStarted:
	case s.Sign == SignStarted && h.Destination == "" && s.Host != h.Source:
		h.Destination = s.Host
	case leaves(s.Sign) && h.mayComeFrom(s.Host) && s.Host != h.Destination:
		h.from(s.Host)
	case s.Sign == SignResumed && h.Destination == "" && h.Source != "" && s.Host != h.Source:
		h.Destination = s.Host
	}
	h.arm = h.arm || s.Sign == SignStarted || s.Sign == SignPaused
	h.reported = h.reported || !s.Listed
	h.fresh = h.fresh || !s.Listed && s.FreshFor > 0
	if s.Sign != SignMissedEvents { // what its list says of the guest comes after that
		delete(h.muted, s.Host) // now: what is placed later says nothing of a publisher that was muted since
	}
	h.learn(s)
	return out
}

// leaves tells whether a sign is of a guest that is paused while it migrates away.
func leaves(s Sign) bool { return s == SignPaused || s == SignPostCopy }

// leftOver takes rows that an earlier migration has left wrong, with a handover of
// its own. One that goes on gives way only where no host has said anything of it but
// where the guest runs: a late notification may have begun it, and a migration that does
// run shows itself again, which ends the mending. Once the destination has a guest that
// comes in, or the source has paused it, it is not touched: rows that look wrong can then
// be those of a migration that runs.
func (i *Instance) leftOver(l LeftOver) []Decision {
	if i.current != nil && i.current.evident(i.settings.ConcurrentActivateSafe) {
		return nil
	}
	ended := slices.Clone(i.ended)
	out := i.begin("", "rows left wrong, the guest runs on "+l.Host)
	i.ended = ended // the one that gave way may still be heard of
	i.current.Source, i.current.Destination = l.Host, l.Other
	i.current.leftOver, i.current.came = true, l.Alone
	return out
}

// migrating is the handover of a migration, nil where only an earlier one's
// left-over is mended: that stops for a new one.
func (i *Instance) migrating() *Handover {
	if i.current != nil && i.current.leftOver {
		return nil
	}
	return i.current
}

// opens tells whether a sign begins a handover of its own: an instance starts
// by migration somewhere, or is paused by one, and no handover goes on that this
// could belong to.
func (i *Instance) opens(s HostSign) bool {
	if !i.latest.precede(s.Host, s.Order) {
		return false
	}
	h := i.migrating()
	switch s.Sign {
	case SignStarted:
		if h == nil {
			return true
		}
		// A further start on the destination, or one on another host than the
		// two, is another attempt; so is one on the source, which is a
		// migration back, once this one has come to its end.
		switch s.Host {
		case h.Destination:
			if s.Listed {
				// A list repeats what is known, unless the domain had gone.
				return h.gone.known() && h.started.known() && h.started.Before(h.gone.Order) && h.gone.Before(s.Order)
			}
			return h.started.known() && h.started.Before(s.Order)
		case h.Source:
			return h.phase() == Left
		default:
			// What is only listed on a third host can be what an earlier migration
			// has left there: it comes with every list. Where Nova speaks, it says
			// of a new attempt itself.
			return h.Destination != "" && (!s.Listed || h.RequestID == "")
		}
	case SignPaused, SignPostCopy:
		// However old: a RESUMED may follow it, and for a restore nothing is
		// too old. The deadline keeps an old one from leading to a commit.
		// A list repeats what is known, but where a left-over is mended the guest ran.
		return h == nil && (!s.Listed || i.current != nil && s.Host == i.current.Source)
	default:
		return false
	}
}

func (i *Instance) novaSign(n NovaSign) []Decision {
	if n.Step == wire.NovaAbort || n.Step == wire.NovaForceComplete {
		// Asked by a request of their own: its id is not the migration's, and
		// what comes of it the hosts will say.
		return nil
	}
	if i.Over(n) {
		return nil
	}
	var out []Decision
	h := i.migrating()
	switch {
	case i.contradicted(n):
		return i.doubt(n)
	case h == nil:
		if n.Step == wire.NovaRefused || n.Step == wire.NovaPreFailed || n.Ended && n.Step != wire.NovaPre {
			return nil // nothing has begun, or all is over
		}
		out = i.begin(n.RequestID, "Nova: "+n.Step.String())
	case h.RequestID == "" && i.adopts(n):
		h.RequestID = n.RequestID
	case h.RequestID != n.RequestID:
		if n.Step != wire.NovaPre {
			// Of a migration that was never seen to begin, while another goes on.
			return nil
		}
		out = i.begin(n.RequestID, "Nova: "+n.Step.String())
	}
	h = i.current
	// The end of post_dest names the destination, where the instance is by then.
	if h.mayComeFrom(n.PayloadHost) && !(n.Step == wire.NovaPostDest && n.Ended) {
		h.from(n.PayloadHost)
	}
	if n.Step == wire.NovaPre || n.Step == wire.NovaRollbackDest || n.Step == wire.NovaPostDest {
		if h.Destination == "" && n.PublisherHost != h.Source {
			h.Destination = n.PublisherHost
		}
	}
	rolled, finished := h.rollback, h.novaPostEnd
	h.learnFromNova(n)
	if h.rollback && !rolled {
		h.rolled = new(i.latest.now())
	}
	if h.novaPostEnd && !finished {
		h.finished = new(i.latest.now())
	}
	return out
}

// contradicted tells whether Nova says that a migration begins which is not the one that
// goes on, from a host that the guest is not on by the hosts' own word: Nova's messages can
// be hours late, or forged, and do not show it. A migration that does begin there is seen
// by its hosts too, and within seconds.
func (i *Instance) contradicted(n NovaSign) bool {
	h := i.current
	if h == nil || n.Step != wire.NovaPre || n.RequestID == "" || n.RequestID == h.RequestID || h.RequestID == "" && i.adopts(n) {
		return false
	}
	home := h.home()
	return home != "" && home != n.PayloadHost
}

// doubt keeps a pre until the hosts agree with it, and has them asked once.
func (i *Instance) doubt(n NovaSign) []Decision {
	i.doubted = &n
	if i.current.questioned {
		return nil
	}
	i.current.questioned = true
	return []Decision{AskHosts{Why: "Nova says that a migration begins from " + n.PayloadHost + ", and the guest is on " + i.current.home()}}
}

// confirms tells whether a sign is of the migration that was doubted: its guest comes in.
// On the destination of the one that goes on it is that one's, or a further attempt's.
func (i *Instance) confirms(s HostSign) bool {
	return i.doubted != nil && s.Sign == SignStarted && s.Host == i.doubted.PublisherHost && s.Host != i.current.Destination && i.latest.precede(s.Host, s.Order)
}

// believe begins the migration that was doubted.
func (i *Instance) believe() []Decision {
	n := *i.doubted
	i.doubted = nil
	out := i.begin(n.RequestID, "Nova: "+n.Step.String()+", and the hosts agree")
	i.current.Source, i.current.Destination = n.PayloadHost, n.PublisherHost
	i.current.learnFromNova(n)
	return out
}

// adopts tells whether a notification can belong to the handover that goes on
// without a request id: the hosts must agree.
func (i *Instance) adopts(n NovaSign) bool {
	h := i.current
	switch n.Step {
	case wire.NovaPre:
		return (h.mayComeFrom(n.PayloadHost) || h.Source == n.PayloadHost) && (h.Destination == "" || h.Destination == n.PublisherHost)
	case wire.NovaPostDest:
		return h.Destination == "" || h.Destination == n.PublisherHost
	case wire.NovaRefused:
		return false // no migration has come of that request
	default:
		return h.mayComeFrom(n.PayloadHost) || n.PayloadHost == "" || h.Source == n.PayloadHost
	}
}

// begin opens a handover and closes the one before.
func (i *Instance) begin(requestID, why string) []Decision {
	var out []Decision
	if i.current != nil {
		out = i.end(OutcomeSuperseded)
	}
	i.restored, i.stayed = "", ""
	i.current = &Handover{RequestID: requestID, latest: &i.latest, floor: i.latest.now().since, arm: true}
	return append(out, Begin{Why: why})
}

// end closes the handover. One that is cut off with a port still to be restored,
// or committed and never heard of again, is told to an operator.
func (i *Instance) end(o Outcome) []Decision {
	var out []Decision
	if ports := i.current.unfinished(); len(ports) > 0 && (o == OutcomeSuperseded || o == OutcomeExpired) {
		out = append(out, Alarm{Why: "the handover ends as " + string(o) + " and nothing is known of how these ports stand: " + strings.Join(ports, ", "), Ports: ports, CutOff: true, Homes: i.current.restoring()})
	}
	// A migration that was only not heard of for long may still be heard of.
	if id := i.current.RequestID; id != "" && o != OutcomeExpired {
		i.ended = append(i.ended, id)
		if len(i.ended) > rememberedRequests {
			i.ended = i.ended[1:]
		}
	}
	out = append(out, i.current.verdicts(o)...)
	if o == OutcomeRestored {
		i.restored, i.stayed, i.away = i.current.Destination, i.current.Source, false
	}
	i.current, i.doubted = nil, nil
	return append(out, End{Outcome: o})
}
