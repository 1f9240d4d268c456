package recording

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"

	"github.com/earlybind/earlybind/wire"
)

// fields are the names that are kept of an object, each with those of the objects
// below it; nil where the value is plain, or a list of plain ones.
type fields map[string]fields

// ofInstance is what package wire reads of Nova's payloads, see wire.ParseNova.
var ofInstance = fields{
	"uuid": nil, "instance_uuid": nil, "instance_id": nil, "host": nil,
	"ip_addresses":  {"nova_object.data": {"port_uuid": nil}},
	"instance_type": nil, "memory_mb": nil, "vcpus": nil,
	"flavor": {"nova_object.data": {"name": nil, "memory_mb": nil, "vcpus": nil}},
	"args":   {"instance": {"uuid": nil}},
}

var ofNova = with(ofInstance, fields{"nova_object.data": ofInstance})

// ofEvent and ofStates are the payloads of wire.HostEvent and wire.HostStates, whole.
var (
	ofEvent = fields{
		"schema": nil, "host": nil, "epoch": nil, "sequence": nil, "instance": nil,
		"event": nil, "detail": nil, "age_ms": nil, "replug": nil, "at": nil,
	}
	ofStates = fields{
		"schema": nil, "host": nil, "epoch": nil, "sequence": nil, "reconnected": nil, "age_ms": nil,
		"domains": {"instance": nil, "state": nil, "reason": nil, "incoming": nil},
	}
)

func with(a, b fields) fields {
	both := fields{}
	for _, f := range []fields{a, b} {
		for name, below := range f {
			both[name] = below
		}
	}
	return both
}

// errChanged marks a body that would be read otherwise once it is scrubbed: one that
// package wire refuses, mostly.
var errChanged = errors.New("without what must not be recorded it would be read otherwise")

// Scrub gives a notification without anything but what is known to be harmless. Of the
// envelope the fields of [wire.Notification] are kept, of the payload those that package
// wire reads; a payload that it does not look into is emptied. Package wire reads the
// same from both, or else there is an error.
func Scrub(body []byte) ([]byte, error) {
	n, err := wire.Decode(body)
	if err != nil {
		return nil, err
	}
	clean := n
	if clean.Payload, err = scrubPayload(n); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(read(clean), read(n)) {
		return nil, errChanged
	}
	return clean.Encode()
}

func scrubPayload(n wire.Notification) (json.RawMessage, error) {
	var payload any
	d := json.NewDecoder(bytes.NewReader(n.Payload))
	d.UseNumber()
	if err := d.Decode(&payload); err != nil {
		return nil, err
	}
	kept := fields{}
	_, ofMigration, _ := wire.ParseNova(n)
	switch {
	case ofMigration:
		kept = ofNova
	case n.EventType == wire.EventStates:
		kept = ofStates
	case wire.IsHostMessage(n.EventType):
		kept = ofEvent
	}
	clean, ok := keep(payload, kept)
	if !ok {
		clean = map[string]any{}
	}
	return json.Marshal(clean)
}

// keep gives what is left of a value; false if nothing is.
func keep(value any, f fields) (any, bool) {
	switch v := value.(type) {
	case []any:
		left := []any{}
		for _, element := range v {
			if _, list := element.([]any); list {
				continue
			}
			if e, ok := keep(element, f); ok {
				left = append(left, e)
			}
		}
		return left, true
	case map[string]any:
		if f == nil {
			return nil, false
		}
		left := map[string]any{}
		for name, below := range f {
			if e, ok := keep(v[name], below); ok && v[name] != nil {
				left[name] = e
			}
		}
		return left, true
	default:
		return value, f == nil
	}
}

// read is all that package wire makes of a notification.
func read(n wire.Notification) []any {
	nova, ofMigration, novaErr := wire.ParseNova(n)
	said := []any{nova, ofMigration, novaErr == nil}
	if wire.IsHostMessage(n.EventType) {
		event, eventErr := wire.ParseHostEvent(n)
		states, statesErr := wire.ParseHostStates(n)
		said = append(said, event, eventErr == nil, states, statesErr == nil)
	}
	return said
}
