package wire

import (
	"bytes"
	"strings"
)

// What a notification of driver messagingv2 looks like on the wire: a JSON text in
// a JSON text, so that its own quotes stand with one backslash, and those within
// its texts with three. oslo.messaging writes event_type before the payload
// (oslo_messaging/notify/notifier.py, Notifier._notify), with a space behind the
// colon, as Python's json does.
var (
	glanceEventType = []byte(`\"event_type\": \"`)
	glancePayload   = []byte(`\"payload\":`)
)

// glanceWithin is where the event type is looked for: only a short message_id and
// publisher_id stand before it.
const glanceWithin = 1024

// Glance tells from the bytes alone that a notification is not about a live
// migration, which nearly all are not: to decode one costs as much as all else that
// is done with it. False means that it must be decoded to know, also where it is
// no notification at all.
func Glance(raw []byte) (unrelated bool) {
	head := raw[:min(len(raw), glanceWithin)]
	at := bytes.Index(head, glanceEventType)
	if at < 0 || bytes.Contains(head[:at], glancePayload) {
		return false
	}
	name, _, whole := bytes.Cut(head[at+len(glanceEventType):], []byte(`\"`))
	if !whole || len(name) == 0 || bytes.ContainsRune(name, '\\') {
		return false // cut off, or written with escapes
	}
	_, about, _ := novaStep(string(name))
	return !about
}

// novaStep reads an event type; false for one that is not of a live migration.
func novaStep(name string) (step NovaStep, ok, ended bool) {
	if base, cut := strings.CutSuffix(name, ".start"); cut {
		name = base
	} else if base, cut := strings.CutSuffix(name, ".end"); cut {
		name, ended = base, true
	}
	step, ok = novaSteps[name]
	return step, ok, ended
}
