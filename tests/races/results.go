package main

import (
	"github.com/earlybind/earlybind/tests/duel"
	"github.com/earlybind/earlybind/tests/results"
)

// line is one line of a results file.
type line struct {
	Release string `json:"release"`
	duel.Result
}

// load reads the results of a release.
func load(name, release string) ([]duel.Result, error) {
	lines, err := results.Load[line](name)
	var found []duel.Result
	for _, l := range lines {
		if l.Release == release {
			found = append(found, l.Result)
		}
	}
	return found, err
}
