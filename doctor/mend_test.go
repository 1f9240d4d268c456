package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	simulated "github.com/earlybind/earlybind/simulated/neutron"
)

// nova says what a test has it say.
type nova struct {
	hosts      []string
	gap        string
	servers    map[string]Server
	unfinished map[string][]Migration
	fault      error  // of each question about migrations
	asked      func() // before each answer about a server; may be nil
}

var _ Nova = (*nova)(nil)

func (n *nova) Hosts(context.Context) ([]string, string, error) { return n.hosts, n.gap, nil }

func (n *nova) OnHost(_ context.Context, host string) ([]string, error) {
	var on []string
	for id, s := range n.servers {
		if s.Host == host && s.VMState != softDeleted { // as Nova's own list
			on = append(on, id)
		}
	}
	return on, nil
}

func (n *nova) Server(_ context.Context, id string) (Server, error) {
	if n.asked != nil {
		n.asked()
	}
	s, ok := n.servers[id]
	if !ok {
		return Server{}, ErrNoInstance
	}
	return s, nil
}

func (n *nova) Migrations(_ context.Context, id string) ([]Migration, error) {
	return n.unfinished[id], n.fault
}

// ward is a cloud of one instance, on a Neutron in memory that is held to the real one's
// answers (binding/bindingtest).
type ward struct {
	Cloud
	t       *testing.T
	neutron *simulated.Neutron
	nova    *nova
	journal string
	said    []string
}

// admit runs f in a bubble, where waiting takes no time.
func admit(t *testing.T, f func(*testing.T, *ward)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fake := simulated.New(here, there, third)
		fake.AutoWire(true)
		w := &ward{
			t: t, neutron: fake, journal: filepath.Join(t.TempDir(), "undo.jsonl"),
			nova: &nova{hosts: []string{here, there, third}, servers: map[string]Server{instance: *runsHere()}, unfinished: map[string][]Migration{}},
		}
		client := simulated.NewClient(simulated.InMemory, simulated.Transport{Handler: fake.Handler()})
		w.Cloud = Cloud{Neutron: neutron.New(client), Nova: w.nova, Clock: clock.Real()}
		w.open()
		f(t, w)
		if err := w.Notes.Close(); err != nil {
			t.Error(err)
		}
	})
}

func (w *ward) open() {
	w.t.Helper()
	notes, err := OpenNotes(w.journal, time.Now)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Notes = notes
}

// port adds a port with these rows, whose agent has reported it up.
func (w *ward) port(rows ...port.Row) string {
	id := w.neutron.AddPort(simulated.PortOpts{DeviceID: instance, Status: binding.PortActive})
	for _, r := range rows {
		status := binding.StatusInactive
		if r.Active {
			status = binding.StatusActive
		}
		w.neutron.PutRow(id, binding.Binding{Host: r.Host, Status: status, VIFType: r.VIFType, VNICType: r.VNICType, Profile: r.Profile})
	}
	return id
}

