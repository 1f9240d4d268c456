package lab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// Boot has guest2 and so on boot on a host, or finds it, and returns when it answers the
// probe.
func (l *Lab) Boot(ctx context.Context, host string) error { return l.boot(ctx, host) }

// BootLarge is [Lab.Boot] of a guest that touches so many MiB of memory; it returns when
// all of it has been touched.
func (l *Lab) BootLarge(ctx context.Context, host string, mib int) error {
	if err := l.boot(ctx, host, strconv.Itoa(mib)); err != nil {
		return err
	}
	server, err := l.Server(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return Until(ctx, l.guest+" to have touched its memory", func() (bool, error) {
		said, err := servers.ShowConsoleOutput(ctx, l.Nova, server.ID, servers.ShowConsoleOutputOpts{}).Extract()
		return strings.Contains(said, fmt.Sprintf("lab: %d MiB touched, ready", mib)), errors.Join(err, Sleep(ctx, 2*time.Second))
	})
}

// BootFromCDROM is [Lab.Boot] of a guest whose only disk is a CD-ROM, which any number of QEMUs may have open: of a
// disk that can be written QEMU locks the file, and another one that is to run the guest fails.
func (l *Lab) BootFromCDROM(ctx context.Context, host string) error {
	return l.boot(ctx, host, "cdrom")
}

// Delete has Nova delete an instance, and returns when it is gone. The ports that labcloud has made for it stay.
func (l *Lab) Delete(ctx context.Context, instance string) error {
	if err := servers.Delete(ctx, l.Nova, instance).ExtractErr(); err != nil {
		return err
	}
	return Until(ctx, "Nova to delete the instance", func() (bool, error) {
		err := servers.Get(ctx, l.Nova, instance).Err
		if gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			return true, nil
		}
		return false, err
	})
}

func (l *Lab) boot(ctx context.Context, host string, special ...string) error {
	if _, err := l.Exec(ctx, "controller", append([]string{"labcloud", "boot", l.guest, host}, special...)...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return Until(ctx, l.guest+" to answer", func() (bool, error) { return l.Reachable(ctx) == len(Addresses), ctx.Err() })
}

// ComputesUp tells whether Nova and Neutron see both hosts up. After RabbitMQ has been away
// that takes a minute: nova-compute waits for an answer that was lost, and Nova refuses
// migrations meanwhile.
func (l *Lab) ComputesUp(ctx context.Context) (bool, error) {
	var nova struct {
		Services []struct{ State, Status string }
	}
	if _, err := l.Nova.Get(ctx, l.Nova.ServiceURL("os-services")+"?binary=nova-compute", &nova, nil); err != nil {
		return false, err
	}
	up := 0
	for _, s := range nova.Services {
		if s.State == "up" && s.Status == "enabled" { // nova-compute disables itself while its libvirt is away
			up++
		}
	}
	var neutron struct {
		Agents []struct {
			Host  string
			Alive bool
		}
	}
	if _, err := l.Neutron.Get(ctx, l.Neutron.ServiceURL("agents")+"?alive=true", &neutron, nil); err != nil {
		return false, err
	}
	alive := map[string]bool{}
	for _, a := range neutron.Agents {
		alive[a.Host] = true
	}
	return up == len(Computes) && alive[Computes[0]] && alive[Computes[1]], nil
}

// Do asks Nova for one of its actions on an instance that take no arguments: "pause",
// "unpause".
func (l *Lab) Do(ctx context.Context, instance, action string) error {
	return l.act(ctx, instance, map[string]any{action: nil})
}

// ResetState has Nova call an instance active that it has given up.
func (l *Lab) ResetState(ctx context.Context, instance string) error {
	return l.act(ctx, instance, map[string]any{"os-resetState": map[string]any{"state": "active"}})
}

func (l *Lab) act(ctx context.Context, instance string, body map[string]any) error {
	_, err := l.Nova.Post(ctx, l.Nova.ServiceURL("servers", instance, "action"), body, nil, accepted)
	return err
}

// MigrateSoon asks for a migration until Nova takes it: while it is not done with the one
// before, it answers 409.
func (l *Lab) MigrateSoon(ctx context.Context, instance, host string) error {
	return Until(ctx, "Nova to take the migration", func() (bool, error) {
		err := l.Migrate(ctx, instance, host)
		if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
			return false, nil
		}
		return err == nil, err
	})
}

// Abort has Nova abort an instance's migration (nova live-migration-abort); while it is not
// running yet, Nova refuses, and is asked again.
func (l *Lab) Abort(ctx context.Context, instance string) error {
	return l.ofMigration(ctx, instance, func(url string) error {
		_, err := l.Nova.Delete(ctx, url, accepted)
		return err
	})
}

// ForceComplete has Nova force an instance's migration to its end
// (nova live-migration-force-complete): the guest is paused, or where Nova may, post-copy
// begins.
func (l *Lab) ForceComplete(ctx context.Context, instance string) error {
	return l.ofMigration(ctx, instance, func(url string) error {
		_, err := l.Nova.Post(ctx, url+"/action", map[string]any{"force_complete": nil}, nil, accepted)
		return err
	})
}

func (l *Lab) ofMigration(ctx context.Context, instance string, ask func(url string) error) error {
	m, err := l.LastMigration(ctx, instance)
	if err != nil {
		return err
	}
	url := l.Nova.ServiceURL("servers", instance, "migrations", fmt.Sprint(m.ID))
	return Until(ctx, "Nova to have the migration running", func() (bool, error) {
		err := ask(url)
		var status gophercloud.ErrUnexpectedResponseCode
		if errors.As(err, &status) && (status.Actual == http.StatusBadRequest || status.Actual == http.StatusConflict) {
			return false, nil
		}
		return err == nil, err
	})
}
