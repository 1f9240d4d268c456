package main

import (
	"context"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/tests/lab"
)

// figures are what a sample measured, in milliseconds from the pause unless
// said otherwise; nil where it did not happen.
type figures struct {
	PauseToArrival   *float64 `json:"pause_to_arrival_ms,omitempty"`    // RESUMED on the destination
	PauseToStopped   *float64 `json:"pause_to_stopped_ms,omitempty"`    // STOPPED/MIGRATED on the source
	PauseToFirstOurs *float64 `json:"pause_to_first_ours_ms,omitempty"` // earlybind's first activate reaches Neutron
	PauseToLastOurs  *float64 `json:"pause_to_last_ours_ms,omitempty"`
	PauseToNova      *float64 `json:"pause_to_nova_ms,omitempty"` // Nova begins its own part
	AllActive        *float64 `json:"all_active_ms,omitempty"`    // the last successful activate is answered
	OursWritten      int      `json:"ours_written"`               // earlybind's requests that write
	NovaActivated    int      `json:"nova_activated"`             // Nova's own activates answered 200
	NovaConflict     int      `json:"nova_conflict"`              // answered 409, which Nova tolerates
	NovaFailed       int      `json:"nova_failed"`                // answered anything else
	Replugged        int      `json:"replugged,omitempty"`        // ports that a publisher has plugged in again and that were wired
	// From RESUMED on the source until every address has answered for good.
	FailedToAnswering *float64  `json:"failed_to_answering_ms,omitempty"`
	resumed           time.Time // on the source, after the pause
}

// answering takes from when on the guest has answered.
func (f *figures) answering(from time.Time) {
	if f.resumed.IsZero() {
		return
	}
	v := max(0, float64(from.Sub(f.resumed).Microseconds())/1000)
	f.FailedToAnswering = &v
}

// recount puts together what the publishers, the consumers and Neutron's access
// log say. All of the lab's containers share one clock.
func (m *sample) recount(ctx context.Context, l *lab.Lab) error {
	events, err := l.HostEvents(ctx, m.Began, m.Instance, m.Source, m.Destination)
	if err != nil {
		return err
	}
	lines, err := l.Lines(ctx, m.Began, lab.Consumers...)
	if err != nil {
		return err
	}
	requests, err := l.Requests(ctx, m.Began)
	if err != nil {
		return err
	}
	ports, err := l.Ports(ctx, m.Instance)
	if err != nil {
		return err
	}
	zero := m.Began
	for _, e := range events {
		if e.Host == m.Source && e.Event == "suspended" && e.Detail == "migrated" {
			zero = e.At
			break
		}
	}
	since := func(t time.Time) float64 { return float64(t.Sub(zero).Microseconds()) / 1000 }
	add := func(at time.Time, who, what string) {
		m.Timeline = append(m.Timeline, timeline.Moment{MS: since(at), Who: who, What: what})
	}
	mark := func(f **float64, at time.Time, keepFirst bool) {
		if *f == nil || !keepFirst {
			v := since(at)
			*f = &v
		}
	}
	if m.Killed != "" {
		add(m.KilledAt, "tour", "SIGKILL to "+m.Killed)
	}
	if !m.AgainAt.IsZero() {
		add(m.AgainAt, "user", "the new migration is accepted")
	}
	add(m.Began, "user", "live migration "+m.Source+" -> "+m.Destination+" asked for")
	for _, e := range events {
		who, what := timeline.OfEvent(e.Host, e.Event, e.Detail)
		add(e.At, who, what)
		switch {
		case e.Host == m.Destination && e.Event == "resumed":
			mark(&m.Figures.PauseToArrival, e.At, true)
		case e.Host == m.Source && e.Event == "stopped" && e.Detail == "migrated":
			mark(&m.Figures.PauseToStopped, e.At, true)
		case e.Host == m.Source && e.Event == "resumed":
			m.Figures.resumed = e.At
		}
	}
	plugs, err := l.Lines(ctx, m.Began, lab.PublisherOf(m.Source))
	if err != nil {
		return err
	}
	for _, line := range plugs {
		if line.Text("instance") != m.Instance || line.Text("event") != "" {
			continue
		}
		if said := line.Text("message"); strings.Contains(said, "plug") {
			add(line.Time, "publisher "+m.Source, strings.TrimSpace(said+" "+line.Text("why")))
		}
	}
	if m.Figures.Replugged, err = m.replugged(ctx, l); err != nil {
		return err
	}
	for _, line := range lines {
		if line.Text("instance") != m.Instance {
			continue
		}
		who, what, ok := timeline.OfLine(audit.Line{
			Event: audit.Event(line.Text("event")), Host: line.Text("host"), Saw: line.Text("saw"),
			Decided: line.Text("decided"), Outcome: line.Text("outcome"), Why: line.Text("why"),
		})
		if !ok {
			continue
		}
		add(line.Time, who, what)
		if line.Text("saw") == "Nova: post.start" {
			mark(&m.Figures.PauseToNova, line.Time, true)
		}
	}
	for _, r := range requests {
		port := ""
		for _, p := range ports {
			if strings.Contains(r.Path, p.ID) {
				port = p.ID
			}
		}
		if port == "" || r.Method == "GET" {
			continue
		}
		who := timeline.ByNova
		if r.ByEarlybind() {
			who = timeline.ByEarlybind
			m.Figures.OursWritten++
		}
		add(r.At, who, timeline.OfRequest(r.Method, r.Path, port, r.Status))
		if r.Activates() {
			m.Figures.count(r)
			if r.ByEarlybind() && strings.Contains(r.Path, "/"+m.Destination+"/") {
				mark(&m.Figures.PauseToFirstOurs, r.At, true)
				mark(&m.Figures.PauseToLastOurs, r.At, false)
			}
			if r.Status == 200 {
				mark(&m.Figures.AllActive, r.At.Add(r.Took), false)
			}
		}
	}
	timeline.Sort(m.Timeline)
	return nil
}

func (f *figures) count(r lab.Request) {
	switch {
	case r.ByEarlybind():
	case r.Status == 200:
		f.NovaActivated++
	case r.Status == 409:
		f.NovaConflict++
	default:
		f.NovaFailed++
	}
}
