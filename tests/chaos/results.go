package main

import (
	"cmp"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/tests/results"
)

// record is one handover as it ended: a line of the results file.
type record struct {
	Release string  `json:"release"`
	Build   string  `json:"build,omitempty"` // the consumer's version; samples of November 2026 and before have none
	Seed    uint64  `json:"seed"`
	Shares  int     `json:"shares,omitempty"` // of the consumers' instances; samples of November 2026 and before have none, and one share
	Number  int     `json:"number"`
	Fails   bool    `json:"fails"`
	Stream  string  `json:"stream"`
	Shared  bool    `json:"shared"`
	Faults  []fault `json:"faults"`

	AtOnce    bool     `json:"at_once"`
	Right     bool     `json:"right"`
	Why       string   `json:"why,omitempty"`
	ToRightMS int64    `json:"to_right_ms"`
	Outcome   string   `json:"outcome,omitempty"`   // as the consumers said
	ToEndMS   int64    `json:"to_end_ms,omitempty"` // until they said so, from Nova's last answer
	NoEnd     noEnd    `json:"no_end,omitempty"`    // why they did not; samples of November 2026 and before have none
	Alarms    int      `json:"alarms,omitempty"`
	Hurt      []string `json:"hurt,omitempty"`
	Refused   bool     `json:"refused,omitempty"`   // the migration did not begin: a row was in its way
	Collision bool     `json:"collision,omitempty"` // 5xx to a call of Nova's
	Story     string   `json:"story,omitempty"`
}

// String tells in one line how a handover went wrong.
func (r record) String() string {
	text := fmt.Sprintf("handover %d, %s, %q", r.Number, r.Stream, r.Faults)
	if !r.Right {
		text += ": wrong: " + r.Why
	}
	if len(r.Hurt) > 0 {
		text += ": hurt Nova: " + strings.Join(r.Hurt, "; ")
	}
	return text + "; the consumers say " + cmp.Or(r.Outcome, "nothing of its end") + "; " + r.Story
}

// newRecord sums a handover up.
func newRecord(release, build string, seed uint64, shares int, p played, j judgement) record {
	r := record{
		Release: release, Build: build, Seed: seed, Shares: shares, Number: p.number, Fails: p.fails, Stream: p.stream, Shared: p.shared,
		Faults: slices.Concat(p.faults, j.met),
		AtOnce: j.atOnce, Right: j.right, Why: j.why, ToRightMS: j.toRight.Milliseconds(), Alarms: j.alarms,
	}
	if len(r.Faults) == 0 {
		r.Faults = []fault{calm}
	}
	for _, h := range p.harms {
		if !h.Hurts() {
			r.Refused = true
			continue
		}
		r.Hurt = append(r.Hurt, h.Error())
		r.Collision = r.Collision || h.Call.Status >= 500
	}
	return r
}

// buildOf gives the version of a program, which `make build` has from git describe.
func buildOf(ctx context.Context, program string) (string, error) {
	said, err := exec.CommandContext(ctx, program, "-version").Output()
	_, version, ok := strings.Cut(strings.TrimSpace(string(said)), " ")
	if err == nil && !ok {
		err = fmt.Errorf("it says %q", said)
	}
	if err != nil {
		return "", fmt.Errorf("which build %s is: %w", program, err)
	}
	return version, nil
}

// accountLine is a line of the results file that is no handover: the account of one
// run that came to its end. Files of November 2026 and before have none.
type accountLine struct {
	Release string   `json:"release"`
	Build   string   `json:"build,omitempty"`
	Seed    uint64   `json:"seed"`
	Account *balance `json:"account"`
}

// load reads the records of a release and the accounts of its runs.
func load(name, release string) (records []record, balances []balance, err error) {
	type line struct {
		record
		Account *balance `json:"account"`
	}
	lines, err := results.Load[line](name)
	for _, l := range lines {
		switch {
		case l.Release != release:
		case l.Account != nil:
			balances = append(balances, *l.Account)
		default:
			records = append(records, l.record)
		}
	}
	return records, balances, err
}
