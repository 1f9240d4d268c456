package doctor

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

const (
	// Patience is how long facts must have stood before anything is written. Nova
	// activates the destination within seconds of the guest's arrival, and clears up
	// after a failure in about one; a list of migrations can be a moment behind.
	Patience = time.Minute
	// mendWithin bounds one port's mending; the longest way back has eight requests.
	mendWithin = 2 * time.Minute
	// upWithin is how long an agent has to report a port up once its rows are right.
	upWithin = 30 * time.Second
	// standsFor is how long Nova's word holds for a request. A token that has to be
	// renewed, or a connection that has to be made, can come between the two.
	standsFor = 5 * time.Second
)

// Mended is what became of one case.
type Mended struct {
	Case // as it was found at last
	// Outcome says it in words: mended, changed meanwhile, or what it failed by.
	Outcome string
	Right   bool
}

// Mend carries out the plans of a report, one port after the other, once the facts have
// stood for [Patience]. Every request is written to the undo journal before it is sent,
// and sent only if Nova says, right then, that the instance is where it was and nothing
// is under way with it. tell is called with each request and with what came of it.
func (c Cloud) Mend(ctx context.Context, r Report, tell func(portID, said string)) ([]Mended, error) {
	if c.Notes == nil {
		return nil, errors.New("nothing is mended without an undo journal")
	}
	if !c.Clock.Wait(ctx, Patience, nil) {
		return nil, ctx.Err()
	}
	hosts, gap, err := c.Nova.Hosts(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the compute hosts: %w", err)
	}
	guests, err := c.guests(ctx, hosts)
	if err != nil {
		return nil, err
	}
	var all []Mended
	for _, before := range r.Cases {
		if len(before.Plan) == 0 {
			continue
		}
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		m := mending{Cloud: c, tell: func(said string) { tell(before.Port.ID, said) }, guests: guests, gap: gap}
		all = append(all, m.do(ctx, before))
	}
	return all, nil
}

// mending is one port's.
type mending struct {
	Cloud
	tell   func(string)
	guests Guests
	gap    string
	before Case
	ctx    context.Context //nolint:containedctx // the caller's; may looks at it
	began  time.Duration
	asked  time.Duration // when Nova last said that nothing is under way
	stop   error         // why nothing more is sent
	// torn: the guest's own row was deleted to be made again, and is not made yet.
	torn bool
}

func (m *mending) do(ctx context.Context, before Case) Mended {
	now, err := m.look(ctx, suspect{id: before.Port.ID}, m.guests, m.gap)
	switch {
	case err != nil:
		return Mended{Case: before, Outcome: "left alone: " + err.Error()}
	case now == nil:
		return Mended{Case: before, Outcome: "it is gone", Right: true}
	case now.Verdict == Right:
		m.settle(*now)
		return Mended{Case: *now, Outcome: "it has come right by itself", Right: true}
	case len(now.Plan) == 0 || !same(before, *now):
		return Mended{Case: *now, Outcome: "left alone: what is found has changed within " + Patience.String()}
	}
	m.before, m.ctx, m.began = *now, ctx, m.Clock.Now()
	// may ends it between two requests, when the context ends or the time is over: never
	// between a row's deletion and its making.
	bounded, cancel := m.Clock.WithTimeout(context.WithoutCancel(ctx), 2*mendWithin)
	err = m.carryOut(bounded)
	cancel()
	after := m.last(ctx)
	if after != nil {
		m.settle(*after)
	}
	switch {
	case after == nil:
		return Mended{Case: *now, Outcome: "it cannot be read any more", Right: false}
	case after.Verdict == Right:
		return Mended{Case: *after, Outcome: "mended", Right: true}
	case err != nil:
		return Mended{Case: *after, Outcome: "not mended: " + err.Error()}
	default:
		return Mended{Case: *after, Outcome: "not right: " + after.Why}
	}
}

// settle forgets what was held of a row that is there and right, whether its agent has
// reported the port up or not: later it would be of another time, and name another
// guest's device.
func (m *mending) settle(c Case) {
	if c.Verdict != Right && c.Verdict != Down {
		return
	}
	if fault := m.Notes.settle(c.Port.ID, c.Host); fault != nil {
		m.tell("the undo journal: " + fault.Error())
	}
}

