package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// record is one handover as it ended: a line of the results file.
type record struct {
	Release string  `json:"release"`
	Seed    uint64  `json:"seed"`
	Number  int     `json:"number"`
	Fails   bool    `json:"fails"`
	Stream  string  `json:"stream"`
	Shared  bool    `json:"shared"`
	Faults  []fault `json:"faults"`

	AtOnce    bool     `json:"at_once"`
	Right     bool     `json:"right"`
	Why       string   `json:"why,omitempty"`
	ToRightMS int64    `json:"to_right_ms"`
	Outcome   string   `json:"outcome,omitempty"` // as the consumers said
	Alarms    int      `json:"alarms,omitempty"`
	Hurt      []string `json:"hurt,omitempty"`
	Refused   bool     `json:"refused,omitempty"`   // the migration did not begin: a row was in its way
	Collision bool     `json:"collision,omitempty"` // 5xx to a call of Nova's
	Story     string   `json:"story,omitempty"`
}

// newRecord sums a handover up.
func newRecord(release string, seed uint64, p played, j judgement) record {
	r := record{
		Release: release, Seed: seed, Number: p.number, Fails: p.fails, Stream: p.stream, Shared: p.shared,
		Faults: slices.Concat(p.faults, j.met),
		AtOnce: j.atOnce, Right: j.right, Why: j.why, ToRightMS: j.toRight.Milliseconds(), Outcome: j.outcome, Alarms: j.alarms,
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

// resultsFile is where records are appended; none if it has no name.
type resultsFile struct{ file *os.File }

func openResults(name string) (resultsFile, error) {
	if name == "" {
		return resultsFile{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return resultsFile{}, err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return resultsFile{f}, err
}

func (f resultsFile) save(r record) error {
	if f.file == nil {
		return nil
	}
	return json.NewEncoder(f.file).Encode(r)
}

func (f resultsFile) close() {
	if f.file != nil {
		_ = f.file.Close()
	}
}

// load reads the records of a release.
func load(name, release string) ([]record, error) {
	f, err := os.Open(name)
	if name == "" || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []record
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			// Cut off by a kill: that handover is played again.
			fmt.Fprintf(os.Stderr, "chaos: a line of %s is left out: %v\n", name, err)
			continue
		}
		if r.Release == release {
			found = append(found, r)
		}
	}
	return found, lines.Err()
}
