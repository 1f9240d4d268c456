package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/tests/results"
)

// sample is one migration.
type sample struct {
	Instance    string    `json:"instance"`
	Source      string    `json:"source"`
	Destination string    `json:"destination"`
	Began       time.Time `json:"began"`
	Ended       time.Time `json:"ended"` // Nova is done with it
	Refused     int       `json:"refused,omitempty"`
	Migration   string    `json:"migration"` // Nova's status of it
	Nova        string    `json:"nova"`      // and of the guest
	NovaHost    string    `json:"nova_host"`
	Guest       string    `json:"guest"` // the host where it is, by libvirt; empty: on neither, or on both
	Late        bool      `json:"late"`  // a port's rows were wrong when Nova was done
	ToRight     float64   `json:"to_right_s"`
	// ToActive is how long after Nova's end every port's status was ACTIVE too. The samples of
	// 2026-11-29 and before have none: the status was not looked at.
	ToActive *float64 `json:"to_active_s,omitempty"`
	Wrong    string   `json:"wrong,omitempty"` // what is wrong with a port at the end
	// Answers is how many addresses answer the probe then. Those before had one look at it.
	Answers int `json:"answers"`
	// Silence is what was found of a guest that did not answer on each; those before have none.
	Silence  *silence `json:"silence,omitempty"`
	Alarms   int      `json:"alarms,omitempty"`
	Restarts []string `json:"restarts"` // what was restarted meanwhile
	// ByHand is what had to be done afterwards, for the next migration to be possible.
	ByHand []string `json:"by_hand,omitempty"`

	Ours         int `json:"ours"`          // activates answered 200: earlybind's
	Novas        int `json:"novas"`         // and Nova's
	NovaConflict int `json:"nova_conflict"` // answered 409, which Nova tolerates
	NovaFailed   int `json:"nova_failed"`   // answered anything else
	// NovaHurt is how many of these met one of ours; the others Neutron refused by itself, as it was
	// restarted. It was not counted before 2026-11-30.
	NovaHurt int `json:"nova_hurt,omitempty"`

	Fault string `json:"fault,omitempty"` // the sample itself did not work
}

func (m sample) succeeded() bool { return m.Migration == "completed" && m.Guest == m.Destination }

// silence is what was found of a guest that did not answer.
type silence struct {
	// Lost is by QEMU's emulation: see [lab.Lab.Dead].
	Lost bool `json:"lost"`
	// Faults is what could not be read: where there is one, Lost may be false for that.
	Faults []string `json:"faults,omitempty"`
	// Taps of a guest that is not lost, on both hosts.
	Taps map[string][]lab.Tap `json:"taps,omitempty"`
	// Timeouts are the calls of each host's L2 agent that got no answer in the last 10 minutes.
	Timeouts map[string]int `json:"agent_timeouts,omitempty"`
}

// found asks why a guest is silent.
func found(dead func() (bool, error), taps func(host string) ([]lab.Tap, error), timeouts func(host string) (int, error)) *silence {
	s := &silence{}
	lost, err := dead()
	if err != nil {
		s.Faults = append(s.Faults, err.Error())
	} else if s.Lost = lost; lost {
		return s
	}
	s.Taps = map[string][]lab.Tap{}
	for _, host := range lab.Computes {
		n, err := timeouts(host)
		if err != nil {
			s.Faults = append(s.Faults, err.Error())
		} else if n > 0 {
			if s.Timeouts == nil {
				s.Timeouts = map[string]int{}
			}
			s.Timeouts[host] = n
		}
		on, err := taps(host)
		if err != nil {
			s.Faults = append(s.Faults, err.Error())
			continue
		}
		s.Taps[host] = on
	}
	return s
}

const lostMark = "lost by QEMU's emulation: "

func (s *silence) String() string {
	text := lostMark + fmt.Sprint(s.Lost)
	if len(s.Faults) > 0 {
		text = lostMark + "not known: " + strings.Join(s.Faults, "; ")
	}
	for _, host := range slices.Sorted(maps.Keys(s.Timeouts)) {
		text += fmt.Sprintf("; %d calls of the agent on %s got no answer", s.Timeouts[host], host)
	}
	return text
}

// asked tells whether the guest was asked for answers: one that failed before says nothing.
func (m sample) asked() bool { return m.Fault == "" || m.Answers > 0 }

