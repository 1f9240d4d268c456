package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// arm is who activates, and when.
type arm struct {
	name   string
	title  string
	policy string // EARLYBIND_POLICY of the consumers
}

var arms = []arm{
	{"nova", "Nova alone", "observe"},
	{"resumed", "earlybind when the guest runs on the destination", "resumed"},
	{"suspended", "earlybind when the guest stands still", "suspended"},
}

// concurrent is the consumers' setting whether two activates at once are safe.
const concurrent = "EARLYBIND_NEUTRON_CONCURRENT_ACTIVATE="

// concurrentOn has earlybind activate on Zed too. There two at once are not safe (Neutron 21.0.0: Nova's may be answered 500,
// and the instance end in ERROR), and without this nothing is activated early; in the lab nobody is hurt but its guest.
func concurrentOn(release string) string {
	if release == "zed" {
		return "safe"
	}
	return "detect"
}

// guest is one that is migrated.
type guest struct {
	name string
	id   string // the lab's name of it
	mib  int    // of memory that it has touched; 0: as the lab boots it
}

var guests = []guest{{"small", lab.Guest, 0}, {"large", "guest3", 2048}}

func guestOf(name string) (guest, error) {
	for _, g := range guests {
		if g.name == name {
			return g, nil
		}
	}
	return guest{}, fmt.Errorf("there is no guest %q: small, large", name)
}

func (g guest) boot(ctx context.Context, l *lab.Lab) error {
	if g.mib == 0 {
		return nil // the lab has booted it
	}
	fmt.Printf("booting %s with %d MiB of touched memory\n", g.id, g.mib)
	return l.BootLarge(ctx, lab.Computes[0], g.mib)
}

const (
	// How often a packet is sent to the first of the guest's addresses, and to the others: more of them are felt on
	// the lab's two cores, and lengthen what they measure.
	every, everyOther = 5 * time.Millisecond, 50 * time.Millisecond

	sampleBound = 4 * time.Minute
	// settle is how long the addresses are listened to after all is over: one that falls silent then is missed otherwise.
	settle = 3 * time.Second
)

// sample is one migration. Times are in milliseconds, from the guest's pause unless said
// otherwise; nil where it did not happen.
type sample struct {
	Release   string    `json:"release"`
	Drivers   string    `json:"drivers"` // Neutron's mechanism drivers
	Guest     string    `json:"guest"`
	Arm       string    `json:"arm"`
	Began     time.Time `json:"began"`
	Source    string    `json:"source"`
	Migration string    `json:"migration"` // Nova's status of it
	RowsRight bool      `json:"rows_right"`

	Addresses []address `json:"addresses"`

	Stopped   *float64 `json:"stopped_ms,omitempty"`    // STOPPED/MIGRATED on the source
	Resumed   *float64 `json:"resumed_ms,omitempty"`    // the guest runs on the destination
	Requested *float64 `json:"requested_ms,omitempty"`  // the first activate reaches Neutron
	AllActive *float64 `json:"all_active_ms,omitempty"` // the last one is answered
	Reported  *float64 `json:"reported_ms,omitempty"`   // the destination's agent has reported the last port up

	Fault string `json:"fault,omitempty"` // the sample says nothing
}

// address is what one of the guest's addresses missed.
type address struct {
	GapMS float64 `json:"gap_ms"`  // longest time between two answers
	Back  float64 `json:"back_ms"` // its end
	Lost  int     `json:"lost"`    // packets without an answer: of the first address, every 5 ms
}

// gap is the longest of all addresses.
func (m sample) gap() float64 { return m.worst(func(a address) float64 { return a.GapMS }) }

// back is when the last address answered again.
func (m sample) back() float64 { return m.worst(func(a address) float64 { return a.Back }) }

func (m sample) worst(of func(address) float64) float64 {
	worst := 0.0
	for _, a := range m.Addresses {
		worst = max(worst, of(a))
	}
	return worst
}

// lost is the packets of the first address.
func (m sample) lost() int {
	if len(m.Addresses) == 0 {
		return 0
	}
	return m.Addresses[0].Lost
}

func (m sample) String() string {
	if m.Fault != "" {
		return m.Arm + ": " + m.Fault
	}
	return fmt.Sprintf("%s: longest gap %.0f ms, %d packets lost; from the pause: runs %s, first activate %s, all ACTIVE %s, agent has reported %s, answers %.0f ms",
		m.Arm, m.gap(), m.lost(), ms(m.Resumed), ms(m.Requested), ms(m.AllActive), ms(m.Reported), m.back())
}

func ms(v *float64) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f", *v)
}

