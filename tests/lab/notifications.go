package lab

import (
	"context"
	"fmt"
	"time"
)

// novaDaemons are those that notify, by service.
var novaDaemons = map[string]string{
	"controller": "nova-(api|conductor|scheduler)", "compute1": "nova-compute", "compute2": "nova-compute",
}

// computeDaemons are those of the hosts.
var computeDaemons = map[string]string{Computes[0]: "nova-compute", Computes[1]: "nova-compute"}

// restart changes nova.conf and ends the daemons, which are started again by themselves,
// and waits for their end: it takes the mark of readiness away, and their successors bring
// it back.
const restart = `
sed -i '%s' /etc/nova/nova.conf
old=$(pgrep -f '^[^ ]*python3[^ ]* [^ ]*/%s ')
kill $old
for i in $(seq 300); do kill -0 $old 2>/dev/null || break; sleep 0.2; done
sleep 1`

// SetNotifications switches Nova's notifications on or off: Nova's daemons are
// started again with another [oslo_messaging_notifications] driver. It returns
// when they are ready.
func (l *Lab) SetNotifications(ctx context.Context, on bool) error {
	driver := "noop"
	if on {
		driver = "messagingv2"
	}
	return l.configureNova(ctx, "s/^driver = .*/driver = "+driver+"/", novaDaemons)
}

// SetPostCopy allows post-copy or forbids it, and returns when nova-compute is ready again.
// Where it is allowed, a migration that is forced to its end goes on as one.
func (l *Lab) SetPostCopy(ctx context.Context, on bool) error {
	const option = "live_migration_permit_post_copy"
	return l.configureNova(ctx, fmt.Sprintf(`/^%s/d; s/^\[libvirt\]$/&\n%s = %t/`, option, option, on), computeDaemons)
}

// What Nova lets a guest stand still for at the end of a migration, [libvirt]live_migration_downtime: its own default,
// and the lab's, with which a guest stops as soon as a migration has begun.
const (
	DefaultDowntime = 500 * time.Millisecond
	LabDowntime     = 2 * time.Minute
)

// SetDowntime sets it, and returns when nova-compute is ready again.
func (l *Lab) SetDowntime(ctx context.Context, d time.Duration) error {
	return l.configureNova(ctx, fmt.Sprintf(`s/^live_migration_downtime = .*/live_migration_downtime = %d/`, d.Milliseconds()), computeDaemons)
}

// configureNova changes nova.conf by a sed script where these daemons run, by service, and
// restarts them.
func (l *Lab) configureNova(ctx context.Context, change string, daemonsOf map[string]string) error {
	for service, daemons := range daemonsOf {
		script := fmt.Sprintf(restart, change, daemons)
		if _, err := l.Exec(ctx, service, "bash", "-c", script); err != nil {
			return err
		}
	}
	for service := range daemonsOf {
		if err := Until(ctx, service+" to be ready again", func() (bool, error) {
			_, err := l.Exec(ctx, service, "test", "-e", "/run/lab/ready")
			return err == nil, nil
		}); err != nil {
			return err
		}
	}
	return nil
}
