package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

const (
	// bound is how long one outcome may take, without what it is prepared by.
	bound = 8 * time.Minute
	// eventBound is how long an event may be waited for.
	eventBound = 4 * time.Minute
	// aftermath is for how long is recorded what comes after the last migration.
	aftermath = 15 * time.Second

	source, destination = "compute1", "compute2"
)

// play is one outcome that is staged.
type play struct {
	*lab.Lab
	instance string
	others   []string        // instances that are recorded too
	events   <-chan lab.Line // of both publishers
}

// stage records one outcome. What has ended otherwise is left in file.part, for a look.
func stage(ctx context.Context, l *lab.Lab, o outcome, file string) error {
	instance, err := prepare(ctx, l)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	events, err := l.Follow(ctx, lab.Publishers...)
	if err != nil {
		return err
	}
	p := &play{Lab: l, instance: instance, events: events}
	undo := func() error { return nil }
	if o.prepare != nil {
		if undo, err = o.prepare(ctx, p); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	part := file + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	err = p.record(ctx, o, part)
	if o.after != nil {
		err = errors.Join(err, o.after(context.WithoutCancel(ctx), p))
	}
	if err := errors.Join(err, undo()); err != nil {
		return err
	}
	return errors.Join(os.Chmod(part, 0o644), os.Rename(part, file))
}

// record stages an outcome while earlybind records, and judges how it has ended.
func (p *play) record(ctx context.Context, o outcome, file string) error {
	recorder, err := p.startRecorder(ctx, o, file)
	if err != nil {
		return err
	}
	began := time.Now()
	fault := o.stage(ctx, p)
	if fault == nil {
		fault = p.judge(ctx, o)
	}
	if fault == nil {
		fault = lab.Sleep(ctx, aftermath)
	}
	if err := recorder.Process.Signal(os.Interrupt); err != nil {
		return errors.Join(fault, err)
	}
	if err := recorder.Wait(); err != nil {
		return errors.Join(fault, fmt.Errorf("earlybind record: %w", err))
	}
	fmt.Printf("    recorded for %.0f s\n", time.Since(began).Seconds())
	return fault
}

// startRecorder returns when earlybind records.
func (p *play) startRecorder(ctx context.Context, o outcome, file string) (*exec.Cmd, error) {
	args := []string{"record", "-about", o.about, "-instance", p.instance}
	for _, other := range p.others {
		args = append(args, "-instance", other)
	}
	cmd := exec.CommandContext(ctx, p.Path("bin", "earlybind"), append(args, file)...)
	cmd.Env = append(os.Environ(), "EARLYBIND_AMQP_URLS=amqp://"+p.Address("rabbitmq")+":5672/", "EARLYBIND_AMQP_USER=earlybind",
		"EARLYBIND_AMQP_PASSWORD_FILE="+p.Path("deploy/lab/secrets/password"))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w (make build)", err)
	}
	// The header is written once the queue is bound.
	return cmd, lab.Until(ctx, "earlybind to record", func() (bool, error) {
		info, err := os.Stat(file)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		return err == nil && info.Size() > 0, err
	})
}

// judge waits until Nova is done, if it ever is, and compares where everything is with what the
// outcome's name says.
func (p *play) judge(ctx context.Context, o outcome) error {
	if !o.goesOn {
		if err := p.novaDone(ctx); err != nil {
			return err
		}
	}
	domains, err := p.Domains(ctx, p.instance)
	if err != nil {
		return err
	}
	fmt.Printf("    libvirt: %v\n", domains)
	if !o.ends(domains) {
		return fmt.Errorf("it has ended otherwise than meant: %v", domains)
	}
	return nil
}

// novaDone waits until Nova has ended the migration, and says how it has left everything.
func (p *play) novaDone(ctx context.Context) error {
	server, err := p.Settled(ctx)
	if err != nil {
		return err
	}
	var migration lab.Migration
	if err := lab.Until(ctx, "Nova to end the migration", func() (bool, error) {
		migration, err = p.LastMigration(ctx, p.instance)
		return !slices.Contains([]string{"running", "accepted", "preparing"}, migration.Status), err
	}); err != nil {
		return err
	}
	fmt.Printf("    Nova: %s on %s, migration %s\n", server.Status, server.Host, migration.Status)
	ports, err := p.Ports(ctx, p.instance)
	if err != nil {
		return err
	}
	for _, port := range ports {
		if right, why := port.RightOn(server.Host); !right {
			fmt.Printf("    port %s with Nova alone: %s\n", port.ID[:8], why)
		}
	}
	return nil
}

