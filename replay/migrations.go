package replay

import (
	"slices"
	"time"

	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

// migration is a live migration as a recording shows it, and when Nova does its part in
// it. Times are from the recording's beginning; never is that of what does not happen.
type migration struct {
	nova.Migration
	rows      time.Duration // the conductor makes the INACTIVE rows
	setUp     time.Duration // pre_live_migration
	early     time.Duration // Nova activates already at SUSPENDED/POSTCOPY
	post      time.Duration // Nova takes over, and activates
	finish    time.Duration // the destination's part, which deletes the source's rows
	rollback  time.Duration // the destination's rows are deleted
	arrived   bool          // the guest ran on the destination
	paused    bool
	concluded bool // a host has said how it ended
}

const never = time.Duration(-1)

// survey reads the migrations out of a recording.
type survey struct {
	novaExchange string
	found        []*migration
	current      map[string]*migration // by instance
	runsOn       map[string]string     // host by instance, as last listed
}

// migrations gives what a recording shows, in the order in which they begin. Of one
// whose source is not told nothing can be simulated: it is left out.
func migrations(h recording.Header, messages []recording.Message) []*migration {
	s := &survey{novaExchange: h.NovaExchange, current: map[string]*migration{}, runsOn: map[string]string{}}
	for _, m := range messages {
		s.read(m)
	}
	found := slices.DeleteFunc(s.found, func(m *migration) bool { return m.Source == "" || m.Destination == "" })
	ports := map[string][]nova.Port{}
	for _, m := range found {
		for _, p := range m.Ports {
			if !slices.ContainsFunc(ports[m.Instance], func(q nova.Port) bool { return q.ID == p.ID }) {
				ports[m.Instance] = append(ports[m.Instance], p)
			}
		}
	}
	for _, m := range found {
		m.Ports = ports[m.Instance]
	}
	return found
}

func (s *survey) read(m recording.Message) {
	n, err := wire.Decode(m.Body)
	if err != nil {
		return
	}
	if m.Exchange == s.novaExchange {
		if e, ok, err := wire.ParseNova(n); ok && err == nil {
			s.nova(e, m.At())
		}
		return
	}
	if e, err := wire.ParseHostEvent(n); err == nil {
		s.event(e, m.At())
	} else if states, err := wire.ParseHostStates(n); err == nil {
		s.states(states, m.At())
	}
}

func (s *survey) begin(instance string, at time.Duration) *migration {
	m := &migration{
		Migration: nova.Migration{Instance: instance},
		rows:      at - nova.ConductorToPre, setUp: at, early: never, post: never, finish: never, rollback: never,
	}
	s.found = append(s.found, m)
	s.current[instance] = m
	return m
}

func (s *survey) nova(e wire.NovaEvent, at time.Duration) {
	m := s.current[e.Instance]
	if e.Step == wire.NovaPre && (m == nil || m.RequestID != e.RequestID && (m.RequestID != "" || m.concluded)) {
		m = s.begin(e.Instance, at)
	}
	if m == nil || m.RequestID != "" && m.RequestID != e.RequestID {
		return
	}
	m.RequestID = e.RequestID
	for _, id := range e.Ports {
		if !slices.ContainsFunc(m.Ports, func(p nova.Port) bool { return p.ID == id }) {
			m.Ports = append(m.Ports, nova.Port{ID: id, VNICType: "normal", Profile: profile()})
		}
	}
	switch e.Step {
	case wire.NovaPre:
		m.Source, m.Destination = e.PayloadHost, e.PublisherHost
	case wire.NovaPost:
		if !e.Ended {
			m.post, m.finish = at, max(m.finish, at+nova.PostToFinish)
		}
	case wire.NovaPostDest:
		if !e.Ended {
			m.finish = at
		}
	case wire.NovaRollback, wire.NovaRollbackDest:
		// Where the destination has its part the disks are not shared, and it
		// deletes the rows.
		if !e.Ended {
			m.rollback = at
		}
	}
}

func (s *survey) event(e wire.HostEvent, at time.Duration) {
	m := s.current[e.Instance]
	if e.Event == wire.Started && e.Detail == wire.Migrated {
		if m == nil || m.concluded || m.Destination != "" && m.Destination != e.Host {
			m = s.begin(e.Instance, at-nova.PreToStarted)
			m.Source = s.runsOn[e.Instance]
		}
		m.Destination = e.Host
		return
	}
	if m == nil {
		return
	}
	if e.Host != m.Destination {
		m.Source = e.Host
		s.source(m, e, at)
		return
	}
	switch e.Event {
	case wire.Resumed:
		m.arrived = true
	case wire.Suspended:
		m.arrived = m.arrived || e.Detail == wire.Paused
	case wire.Stopped:
		if !m.arrived {
			s.failed(m, at)
		}
	}
}

// source reads what the source's host has said.
func (s *survey) source(m *migration, e wire.HostEvent, at time.Duration) {
	switch {
	case e.Event == wire.Suspended && e.Detail == wire.Migrated:
		m.paused = true
	case e.Event == wire.Suspended && e.Detail == wire.PostCopy:
		m.early = at // handle_lifecycle_event (nova/compute/manager.py)
	case e.Event == wire.Stopped && e.Detail == wire.Migrated:
		s.runsOn[m.Instance] = m.Destination
		s.conclude(m, &m.post, at+nova.LeftToPost)
	case e.Event == wire.Resumed && m.paused, e.Event == wire.Stopped:
		s.failed(m, at)
	}
}

func (s *survey) failed(m *migration, at time.Duration) {
	s.runsOn[m.Instance] = m.Source
	s.conclude(m, &m.rollback, at+nova.FailedToNova)
}

// conclude sets when Nova does what follows from a host's word, unless Nova itself has
// told.
func (s *survey) conclude(m *migration, when *time.Duration, at time.Duration) {
	if m.concluded {
		return
	}
	m.concluded = true
	if m.RequestID != "" || m.early != never && when == &m.rollback {
		return // a failed post-copy leaves nothing to roll back
	}
	*when = at
	if when == &m.post {
		m.finish = at + nova.PostToFinish
	}
}

func (s *survey) states(states wire.HostStates, at time.Duration) {
	for _, d := range states.Domains {
		if d.Incoming {
			continue
		}
		m := s.current[d.Instance]
		if m == nil || m.concluded {
			s.runsOn[d.Instance] = states.Host
		} else if m.Source == states.Host && m.paused && d.State == "running" {
			s.failed(m, at) // its RESUMED was lost
		}
	}
}

// profile is what Nova gives a port's rows.
func profile() map[string]any { return map[string]any{"os_vif_delegation": true} }
