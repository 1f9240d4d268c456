package main

import (
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/wire"
)

func journalMessage(t *testing.T, eventType string, payload any) []byte {
	t.Helper()
	n, err := wire.NewNotification("earlybind-consumer:x", eventType, payload, "id", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	body, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// A journal is empty in the end, but for marks and for ports that are there still.
func TestWhatIsLeftInAJournal(t *testing.T) {
	entry := journalMessage(t, wire.EventJournal, wire.JournalEntry{Schema: wire.SchemaVersion, ID: "e", Instance: "i", Port: "p", Why: "the row is deleted to be made anew"})
	for name, c := range map[string]struct {
		happens func(*account)
		kept    int
		says    string // empty: nothing is wrong
	}{
		"nothing": {func(*account) {}, 0, ""},
		"a mark": {func(a *account) {
			a.leftInJournal(1, journalMessage(t, wire.EventTick, wire.Tick{Schema: wire.SchemaVersion, Replica: "x", SentNS: 1}))
		}, 0, ""},
		"an entry":               {func(a *account) { a.leftInJournal(2, entry) }, 0, "share 2: instance i, port p"},
		"of a port that is kept": {func(a *account) { a.keepsPort("p"); a.leftInJournal(1, entry) }, 1, ""},
		"of another port":        {func(a *account) { a.keepsPort("q"); a.leftInJournal(1, entry) }, 0, "the row is deleted to be made anew"},
		"what nobody reads":      {func(a *account) { a.leftInJournal(1, []byte("{")) }, 0, digest([]byte("{"))},
		"of a newer schema": {func(a *account) {
			a.leftInJournal(1, journalMessage(t, wire.EventJournal, wire.JournalEntry{Schema: 99, ID: "e", Instance: "i", Port: "p"}))
		}, 0, "schema"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(2)
			a.line(auditLine{Event: "port.verified", Why: "the journal: a write was late", Port: "p"})
			a.line(auditLine{Event: "port.verified", Why: "the end", Port: "q"})
			c.happens(a)
			b := a.balance()
			if b.JournalPorts != 1 || b.JournalKept != c.kept {
				t.Errorf("%+v", b)
			}
			b.Parked, b.Expired = 1, 1
			switch err := b.verdict(); {
			case c.says == "" && err != nil:
				t.Error(err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%v lacks %q", err, c.says)
			}
		})
	}
}
