package wire

import (
	"testing"
	"time"
)

func TestAnEntryTellsWhenItWasWritten(t *testing.T) {
	at := time.Date(2026, 11, 25, 3, 0, 0, 123456000, time.FixedZone("", 3600))
	n, err := NewNotification("earlybind-consumer:r", EventJournal, JournalEntry{Schema: SchemaVersion, ID: "1", Instance: "i", Port: "p"}, "m", at)
	if err != nil {
		t.Fatal(err)
	}
	for stamp, want := range map[string]time.Time{n.Timestamp: at, "": {}, "yesterday": {}} {
		n.Timestamp = stamp
		if e, err := ParseJournalEntry(n); err != nil || !e.At.Equal(want) {
			t.Errorf("%q: %s, %v", stamp, e.At, err)
		}
	}
}
