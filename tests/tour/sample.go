package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/tests/lab"
)

// sampleBound is how long one migration may take in the lab.
const sampleBound = 6 * time.Minute

// sample is one migration of the lab's guest, and what came of it.
type sample struct {
	Scenario    string            `json:"scenario"`
	Release     string            `json:"release"`
	Began       time.Time         `json:"began"`
	Instance    string            `json:"instance"`
	Source      string            `json:"source"`
	Destination string            `json:"destination"`
	Migration   string            `json:"migration"` // Nova's status of it
	RowsRight   bool              `json:"rows_right"`
	Ports       []result          `json:"ports"`
	Reachable   int               `json:"reachable"` // addresses of the guest that answer the probe afterwards
	SilenceMS   int64             `json:"silence_ms"`
	Figures     figures           `json:"figures"`
	Timeline    []timeline.Moment `json:"timeline"`
	Killed      string            `json:"killed,omitempty"`
	KilledAt    time.Time         `json:"killed_at,omitzero"`
	Fault       string            `json:"fault,omitempty"` // the sample itself did not work
	asked       bool              // Nova has accepted the migration
	silent      string            // why the guest does not count as answering at the end
	AgainAt     time.Time         `json:"again_at,omitzero"` // Nova has accepted the second one
}

// result is how one port ended.
type result struct {
	Port   string `json:"port"`
	Right  bool   `json:"right"`
	Why    string `json:"why,omitempty"`
	Status string `json:"status"` // the port's, as its agent reports it
	Rows   string `json:"rows"`
}

// onceMore is why a sample is taken again: it could not begin, so that Nova was
// asked for nothing, or the guest did not live to tell.
type onceMore struct{ error }

// guestDied is why a sample says nothing of the guest's network: QEMU has lost
// the guest, see [lab.Lab.Dead].
var guestDied = onceMore{errors.New("QEMU's emulation has lost the guest in the migration; it is rebooted")}

// take runs one migration of a scenario and collects what everyone has to say
// about it.
func take(ctx context.Context, l *lab.Lab, s scenario) (*sample, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleBound)
	defer cancel()
	if err := l.SetReplug(ctx, s.Replug); err != nil {
		return nil, err
	}
	if err := l.SetPolicy(ctx, s.Policy); err != nil {
		return nil, err
	}
	server, err := l.Settled(ctx)
	if err != nil {
		return nil, err
	}
	if server.Status != "ACTIVE" {
		return nil, fmt.Errorf("the guest is %s on %s: `make lab-down lab-up` gives a fresh one", server.Status, server.Host)
	}
	if dead, err := l.Dead(ctx, server.Host, server.ID); err == nil && dead {
		fmt.Println("    " + guestDied.Error())
		if err := l.Reboot(ctx, server.ID); err != nil {
			return nil, err
		}
	}
	if s.Replug && l.Reachable(ctx) < len(lab.Addresses) {
		// Cut off by a story before: there is nothing to be saved of its ports.
		if server, err = plugIn(ctx, l, server); err != nil {
			return nil, err
		}
	}
	m := &sample{
		Scenario: s.Key, Release: l.Release, Instance: server.ID,
		Source: server.Host, Destination: lab.Other(server.Host), Began: time.Now(),
	}
	if off := s.Without.publishers(m); len(off) > 0 {
		if err := l.Stop(ctx, off...); err != nil {
			return nil, err
		}
		defer l.Start(context.WithoutCancel(ctx), off...)
	}
	ear := l.Listen(ctx)
	if err := m.migrate(ctx, l, s); err != nil && !m.asked {
		ear.Stop(ctx, m.Began)
		return nil, onceMore{err}
	} else if err != nil {
		m.fault("%w", err)
	}
	if server, err = l.Settled(ctx); err != nil {
		return m, err
	}
	guestOn := m.Source
	if s.Fail == none || s.Again {
		guestOn = m.Destination
	}
	if server.Host != guestOn {
		m.fault("the guest should be on %s and is on %s", guestOn, server.Host)
		guestOn = server.Host
	}
	if m.Fault == "" {
		handovers := 1
		if s.Again {
			handovers = 2
		}
		if err := l.HandoversEnded(ctx, m.Began, m.Instance, handovers); err != nil {
			m.fault("%w", err)
		}
	}
	if s.Replug && s.Fail != none && m.Fault == "" {
		m.awaitAnswers(ctx, l, !s.Again)
	}
	if err := m.read(ctx, l, guestOn); err != nil {
		return m, err
	}
	if m.Killed != "" {
		if err := l.Start(ctx, m.Killed); err != nil {
			return m, err
		}
	}
	m.SilenceMS = ear.Stop(ctx, m.Began).Milliseconds()
	m.Reachable = l.Reachable(ctx)
	if err := m.recount(ctx, l); err != nil {
		return m, err
	}
	if m.Fault != "" && m.RowsRight && !m.says("SUSPENDED/MIGRATED") {
		// Seen on a busy machine: os-vif took longer to plug the destination in
		// than Nova waits.
		return m, onceMore{fmt.Errorf("Nova gave the migration up before the guest had stopped (%s)", m.Fault)}
	}
	if from, why := ear.AnsweredFrom(); why != "" {
		m.silent = why
	} else if s.Fail != none && !s.Again {
		m.Figures.answering(from)
	}
	if unmet := s.unmet(m); unmet != "" {
		if dead, err := l.Dead(ctx, guestOn, m.Instance); err == nil && dead && m.RowsRight {
			return m, guestDied
		}
		m.fault("%s", unmet)
	}
	return m, nil
}