// await waits for a lifecycle event of the guest; an empty detail is any.
func (p *play) await(ctx context.Context, host, event, detail string) error {
	return p.awaitOf(ctx, p.instance, host, event, detail)
}

// awaitOf waits for one of an instance.
func (p *play) awaitOf(ctx context.Context, instance, host, event, detail string) error {
	ctx, cancel := context.WithTimeout(ctx, eventBound)
	defer cancel()
	return lab.AwaitEvent(ctx, p.events, host, instance, event, detail)
}

// awaitAll waits until each instance has left its host, in whichever order.
func (p *play) awaitAll(ctx context.Context, leaves map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, eventBound)
	defer cancel()
	left := map[string]bool{}
	return lab.Await(ctx, p.events, func(e lab.Line) bool {
		instance := e.Text("instance")
		if e.Text("event") == "stopped" && e.Service == lab.PublisherOf(leaves[instance]) {
			left[instance] = true
		}
		return len(left) == len(leaves)
	})
}

// migrate asks for the migration that the outcome is about and waits for an event of it.
func (p *play) migrate(ctx context.Context, host, event, detail string) error {
	if err := p.MigrateSoon(ctx, p.instance, destination); err != nil {
		return err
	}
	return p.await(ctx, host, event, detail)
}

// prepare has the guest run on compute1, whole and answering, whatever the outcome before
// has left.
func prepare(ctx context.Context, l *lab.Lab) (instance string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	for _, host := range lab.Computes {
		if err := errors.Join(l.Limit(ctx, host, "off"), l.Mend(ctx, host)); err != nil {
			return "", err
		}
	}
	if err := lab.Until(ctx, "Nova and Neutron to see both hosts up", func() (bool, error) { return l.ComputesUp(ctx) }); err != nil {
		return "", err
	}
	for {
		server, err := l.Settled(ctx)
		if err != nil {
			return "", err
		}
		whole, err := mend(ctx, l, server)
		if err != nil {
			return server.ID, err
		}
		if whole && server.Host == source {
			return server.ID, nil
		}
		if whole {
			fmt.Printf("    the guest goes back to %s\n", source)
			if err := l.MigrateSoon(ctx, server.ID, source); err != nil {
				return server.ID, err
			}
		}
	}
}

// mend sees to it that an instance is active, its domain runs where Nova says and nowhere
// else, and the guest answers; false if it had to do something for it.
func mend(ctx context.Context, l *lab.Lab, server lab.Server) (whole bool, err error) {
	domains, err := l.Domains(ctx, server.ID)
	if err != nil {
		return false, err
	}
	other := lab.Other(server.Host)
	switch {
	case domains[other] != "":
		fmt.Printf("    a domain on %s (%s) is removed\n", other, domains[other])
		return false, l.Destroy(ctx, other, server.ID)
	case server.Status == "ERROR":
		fmt.Println("    Nova has given the guest up: its state is reset")
		return false, l.ResetState(ctx, server.ID)
	case server.Status == "PAUSED":
		return false, l.Do(ctx, server.ID, "unpause")
	}
	ports, err := l.Ports(ctx, server.ID)
	if err != nil {
		return false, err
	}
	for _, p := range ports {
		if right, why := p.RightOn(server.Host); !right || len(p.Rows) > 1 {
			fmt.Printf("    port %s is mended: %d rows, %s\n", p.ID[:8], len(p.Rows), why)
			return false, l.MendPort(ctx, p, server.Host)
		}
	}
	if domains[server.Host] == "running" && l.Reachable(ctx) == len(lab.Addresses) {
		return true, nil
	}
	fmt.Printf("    the guest (Nova: %s, libvirt: %v) is rebooted\n", server.Status, domains)
	return false, l.Reboot(ctx, server.ID)
}