// same compares what a diagnosis rests on; another migration may have begun and ended meanwhile.
func same(a, b Case) bool {
	return a.Verdict == b.Verdict && a.Host == b.Host &&
		reflect.DeepEqual(a.Port.Rows, b.Port.Rows) && reflect.DeepEqual(a.Server, b.Server) && reflect.DeepEqual(a.Newest, b.Newest)
}

// carryOut sends the plan's requests, each decided anew from what is read.
func (m *mending) carryOut(ctx context.Context) error {
	host, id := m.before.Host, m.before.Port.ID
	neutron := &noted{Neutron: m.Neutron, m: m, port: m.before.Port}
	ctx = binding.OnlyIf(ctx, func() bool { return m.torn || m.Clock.Now()-m.asked <= standsFor })
	if leftBehind(m.before.Port, host) {
		if !m.may() {
			return m.stop
		}
		if err := neutron.Activate(ctx, id, host); err != nil {
			m.tell("failed: " + err.Error()) // what is read next decides
		}
	}
	err := rollback.Restore(ctx, neutron, id, host, other(m.before.Port, host), rollback.Options{
		NovaDone: func() (done, presumed bool) { return true, false },
		May:      m.may,
		Report: func(t rollback.Taken) {
			if t.Err != nil {
				m.tell("failed: " + t.Err.Error())
			}
		},
		Journal: m.Notes,
		Clock:   m.Clock,
	})
	if m.stop != nil {
		return m.stop
	}
	if err != nil {
		return err
	}
	p, err := neutron.Read(ctx, id)
	if err != nil {
		return err
	}
	for _, r := range p.Rows {
		if r.Host == host || r.Active {
			continue
		}
		withheld := true
		for withheld {
			if !m.may() {
				return m.stop
			}
			err := neutron.Delete(ctx, id, r.Host)
			if withheld = errors.Is(err, binding.ErrWithheld); err != nil && !withheld {
				return err
			}
		}
	}
	return nil
}

// novaAgain is how often, and after how long each time, Nova is asked again that has not
// answered.
const (
	novaAgain = 3
	novaWait  = 2 * time.Second
)

// may tells whether the instance is still where it was with nothing under way; asked
// right before each request. Once it is not, nothing more is sent, but for the row that
// was deleted to be made again: without it the port has none. Only that the instance is
// elsewhere, or gone, keeps that from being made.
func (m *mending) may() bool {
	if m.stop != nil && !m.torn {
		return false
	}
	f := Facts{Port: m.before.Port}
	var err error
	for tries := 0; tries <= novaAgain; tries++ {
		call, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), callBound)
		f = Facts{Port: m.before.Port}
		err = m.ask(call, &f, m.guests)
		cancel()
		if err == nil || !m.Clock.Wait(context.WithoutCancel(m.ctx), novaWait, nil) {
			break
		}
	}
	if m.torn {
		if err == nil && (f.Server == nil || f.Server.Host != m.before.Host) {
			m.stop = errors.New("stopped: the instance is elsewhere; what the deleted row held is in the undo journal")
			return false
		}
		return true
	}
	switch {
	case m.ctx.Err() != nil:
		m.stop = m.ctx.Err()
	case m.Clock.Now()-m.began > mendWithin:
		m.stop = errors.New("stopped: it has taken longer than " + mendWithin.String())
	case err != nil:
		m.stop = err
	case f.Server == nil || f.Server.Host != m.before.Host || f.Server.Status != m.before.Server.Status:
		m.stop = errors.New("stopped: the instance has changed meanwhile")
	default:
		if why := underWay(f); why != "" {
			m.stop = errors.New("stopped: " + why)
		}
	}
	if m.stop == nil {
		m.asked = m.Clock.Now()
	}
	return m.stop == nil
}

