//go:build integration

package integration

import (
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/doctor"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/tests/lab"
)

// hasty does not wait the minute between the doctor's two looks.
type hasty struct{ clock.Clock }

func (h hasty) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	if d == doctor.Patience {
		d = 0
	}
	return h.Clock.Wait(ctx, d, wake)
}

// The guest's own ports, with real Nova: a row is left on the other host, and
// migrating_to in a profile.
func TestNovaDoctorMendsTheGuestsPorts(t *testing.T) {
	l, err := lab.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	guest, err := l.Server(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := lab.Computes[0]
	if other == guest.Host {
		other = lab.Computes[1]
	}
	ours, err := l.NeutronAs(t.Context(), "earlybind")
	if err != nil {
		t.Fatal(err)
	}
	notes, err := doctor.OpenNotes(filepath.Join(t.TempDir(), "undo.jsonl"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	defer notes.Close()
	cloud := doctor.Cloud{Neutron: neutron.New(ours), Nova: doctor.NewNova(l.Nova), Clock: hasty{clock.Real()}, Notes: notes}
	settings := settingsOfLab(t, l)
	cloud.Ask = func(ctx context.Context, hosts []string) (doctor.Guests, error) {
		return doctor.AskPublishers(ctx, settings, hosts)
	}
	mine := func() map[string]doctor.Case {
		t.Helper()
		r, err := cloud.Examine(t.Context())
		if err != nil || r.Gap != "" || r.Ports < 3 || len(r.Silent) > 0 {
			t.Fatalf("%d ports, %q, no answer from %q, %v", r.Ports, r.Gap, r.Silent, err)
		}
		found := map[string]doctor.Case{}
		for _, c := range r.Cases {
			if c.Port.Device == guest.ID {
				found[c.Port.ID] = c
			}
		}
		return found
	}
	if found := mine(); len(found) != 0 {
		t.Fatalf("the guest's ports are not right before the test: %+v", found)
	}
	ports, err := l.Ports(t.Context(), guest.ID)
	if err != nil || len(ports) < 2 {
		t.Fatalf("%d ports, %v", len(ports), err)
	}
	stale, marked := ports[0], ports[1]
	if err := binding.Create(t.Context(), ours, stale.ID, binding.CreateOpts{Host: other, VNICType: "normal"}).Err; err != nil {
		t.Fatal(err)
	}
	profile := map[string]any{port.MigratingTo: other}
	if row, _ := marked.Row(guest.Host); row.Profile != nil {
		for key, value := range row.Profile {
			profile[key] = value
		}
	}
	if _, err := binding.UpdateProfile(t.Context(), ours, marked.ID, profile, marked.Revision); err != nil {
		t.Fatal(err)
	}
	found := mine()
	if len(found) != 2 || found[stale.ID].Verdict != doctor.Stale || found[marked.ID].Verdict != doctor.LeftMarked {
		t.Errorf("found %+v", found)
	}
	for _, c := range found {
		if !slices.Equal(c.Sighting.On, []string{guest.Host}) || !c.Sighting.Asked {
			t.Errorf("the publishers see the guest of %s as %+v, want %s", c.Port.ID, c.Sighting, guest.Host)
		}
	}
	report := doctor.Report{}
	for _, c := range found {
		report.Cases = append(report.Cases, c)
	}
	mended, err := cloud.Mend(t.Context(), report, func(id, said string) { t.Log(id, said) })
	if err != nil || len(mended) != 2 {
		t.Errorf("%+v %v", mended, err)
	}
	for _, m := range mended {
		if !m.Right {
			t.Errorf("%s: %s", m.Port.ID, m.Outcome)
		}
	}
	if found := mine(); len(found) != 0 {
		t.Errorf("left: %+v", found)
	}
}
