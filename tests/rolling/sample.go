package main

import (
	"fmt"
	"strings"
	"time"

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
	Late        bool      `json:"late"`  // a port was wrong when Nova was done
	ToRight     float64   `json:"to_right_s"`
	Wrong       string    `json:"wrong,omitempty"` // what is wrong with a port at the end
	Answers     int       `json:"answers"`         // addresses that answer the probe then
	Alarms      int       `json:"alarms,omitempty"`
	Restarts    []string  `json:"restarts"` // what was restarted meanwhile
	// ByHand is what had to be done afterwards, for the next migration to be possible.
	ByHand []string `json:"by_hand,omitempty"`

	Ours         int `json:"ours"`          // activates answered 200: earlybind's
	Novas        int `json:"novas"`         // and Nova's
	NovaConflict int `json:"nova_conflict"` // answered 409, which Nova tolerates
	NovaFailed   int `json:"nova_failed"`   // answered anything else

	Fault string `json:"fault,omitempty"` // the sample itself did not work
}

func (m sample) succeeded() bool { return m.Migration == "completed" && m.Guest == m.Destination }

func (m sample) String() string {
	verdict := "right at once"
	switch {
	case m.Fault != "":
		verdict = "FAULT " + m.Fault
	case m.Wrong != "":
		verdict = "WRONG " + m.Wrong
	case m.Guest == "":
		verdict = "the guest is nowhere, or on both hosts"
	case m.Late:
		verdict = fmt.Sprintf("right after %.1f s", m.ToRight)
	}
	return fmt.Sprintf("%s -> %s %s, guest %s on %s: %s; activates: %d ours, %d Nova's, %d 409, %d failed; %d alarms; answers on %d; restarted: %s; by hand: %q", m.Source, m.Destination,
		m.Migration, m.Nova, m.Guest, verdict, m.Ours, m.Novas, m.NovaConflict, m.NovaFailed, m.Alarms, m.Answers, strings.Join(m.Restarts, " "), m.ByHand)
}

// judged tells whether it says how the ports have ended: of a migration that Nova has ended.
func (m sample) judged() bool {
	return m.Wrong != "" || m.Fault == "" && m.Guest != "" && !strings.HasPrefix(m.Migration, "stuck")
}

// table sums up: those that Nova brought to their end, those that it did not, and all.
func table(samples []sample) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| migrations | number | right at once | right after repair | wrong | not judged | s to right, p50 / max | with earlybind's activate |\n|---|---|---|---|---|---|---|---|\n")
	for _, of := range []struct {
		name string
		has  func(sample) bool
	}{
		{"succeeded", sample.succeeded},
		{"failed by Nova", func(m sample) bool { return !m.succeeded() }},
		{"all", func(sample) bool { return true }},
	} {
		var n, late, wrong, fault, ours int
		var took []float64
		for _, m := range samples {
			if !of.has(m) {
				continue
			}
			n++
			if m.Ours > 0 {
				ours++
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
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %s | %d |\n", of.name, n, n-late-wrong-fault, late, wrong, fault, results.Quantiles(took, "%.1f", .5, 1), ours)
	}
	met := map[string]int{}
	for _, m := range samples {
		for _, what := range m.Restarts {
			met[what]++
		}
	}
	for _, what := range order {
		fmt.Fprintf(&b, "%d migrations met a restart of %s\n", met[what], what)
	}
	return b.String()
}
