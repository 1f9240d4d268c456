package results

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

type sample struct {
	N int `json:"n"`
}

func TestARunGoesOnWhereItStopped(t *testing.T) {
	name := filepath.Join(t.TempDir(), "var", "samples.jsonl")
	if found, err := Load[sample](name); err != nil || found != nil {
		t.Errorf("%v, %v of no file", found, err)
	}
	for n := range 2 {
		f, err := Open[sample](name)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Save(sample{n}); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	cut, err := os.OpenFile(name, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cut.WriteString(`{"n": 2`); err != nil {
		t.Fatal(err)
	}
	_ = cut.Close()
	found, err := Load[sample](name)
	if err != nil || !slices.Equal(found, []sample{{0}, {1}}) {
		t.Errorf("%v, %v", found, err)
	}
}

func TestWithoutANameNothingIsKept(t *testing.T) {
	f, err := Open[sample]("")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Save(sample{1}); err != nil {
		t.Error(err)
	}
	f.Close()
}
