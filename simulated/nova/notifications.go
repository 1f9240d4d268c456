package nova

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"
)

// Step is one of Nova's steps that it announces.
type Step string

// The steps; each has a legacy and a versioned notification at its start and at
// its end.
const (
	Pre          Step = "pre"
	Post         Step = "post"
	PostDest     Step = "post_dest"
	Rollback     Step = "rollback"
	RollbackDest Step = "rollback_dest"
)

// legacy are the names in legacy event types; the versioned ones are the steps'
// own (nova/objects/fields.py, NotificationAction).
var legacy = map[Step]string{
	Pre: "pre", Post: "_post", PostDest: "post.dest", Rollback: "_rollback", RollbackDest: "rollback.dest",
}

// Notification is one message for the exchange nova, as messagingv2 sends it:
// persistent, application/json.
type Notification struct {
	EventType  string
	RoutingKey string
	Body       []byte
}

// captured are the notifications of Nova 26.2.2 (Zed) about a live migration,
// disks not shared, with what differs from one migration to the next made
// replaceable.
//
//go:embed testdata/notifications.jsonl
var captured []byte

// templates by event type.
var templates = readTemplates()

type template struct {
	RoutingKey string          `json:"routing_key"`
	Message    json.RawMessage `json:"message"`
}

func readTemplates() map[string]template {
	found := map[string]template{}
	for line := range bytes.Lines(captured) {
		var t template
		var m struct {
			EventType string `json:"event_type"`
		}
		if err := json.Unmarshal(line, &t); err != nil {
			panic(err)
		}
		if err := json.Unmarshal(t.Message, &m); err != nil {
			panic(err)
		}
		found[m.EventType] = t
	}
	return found
}

// Notifications gives the messages of a step's start or end in Nova's order: the
// legacy one, then the versioned one.
func (m Migration) Notifications(step Step, ended bool) []Notification {
	edge := ".start"
	if ended {
		edge = ".end"
	}
	return []Notification{
		m.notification("compute.instance.live_migration." + legacy[step] + edge),
		m.notification("instance.live_migration_" + string(step) + edge),
	}
}

func (m Migration) notification(eventType string) Notification {
	t, ok := templates[eventType]
	if !ok {
		panic("nova: no notification was captured of " + eventType)
	}
	text := strings.NewReplacer("@INSTANCE@", m.Instance, "@REQUEST@", m.RequestID, "@SOURCE@", m.Source, "@DESTINATION@", m.Destination).
		Replace(string(t.Message))
	var message map[string]any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&message); err != nil {
		panic(fmt.Sprintf("nova: %s: %v", eventType, err))
	}
	message["message_id"] = NewUUID()
	m.namePorts(message)
	inner, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	body, err := json.Marshal(map[string]string{"oslo.version": "2.0", "oslo.message": string(inner)})
	if err != nil {
		panic(err)
	}
	return Notification{EventType: eventType, RoutingKey: t.RoutingKey, Body: body}
}

// namePorts lists the instance's ports in a versioned payload, as its captured
// one lists its only port.
func (m Migration) namePorts(message map[string]any) {
	payload, _ := message["payload"].(map[string]any)
	data, versioned := payload["nova_object.data"].(map[string]any)
	if !versioned {
		return
	}
	one, err := json.Marshal(data["ip_addresses"].([]any)[0])
	if err != nil {
		panic(err)
	}
	addresses := []any{}
	for _, p := range m.Ports {
		addresses = append(addresses, json.RawMessage(strings.ReplaceAll(string(one), "@PORT@", p.ID)))
	}
	data["ip_addresses"] = addresses
}