func (w *ward) examine() Report {
	w.t.Helper()
	r, err := w.Examine(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *ward) mend(r Report) []Mended {
	w.t.Helper()
	mended, err := w.Mend(w.t.Context(), r, func(_, said string) { w.said = append(w.said, said) })
	if err != nil {
		w.t.Fatal(err)
	}
	return mended
}

// rows are a port's, short.
func (w *ward) rows(id string) string {
	var words []string
	for _, r := range w.neutron.Rows(id) {
		words = append(words, r.Host+" "+r.Status+" "+r.VIFType)
	}
	return strings.Join(words, ", ")
}

const rightRows = here + " ACTIVE ovs"

// Every combination of rows on the guest's host, on another and on a third: what has a
// plan is right after it, what has none is not touched.
func TestEveryStateIsMendedOrLeftAlone(t *testing.T) {
	kinds := func(host string) []*port.Row {
		all := []*port.Row{nil}
		for _, active := range []bool{true, false} {
			for _, vif := range []string{"ovs", "unbound", "binding_failed"} {
				for _, to := range []string{"", here, there} {
					r := port.Row{Host: host, Active: active, VIFType: vif, VNICType: "normal", Profile: map[string]any{"os_vif_delegation": true}}
					if to == host {
						continue
					}
					if to != "" {
						r.Profile[port.MigratingTo] = to
					}
					all = append(all, &r)
				}
			}
		}
		return all
	}
	seen := map[Verdict]int{}
	admit(t, func(t *testing.T, w *ward) {
		w.port(activeRow(here)) // Neutron shows something
		for _, a := range kinds(here) {
			for _, b := range kinds(there) {
				for _, c := range []*port.Row{nil, {Host: third, VIFType: "unbound", VNICType: "normal"}} {
					if c != nil && (a == nil || a.VIFType != "ovs" || b == nil || b.VIFType != "ovs") {
						continue // it is taken away like any other
					}
					var rows []port.Row
					for _, r := range []*port.Row{a, b, c} {
						if r != nil {
							rows = append(rows, *r)
						}
					}
					id := w.port(rows...)
					before := w.rows(id)
					r := w.examine()
					for _, found := range r.Cases {
						seen[found.Verdict]++
						if found.Port.ID == id && found.Verdict.Mends() {
							if m := w.mend(Report{Cases: []Case{found}}); len(m) != 1 || !m[0].Right || w.rows(id) != rightRows {
								t.Fatalf("%s (%s): %+v, rows %s", before, found.Verdict, m, w.rows(id))
							}
						}
					}
					if len(r.Cases) == 0 && before != rightRows && before != "" {
						t.Errorf("%s is found right", before)
					}
					if (len(r.Cases) == 0 || !r.Cases[0].Verdict.Mends()) && w.rows(id) != before {
						t.Errorf("%s was touched: %s", before, w.rows(id))
					}
					for _, written := range w.neutron.Rows(id) {
						if len(r.Cases) > 0 && r.Cases[0].Verdict.Mends() && fmt.Sprint(written.Profile) != "map[os_vif_delegation:true]" {
							t.Errorf("%s: profile %v", before, written.Profile)
						}
					}
					w.neutron.DeletePort(id)
				}
			}
		}
	})
	for _, v := range []Verdict{WrongWay, Bricked, Unbound, LeftMarked, Stale, BindingFailed, NoRow, Strange} {
		if seen[v] == 0 {
			t.Errorf("no state is %s: %v", v, seen)
		}
	}
}

func TestAnExaminationLooksCloselyOnlyAtWhatTheListsDoNotShowRight(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		for range 5 {
			w.port(activeRow(here))
		}
		stale := w.port(activeRow(here), inactiveRow(there))
		w.neutron.AddPort(simulated.PortOpts{DeviceID: "r", DeviceOwner: "network:dhcp", Host: here})
		r := w.examine()
		if counts := "ports of instances: 5 right, 0 with something under way, 1 not right\n"; !strings.Contains(r.Text(), fmt.Sprintf("%d hosts, 6 %s", len(r.Hosts), counts)) {
			t.Errorf("%s", r.Text())
		}
		if r.Ports != 6 || len(r.Cases) != 1 || r.Cases[0].Port.ID != stale || r.Cases[0].Verdict != Stale {
			t.Errorf("%d ports, %+v", r.Ports, r.Cases)
		}
		lists, reads := 0, 0
		for _, q := range w.neutron.Requests() {
			if q.Op == binding.OpListPorts {
				lists++
			} else {
				reads++
			}
		}
		if lists != len(w.nova.hosts) || reads != 2 {
			t.Errorf("%d lists, want one of each host; %d reads beside them, want the one port and its rows", lists, reads)
		}
	})
}

// An instance that its user may take back keeps its ports: no list of Nova's names it, and it is no orphan.
func TestThePortsOfASoftDeletedInstanceAreLeftAloneAndSaid(t *testing.T) {
	for name, rows := range map[string][]port.Row{
		"right":          {activeRow(here)},
		"a row is stale": {activeRow(here), inactiveRow(there)},
		"wrong way":      {with(inactiveRow(here), "unbound"), activeRow(there)},
	} {
		t.Run(name, func(t *testing.T) {
			admit(t, func(t *testing.T, w *ward) {
				w.port(rows...)
				w.change(func(s *Server) { s.Status, s.VMState, s.PowerState = "SOFT_DELETED", softDeleted, 4 })
				r := w.examine()
				if len(r.Cases) != 1 || r.Cases[0].Verdict != InFlight || len(r.Wrong()) != 0 || !strings.Contains(r.Text(), "SOFT_DELETED on "+here) {
					t.Errorf("%s", r.Text())
				}
				drained, err := r.Leaving(here)
				if err != nil || len(drained.Cases) != 1 {
					t.Errorf("%+v, %v", drained.Cases, err)
				}
				of := "of guests on " + here + ": 1 with something under way, 0 not right\n"
				if !strings.Contains(r.Text(), "1 ports of instances: 0 right, 1 with something under way, 0 not right\n") || !strings.Contains(drained.Text(), of) {
					t.Errorf("%s%s", r.Text(), drained.Text())
				}
				if m := w.mend(r); len(m) != 0 || len(w.neutron.Writes()) != 0 {
					t.Errorf("%+v, writes %+v", m, w.neutron.Writes())
				}
			})
		})
	}
}

