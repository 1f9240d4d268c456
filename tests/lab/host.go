package lab

import (
	"context"
	"strings"
)

// SlowLink makes the switchover long enough to fail in: the guest's 64 MiB of touched
// memory were seen to take 14 s.
const SlowLink = "80mbit"

// Limit limits what a host sends on the migration network, so that pre-copy or the
// switchover takes as long as its memory takes at this rate ("80mbit"); "off" ends it.
func (l *Lab) Limit(ctx context.Context, host, rate string) error {
	_, err := l.Exec(ctx, host, "lab-limit", rate)
	return err
}

// Cut takes a host's end of the migration network down: what it sends arrives nowhere,
// and nothing is refused. The other networks go on. Mend brings it up again.
func (l *Lab) Cut(ctx context.Context, host string) error { return l.link(ctx, host, "down") }

// Mend brings a host's end of the migration network up.
func (l *Lab) Mend(ctx context.Context, host string) error { return l.link(ctx, host, "up") }

func (l *Lab) link(ctx context.Context, host, state string) error {
	// An interface that is down keeps its address.
	script := `. /usr/share/lab/host.sh; ip link set "$(interface_in "$LAB_NET_MIGRATION")" ` + state
	_, err := l.Exec(ctx, host, "bash", "-c", script)
	return err
}

// KillQEMU kills the emulator of one instance on a host; it is an error if there is none.
func (l *Lab) KillQEMU(ctx context.Context, host, instance string) error {
	_, err := l.Exec(ctx, host, "pkill", "-KILL", "-f", "^[^ ]*qemu-system.* -uuid "+instance)
	return err
}

// The daemons of a host that [Lab.Signal] reaches, as pgrep -f finds them.
const (
	Libvirtd    = "^libvirtd "
	NovaCompute = "^[^ ]*python3[^ ]* [^ ]*/nova-compute "
)

// Signal sends a signal to a daemon of a host. One that ends is started again (deploy/lab/openstack/daemons.sh).
func (l *Lab) Signal(ctx context.Context, host, daemon, signal string) error {
	_, err := l.Exec(ctx, host, "pkill", "-"+signal, "-f", daemon)
	return err
}

// Domains gives what libvirt says of an instance on each host that has it: running,
// paused, shut off ...
func (l *Lab) Domains(ctx context.Context, instance string) (map[string]string, error) {
	found := map[string]string{}
	for _, host := range Computes {
		text, err := l.Exec(ctx, host, "virsh", "list", "--all", "--uuid")
		if err != nil {
			return nil, err
		}
		if !strings.Contains(text, instance) {
			continue
		}
		// It may have gone in between.
		if state, err := l.Exec(ctx, host, "virsh", "domstate", instance); err == nil {
			found[host] = strings.TrimSpace(state)
		}
	}
	return found, nil
}

// Destroy ends an instance's domain on a host that should not have one.
func (l *Lab) Destroy(ctx context.Context, host, instance string) error {
	_, err := l.Exec(ctx, host, "sh", "-c", "virsh destroy "+instance+"; virsh undefine "+instance+" 2>/dev/null; true")
	return err
}