// silent tells whether the guest did not answer on each of its addresses at the end.
func (m sample) silent() bool {
	return m.Silence != nil || m.byHand("reboot (") || m.asked() && m.Answers < len(lab.Addresses)
}

// lost tells whether QEMU's emulation is known to have lost a silent guest. The samples of
// 2026-11-29 and before say it where it was rebooted, and "false" of what could not be read, too.
func (m sample) lost() bool {
	if m.Silence != nil {
		return m.Silence.Lost
	}
	return m.byHand(lostMark + "true")
}

func (m sample) byHand(what string) bool {
	return slices.ContainsFunc(m.ByHand, func(done string) bool { return strings.Contains(done, what) })
}

// wrong says what is wrong with the ports of a guest on a host: with their rows, and where
// those are right, with a port's status. Empty is right (reference: Neutron's bindings, "right").
func wrong(ports []port.Port, host string) (rows, status string) {
	if len(ports) != len(lab.Addresses) {
		return fmt.Sprintf("it has %d ports", len(ports)), ""
	}
	for _, p := range ports {
		if right, why := p.RightOn(host); !right {
			return "port " + p.ID + ": " + why, ""
		}
		if p.Status != "ACTIVE" && status == "" {
			status = "port " + p.ID + ": its status is " + p.Status
		}
	}
	return "", status
}

// watch looks at a sample's ports until they are right, or are not in time.
type watch struct {
	*sample
	right bool          // the rows, at the last look
	since time.Duration // from when on
}

// look takes down what the ports are so long after Nova's end. It gives what is to be waited
// for; nil when there is nothing more.
func (w *watch) look(ports []port.Port, after time.Duration) error {
	rows, status := wrong(ports, w.Guest)
	if rows != "" {
		w.Late, w.Wrong, w.right = true, rows, false
		if after > repairBound {
			return nil
		}
		return errors.New(rows)
	}
	if !w.right {
		w.right, w.since, w.Wrong = true, after, ""
		if w.Late {
			w.ToRight = after.Seconds()
		}
	}
	switch {
	case status == "":
		took := after.Seconds()
		w.ToActive = &took
		return nil
	case after-w.since > agentBound:
		w.Wrong = status + fmt.Sprintf(" %.0f s after the rows were right", (after-w.since).Seconds())
		return nil
	}
	return errors.New(status)
}

// again looks whether what was right has stayed right, so long after the first such look: an
// agent that wires a port anew has its time again.
func (m *sample) again(ports []port.Port, after time.Duration) error {
	rows, status := wrong(ports, m.Guest)
	switch why := rows + status; {
	case why == "" || m.Wrong != "":
		return nil
	case rows == "" && after <= agentBound:
		return errors.New(why)
	default:
		m.Wrong = "it was right, and then: " + why
		return nil
	}
}

// verdict is the error of a run that has not shown n migrations to end right while everything named in order was restarted.
func verdict(samples []sample, n int, order []string) error {
	var faults []error
	if slices.ContainsFunc(samples, func(m sample) bool { return m.Wrong != "" }) {
		faults = append(faults, errors.New("a port ended wrong"))
	}
	if slices.ContainsFunc(samples, func(m sample) bool { return m.silent() && !m.lost() }) {
		faults = append(faults, errors.New("a guest did not answer at the end, and it is not known why"))
	}
	if found := judged(samples); found < n {
		faults = append(faults, fmt.Errorf("of %d migrations %d could be judged: run it again for the others", len(samples), found))
	}
	if slices.ContainsFunc(samples, func(m sample) bool { return m.NovaHurt > 0 }) {
		faults = append(faults, errors.New("an activate of Nova's failed that met one of ours"))
	}
	for _, what := range order {
		if !slices.ContainsFunc(samples, func(m sample) bool { return slices.Contains(m.Restarts, what) }) {
			faults = append(faults, fmt.Errorf("no migration met a restart of %s", what))
		}
	}
	return errors.Join(faults...)
}

func (m sample) String() string {
	verdict := "rows right at once"
	switch {
	case m.Fault != "":
		verdict = "FAULT " + m.Fault
	case m.Wrong != "":
		verdict = "WRONG " + m.Wrong
	case m.Guest == "":
		verdict = "the guest is nowhere, or on both hosts"
	case m.Late:
		verdict = fmt.Sprintf("rows right after %.1f s", m.ToRight)
	}
	if m.ToActive != nil {
		verdict += fmt.Sprintf(", status ACTIVE after %.1f s", *m.ToActive)
	}
	return fmt.Sprintf("%s -> %s %s, guest %s on %s: %s; activates: %d ours, %d Nova's, %d 409, %d failed; %d alarms; %s; restarted: %s; by hand: %q", m.Source, m.Destination,
		m.Migration, m.Nova, m.Guest, verdict, m.Ours, m.Novas, m.NovaConflict, m.NovaFailed, m.Alarms, m.answers(), strings.Join(m.Restarts, " "), m.ByHand)
}

