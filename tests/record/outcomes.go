package main

import (
	"context"
	"errors"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// outcome is one way in which a live migration from compute1 to compute2 can go.
type outcome struct {
	name  string // of the file, after lab-
	about string // its header: what is shown
	// prepare, if set, is done before it is recorded; what it returns, after it.
	prepare func(context.Context, *play) (undo func() error, err error)
	// stage makes it happen, and returns at the last event that it waits for.
	stage func(context.Context, *play) error
	// goesOn: Nova takes the migration for one that goes on, whatever has happened.
	goesOn bool
	// after, if set, mends what only this outcome leaves.
	after func(context.Context, *play) error
	// ends tells, of the states of the guest's domains, whether it came about.
	ends func(domains map[string]string) bool
}

// The rates that a migration is limited to. Nova's settings in the lab let the guest stop
// for 40 s at first, and for 120 s after 12 s: at slowLink all of its memory goes in the
// switchover, at tightLink pre-copy lasts for some 10 s.
const (
	slowLink  = lab.SlowLink
	tightLink = "8mbit"
)

func runsOn(host string) func(map[string]string) bool {
	return func(domains map[string]string) bool { return len(domains) == 1 && domains[host] == "running" }
}

// limited limits what compute1 sends.
func limited(rate string) func(context.Context, *play) (func() error, error) {
	return func(ctx context.Context, p *play) (func() error, error) {
		return func() error { return p.Limit(context.WithoutCancel(ctx), source, "off") }, p.Limit(ctx, source, rate)
	}
}

// inSwitchover has something happen while the guest stands still, and waits until it runs
// on the source again.
func inSwitchover(happen func(context.Context, *play) error) func(context.Context, *play) error {
	return func(ctx context.Context, p *play) error {
		if err := p.migrate(ctx, source, "suspended", "migrated"); err != nil {
			return err
		}
		if err := happen(ctx, p); err != nil {
			return err
		}
		return p.await(ctx, source, "resumed", "")
	}
}

// inPreCopy has something happen while the guest's memory is copied, and waits for the
// destination's end.
func inPreCopy(happen func(context.Context, *play) error) func(context.Context, *play) error {
	return func(ctx context.Context, p *play) error {
		if err := p.migrate(ctx, destination, "started", "migrated"); err != nil {
			return err
		}
		if err := lab.Sleep(ctx, 2*time.Second); err != nil {
			return err
		}
		if err := happen(ctx, p); err != nil {
			return err
		}
		return p.await(ctx, destination, "stopped", "")
	}
}

// restartedInPreCopy ends a host's libvirtd as systemd does, while the guest's memory is copied; it
// is started again at once. What the destination's says of its domain may be lost with it.
func restartedInPreCopy(host string) func(context.Context, *play) error {
	return func(ctx context.Context, p *play) error {
		if err := p.migrate(ctx, destination, "started", "migrated"); err != nil {
			return err
		}
		if err := errors.Join(lab.Sleep(ctx, 2*time.Second), p.Signal(ctx, host, lab.Libvirtd, "TERM"), lab.Sleep(ctx, time.Second)); err != nil {
			return err
		}
		return lab.Until(ctx, "libvirtd to be back", func() (bool, error) {
			_, err := p.Exec(ctx, host, "virsh", "version")
			return err == nil, nil
		})
	}
}

func abort(ctx context.Context, p *play) error { return p.Abort(ctx, p.instance) }

func killDestinationQEMU(ctx context.Context, p *play) error {
	return p.KillQEMU(ctx, destination, p.instance)
}

func killLibvirtd(host string) func(context.Context, *play) error {
	return func(ctx context.Context, p *play) error { return p.Signal(ctx, host, lab.Libvirtd, "KILL") }
}

func success(ctx context.Context, p *play) error {
	return p.migrate(ctx, source, "stopped", "migrated")
}

var outcomes = []outcome{
	{
		name: "success", about: "A live migration that succeeds.",
		stage: success, ends: runsOn(destination),
	},
	{
		name: "aborted-in-pre-copy", about: "The user aborts while the guest's memory is copied.",
		prepare: limited(tightLink), stage: inPreCopy(abort), ends: runsOn(source),
	},
	{
		name: "aborted-in-switchover", about: "The user aborts while the guest stands still.",
		prepare: limited(slowLink), stage: inSwitchover(abort), ends: runsOn(source),
	},
	{
		name: "failed-in-pre-copy", about: "The destination's QEMU is killed while the guest's memory is copied.",
		prepare: limited(tightLink), stage: inPreCopy(killDestinationQEMU), ends: runsOn(source),
	},
	{
		name: "failed-in-switchover", about: "The destination's QEMU is killed while the guest stands still.",
		prepare: limited(slowLink), stage: inSwitchover(killDestinationQEMU), ends: runsOn(source),
	},
	{
		name: "back-to-back", about: "From compute1 to compute2, back, and to compute2 again, each as soon as Nova takes it.",
		stage: func(ctx context.Context, p *play) error {
			for i := range 3 {
				from, to := source, destination
				if i == 1 {
					from, to = to, from
				}
				if err := p.MigrateSoon(ctx, p.instance, to); err != nil {
					return err
				}
				if err := p.await(ctx, from, "stopped", "migrated"); err != nil {
					return err
				}
			}
			return nil
		},
		ends: runsOn(destination),
	},
	{
		name: "second-attempt", about: "The destination's QEMU is killed while the guest stands still; as soon as Nova takes it, the same migration succeeds.",
		prepare: limited(slowLink),
		stage: func(ctx context.Context, p *play) error {
			if err := inSwitchover(killDestinationQEMU)(ctx, p); err != nil {
				return err
			}
			if err := p.Limit(ctx, source, "off"); err != nil {
				return err
			}
			return success(ctx, p)
		},
		ends: runsOn(destination),
	},
	{
		name: "failed-in-finish", about: "All memory is on the destination, whose QEMU dies before libvirt has let it run.",
		prepare: limited(slowLink), stage: inSwitchover(func(ctx context.Context, p *play) error {
			return frozenLibvirtd(ctx, p, 20*time.Second, func() error { return killDestinationQEMU(ctx, p) })
		}),
		ends: runsOn(source),
	},
	{
		name: "destination-libvirtd-killed", about: "The destination's libvirtd is killed while the guest stands still.",
		prepare: limited(slowLink), stage: inSwitchover(killLibvirtd(destination)), ends: runsOn(source),
	},
	{
		name: "source-libvirtd-killed", about: "The source's libvirtd is killed while the guest stands still: what it would have said of the guest's going on is lost.",
		prepare: limited(slowLink),
		stage: func(ctx context.Context, p *play) error {
			if err := p.migrate(ctx, source, "suspended", "migrated"); err != nil {
				return err
			}
			if err := killLibvirtd(source)(ctx, p); err != nil {
				return err
			}
			return p.await(ctx, destination, "stopped", "")
		},
		ends: runsOn(source),
	},
	{
		// As an upgrade of the package does it.
		name: "source-libvirtd-restarted", about: "The source's libvirtd is restarted, as systemd does it, while the guest's memory is copied.",
		prepare: limited(tightLink), stage: restartedInPreCopy(source), ends: runsOn(source),
	},
	{
		name: "destination-libvirtd-restarted", about: "The destination's libvirtd is restarted, as systemd does it, while the guest's memory is copied.",
		prepare: limited(tightLink), stage: restartedInPreCopy(destination), ends: runsOn(source),
	},
	{
		name: "source-qemu-killed", about: "The source's QEMU is killed while the guest stands still: the guest is lost.",
		prepare: limited(slowLink),
		stage: func(ctx context.Context, p *play) error {
			if err := p.migrate(ctx, source, "suspended", "migrated"); err != nil {
				return err
			}
			if err := p.KillQEMU(ctx, source, p.instance); err != nil {
				return err
			}
			return p.await(ctx, destination, "stopped", "")
		},
		ends: func(domains map[string]string) bool {
			return domains[source] != "running" && domains[destination] != "running"
		},
	},
	{
		name: "destination-frozen", about: "The destination's libvirtd is frozen until the source has given up and Nova has rolled back; when it thaws, the guest is not there.",
		prepare: limited(slowLink), stage: frozenUntilSourceGoesOn, ends: runsOn(source),
	},
	{
		// libvirt does tell QEMU to let the guest run, and only the lock on the disk's image keeps it from
		// that, which the source's QEMU has: where there is none, the guest runs on both (runs-on-both).
		name: "destination-thaws", about: "The destination's libvirtd is frozen and cut off when it has been asked to let the guest run, until the source has given up and goes on; when it thaws, it tries, and the disk's lock keeps it from that.",
		prepare: limited(slowLink), stage: thawsTooLate("stopped", ""),
		ends: func(domains map[string]string) bool { // the destination keeps its definition
			return domains[source] == "running" && domains[destination] != "running"
		},
	},
	{
		name: "runs-on-both", about: "The destination's libvirtd is frozen and cut off when it has been asked to let the guest run, until the source has given up and goes on; when it thaws, it lets the guest run as well. The guest's only disk is a CD-ROM, whose file QEMU does not lock against another.",
		prepare: bootedFromCDROM, stage: thawsTooLate("resumed", "migrated"),
		ends: func(domains map[string]string) bool {
			return domains[source] == "running" && domains[destination] == "running"
		},
	},
	{
		name: "network-cut", about: "The migration network is cut while the guest stands still, until the destination has given up.",
		prepare: limited(slowLink), stage: inSwitchover(func(ctx context.Context, p *play) error {
			return cut(ctx, p, func() error {
				return errors.Join(p.await(ctx, destination, "stopped", ""), lab.Sleep(ctx, 3*time.Second))
			})
		}),
		ends: runsOn(source),
	},
	{
		name: "network-cut-long", about: "The migration network is cut for 150 s while the guest stands still: libvirt gives up after 90 s, and lets the guest go on when the network is back.",
		prepare: limited(slowLink), stage: inSwitchover(func(ctx context.Context, p *play) error {
			return cut(ctx, p, func() error { return lab.Sleep(ctx, 150*time.Second) })
		}),
		ends: runsOn(source),
	},
	{
		name: "network-cut-left-paused", about: "The migration network is cut while the guest stands still, and nova-compute on the source hangs: libvirt leaves the guest paused, and says nothing.",
		prepare: limited(slowLink),
		stage: func(ctx context.Context, p *play) error {
			if err := p.migrate(ctx, source, "suspended", "migrated"); err != nil {
				return err
			}
			if err := p.Signal(ctx, source, lab.NovaCompute, "STOP"); err != nil {
				return err
			}
			defer p.Signal(context.WithoutCancel(ctx), source, lab.NovaCompute, "CONT")
			return cut(ctx, p, func() error { return lab.Sleep(ctx, 240*time.Second) })
		},
		ends: func(domains map[string]string) bool { return len(domains) == 1 && domains[source] == "paused" },
	},
	{
		name: "paused-guest", about: "A guest that its user has paused.",
		prepare: func(ctx context.Context, p *play) (func() error, error) {
			undo := func() error { return p.Do(context.WithoutCancel(ctx), p.instance, "unpause") }
			if err := p.Do(ctx, p.instance, "pause"); err != nil {
				return nil, err
			}
			return undo, p.await(ctx, source, "suspended", "paused")
		},
		stage: success,
		ends:  func(domains map[string]string) bool { return len(domains) == 1 && domains[destination] == "paused" },
	},
	{
		name: "force-completed", about: "The user forces the migration to its end: the guest is paused before its switchover.",
		prepare: limited(tightLink),
		stage: func(ctx context.Context, p *play) error {
			if err := p.migrate(ctx, destination, "started", "migrated"); err != nil {
				return err
			}
			if err := p.ForceComplete(ctx, p.instance); err != nil {
				return err
			}
			return p.await(ctx, source, "stopped", "migrated")
		},
		ends: runsOn(destination),
	},
	{
		name: "post-copy", about: "The user forces the migration to its end where Nova may go on by post-copy.",
		prepare: postCopy, stage: func(ctx context.Context, p *play) error {
			if err := forcedToPostCopy(ctx, p); err != nil {
				return err
			}
			return p.await(ctx, source, "stopped", "migrated")
		},
		ends: runsOn(destination),
	},
	{
		name: "post-copy-failed", about: "Post-copy, and the destination's QEMU is killed: the guest is lost.",
		prepare: postCopy, stage: func(ctx context.Context, p *play) error {
			if err := forcedToPostCopy(ctx, p); err != nil {
				return err
			}
			if err := killDestinationQEMU(ctx, p); err != nil {
				return err
			}
			return p.await(ctx, destination, "stopped", "")
		},
		goesOn: true, // libvirt keeps the job for a recovery
		after: func(ctx context.Context, p *play) error {
			if err := p.Destroy(ctx, source, p.instance); err != nil {
				return err
			}
			_, err := p.Settled(ctx)
			return err
		},
		ends: func(domains map[string]string) bool { return len(domains) == 1 && domains[source] == "paused" },
	},
	{
		name: "two-guests", about: "Two guests change places at the same time.",
		prepare: func(ctx context.Context, p *play) (func() error, error) {
			second := p.About("guest2")
			if err := second.Boot(ctx, destination); err != nil {
				return nil, err
			}
			server, err := second.Server(ctx)
			if err == nil && server.Host != destination {
				err = errors.Join(second.MigrateSoon(ctx, server.ID, destination), p.awaitOf(ctx, server.ID, server.Host, "stopped", "migrated"))
			}
			p.others = []string{server.ID}
			return func() error { return nil }, err
		},
		stage: func(ctx context.Context, p *play) error {
			second := p.others[0]
			if err := errors.Join(p.MigrateSoon(ctx, p.instance, destination), p.MigrateSoon(ctx, second, source)); err != nil {
				return err
			}
			return p.awaitAll(ctx, map[string]string{p.instance: source, second: destination})
		},
		ends: runsOn(destination),
	},
}

// postCopy has Nova go on by post-copy where a migration is forced to its end.
func postCopy(ctx context.Context, p *play) (func() error, error) {
	undo := func() error {
		ctx := context.WithoutCancel(ctx)
		return errors.Join(p.Limit(ctx, source, "off"), p.SetPostCopy(ctx, false))
	}
	return undo, errors.Join(p.SetPostCopy(ctx, true), p.Limit(ctx, source, tightLink))
}

func forcedToPostCopy(ctx context.Context, p *play) error {
	if err := p.migrate(ctx, destination, "started", "migrated"); err != nil {
		return err
	}
	if err := p.ForceComplete(ctx, p.instance); err != nil {
		return err
	}
	return p.await(ctx, source, "suspended", "postcopy")
}

// frozenUntilSourceGoesOn freezes the destination's libvirtd while the guest stands still, and
// thaws it 10 s after the source has let the guest go on.
func frozenUntilSourceGoesOn(ctx context.Context, p *play) error {
	if err := p.migrate(ctx, source, "suspended", "migrated"); err != nil {
		return err
	}
	return frozenLibvirtd(ctx, p, 0, func() error {
		return errors.Join(p.await(ctx, source, "resumed", ""), lab.Sleep(ctx, 10*time.Second))
	})
}

// thawsTooLate freezes the destination's libvirtd and cuts it off when it has been asked to let the guest run. It thaws
// 10 s after the source has let the guest go on, and an event of it is waited for. The cut keeps the connection's end
// from it: otherwise it finds that, too, when it thaws, and destroys the guest at once (destination-frozen).
func thawsTooLate(event, detail string) func(context.Context, *play) error {
	return func(ctx context.Context, p *play) error {
		if err := p.migrate(ctx, source, "suspended", "migrated"); err != nil {
			return err
		}
		return frozenLibvirtd(ctx, p, 20*time.Second, func() error {
			return cut(ctx, p, func() error {
				if err := errors.Join(p.await(ctx, source, "resumed", ""), lab.Sleep(ctx, 10*time.Second)); err != nil {
					return err
				}
				return errors.Join(p.Signal(ctx, destination, lab.Libvirtd, "CONT"), p.await(ctx, destination, event, detail))
			})
		})
	}
}

// bootedFromCDROM has the outcome be about another guest, which is there for as long as it takes.
func bootedFromCDROM(ctx context.Context, p *play) (func() error, error) {
	p.Lab = p.About("guest4")
	if err := p.BootFromCDROM(ctx, source); err != nil {
		return nil, err
	}
	var err error
	if p.instance, err = prepare(ctx, p.Lab); err != nil {
		return nil, err
	}
	undo := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
		defer cancel()
		ports, err := p.Ports(ctx, p.instance)
		err = errors.Join(err, p.Limit(ctx, source, "off"), p.Destroy(ctx, destination, p.instance), p.Delete(ctx, p.instance))
		for _, port := range ports { // Nova's roll-back leaves them plugged in
			_, fault := p.Exec(ctx, destination, "ovs-vsctl", "--if-exists", "del-port", "br-int", "tap"+port.ID[:11])
			err = errors.Join(err, fault)
		}
		return err
	}
	return undo, p.Limit(ctx, source, slowLink)
}

// frozenLibvirtd freezes the destination's libvirtd for a while and until something has
// happened. The source gives up after 30 s.
func frozenLibvirtd(ctx context.Context, p *play, before time.Duration, happen func() error) error {
	if err := p.Signal(ctx, destination, lab.Libvirtd, "STOP"); err != nil {
		return err
	}
	defer p.Signal(context.WithoutCancel(ctx), destination, lab.Libvirtd, "CONT")
	if err := lab.Sleep(ctx, before); err != nil {
		return err
	}
	return happen()
}

// cut cuts the migration network until something has happened.
func cut(ctx context.Context, p *play, happen func() error) error {
	if err := p.Cut(ctx, source); err != nil {
		return err
	}
	defer p.Mend(context.WithoutCancel(ctx), source)
	return happen()
}
