package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Dead tells whether the guest has stopped answering by itself: the probe's frames
// reach its NICs, and it sends none. QEMU's software emulation can lose a page that
// the guest writes while it is copied, mostly on a machine that is busy: the
// kernel idles on without its network (seen with QEMU 10.0: interrupts arrive,
// nothing panics). That is neither Neutron's doing nor earlybind's, and only a
// reboot helps.
func (l *Lab) Dead(ctx context.Context, host, instance string) (bool, error) {
	ports, err := l.Ports(ctx, instance)
	if err != nil || len(ports) == 0 {
		return false, err
	}
	read := func() (toGuest, fromGuest int, err error) {
		for _, p := range ports {
			dir := "/sys/class/net/" + tapOf(p) + "/statistics/"
			text, err := l.Exec(ctx, host, "cat", dir+"tx_packets", dir+"rx_packets")
			if err != nil {
				return 0, 0, fmt.Errorf("the guest's tap on %s: %w", host, err)
			}
			lines := strings.Fields(text)
			if len(lines) != 2 {
				return 0, 0, fmt.Errorf("the guest's tap on %s reads %q", host, text)
			}
			to, err1 := strconv.Atoi(lines[0])
			from, err2 := strconv.Atoi(lines[1])
			if err1 != nil || err2 != nil {
				return 0, 0, fmt.Errorf("the guest's tap on %s reads %q", host, text)
			}
			toGuest, fromGuest = toGuest+to, fromGuest+from
		}
		return toGuest, fromGuest, nil
	}
	toBefore, fromBefore, err := read()
	if err != nil || l.Reachable(ctx) > 0 {
		return false, err
	}
	to, from, err := read()
	return err == nil && to > toBefore && from == fromBefore, err
}

// Reboot resets the guest and returns when it answers on every address.
func (l *Lab) Reboot(ctx context.Context, instance string) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	body := map[string]any{"reboot": map[string]any{"type": "HARD"}}
	if _, err := l.Nova.Post(ctx, l.Nova.ServiceURL("servers", instance, "action"), body, nil, accepted); err != nil {
		return err
	}
	if _, err := l.Settled(ctx); err != nil {
		return err
	}
	return Until(ctx, "the guest to answer after its reboot", func() (bool, error) {
		return l.Reachable(ctx) == len(Addresses), ctx.Err()
	})
}