// last looks until the port is right, or its agent has had its time.
func (m *mending) last(ctx context.Context) *Case {
	for began := m.Clock.Now(); ; {
		found, err := m.look(ctx, suspect{id: m.before.Port.ID}, m.guests, m.gap)
		if err != nil || found == nil || found.Verdict != Down || m.Clock.Now()-began >= upWithin || !m.Clock.Wait(ctx, time.Second, nil) {
			return found
		}
	}
}

// noted is a Neutron whose writes are written down before they are sent.
type noted struct {
	rollback.Neutron
	m    *mending
	port port.Port // as last read
}

func (n *noted) Read(ctx context.Context, id string) (port.Port, error) {
	p, err := n.Neutron.Read(ctx, id)
	if err == nil {
		n.port = p
	}
	return p, err
}

// write sends what do sends, between its two lines of the journal. A journal that cannot
// be written to ends the mending before the request is sent.
func (n *noted) write(s rollback.Step, do func() error) error {
	note := Note{Port: n.port.ID, Instance: n.port.Device, Before: n.port.Rows, Request: s.Request(n.port.ID), Undo: undo(n.port, s)}
	if err := n.m.Notes.write(note); err != nil && n.m.torn {
		n.m.tell("the undo journal: " + err.Error()) // the row is made nevertheless
	} else if err != nil {
		n.m.stop = fmt.Errorf("the undo journal: %w", err)
		return n.m.stop
	}
	n.m.tell(note.Request)
	err := do()
	outcome := "answered"
	if err != nil {
		outcome = err.Error()
	}
	if fault := n.m.Notes.write(Note{Port: n.port.ID, Instance: n.port.Device, Outcome: outcome}); fault != nil {
		n.m.stop = fmt.Errorf("the undo journal: %w", fault)
	}
	return err
}

// undo is the request that brings back what a step takes away; empty where it takes
// nothing.
func undo(p port.Port, s rollback.Step) string {
	row, _ := p.Row(s.Host)
	active, any := p.Active()
	switch {
	case s.Action == rollback.Delete:
		return rollback.Step{Action: rollback.Create, Host: s.Host, VNIC: row.VNICType, Profile: row.Profile}.Request(p.ID)
	case s.Action == rollback.Rebind:
		return rollback.Step{Action: rollback.Rebind, Host: s.Host, Profile: row.Profile}.Request(p.ID)
	case s.Action == rollback.Create:
		return rollback.Step{Action: rollback.Delete, Host: s.Host}.Request(p.ID)
	case s.Action == rollback.Activate && any:
		return rollback.Step{Action: rollback.Activate, Host: active.Host}.Request(p.ID)
	}
	return ""
}

func (n *noted) Activate(ctx context.Context, id, host string) error {
	return n.write(rollback.Step{Action: rollback.Activate, Host: host}, func() error { return n.Neutron.Activate(ctx, id, host) })
}

func (n *noted) SetProfile(ctx context.Context, id string, profile map[string]any, revision int) error {
	return n.write(n.rebind(profile), func() error { return n.Neutron.SetProfile(ctx, id, profile, revision) })
}

func (n *noted) Rebind(ctx context.Context, id string) error {
	active, _ := n.port.Active()
	return n.write(n.rebind(active.Profile), func() error { return n.Neutron.Rebind(ctx, id) })
}

func (n *noted) rebind(profile map[string]any) rollback.Step {
	active, _ := n.port.Active()
	return rollback.Step{Action: rollback.Rebind, Host: active.Host, Profile: profile}
}

func (n *noted) Create(ctx context.Context, id, host, vnic string, profile map[string]any) error {
	err := n.write(rollback.Step{Action: rollback.Create, Host: host, VNIC: vnic, Profile: profile}, func() error { return n.Neutron.Create(ctx, id, host, vnic, profile) })
	if err == nil && host == n.m.before.Host {
		n.m.torn = false
	}
	return err
}

func (n *noted) Delete(ctx context.Context, id, host string) error {
	return n.write(rollback.Step{Action: rollback.Delete, Host: host}, func() error {
		err := n.Neutron.Delete(ctx, id, host)
		if host == n.m.before.Host && (err == nil || binding.MayStillHappen(err)) {
			n.m.torn = true
		}
		return err
	})
}