func TestHostsThatNovaDoesNotNameAreLookedAtWhenAsked(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.nova.hosts = []string{here}
		w.port(activeRow(here))
		w.port(with(inactiveRow(there), "unbound"), activeRow(third))
		if r := w.examine(); r.Ports != 1 {
			t.Errorf("%+v", r)
		}
		w.Hosts = []string{third, here}
		if r := w.examine(); r.Ports != 2 || len(r.Cases) != 1 || !slices.Equal(r.Hosts, []string{here, third}) {
			t.Errorf("%+v", r)
		}
	})
}

// Who is asked and says nothing is named; of an instance in ERROR a list says where it runs.
func TestPublishersSayWhereTheGuestsAre(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.nova.hosts = []string{here, there, third}
		w.Hosts = []string{"removed"}
		broken := *runsHere()
		broken.Status, broken.VMState = "ERROR", "error"
		w.nova.servers[instance] = broken
		w.port(activeRow(here), inactiveRow(there))
		if r := w.examine(); r.Silent != nil || len(r.Cases) != 1 || r.Cases[0].Verdict != Disputed {
			t.Errorf("nobody asked: %+v", r)
		}
		w.Ask = func(_ context.Context, hosts []string) (Guests, error) {
			if !slices.Equal(hosts, []string{here, there, third}) {
				t.Errorf("asked %q, want those that Nova names", hosts)
			}
			return Guests{here: {{Instance: instance, State: "running"}}, there: {}}, nil
		}
		r := w.examine()
		if !slices.Equal(r.Silent, []string{third}) || !strings.Contains(r.Text(), "no publisher has answered: "+third) {
			t.Errorf("silent %q\n%s", r.Silent, r.Text())
		}
		if len(r.Cases) != 1 || r.Cases[0].Verdict != Stale || len(r.Cases[0].Plan) == 0 {
			t.Errorf("%+v", r.Cases)
		}
		w.Ask = func(context.Context, []string) (Guests, error) { return nil, errors.New("no broker") }
		if _, err := w.Examine(t.Context()); err == nil || !strings.Contains(err.Error(), "no broker") {
			t.Errorf("the broker's fault is not told: %v", err)
		}
	})
}

func TestEveryRequestIsWrittenDownFirstWithWhatTakesItBack(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.port(activeRow(here), inactiveRow(there))
		var before string
		inner := w.Neutron
		w.Neutron = deleting{inner, func() {
			text, err := os.ReadFile(w.journal)
			if err != nil {
				t.Fatal(err)
			}
			before = string(text)
		}}
		w.mend(w.examine())
		if !strings.Contains(before, `"request":"DELETE `) || !strings.Contains(before, `"undo":"POST `) || !strings.Contains(before, `os_vif_delegation`) {
			t.Errorf("the journal when the request was sent:\n%s", before)
		}
		text, err := os.ReadFile(w.journal)
		if err != nil || !strings.HasSuffix(string(text), "\"outcome\":\"answered\"}\n") {
			t.Errorf("%v:\n%s", err, text)
		}
		if info, err := os.Stat(w.journal); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v %v", info.Mode(), err)
		}
	})
}

type deleting struct {
	Neutron
	hook func()
}

func (d deleting) Delete(ctx context.Context, id, host string) error {
	d.hook()
	return d.Neutron.Delete(ctx, id, host)
}

func TestAJournalThatCannotBeWrittenToSendsNothing(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.port(with(inactiveRow(here), "unbound"), activeRow(there))
		r := w.examine()
		if err := w.Notes.Close(); err != nil {
			t.Fatal(err)
		}
		m := w.mend(r)
		if len(m) != 1 || m[0].Right || !strings.Contains(m[0].Outcome, "journal") || len(w.neutron.Writes()) != 0 {
			t.Errorf("%+v, writes %+v", m, w.neutron.Writes())
		}
		w.open()
	})
}

