package doctor

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/earlybind/earlybind/rollback"
)

func TestNumbersOfAProfileLoseNoDigit(t *testing.T) {
	file := filepath.Join(t.TempDir(), "undo")
	n, err := OpenNotes(file, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	want := rollback.Held{VNICType: "normal", Profile: map[string]any{"n": json.Number("12345678901234567890")}}
	if err := n.WriteDown(t.Context(), "p", "h", want); err != nil {
		t.Fatal(err)
	}
	n.Close()
	if n, err = OpenNotes(file, time.Now); err != nil {
		t.Fatal(err)
	}
	got, _ := n.Held("p", "h")
	if !reflect.DeepEqual(got, &want) {
		t.Errorf("%+v", got)
	}
}

// A journal whose only line was cut off, however early, is one at the next start and at the one after;
// another's file is not.
func TestAFirstLineThatWasCutOff(t *testing.T) {
	const line = `{"time":"2026-11-23T00:00:00Z","port":"p"}`
	for length := 1; length < len(line); length++ {
		file := filepath.Join(t.TempDir(), "undo")
		if err := os.WriteFile(file, []byte(line[:length]), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			n, err := OpenNotes(file, time.Now)
			if err != nil {
				t.Fatalf("%q: %v", line[:length], err)
			}
			n.Close()
		}
	}
	for _, text := range []string{"text", "text\n", "{}", "[1]\n", "time: 5"} {
		file := filepath.Join(t.TempDir(), "undo")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := OpenNotes(file, time.Now); err == nil {
			n.Close()
			t.Errorf("%q is taken for a journal", text)
		}
		if now, _ := os.ReadFile(file); string(now) != text {
			t.Errorf("%q was changed to %q", text, now)
		}
	}
}

// Any file is an undo journal that is read the same when it is opened again, or is none.
func FuzzOpenNotes(f *testing.F) {
	f.Add([]byte(`{"time":"2026-11-23T00:00:00Z","port":"p","instance":"i","host":"h","held":{"VNICType":"normal","Profile":{"a":1}}}` + "\n"))
	f.Add([]byte(`{"port":"p","host":"h","settled":true}` + "\n" + `{"port`))
	f.Add([]byte("text\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		file := filepath.Join(dir, "undo")
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		n, err := OpenNotes(file, time.Now)
		if err != nil {
			return
		}
		defer n.Close()
		again, err := OpenNotes(file, time.Now)
		if err != nil || !reflect.DeepEqual(again.kept, n.kept) {
			t.Fatalf("%+v, %+v, %v", n.kept, again, err)
		}
		again.Close()
	})
}