// answers says on how many addresses the guest answered, and what is known if not on all.
func (m sample) answers() string {
	text := fmt.Sprintf("answers on %d of %d", m.Answers, len(lab.Addresses))
	switch {
	case !m.silent() && !m.asked():
		return "not asked for answers"
	case !m.silent():
		return text
	case m.lost():
		return text + ": lost by QEMU's emulation"
	case m.Silence != nil && len(m.Silence.Faults) > 0:
		return text + ": not known why (" + strings.Join(m.Silence.Faults, "; ") + ")"
	}
	return text + ": not known why"
}

// judged tells whether it says how the ports have ended: of a migration that Nova has ended.
func (m sample) judged() bool {
	return m.Wrong != "" || m.Fault == "" && m.Guest != "" && !m.stuck()
}

// stuck tells whether Nova has not ended the migration.
func (m sample) stuck() bool { return strings.HasPrefix(m.Migration, "stuck") }

// table sums up: those that Nova brought to their end, those that it did not, and all.
func table(samples []sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| migrations | number | rows right at once | right after repair | wrong | not judged | s to rows right, p50 / max | s to status ACTIVE, p50 / max | answers on %d of %[1]d | by hand | with earlybind's activate |\n|---|---|---|---|---|---|---|---|---|---|---|\n", len(lab.Addresses))
	for _, of := range []struct {
		name string
		has  func(sample) bool
	}{
		{"succeeded", sample.succeeded},
		{"failed by Nova", func(m sample) bool { return !m.succeeded() }},
		{"all", func(sample) bool { return true }},
	} {
		var n, late, wrong, fault, ours, answered, byHand int
		var took, active []float64
		for _, m := range samples {
			if !of.has(m) {
				continue
			}
			n++
			if m.Ours > 0 {
				ours++
			}
			if m.asked() && !m.silent() {
				answered++
			}
			if len(m.ByHand) > 0 {
				byHand++
			}
			switch {
			case m.Wrong != "":
				wrong++
				continue
			case !m.judged():
				fault++
				continue
			case m.Late:
				late++
			}
			took = append(took, m.ToRight)
			if m.ToActive != nil {
				active = append(active, *m.ToActive)
			}
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s | %s | %d | %d | %d |\n", of.name, n, n-late-wrong-fault, late, wrong, fault,
			results.Quantiles(took, "%.1f", .5, 1), results.Quantiles(active, "%.1f", .5, 1), answered, byHand, ours)
	}
	b.WriteString(silences(samples))
	met := map[string]int{}
	for _, m := range samples {
		for _, what := range m.Restarts {
			met[what]++
		}
	}
	for _, what := range slices.Sorted(maps.Keys(met)) {
		fmt.Fprintf(&b, "%d migrations met a restart of %s\n", met[what], what)
	}
	return b.String()
}

// silences has the lines about guests that did not answer, and about what was not looked at.
func silences(samples []sample) string {
	var b strings.Builder
	var silent, lost, unasked, unseen int
	for _, m := range samples {
		switch {
		case m.silent():
			silent++
			if m.lost() {
				lost++
			}
		case !m.asked():
			unasked++
		}
		if m.judged() && m.Wrong == "" && m.ToActive == nil {
			unseen++
		}
	}
	fmt.Fprintf(&b, "%d guests did not answer on every address at the end: %d lost by QEMU's emulation, %d not known why\n", silent, lost, silent-lost)
	for i, m := range samples {
		if m.silent() && !m.lost() {
			fmt.Fprintf(&b, "  not known why, sample %d (from 0): %s\n", i, m)
		}
	}
	if unasked > 0 {
		fmt.Fprintf(&b, "%d guests were not asked: the sample failed before\n", unasked)
	}
	if unseen > 0 {
		fmt.Fprintf(&b, "%d samples that were judged do not say whether the ports' status was ACTIVE\n", unseen)
	}
	return b.String()
}
