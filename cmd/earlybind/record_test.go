package main

import (
	"bytes"
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// What is no instance's id records nothing for as long as it runs, so it is refused; Nova has them in lower case.
func TestTheInstancesOfARecordingAreIDs(t *testing.T) {
	openrc(t)
	file := filepath.Join(t.TempDir(), "recording")
	for id, want := range map[string]string{
		"foo":                              `invalid value "foo" for flag -instance: it must be an instance's id, a UUID`,
		patient[1:]:                        "it must be an instance's id, a UUID",
		patient + "," + patient:            "it must be an instance's id, a UUID",
		patient:                            "",
		strings.ToUpper(patient):           "",
		"67322275-37EB-4301-9b66-d8d416b4": "it must be an instance's id, a UUID",
	} {
		var out, faults bytes.Buffer
		code := run(t.Context(), []string{"record", "-instance", id, file}, &out, &faults)
		switch said := faults.String(); {
		case want == "" && code != failed, want != "" && (code != wrongUsage || !strings.Contains(said, want)):
			t.Errorf("%s: %d %s", id, code, said)
		}
	}
	var ids []string
	f := flag.NewFlagSet("record", flag.ContinueOnError)
	idsFlag(f, &ids, "instance", "an instance's id, a UUID", "")
	if err := f.Parse([]string{"-instance", strings.ToUpper(patient), "-instance", patient}); err != nil || !slices.Equal(ids, []string{patient, patient}) {
		t.Errorf("%q: %v", ids, err)
	}
}
