//go:build integration

package integration

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/doctor"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/tests/lab"
)

// hasty does not wait the minute between the doctor's two looks, and its time flies: what the doctor
// gives an agent 30 s for has 3.
type hasty struct{ clock.Clock }

func (h hasty) Now() time.Duration { return 10 * h.Clock.Now() }

func (h hasty) Wait(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	if d == doctor.Patience {
		d = 0
	}
	return h.Clock.Wait(ctx, d, wake)
}

// With real Nova, of the guest's own ports: a row is left on the other host, and migrating_to in a
// profile. Of ports that are made for the test as the guest's, and which nothing plugs in: the ACTIVE
// row on the other host, on the source again but unbound, and none at all.
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
			if c.Port.Device == guest.ID && c.Verdict != doctor.Down { // nothing plugs in those that are made
				found[c.Port.ID] = c
			}
		}
		return found
	}
	ports, err := l.Ports(t.Context(), guest.ID)
	if err != nil || len(ports) < 2 {
		t.Fatalf("%d ports, %v", len(ports), err)
	}
	net := newNetwork(t)
	made := map[string]string{}
	for _, state := range []string{"wrong way", "unbound", "bricked"} {
		made[state] = net.portOf(t, guest.ID, guest.Host)
	}
	if found := mine(); len(found) != 0 {
		t.Fatalf("the guest's ports are not right before the test: %+v", found)
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
	for _, id := range made {
		must(t, binding.Create(t.Context(), ours, id, binding.CreateOpts{Host: other, VNICType: "normal"}).Err)
		must(t, binding.Activate(t.Context(), ours, id, other).Err)
	}
	must(t, binding.Activate(t.Context(), ours, made["unbound"], guest.Host).Err)
	must(t, binding.Delete(t.Context(), ours, made["bricked"], other).ExtractErr()) // as Nova's roll-back does
	found := mine()
	for id, want := range map[string]doctor.Verdict{
		stale.ID: doctor.Stale, marked.ID: doctor.LeftMarked,
		made["wrong way"]: doctor.WrongWay, made["unbound"]: doctor.Unbound, made["bricked"]: doctor.Bricked,
	} {
		if got := found[id].Verdict; got != want {
			t.Errorf("port %s is %s, want %s: %+v", id, got, want, found[id])
		}
	}
	if len(found) != 5 {
		t.Errorf("found %d", len(found))
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
	if err != nil || len(mended) != 5 {
		t.Errorf("%+v %v", mended, err)
	}
	for _, m := range mended {
		if m.Right != (m.Port.ID == stale.ID || m.Port.ID == marked.ID) || !m.Right && !strings.Contains(m.Outcome, "the rows are right, and the port's status is DOWN") {
			t.Errorf("%s: %s", m.Port.ID, m.Outcome)
		}
	}
	if found := mine(); len(found) != 0 {
		t.Errorf("left: %+v", found)
	}
}
