package consumer

import (
	"testing"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/clock"
)

// What a live consumer refuses or parks is said, and nothing comes of it.
func TestOfflineBelievesNobodyElse(t *testing.T) {
	b := &book{}
	o := NewOffline(Settings{NovaExchange: "nova", HostUserPrefix: "earlybind-"}, newNeutron(), true, clock.Real(), b.record)
	defer o.Stop()
	o.Deliver("nova", "", false, []byte("no notification"))
	o.Deliver("earlybind", "earlybind-"+dst, false, []byte(`{"event_type": "libvirt.domain.started", "publisher_id": "earlybind-publisher:compute1",
		"payload": {"schema": 1, "host": "compute1", "instance": "`+guest+`", "event": "started", "detail": "migrated"}}`))
	if !o.Idle() {
		t.Error("something goes on")
	}
	if len(b.of(audit.MessageParked)) != 1 || len(b.of(audit.HostRefused)) != 1 || len(b.all()) != 2 {
		t.Errorf("%+v", b.all())
	}
}
