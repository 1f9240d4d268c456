package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrNotNotification marks bytes that are not an oslo.messaging notification.
// Such a message is to be parked, not retried.
var ErrNotNotification = errors.New("not an oslo.messaging notification")

// maxName bounds the names that a notification goes by, in bytes: what oslo.messaging and
// earlybind send has at most a hundred or so, and they are put into errors, log lines and
// AMQP headers, none of which may grow as a sender likes.
const maxName = 1024

// timestampLayout is of [Notification.Timestamp].
const timestampLayout = "2006-01-02 15:04:05.000000"

// Notification is one oslo.messaging notification without its transport.
type Notification struct {
	MessageID   string
	PublisherID string // "compute.<host>", "nova-compute:<host>", "earlybind-publisher:<host>"
	EventType   string
	Priority    string // "INFO", "ERROR"
	Timestamp   string // UTC without a zone, as oslo writes it; for people, decides nothing
	RequestID   string // the request that caused it: the same in every message of one live migration
	Payload     json.RawMessage
}

// SentAt is when its sender says, by its own wall clock, that it was sent; false if it does
// not say it as oslo writes it. It decides nothing.
func (n Notification) SentAt() (time.Time, bool) {
	at, err := time.Parse(timestampLayout, n.Timestamp) // UTC
	return at, err == nil
}

// body is the inner document; the field names are oslo.messaging's
// (oslo_messaging/notify/notifier.py, Notifier._notify).
type body struct {
	MessageID   string          `json:"message_id"`
	PublisherID string          `json:"publisher_id"`
	EventType   string          `json:"event_type"`
	Priority    string          `json:"priority"`
	Payload     json.RawMessage `json:"payload"`
	Timestamp   string          `json:"timestamp"`
	UniqueID    string          `json:"_unique_id,omitempty"`
	RequestID   string          `json:"_context_request_id,omitempty"`
}

// envelope is what driver messagingv2 wraps around it
// (oslo_messaging/_drivers/common.py, serialize_msg).
type envelope struct {
	Version string  `json:"oslo.version"`
	Message *string `json:"oslo.message"`
}

// Decode reads a notification with or without the 2.0 envelope. The error
// wraps [ErrNotNotification] and names the fault, never the content.
func Decode(raw []byte) (Notification, error) {
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil {
		return Notification{}, fmt.Errorf("%w: %s", ErrNotNotification, jsonFault(err))
	}
	inner := raw
	if e.Version != "" || e.Message != nil {
		if e.Message == nil {
			return Notification{}, fmt.Errorf("%w: envelope without oslo.message", ErrNotNotification)
		}
		inner = []byte(*e.Message)
	}
	var b body
	if err := json.Unmarshal(inner, &b); err != nil {
		return Notification{}, fmt.Errorf("%w: inner message: %s", ErrNotNotification, jsonFault(err))
	}
	if b.EventType == "" {
		return Notification{}, fmt.Errorf("%w: no event_type", ErrNotNotification)
	}
	for _, name := range [...]struct{ field, text string }{
		{"event_type", b.EventType}, {"publisher_id", b.PublisherID}, {"message_id", b.MessageID}, {"_context_request_id", b.RequestID},
	} {
		if len(name.text) > maxName {
			return Notification{}, fmt.Errorf("%w: %s of %d bytes", ErrNotNotification, name.field, len(name.text))
		}
	}
	return Notification{
		MessageID:   b.MessageID,
		PublisherID: b.PublisherID,
		EventType:   b.EventType,
		Priority:    b.Priority,
		Timestamp:   b.Timestamp,
		RequestID:   b.RequestID,
		Payload:     b.Payload,
	}, nil
}

// Encode writes the notification in the 2.0 envelope of driver messagingv2.
func (n Notification) Encode() ([]byte, error) {
	inner, err := json.Marshal(body{
		MessageID:   n.MessageID,
		PublisherID: n.PublisherID,
		EventType:   n.EventType,
		Priority:    n.Priority,
		Payload:     n.Payload,
		Timestamp:   n.Timestamp,
		UniqueID:    n.MessageID,
		RequestID:   n.RequestID,
	})
	if err != nil {
		return nil, fmt.Errorf("encode notification %s: %w", n.EventType, err)
	}
	text := string(inner)
	return json.Marshal(envelope{Version: "2.0", Message: &text})
}

// jsonFault says what is wrong with a document and where, without quoting it.
func jsonFault(err error) string {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Sprintf("broken JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Sprintf("field %q at byte %d has the wrong type", kind.Field, kind.Offset)
	default:
		return "broken JSON"
	}
}