// plugIn migrates a guest whose ports the agent has taken off: the destination
// plugs them in.
func plugIn(ctx context.Context, l *lab.Lab, server lab.Server) (lab.Server, error) {
	fmt.Println("    the guest is cut off by an earlier story: a migration plugs it in")
	began := time.Now()
	if err := l.Migrate(ctx, server.ID, lab.Other(server.Host)); err != nil {
		return server, onceMore{err}
	}
	after, err := l.Settled(ctx)
	if err != nil {
		return after, err
	}
	if err := l.HandoversEnded(ctx, began, server.ID, 1); err != nil {
		return after, err
	}
	return after, lab.Until(ctx, "the guest to answer", func() (bool, error) {
		return l.Reachable(ctx) == len(lab.Addresses), ctx.Err()
	})
}

// awaitAnswers waits until every port has status ACTIVE and the guest answers; where it is
// to stay on the source, until every port is plugged in again there, too. That it did not is
// seen in the figures.
func (m *sample) awaitAnswers(ctx context.Context, l *lab.Lab, stays bool) {
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	_ = lab.Until(ctx, "the guest to answer", func() (bool, error) {
		ports, err := l.Ports(ctx, m.Instance)
		for _, p := range ports {
			if p.Status != "ACTIVE" {
				return false, err
			}
		}
		if err != nil {
			return false, err
		}
		plugged, err := m.replugged(ctx, l)
		return err == nil && (plugged >= len(ports) || !stays) && l.Reachable(ctx) == len(lab.Addresses), err
	})
	// Long enough for a port that is taken off once more to be missed.
	_ = lab.Sleep(ctx, 3*time.Second)
}

// replugged counts the ports that the source's publisher has plugged in again and
// that the agent has then wired.
func (m *sample) replugged(ctx context.Context, l *lab.Lab) (int, error) {
	lines, err := l.Lines(ctx, m.Began, lab.PublisherOf(m.Source))
	ports := map[string]bool{}
	for _, line := range lines {
		if line.Text("instance") == m.Instance && line.Text("message") == "replug verified" {
			ports[line.Text("port")] = true
		}
	}
	return len(ports), err
}

// fault keeps what went wrong first: what follows is mostly its consequence.
func (m *sample) fault(format string, args ...any) {
	if m.Fault == "" {
		m.Fault = fmt.Errorf(format, args...).Error()
	}
}

// says tells whether the timeline holds a text.
func (m *sample) says(text string) bool {
	return slices.ContainsFunc(m.Timeline, func(e timeline.Moment) bool { return strings.Contains(e.What, text) })
}