// Killed between the DELETE and the POST of a row, the next run makes it again from the
// journal, with all that it held.
func TestARowThatWasDeletedToBeMadeAgainIsMadeByTheNextRun(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		row := with(inactiveRow(here), "unbound")
		row.VNICType, row.Profile = "direct", map[string]any{"pci_slot": "0000:05:00.1"}
		w.port(activeRow(here)) // another, which is right
		id := w.port(row)
		killed := errors.New("killed")
		ctx, cancel := context.WithCancelCause(t.Context())
		inner := w.Neutron
		w.Neutron = creating{inner, func() error { cancel(killed); return killed }}
		if m, _ := w.Mend(ctx, w.examine(), func(string, string) {}); len(m) > 0 && m[0].Right {
			t.Fatalf("%+v", m)
		}
		if got := w.rows(id); got != "" {
			t.Fatalf("rows %s", got)
		}
		_ = w.Notes.Close()
		w.open()
		w.Neutron = inner
		found := w.examine() // of a port that is in no host's list
		if len(found.Cases) != 1 || found.Cases[0].Verdict != Bricked {
			t.Fatalf("%+v", found.Cases)
		}
		if m := w.mend(found); len(m) != 1 || !m[0].Right {
			t.Errorf("%+v", m)
		}
		got := w.neutron.Rows(id)
		if len(got) != 1 || got[0].VNICType != "direct" || !maps.Equal(got[0].Profile, map[string]any{"pci_slot": "0000:05:00.1"}) {
			t.Errorf("%+v", got)
		}
		if w.Notes.held(id, here) != nil {
			t.Error("what was held is still there when the port is right")
		}
	})
}

// A migration that has begun and ended while it was waited leaves all as it was, but for itself.
func TestAMigrationInBetweenLeavesThePortAlone(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.port(activeRow(here), inactiveRow(there))
		found := w.examine()
		w.nova.unfinished[instance] = []Migration{{UUID: "m2", Type: "live-migration", Status: "completed", Source: there, Dest: here}}
		if m := w.mend(found); len(m) != 1 || m[0].Verdict != Stale || !strings.HasPrefix(m[0].Outcome, "left alone: what is found has changed") || len(w.neutron.Writes()) != 0 {
			t.Errorf("%+v", m)
		}
	})
}

// Between the deletion of the guest's own row and its making nothing stops a mending, but that
// the instance is elsewhere: the port would have no row at all.
func TestTheGuestsRowIsMadeWhateverHappensMeanwhile(t *testing.T) {
	for name, c := range map[string]struct {
		meanwhile func(*ward, context.CancelFunc)
		made      bool
	}{
		"Nova answers no more":          {func(w *ward, _ context.CancelFunc) { w.nova.fault = errors.New("503") }, true},
		"its user reboots it":           {func(w *ward, _ context.CancelFunc) { w.change(func(s *Server) { s.TaskState = "rebooting" }) }, true},
		"its user deletes it softly":    {func(w *ward, _ context.CancelFunc) { w.change(func(s *Server) { s.VMState = softDeleted }) }, true},
		"the operator interrupts":       {func(_ *ward, cancel context.CancelFunc) { cancel() }, true},
		"the journal's disk is full":    {func(w *ward, _ context.CancelFunc) { _ = w.Notes.file.Close() }, true},
		"the instance is elsewhere":     {func(w *ward, _ context.CancelFunc) { w.change(func(s *Server) { s.Host = there }) }, false},
		"the instance has been deleted": {func(w *ward, _ context.CancelFunc) { delete(w.nova.servers, instance) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			admit(t, func(t *testing.T, w *ward) {
				row := with(inactiveRow(here), "unbound")
				row.VNICType, row.Profile = "direct", map[string]any{"pci_slot": "0000:05:00.1"}
				w.port(activeRow(here))
				id := w.port(row)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				inner := w.Neutron
				w.Neutron = deleting{inner, func() { c.meanwhile(w, cancel) }}
				_, _ = w.Mend(ctx, w.examine(), func(string, string) {})
				got := w.neutron.Rows(id)
				if made := len(got) == 1 && got[0].Status == binding.StatusActive && got[0].VNICType == "direct"; made != c.made {
					t.Errorf("rows %+v", got)
				}
				_ = w.Notes.Close()
				w.open()
			})
		})
	}
}

// change changes what Nova says of the instance.
func (w *ward) change(f func(*Server)) {
	s := w.nova.servers[instance]
	f(&s)
	w.nova.servers[instance] = s
}

