package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// EventJournal is the event type of a [JournalEntry].
const EventJournal = "earlybind.journal"

// JournalEntry is what a consumer leaves for whichever replica acts next: a port
// that must be looked at until it is right, and what its row on Host held if
// that was, or is about to be, deleted.
type JournalEntry struct {
	Schema   int    `json:"schema"`
	ID       string `json:"id"` // unique
	Instance string `json:"instance"`
	Port     string `json:"port"`
	Why      string `json:"why"`
	// Late: a write of the port may still take effect when this is written.
	Late bool `json:"late,omitempty"`
	// Home is the host that a restore was to bring the port back to which was cut off; empty where none was. What a guest
	// that has died has left shows nowhere else.
	Home string `json:"home,omitempty"`
	// Replaces lists the entries of the same row that this one makes void.
	Replaces []string `json:"replaces,omitempty"`
	// Of a row that is deleted to be made again; Host is empty where nothing
	// was written down. Profile is without migrating_to; its numbers are
	// json.Number, so that none loses a digit.
	Host     string         `json:"host,omitempty"`
	VNICType string         `json:"vnic_type,omitempty"`
	Profile  map[string]any `json:"profile,omitempty"`

	// At is when it was written, by its notification: the writer's clock, for people; it
	// decides nothing. Zero if that does not tell.
	At time.Time `json:"-"`
}

// ParseJournalEntry reads the payload of an entry.
func ParseJournalEntry(n Notification) (JournalEntry, error) {
	var e JournalEntry
	if err := parseOwn(n, &e, &e.Schema); err != nil {
		return JournalEntry{}, err
	}
	exact := struct {
		Profile map[string]any `json:"profile"`
	}{}
	d := json.NewDecoder(bytes.NewReader(n.Payload))
	d.UseNumber()
	if err := d.Decode(&exact); err != nil {
		return JournalEntry{}, fmt.Errorf("payload of %s: %s", n.EventType, jsonFault(err))
	}
	e.Profile = exact.Profile
	e.At, _ = time.Parse(timestampLayout, n.Timestamp)
	if e.ID == "" || e.Instance == "" || e.Port == "" {
		return JournalEntry{}, fmt.Errorf("payload of %s lacks id, instance or port", n.EventType)
	}
	return e, nil
}
