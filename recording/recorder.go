package recording

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"time"

	"github.com/earlybind/earlybind/wire"
)

// Delivery is a message as it came off RabbitMQ.
type Delivery struct {
	At          time.Duration // since the recording began
	Exchange    string
	Key         string
	User        string
	Redelivered bool
	Body        []byte
}

// Recorder makes messages of deliveries.
type Recorder struct {
	// Instances, if any, are the only ones that are recorded.
	Instances []string
	// Hosts, if set, gives hosts other names.
	Hosts *Hosts
}

// Take gives the message of a delivery; false for what is not recorded: what says
// nothing of the instances, and consumers' ticks.
func (r Recorder) Take(d Delivery) (Message, bool) {
	m := Message{
		MS: float64(d.At.Microseconds()) / 1000, Exchange: d.Exchange, Key: d.Key, User: d.User, Redelivered: d.Redelivered,
	}
	body, err := Scrub(d.Body)
	if err != nil {
		sum := sha256.Sum256(d.Body)
		m.Unreadable = &Unreadable{Bytes: len(d.Body), SHA256: hex.EncodeToString(sum[:])}
		if r.Hosts != nil {
			m.Key, m.User = "", "" // they may name a host
		}
		return m, len(r.Instances) == 0
	}
	n, err := wire.Decode(body)
	if err != nil || n.EventType == wire.EventTick {
		return Message{}, false
	}
	if len(r.Instances) > 0 {
		var concerned bool
		if n, concerned = only(n, r.Instances); !concerned {
			return Message{}, false
		}
	}
	if r.Hosts != nil {
		n = r.Hosts.hide(&m, n)
	}
	if m.Body, err = n.Encode(); err != nil {
		return Message{}, false // a payload that was just read can be written
	}
	return m, true
}

// only tells whether a notification says something of one of the instances; of a list of
// domains the others are left out.
func only(n wire.Notification, instances []string) (wire.Notification, bool) {
	if e, ok, err := wire.ParseNova(n); ok {
		return n, err == nil && slices.Contains(instances, e.Instance)
	}
	if e, err := wire.ParseHostEvent(n); err == nil {
		return n, slices.Contains(instances, e.Instance)
	}
	s, err := wire.ParseHostStates(n)
	if err != nil || n.EventType != wire.EventStates {
		return n, false
	}
	s.Domains = slices.DeleteFunc(s.Domains, func(d wire.DomainState) bool { return !slices.Contains(instances, d.Instance) })
	if n.Payload, err = json.Marshal(s); err == nil {
		n.Payload, err = scrubPayload(n) // written as Scrub writes it
	}
	return n, err == nil
}
