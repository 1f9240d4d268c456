package publisher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestEpochRisesWhateverTheClockSays(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	now := time.Unix(1_800_000_000, 0)
	var last int64
	for i, clock := range []time.Time{now, now, now.Add(-time.Hour), now.Add(-20 * 365 * 24 * time.Hour), now.Add(time.Hour)} {
		epoch, err := nextEpoch(dir, clock)
		if err != nil {
			t.Fatal(err)
		}
		if epoch <= last {
			t.Errorf("start %d: %d after %d", i, epoch, last)
		}
		last = epoch
	}
	if last != now.Add(time.Hour).Unix() {
		t.Errorf("got %d, not the clock's", last)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestUnreadableEpochIsAFault(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, epochFile), []byte("abc"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nextEpoch(dir, time.Now()); err == nil || !strings.Contains(err.Error(), "does not hold a number") {
		t.Errorf("got %v", err)
	}
}

func TestEpochThatCannotBeStoredIsAFault(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := nextEpoch(filepath.Join(file, "state"), time.Now()); err == nil {
		t.Error("no error")
	}
}
