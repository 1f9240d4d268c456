package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

const (
	// novaBound is how long Nova may work on a migration: it waits 60 s for each answer that
	// was lost with RabbitMQ, and for ever where what it was told was lost.
	novaBound = 4 * time.Minute
	// repairBound is how long after Nova is done a port may be wrong: where Nova gives up without
	// a roll-back, earlybind waits 10 minutes for it.
	repairBound = 12 * time.Minute
	// agentBound is how long after its rows are right a port's status may be other than ACTIVE. The
	// agent goes round every 2 s; of what was lost with RabbitMQ it waits 60 s for the answer, more
	// than once.
	agentBound = 3 * time.Minute
	// answerBound is how long a guest may be silent after that: as the tour's.
	answerBound = 30 * time.Second
	// rest is for how long a guest stays before it goes on.
	rest = 4 * time.Second
)

// traveller takes one guest from host to host.
type traveller struct{ lab *lab.Lab }

// travel migrates for as long as there is more to do, and keeps a sample of each.
func (t *traveller) travel(ctx context.Context, more func() bool, keep func(sample)) {
	for more() {
		m, err := t.migrate(ctx)
		if ctx.Err() != nil {
			return // cut off: it does not count
		}
		if err != nil {
			m.Fault = err.Error()
		}
		if m.ByHand, err = t.mend(ctx, &m); err != nil {
			fmt.Println("    the guest is not whole again:", err)
		}
		keep(m)
	}
}

// migrate takes one sample.
func (t *traveller) migrate(ctx context.Context) (sample, error) {
	var m sample
	server, err := t.settled(ctx, novaBound)
	if err != nil {
		return m, err
	}
	m.Instance, m.Source, m.Destination, m.Began = server.ID, server.Host, lab.Other(server.Host), time.Now()
	var before lab.Migration
	if err := insist(ctx, novaBound, "Nova to name the last migration", func() error {
		before, err = t.lab.LastMigration(ctx, m.Instance)
		return err
	}); err != nil {
		return m, err
	}
	// A guest that comes back before the agent that it left has heard of that is unplugged by it, whoever activates.
	if err := insist(ctx, agentBound, "the destination's agent to go round", func() error { return t.lab.AgentGoesRound(ctx, m.Destination) }); err != nil {
		return m, err
	}
	if err := insist(ctx, novaBound, "Nova to take the migration", func() error {
		err := t.lab.Migrate(ctx, server.ID, m.Destination)
		if err == nil {
			return nil
		}
		m.Refused++
		// Its answer may have been lost, and not the request.
		if now, fault := t.lab.Server(ctx); fault == nil && now.TaskState != "" {
			return nil
		}
		return err
	}); err != nil {
		return m, err
	}
	stuck := insist(ctx, novaBound, "Nova to end the migration", func() error { return t.ended(ctx, &m, before.ID) })
	if ctx.Err() != nil {
		return m, ctx.Err()
	}
	if stuck != nil {
		m.Migration = "stuck: " + stuck.Error()
	}
	m.Ended = time.Now()
	if err := insist(ctx, time.Minute, "libvirt to say where the guest is", func() error {
		m.Guest, err = t.where(ctx, m.Instance)
		return err
	}); err != nil {
		return m, err
	}
	if err := t.judge(ctx, &m); err != nil {
		return m, err
	}
	if err := insist(ctx, time.Minute, "the logs", func() error { return t.recount(ctx, &m) }); err != nil {
		return m, err
	}
	if err := lab.Sleep(ctx, rest); err != nil {
		return m, err
	}
	// What was right is to stay right.
	began := time.Now()
	err = insist(ctx, agentBound+time.Minute, "Neutron to answer", func() error {
		ports, err := t.lab.Ports(ctx, m.Instance)
		if err != nil || m.Guest == "" {
			return err
		}
		return m.again(ports, time.Since(began))
	})
	for began := time.Now(); ; {
		if m.Answers = t.lab.Reachable(ctx); m.Answers == len(lab.Addresses) || time.Since(began) > answerBound {
			break
		}
		if err := lab.Sleep(ctx, 2*time.Second); err != nil {
			return m, err
		}
	}
	if m.Answers < len(lab.Addresses) {
		m.Silence = t.silence(ctx, m.Guest, m.Instance)
	}
	return m, err
}