// A Neutron that shows this user nothing is no cloud without faults.
func TestANeutronThatShowsNoPortIsAFault(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		if _, err := w.Examine(t.Context()); err == nil || !strings.Contains(err.Error(), "not one port") {
			t.Errorf("%v", err)
		}
		w.nova.servers = nil
		if r := w.examine(); len(r.Cases) != 0 {
			t.Errorf("an empty cloud: %+v", r)
		}
	})
}

func TestAPortWithoutRowsIsLookedAtByName(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		right := w.port(activeRow(here))
		w.Ports = []string{w.port(), right}
		if r := w.examine(); len(r.Cases) != 1 || r.Cases[0].Verdict != NoRow || r.Right != 1 {
			t.Errorf("%d right, %+v", r.Right, r.Cases)
		}
		w.nova.hosts = []string{there} // whose list does not have it
		if r := w.examine(); r.Right != 1 {
			t.Errorf("%d right, %+v", r.Right, r.Cases)
		}
	})
}

// Who names a port wants to hear of it: a slip of the pen is not a port that is right. One that only
// the journal names may have been deleted since.
func TestAPortByNameThatNeutronDoesNotKnowIsAFault(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		const unknown = "0b6f0f0e-0c43-4f35-8f0d-b60f7f0f6a22"
		w.port(activeRow(here))
		if err := w.Notes.WriteDown(t.Context(), unknown, here, rollback.Held{}); err != nil {
			t.Fatal(err)
		}
		if r := w.examine(); len(r.Cases) > 0 {
			t.Errorf("%+v", r.Cases)
		}
		w.Ports = []string{unknown}
		if _, err := w.Examine(t.Context()); err == nil || err.Error() != "port "+unknown+": Neutron knows no such port, or this user may not see it" {
			t.Errorf("%v", err)
		}
	})
}

type creating struct {
	Neutron
	hook func() error
}

func (c creating) Create(ctx context.Context, id, host, vnic string, profile map[string]any) error {
	return c.hook()
}

func TestAnAgentThatDoesNotReportThePortUpIsTold(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.neutron.AutoWire(false)
		id := w.port(with(activeRow(here), "unbound"))
		w.neutron.SetPortStatus(id, binding.PortDown)
		m := w.mend(w.examine())
		if len(m) != 1 || m[0].Right || m[0].Verdict != Down || w.rows(id) != rightRows {
			t.Errorf("%+v, rows %s", m, w.rows(id))
		}
	})
}

// What a row held is of the past when the row is there again, even if its agent is late: another
// day it would name another guest's device.
func TestWhatWasHeldIsForgottenWhenTheRowIsThere(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.neutron.AutoWire(false)
		row := with(inactiveRow(here), "unbound")
		row.VNICType, row.Profile = "direct", map[string]any{"pci_slot": "0000:05:00.1"}
		id := w.port(row)
		w.neutron.SetPortStatus(id, binding.PortDown)
		if m := w.mend(w.examine()); len(m) != 1 || m[0].Verdict != Down {
			t.Fatalf("%+v", m)
		}
		if got := w.Notes.held(id, here); got != nil {
			t.Errorf("held %+v", got)
		}
	})
}

// A cell that goes down in the middle of an examination makes no orphans.
func TestACellThatGoesDownMeanwhileMakesNoOrphans(t *testing.T) {
	admit(t, func(t *testing.T, w *ward) {
		w.port(activeRow(here), inactiveRow(there))
		w.nova.asked = func() { delete(w.nova.servers, instance); w.nova.gap = "the cell of compute1 is down" }
		if r := w.examine(); len(r.Cases) != 1 || r.Cases[0].Verdict != Disputed {
			t.Errorf("%+v", r.Cases)
		}
	})
}

func TestAJournalOfAnotherKindIsRefused(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(name, []byte("port,host\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenNotes(name, time.Now); err == nil || !strings.Contains(err.Error(), "no undo journal: line 1") {
		t.Errorf("%v", err)
	}
}

func TestALineThatWasCutOffIsPassedOver(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	held := `{"time":"2026-11-23T00:00:00Z","port":"p","host":"compute1","held":{"VNICType":"direct"}}` + "\n"
	if err := os.WriteFile(name, []byte(held+`{"time":"2026-11-23T00:00:00Z","port":"p","requ`), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second run finds the cut line ended by the first
		n, err := OpenNotes(name, time.Now)
		if err != nil {
			t.Fatal(err)
		}
		if got := n.held("p", here); got == nil || got.VNICType != "direct" {
			t.Errorf("%+v", got)
		}
		if err := n.write(Note{Port: "p", Outcome: "answered"}); err != nil {
			t.Error(err)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	}
}