// migrate starts the migration and does to it what the scenario says.
func (m *sample) migrate(ctx context.Context, l *lab.Lab, s scenario) error {
	if s.Fail != none {
		if err := l.Limit(ctx, m.Source, lab.SlowLink); err != nil {
			return err
		}
		defer l.Limit(context.WithoutCancel(ctx), m.Source, "off")
	}
	following, stop := context.WithCancel(ctx)
	defer stop()
	events, err := l.Follow(following, lab.PublisherOf(m.Source), lab.PublisherOf(m.Destination))
	if err != nil {
		return err
	}
	decisions, err := l.Follow(following, lab.Consumers...)
	if err != nil {
		return err
	}
	if err := l.Migrate(ctx, m.Instance, m.Destination); err != nil {
		return err
	}
	m.asked = true
	if s.Fail == none {
		if !s.KillConsumer {
			return nil
		}
		if err := lab.AwaitEvent(ctx, events, m.Destination, m.Instance, "started", "migrated"); err != nil {
			return err
		}
		return m.killConsumer(ctx, l)
	}
	if err := lab.AwaitEvent(ctx, events, m.Source, m.Instance, "suspended", "migrated"); err != nil {
		return err
	}
	thaw, err := m.fail(ctx, l, s, decisions)
	defer thaw()
	if err != nil || !s.Again {
		return err
	}
	if err := l.Limit(ctx, m.Source, "off"); err != nil {
		return err
	}
	err = l.MigrateSoon(ctx, m.Instance, m.Destination)
	m.AgainAt = time.Now()
	return err
}

// fail kills the destination's QEMU when the scenario says so; the guest stands
// still on the source. Where the consumers are frozen for it, thaw has them go on.
func (m *sample) fail(ctx context.Context, l *lab.Lab, s scenario, decisions <-chan lab.Line) (thaw func(), err error) {
	thaw = func() {}
	paused := time.Now()
	ports, err := l.Ports(ctx, m.Instance)
	if err != nil {
		return thaw, err
	}
	switch s.Fail {
	case whenActivated, novaFirst:
		activated := 0
		if err := lab.Await(ctx, decisions, func(d lab.Line) bool {
			if d.Text("instance") == m.Instance && d.Text("decided") == "activate" && d.Text("outcome") == "activated" {
				activated++
			}
			return activated == len(ports)
		}); err != nil {
			return thaw, fmt.Errorf("waiting for earlybind to activate %d ports: %w", len(ports), err)
		}
	case afterPause:
		if s.KillConsumer {
			if err := m.killConsumer(ctx, l); err != nil {
				return thaw, err
			}
		}
		if err := lab.Sleep(ctx, time.Until(paused.Add(2*time.Second))); err != nil {
			return thaw, err
		}
	}
	if s.Fail == novaFirst {
		if err := l.Pause(ctx, lab.Consumers...); err != nil {
			return thaw, err
		}
		thaw = func() { _ = l.Unpause(context.WithoutCancel(ctx), lab.Consumers...) }
	}
	if err := l.KillQEMU(ctx, m.Destination, m.Instance); err != nil {
		return thaw, fmt.Errorf("kill the destination's QEMU: %w", err)
	}
	if s.Fail != novaFirst {
		return thaw, nil
	}
	return thaw, lab.Until(ctx, "Nova to delete the destination's rows", func() (bool, error) {
		requests, err := l.Requests(ctx, m.Began)
		deleted := 0
		for _, r := range requests {
			if r.DeletesRow() && !r.ByEarlybind() {
				deleted++
			}
		}
		return deleted >= len(ports), err
	})
}

func (m *sample) killConsumer(ctx context.Context, l *lab.Lab) error {
	delay := time.Duration(rand.Int64N(int64(1500 * time.Millisecond)))
	if err := lab.Sleep(ctx, delay); err != nil {
		return err
	}
	m.Killed = lab.Consumers[rand.IntN(len(lab.Consumers))]
	m.KilledAt = time.Now()
	return l.Kill(ctx, m.Killed)
}

// read takes down how every port has ended.
func (m *sample) read(ctx context.Context, l *lab.Lab, guestOn string) error {
	ports, err := l.Ports(ctx, m.Instance)
	if err != nil {
		return err
	}
	m.RowsRight = len(ports) > 0
	for _, p := range ports {
		right, why := p.RightOn(guestOn)
		r := result{Port: p.ID, Right: right, Why: why, Status: p.Status}
		for _, row := range p.Rows {
			status := "INACTIVE"
			if row.Active {
				status = "ACTIVE"
			}
			r.Rows += fmt.Sprintf("%s %s %s; ", row.Host, status, row.VIFType)
		}
		m.Ports = append(m.Ports, r)
		m.RowsRight = m.RowsRight && right
	}
	// Nova's source host is done a few seconds after its destination.
	return lab.Until(ctx, "Nova to end the migration", func() (bool, error) {
		migration, err := l.LastMigration(ctx, m.Instance)
		m.Migration = migration.Status
		return migration.Status != "running", err
	})
}