// silence asks why a guest does not answer. Nothing may have been mended yet.
func (t *traveller) silence(ctx context.Context, host, instance string) *silence {
	return found(func() (bool, error) {
		if host == "" {
			return false, errors.New("the guest is nowhere, or on both hosts")
		}
		return t.lab.Dead(ctx, host, instance)
	}, func(host string) ([]lab.Tap, error) {
		ports, err := t.lab.Ports(ctx, instance)
		if err != nil {
			return nil, err
		}
		return t.lab.Taps(ctx, host, ports)
	}, func(host string) (int, error) {
		return t.lab.AgentTimeouts(ctx, host, time.Now().Add(-10*time.Minute))
	})
}

// ended takes down how a migration has ended; an error if it has not. before is the one
// before it: there is none of its own if Nova's conductor never heard of it.
func (t *traveller) ended(ctx context.Context, m *sample, before int) error {
	server, err := t.lab.Server(ctx)
	if err != nil {
		return err
	}
	m.Nova, m.NovaHost = server.Status, server.Host
	if server.TaskState != "" {
		return fmt.Errorf("status %s, task %s", server.Status, server.TaskState)
	}
	migration, err := t.lab.LastMigration(ctx, m.Instance)
	switch {
	case err != nil:
		return err
	case migration.ID == before:
		m.Migration = "never begun"
	case !slices.Contains([]string{"completed", "failed", "error", "cancelled"}, migration.Status):
		return fmt.Errorf("the migration is %s", migration.Status)
	default:
		m.Migration = migration.Status
	}
	return nil
}

// judge looks until every port is right where the guest is, and its agent has said so.
func (t *traveller) judge(ctx context.Context, m *sample) error {
	if m.Guest == "" {
		return nil // on neither host, or on both: nobody can say
	}
	w := watch{sample: m}
	return insist(ctx, repairBound+agentBound+time.Minute, "Neutron to answer", func() error {
		ports, err := t.lab.Ports(ctx, m.Instance)
		if err != nil {
			return err
		}
		return w.look(ports, time.Since(m.Ended))
	})
}

// where says on which host the guest runs, by libvirt; empty if on neither or on both.
func (t *traveller) where(ctx context.Context, instance string) (string, error) {
	domains, err := t.lab.Domains(ctx, instance)
	host := ""
	for on, state := range domains {
		if state != "running" && state != "paused" {
			continue
		}
		if host != "" {
			return "", err
		}
		host = on
	}
	return host, err
}

// met tells whether an activate of Nova's came while one of ours for the port was at work, or after one that was answered 200.
func met(novas lab.Request, activates []lab.Request) bool {
	return slices.ContainsFunc(activates, func(r lab.Request) bool {
		begins := r.At.Before(novas.At.Add(novas.Took))
		return r.ByEarlybind() && begins && (r.Status == 200 || r.At.Add(r.Took).After(novas.At))
	})
}

// recount takes down who has activated the destination, and what the consumers have alarmed of.
func (t *traveller) recount(ctx context.Context, m *sample) error {
	m.Ours, m.Novas, m.NovaConflict, m.NovaFailed, m.NovaHurt, m.Alarms = 0, 0, 0, 0, 0, 0
	requests, err := t.lab.Requests(ctx, m.Began)
	if err != nil {
		return err
	}
	ports, err := t.lab.Ports(ctx, m.Instance)
	if err != nil {
		return err
	}
	for _, p := range ports {
		activates := slices.DeleteFunc(slices.Clone(requests), func(r lab.Request) bool {
			return !strings.Contains(r.Path, p.ID) || !r.Activates() || r.At.After(m.Ended)
		})
		for _, r := range activates {
			switch {
			case r.ByEarlybind() && r.Status == 200:
				m.Ours++
			case r.ByEarlybind():
			case r.Status == 200:
				m.Novas++
			case r.Status == 409:
				m.NovaConflict++
			default:
				m.NovaFailed++
				if met(r, activates) {
					m.NovaHurt++
				}
			}
		}
	}
	lines, err := t.lab.Lines(ctx, m.Began, lab.Consumers...)
	for _, line := range lines {
		if line.Text("instance") == m.Instance && line.Text("event") == "handover.alarm" {
			m.Alarms++
		}
	}
	return err
}