// take migrates the guest to the other host and listens to it.
func take(ctx context.Context, l *lab.Lab, g guest, a arm, drivers string) (sample, error) {
	ctx, cancel := context.WithTimeout(ctx, sampleBound)
	defer cancel()
	m := sample{Release: l.Release, Drivers: drivers, Guest: g.name, Arm: a.name}
	if err := l.SetPolicy(ctx, a.policy, concurrent+concurrentOn(l.Release)); err != nil {
		return m, err
	}
	server, err := l.Settled(ctx)
	if err != nil {
		return m, err
	}
	if l.Reachable(ctx) < len(lab.Addresses) {
		if err := l.Reboot(ctx, server.ID); err != nil {
			return m, fmt.Errorf("the guest does not answer, and did not after a reboot: %w", err)
		}
	}
	m.Source, m.Began = server.Host, time.Now()
	ear := l.ListenClosely(ctx, every, everyOther)
	migrate := func() error {
		if err := l.Migrate(ctx, server.ID, lab.Other(m.Source)); err != nil {
			return err
		}
		if server, err = l.Settled(ctx); err != nil {
			return err
		}
		return l.HandoversEnded(ctx, m.Began, server.ID, 1)
	}
	if err := migrate(); err != nil {
		ear.Stop(ctx, m.Began)
		return m, err
	}
	if err := lab.Sleep(ctx, settle); err != nil {
		return m, err
	}
	ear.Stop(ctx, m.Began)
	return m, m.read(ctx, l, server, ear)
}

// read puts together what the probe, the publishers, Neutron and its agent say. All of the
// lab's containers share one clock.
func (m *sample) read(ctx context.Context, l *lab.Lab, server lab.Server, ear *lab.Silence) error {
	destination := lab.Other(m.Source)
	migration, err := l.LastMigration(ctx, server.ID)
	if err != nil {
		return err
	}
	m.Migration = migration.Status
	if server.Host != destination {
		m.Fault = "the guest is on " + server.Host + " still: " + migration.Status
		return nil
	}
	ports, err := l.Ports(ctx, server.ID)
	if err != nil {
		return err
	}
	m.RowsRight = len(ports) > 0
	var ids []string
	for _, p := range ports {
		right, _ := p.RightOn(destination)
		m.RowsRight = m.RowsRight && right
		ids = append(ids, p.ID)
	}
	events, err := l.HostEvents(ctx, m.Began, server.ID, m.Source, destination)
	if err != nil {
		return err
	}
	requests, err := l.Requests(ctx, m.Began)
	if err != nil {
		return err
	}
	wired, err := l.Wired(ctx, m.Drivers, destination, m.Began)
	if err != nil {
		return err
	}
	t := timesOf(events, requests, wired, ids, m.Source, destination)
	if t.paused.IsZero() {
		m.Fault = "the guest was not seen to stop"
		return nil
	}
	since := func(at time.Time) float64 { return float64(at.Sub(t.paused).Microseconds()) / 1000 }
	for field, at := range map[**float64]time.Time{
		&m.Stopped: t.stopped, &m.Resumed: t.resumed, &m.Requested: t.requested, &m.AllActive: t.active, &m.Reported: t.reported,
	} {
		if !at.IsZero() {
			v := since(at)
			*field = &v
		}
	}
	if _, why := ear.AnsweredFrom(); why != "" {
		m.Fault = why
		return nil
	}
	for _, g := range ear.Gaps(m.Began) {
		m.Addresses = append(m.Addresses, address{
			GapMS: float64(g.Length().Microseconds()) / 1000, Back: since(g.To), Lost: g.Lost,
		})
	}
	return nil
}

// times are the moments of a migration; zero where one was not seen.
type times struct{ paused, stopped, resumed, requested, active, reported time.Time }

// timesOf finds them. The activates are whoever's; of the agent's reports counts each
// port's first after the first activate: Nova has it wire them once before, and again in the end.
func timesOf(events []lab.HostEvent, requests []lab.Request, wired []lab.Wiring, ports []string, source, destination string) times {
	var t times
	for _, e := range events {
		switch {
		case e.Host == source && e.Event == "suspended" && e.Detail == "migrated":
			t.paused = e.At
		case e.Host == source && e.Event == "stopped" && e.Detail == "migrated":
			t.stopped = e.At
		case e.Host == destination && e.Event == "resumed":
			t.resumed = e.At
		}
	}
	mine := func(path string) bool {
		return slices.ContainsFunc(ports, func(id string) bool { return strings.Contains(path, "/"+id+"/") })
	}
	for _, r := range requests {
		if !r.Activates() || r.Status != 200 || !mine(r.Path) || !strings.Contains(r.Path, "/"+destination+"/") {
			continue
		}
		if t.requested.IsZero() {
			t.requested = r.At
		}
		if answered := r.At.Add(r.Took); answered.After(t.active) {
			t.active = answered
		}
	}
	for _, id := range ports {
		i := slices.IndexFunc(wired, func(w lab.Wiring) bool { return w.At.After(t.requested) && slices.Contains(w.Ports, id) })
		if i >= 0 && wired[i].At.After(t.reported) {
			t.reported = wired[i].At
		}
	}
	return t
}
