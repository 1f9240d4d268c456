package publisher

import (
	"testing"

	"libvirt.org/go/libvirt"

	"github.com/earlybind/earlybind/wire"
)

// The numbers are those of the recorded streams (handover/testdata),
// where the binding's own names are "unknown".
func TestEventsAreNamedByNumber(t *testing.T) {
	for _, tc := range []struct {
		event, detail int
		name          wire.Event
		detailName    wire.Detail
	}{
		{0, 0, wire.Defined, "added"},
		{1, 0, wire.Undefined, "removed"},
		{2, 1, wire.Started, wire.Migrated},
		{3, 0, wire.Suspended, wire.Paused},
		{3, 1, wire.Suspended, wire.Migrated},
		{3, 7, wire.Suspended, wire.PostCopy},
		{3, 8, wire.Suspended, wire.PostCopyFailed},
		{4, 0, wire.Resumed, wire.Unpaused},
		{4, 1, wire.Resumed, wire.Migrated},
		{4, 3, wire.Resumed, wire.PostCopy},
		{4, 4, wire.Resumed, wire.PostCopyFailed},
		{5, 1, wire.Stopped, "destroyed"},
		{5, 3, wire.Stopped, wire.Migrated},
		{5, 5, wire.Stopped, wire.Failed},
		{6, 2, wire.Shutdown, "host"},
		{7, 1, pmSuspended, "disk"},
		{8, 0, crashed, "panicked"},
		{3, 99, wire.Suspended, "unknown-99"},
		{3, -1, wire.Suspended, "unknown--1"},
		{77, 3, "unknown-77", "unknown-3"},
	} {
		if event, detail := nameEvent(libvirt.DomainEventType(tc.event), tc.detail); event != tc.name || detail != tc.detailName {
			t.Errorf("%d/%d: got %s/%s", tc.event, tc.detail, event, detail)
		}
	}
}

func TestNamesStandAtTheirNumbers(t *testing.T) {
	for want, got := range map[string]condition{
		"running/postcopy_failed":    nameState(libvirt.DOMAIN_RUNNING, int(libvirt.DOMAIN_RUNNING_POSTCOPY_FAILED)),
		"running/migration_canceled": nameState(libvirt.DOMAIN_RUNNING, int(libvirt.DOMAIN_RUNNING_MIGRATION_CANCELED)),
		"paused/migration":           nameState(libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_MIGRATION)),
		"paused/postcopy":            nameState(libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_POSTCOPY)),
		"paused/api_error":           nameState(libvirt.DOMAIN_PAUSED, int(libvirt.DOMAIN_PAUSED_API_ERROR)),
		"shutoff/daemon":             nameState(libvirt.DOMAIN_SHUTOFF, int(libvirt.DOMAIN_SHUTOFF_DAEMON)),
		"shutdown/user":              nameState(libvirt.DOMAIN_SHUTDOWN, int(libvirt.DOMAIN_SHUTDOWN_USER)),
		"crashed/panicked":           nameState(libvirt.DOMAIN_CRASHED, int(libvirt.DOMAIN_CRASHED_PANICKED)),
		"unknown-42/unknown-1":       nameState(42, 1),
	} {
		if s := got.state + "/" + got.reason; s != want {
			t.Errorf("got %s, want %s", s, want)
		}
	}
	if event, detail := nameEvent(libvirt.DOMAIN_EVENT_SUSPENDED, int(libvirt.DOMAIN_EVENT_SUSPENDED_GUEST_SHUTDOWN)); event != wire.Suspended || detail != "guest_shutdown" {
		t.Errorf("got %s/%s", event, detail)
	}
}
