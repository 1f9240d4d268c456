package lab

import (
	"context"
	"fmt"
)

// novaDaemons are those that notify, by service.
var novaDaemons = map[string]string{
	"controller": "nova-(api|conductor|scheduler)", "compute1": "nova-compute", "compute2": "nova-compute",
}

// restart ends the daemons, which are started again by themselves, and waits for
// their end: it takes the mark of readiness away, and their successors bring it
// back.
const restart = `
sed -i 's/^driver = .*/driver = %s/' /etc/nova/nova.conf
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
	for service, daemons := range novaDaemons {
		script := fmt.Sprintf(restart, driver, daemons)
		if _, err := l.Exec(ctx, service, "bash", "-c", script); err != nil {
			return err
		}
	}
	for service := range novaDaemons {
		if err := Until(ctx, service+" to be ready again", func() (bool, error) {
			_, err := l.Exec(ctx, service, "test", "-e", "/run/lab/ready")
			return err == nil, nil
		}); err != nil {
			return err
		}
	}
	return nil
}
