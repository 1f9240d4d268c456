package main

import (
	"context"
	"fmt"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

const (
	// slowLink makes the switchover long enough to fail in: the guest's 64 MiB
	// of touched memory take about 6 s.
	slowLink = "80mbit"
	// sampleBound is how long one migration may take in the lab.
	sampleBound = 4 * time.Minute
)

// sample is one migration of the lab's guest, and what came of it.
type sample struct {
	Scenario    string    `json:"scenario"`
	Release     string    `json:"release"`
	Began       time.Time `json:"began"`
	Instance    string    `json:"instance"`
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Migration   string    `json:"migration"` // Nova's status of it
	RowsRight   bool      `json:"rows_right"`
	Ports       []result  `json:"ports"`
	Reachable   int       `json:"reachable"` // addresses of the guest that answer the probe afterwards
	SilenceMS   int64     `json:"silence_ms"`
	Figures     figures   `json:"figures"`
	Timeline    []moment  `json:"timeline"`
	Fault       string    `json:"fault,omitempty"` // the sample itself did not work
}

// result is how one port ended.
type result struct {
	Port   string `json:"port"`
	Right  bool   `json:"right"`
	Why    string `json:"why,omitempty"`
	Status string `json:"status"` // the port's, as its agent reports it
	Rows   string `json:"rows"`
}

// take runs one migration of a scenario and collects what everyone has to say
// about it.
func take(ctx context.Context, l *lab.Lab, s scenario) (*sample, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleBound)
	defer cancel()
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
	m := &sample{
		Scenario: s.Key, Release: l.Release, Instance: server.ID,
		Source: server.Host, Destination: lab.Other(server.Host), Began: time.Now(),
	}
	ear := l.Listen(ctx)
	if err := m.migrate(ctx, l, s); err != nil {
		m.Fault = err.Error()
	}
	if server, err = l.Settled(ctx); err != nil {
		return m, err
	}
	guestOn := m.Source
	if s.Fail == none {
		guestOn = m.Destination
	}
	if server.Host != guestOn {
		m.Fault = fmt.Sprintf("the guest should be on %s and is on %s", guestOn, server.Host)
		guestOn = server.Host
	}
	if err := l.HandoverEnded(ctx, m.Began, m.Instance); err != nil {
		m.Fault = err.Error()
	}
	if err := m.read(ctx, l, guestOn); err != nil {
		return m, err
	}
	m.SilenceMS = ear.Stop(ctx, m.Began).Milliseconds()
	m.Reachable = l.Reachable(ctx)
	return m, m.recount(ctx, l)
}

// migrate starts the migration and makes it fail where the scenario says so.
func (m *sample) migrate(ctx context.Context, l *lab.Lab, s scenario) error {
	if s.Fail == none {
		return l.Migrate(ctx, m.Instance, m.Destination)
	}
	if _, err := l.Exec(ctx, m.Source, "lab-limit", slowLink); err != nil {
		return err
	}
	defer l.Exec(context.WithoutCancel(ctx), m.Source, "lab-limit", "off")

	following, stop := context.WithCancel(ctx)
	defer stop()
	events, err := l.Follow(following, lab.PublisherOf(m.Source))
	if err != nil {
		return err
	}
	decisions, err := l.Follow(following, lab.Consumers...)
	if err != nil {
		return err
	}
	ports, err := l.Ports(ctx, m.Instance)
	if err != nil {
		return err
	}
	if err := l.Migrate(ctx, m.Instance, m.Destination); err != nil {
		return err
	}
	if err := lab.Await(ctx, events, func(e lab.Line) bool {
		return e.Text("instance") == m.Instance && e.Text("event") == "suspended" && e.Text("detail") == "migrated"
	}); err != nil {
		return fmt.Errorf("waiting for the guest to stand still on %s: %w", m.Source, err)
	}
	if s.Fail != atPause {
		activated := 0
		if err := lab.Await(ctx, decisions, func(d lab.Line) bool {
			if d.Text("instance") == m.Instance && d.Text("decided") == "activate" && d.Text("outcome") == "activated" {
				activated++
			}
			return activated == len(ports)
		}); err != nil {
			return fmt.Errorf("waiting for earlybind to activate %d ports: %w", len(ports), err)
		}
	}
	if s.Fail == novaFirst {
		if err := l.Pause(ctx, lab.Consumers...); err != nil {
			return err
		}
		defer l.Unpause(context.WithoutCancel(ctx), lab.Consumers...)
	}
	if _, err := l.Exec(ctx, m.Destination, "pkill", "-KILL", "qemu-system"); err != nil {
		return fmt.Errorf("kill the destination's QEMU: %w", err)
	}
	if s.Fail == novaFirst {
		return lab.Until(ctx, "Nova to delete the destination's rows", func() (bool, error) {
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
	return nil
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
