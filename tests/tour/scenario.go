package main

import (
	"fmt"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// scenario is one kind of migration that the tour shows.
type scenario struct {
	Key    string
	Title  string
	Policy string // EARLYBIND_POLICY of the consumers
	Replug bool   // the publishers plug ports in again: EARLYBIND_OVSDB is set
	Fail   failure
	// KillConsumer: one of the two, drawn by chance, gets SIGKILL at a moment
	// drawn from the 1.5 s after the destination's STARTED (success) or the
	// pause (failure).
	KillConsumer bool
	// Again: as soon as Nova takes it, a new migration to the same host is asked for, which
	// succeeds. Where earlybind is frozen, it goes on only then.
	Again bool
	// Without: the publishers of the migration's hosts that are stopped.
	Without hosts
	// Expect says, before it runs, what a reader should see.
	Expect string
}

// failure is how and when a migration is made to fail: always by killing the
// destination's QEMU while the guest stands still on the source.
type failure int

const (
	none          failure = iota
	atPause               // as soon as the guest stands still
	whenActivated         // after earlybind has activated every port
	novaFirst             // the same, and earlybind is frozen until Nova has deleted the destination's rows
	afterPause            // 2 s after the pause, whatever earlybind has done
)

// hosts are a migration's.
type hosts int

const (
	noHost hosts = iota
	theDestination
	bothHosts
)

// publishers are those of a sample's hosts.
func (h hosts) publishers(m *sample) []string {
	return map[hosts][]string{
		theDestination: {lab.PublisherOf(m.Destination)},
		bothHosts:      lab.Publishers,
	}[h]
}

var scenarios = []scenario{
	{Key: "a", Title: "Nova alone (earlybind observes)", Policy: "observe",
		Expect: "Nova activates the destination after the source has stopped"},
	{Key: "b", Title: "with earlybind, default policy", Policy: "auto",
		Expect: "earlybind activates when the guest has arrived, before the source has stopped"},
	{Key: "c", Title: "failure in the switchover, default policy", Policy: "auto", Fail: atPause,
		Expect: "nothing was activated early; every port stays on the source"},
	{Key: "d", Title: "failure after an early activation (policy suspended forced)", Policy: "suspended", Fail: whenActivated,
		Expect: "earlybind activates at the pause and restores the source"},
	{Key: "e", Title: "the same, and Nova deletes the ACTIVE rows first", Policy: "suspended", Fail: novaFirst,
		Expect: "the ports are left without an ACTIVE row, and earlybind restores them"},
	{Key: "f", Title: "failure after an early activation, default policy, publishers plug in again", Policy: "auto", Replug: true, Fail: whenActivated,
		Expect: "earlybind activates at the pause, restores the source, and the guest answers again by itself"},
	{Key: "g", Title: "the same, and Nova deletes the ACTIVE rows first", Policy: "auto", Replug: true, Fail: novaFirst,
		Expect: "earlybind restores the rows, and the guest answers again by itself"},
	{Key: "n", Title: "failure after an early activation, and a new migration to the same host at once", Policy: "auto", Replug: true, Fail: whenActivated, Again: true,
		Expect: "earlybind restores the source or gives way to the new migration, and every port ends on the destination"},
	{Key: "o", Title: "the same, Nova deletes the ACTIVE rows first, and the new migration begins before earlybind can restore", Policy: "auto", Replug: true, Fail: novaFirst, Again: true,
		Expect: "the ports have no ACTIVE row when the new migration begins, and every one ends on the destination"},
	{Key: "h", Title: "success, default policy, publishers plug in again", Policy: "auto", Replug: true,
		Expect: "earlybind activates while the guest stands still"},
	{Key: "s", Title: "success with the policy suspended forced", Policy: "suspended",
		Expect: "earlybind activates while the guest stands still"},
	{Key: "k", Title: "success, and a consumer is killed on the way", Policy: "auto", KillConsumer: true,
		Expect: "the other replica takes over; every port ends right"},
	{Key: "l", Title: "failure after an early activation, and a consumer is killed on the way", Policy: "suspended", Fail: afterPause, KillConsumer: true,
		Expect: "the other replica takes over and restores"},
	{Key: "p", Title: "publishers switched off", Policy: "auto", Without: bothHosts,
		Expect: "earlybind touches nothing and says why"},
	{Key: "q", Title: "the destination has no publisher yet", Policy: "suspended", Without: theDestination,
		Expect: "earlybind touches nothing, also at the pause that the source tells of, and says why"},
}

// unmet says what a sample lacks of what its story promises; empty if nothing.
// Rows and Nova's own calls are judged for all stories alike.
func (s scenario) unmet(m *sample) string {
	first := m.Figures.PauseToFirstOurs
	switch s.Key {
	case "a":
		if m.Figures.OursWritten > 0 {
			return "earlybind has written although it only observes"
		}
		if m.Figures.NovaActivated == 0 {
			return "Nova has activated nothing"
		}
	case "b", "s":
		if first == nil && m.Figures.NovaActivated == 0 && m.Figures.NovaConflict == 0 {
			return "nobody was seen to activate"
		}
		if first == nil && !m.says("observe (") {
			return "earlybind has activated nothing and has not said why"
		}
	case "p", "q":
		if m.Figures.OursWritten > 0 || !m.says("no publisher was heard") {
			return "without a host's publisher earlybind must touch nothing and say why"
		}
	case "c":
		if first != nil {
			return "earlybind has activated the destination of a migration that failed"
		}
	case "d", "e":
		if first == nil {
			return "earlybind has not activated: there was nothing to restore"
		}
	case "f", "g":
		return m.notPluggedIn()
	case "n", "o":
		if first == nil {
			return "earlybind has not activated: there was nothing to restore"
		}
		return m.cutOff()
	case "h":
		if arrival := m.Figures.PauseToArrival; first == nil || arrival == nil || *first > *arrival {
			return "earlybind has not activated while the guest stood still"
		}
	}
	return ""
}

// answerBound is how long after a failed migration the guest may be unreachable
// where the publishers plug in again.
const answerBound = 30 * time.Second

// cutOff says why a guest does not count as reachable; empty if it does.
func (m *sample) cutOff() string {
	for _, p := range m.Ports {
		if p.Status != "ACTIVE" {
			return "port " + p.Port + " has status " + p.Status
		}
	}
	if m.Reachable < len(lab.Addresses) {
		return fmt.Sprintf("the guest answers on %d of %d addresses", m.Reachable, len(lab.Addresses))
	}
	return ""
}

// notPluggedIn says why a guest that has stayed on the source does not count as reachable
// again by itself; empty if it does.
func (m *sample) notPluggedIn() string {
	if m.Figures.PauseToFirstOurs == nil {
		return "earlybind has not activated: there was nothing to restore"
	}
	if m.Figures.Replugged < len(m.Ports) {
		return fmt.Sprintf("%d of %d ports were plugged in again and wired", m.Figures.Replugged, len(m.Ports))
	}
	if why := m.cutOff(); why != "" {
		return why
	}
	if after := m.Figures.FailedToAnswering; after == nil {
		return "the guest was not heard to answer again: " + m.silent
	} else if *after > float64(answerBound.Milliseconds()) {
		return fmt.Sprintf("too late: the guest answers from %.1f s after it ran on the source again; the limit is %.0f s, which other load on the machine breaks, too",
			*after/1000, answerBound.Seconds())
	}
	return ""
}

func scenarioOf(key string) (scenario, bool) {
	for _, s := range scenarios {
		if s.Key == key {
			return s, true
		}
	}
	return scenario{}, false
}