// settled waits until Nova works on the guest no more, however often it does not answer. With an error comes what it last said.
func (t *traveller) settled(ctx context.Context, bound time.Duration) (lab.Server, error) {
	var server lab.Server
	err := insist(ctx, bound, "Nova to be done with the guest", func() error {
		now, err := t.lab.Server(ctx)
		if err != nil {
			return err
		}
		if server = now; server.TaskState != "" {
			return fmt.Errorf("status %s, task %s", server.Status, server.TaskState)
		}
		return nil
	})
	return server, err
}

// takeUp mends a guest that a run which was cut off has left in the middle of a migration; one that has not been
// booted yet needs nothing.
func (t *traveller) takeUp(ctx context.Context) error {
	if _, err := t.lab.Server(ctx); errors.Is(err, lab.ErrNoInstance) {
		return nil
	}
	done, err := t.mend(ctx, &sample{})
	if len(done) > 0 {
		fmt.Println("    left by an earlier run, mended:", strings.Join(done, "; "))
	}
	return err
}

// mend sees to it that the guest can be migrated again, whatever Nova has left, and says
// what an operator would have had to do by hand. The ports have been judged before.
func (t *traveller) mend(ctx context.Context, m *sample) (done []string, err error) {
	bound := novaBound
	if m.stuck() {
		bound = 0 // Nova had that long already
	}
	server, stuck := t.settled(ctx, bound)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if server.ID == "" {
		return nil, stuck
	}
	if stuck != nil || server.Status == "ERROR" {
		done = append(done, fmt.Sprintf("state reset (%s, %v)", server.Status, stuck))
		if err := insist(ctx, time.Minute, "Nova to reset the state", func() error { return t.lab.ResetState(ctx, server.ID) }); err != nil {
			return done, err
		}
	}
	var domains map[string]string
	if err := insist(ctx, time.Minute, "libvirt to list its domains", func() error {
		domains, err = t.lab.Domains(ctx, server.ID)
		return err
	}); err != nil {
		return done, err
	}
	other := lab.Other(server.Host)
	removed := domains[other] != ""
	if removed {
		done = append(done, fmt.Sprintf("domain on %s removed (%s)", other, domains[other]))
		if err := t.lab.Destroy(ctx, other, server.ID); err != nil {
			return done, err
		}
	}
	// Nova refuses a migration to a host where a row of an earlier one is left.
	if err := insist(ctx, time.Minute, "the ports to be mended", func() error {
		ports, err := t.lab.Ports(ctx, server.ID)
		if err != nil {
			return err
		}
		for _, p := range ports {
			if right, why := p.RightOn(server.Host); !right || len(p.Rows) > 1 {
				done = append(done, fmt.Sprintf("port %s, %d rows: %s", p.ID[:8], len(p.Rows), why))
				if err := t.lab.MendPort(ctx, p, server.Host); err != nil {
					return err
				}
			}
		}
		return nil
	}); err != nil {
		return done, err
	}
	// One address that answers is enough: what is plugged in again takes its time.
	if domains[server.Host] == "running" && t.lab.Reachable(ctx) > 0 {
		return done, nil
	}
	if removed && m.Silence == nil { // it is silent by our own hand
		done = append(done, "started anew on "+server.Host)
	} else {
		if m.Silence == nil {
			m.Silence = t.silence(ctx, server.Host, server.ID)
		}
		done = append(done, fmt.Sprintf("reboot (libvirt: %v, %s)", domains, m.Silence))
	}
	return done, insist(ctx, 3*time.Minute, "the guest to be rebooted", func() error { return t.lab.Reboot(ctx, server.ID) })
}

// insist does something every 2 s until it succeeds; the last error is given when the time
// is over.
func insist(ctx context.Context, bound time.Duration, what string, do func() error) error {
	end := time.Now().Add(bound)
	for {
		err := do()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		if err := lab.Sleep(ctx, 2*time.Second); err != nil {
			return err
		}
	}
}
