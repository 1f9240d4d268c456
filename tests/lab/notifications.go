package lab

import (
	"context"
	"fmt"
)

// novaDaemons are those that notify, by service.
var novaDaemons = map[string]string{
	"controller": "nova-(api|conductor|scheduler)", "compute1": "nova-compute", "compute2": "nova-compute",
}

// SetNotifications switches Nova's notifications on or off: Nova's daemons are
// started again with another [oslo_messaging_notifications] driver. It returns
// when they are ready.
func (l *Lab) SetNotifications(ctx context.Context, on bool) error {
	driver := "noop"
	if on {
		driver = "messagingv2"
	}
	for service, daemons := range novaDaemons {
		script := fmt.Sprintf("sed -i 's/^driver = .*/driver = %s/' /etc/nova/nova.conf && pkill -f '^[^ ]*python3 [^ ]*/%s '", driver, daemons)
		if _, err := l.Exec(ctx, service, "bash", "-c", script); err != nil {
			return err
		}
	}
	for service := range novaDaemons {
		// A daemon's end takes the mark of readiness away; its successor brings it back.
		for _, state := range []string{"! -e", "-e"} {
			if err := Until(ctx, service+" to be ready again", func() (bool, error) {
				_, err := l.Exec(ctx, service, "bash", "-c", "[ "+state+" /run/lab/ready ]")
				return err == nil, nil
			}); err != nil {
				return err
			}
		}
	}
	return nil
}
