package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/earlybind/earlybind/tests/duel"
)

// line is one line of a results file.
type line struct {
	Release string `json:"release"`
	duel.Result
}

// results is the file that results are appended to; none if it has no name.
type results struct{ file *os.File }

func appendTo(name string) (results, error) {
	if name == "" {
		return results{}, nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return results{}, err
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	return results{f}, err
}

func (r results) save(release string, one duel.Result) error {
	if r.file == nil {
		return nil
	}
	return json.NewEncoder(r.file).Encode(line{release, one})
}

func (r results) Close() {
	if r.file != nil {
		_ = r.file.Close()
	}
}

// load reads the results of a release.
func load(name, release string) ([]duel.Result, error) {
	f, err := os.Open(name)
	if name == "" || errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found []duel.Result
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			// Cut off by a kill: that duel is fought again.
			fmt.Fprintf(os.Stderr, "races: a line of %s is left out: %v\n", name, err)
			continue
		}
		if l.Release == release {
			found = append(found, l.Result)
		}
	}
	return found, lines.Err()
}
