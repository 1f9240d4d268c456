package main

import (
	"fmt"
	"slices"

	"github.com/earlybind/earlybind/wire"
)

// journalAccount is what the consumers' journals held, and hold in the end. An entry tells of a
// port that is not known to be right, and is there until it is, or is gone. In the end every instance is removed with its
// ports, so that nothing may be left: but of ports that Neutron did not remove.
type journalAccount struct {
	seen map[string]bool // ports that were looked at for it
	kept map[string]bool // ports that are there still
	left []leftEntry
}

// leftEntry is one that is in a journal when the consumers are stopped.
type leftEntry struct {
	port string // empty: it is no entry of the consumers'
	text string
}

func newJournalAccount() journalAccount {
	return journalAccount{seen: map[string]bool{}, kept: map[string]bool{}}
}

// keepsPort tells that a port could not be removed.
func (a *account) keepsPort(port string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.journal.kept[port] = true
}

// leftInJournal notes what is in a share's journal. A tick of a consumer, by which it finds where
// the journal ends, is nothing: whoever reads it next settles it.
func (a *account) leftInJournal(share int, body []byte) {
	one := leftEntry{text: fmt.Sprintf("share %d: sha256 %s", share, digest(body))}
	n, err := wire.Decode(body)
	if err == nil && n.EventType == wire.EventTick {
		return
	}
	if err == nil {
		e, fault := wire.ParseJournalEntry(n)
		err = fault
		one.port = e.Port
		one.text = fmt.Sprintf("share %d: instance %s, port %s, host %q, late %t, written at %s: %s", share, e.Instance, e.Port, e.Host, e.Late, e.At.Format(stampFormat), e.Why)
	}
	if err != nil {
		one.text += ": " + err.Error()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.journal.left = append(a.journal.left, one)
}

// balance counts the ports that were looked at and the entries that have a reason to be there, and names those
// that have none.
func (j journalAccount) balance() (seen, kept int, left []string) {
	for _, one := range j.left {
		if j.kept[one.port] {
			kept++
			continue
		}
		left = append(left, one.text)
	}
	slices.Sort(left)
	return len(j.seen), kept, left
}

// journalVerdict is nil if the journals are empty but for ports that are there.
func (b balance) journalVerdict() error {
	return listed(fmt.Sprintf("%d entries are left in the journals, of ports that are gone", len(b.JournalLeft)), b.JournalLeft)
}
