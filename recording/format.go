package recording

import (
	"encoding/json"
	"time"
)

// Version is the version of the format. A reader refuses one that it does not know.
const Version = 1

// Header is the first line.
type Header struct {
	Version int       `json:"earlybind_recording"`
	MadeBy  string    `json:"made_by"` // program and version
	Began   time.Time `json:"began"`   // for people
	// About says in a sentence what is shown.
	About string `json:"about,omitempty"`
	// NovaExchange and Topics are where Nova's notifications came from,
	// HostUserPrefix stands before a host's name in its RabbitMQ user.
	NovaExchange   string   `json:"nova_exchange"`
	Topics         []string `json:"topics,omitempty"`
	HostUserPrefix string   `json:"host_user_prefix"`
}

// Message is one message as it was consumed, scrubbed.
type Message struct {
	MS          float64 `json:"ms"` // since the recording began
	Exchange    string  `json:"exchange"`
	Key         string  `json:"key"`
	User        string  `json:"user,omitempty"` // validated by the broker; empty if the sender set none
	Redelivered bool    `json:"redelivered,omitempty"`
	// Body is read by wire.Decode; empty where Unreadable tells of it.
	Body       json.RawMessage `json:"body,omitempty"`
	Unreadable *Unreadable     `json:"unreadable,omitempty"`
}

// At is when the message was consumed, since the recording began.
func (m Message) At() time.Duration { return time.Duration(m.MS * float64(time.Millisecond)) }

// Unreadable is all that is kept of a body that cannot be understood.
type Unreadable struct {
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}
