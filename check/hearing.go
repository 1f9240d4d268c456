package check

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/wire"
)

// hearing counts what comes through a broker. Its methods may be called from any goroutine.
type hearing struct {
	mu    sync.Mutex
	heard Heard
	since time.Time // when the publishers were asked
}

func newHearing(since time.Time) *hearing {
	return &hearing{since: since, heard: Heard{Notifications: map[Source]int{}, Answers: map[string]Answer{}}}
}

// answer takes a publisher's, that has come at that time.
func (h *hearing) answer(a consumer.Answer, at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	got := Answer{Host: a.Host, User: a.User, After: at.Sub(h.since)}
	if a.Refused != nil {
		for _, before := range h.heard.Refused {
			if before.Host == a.Host && before.User == a.User {
				return // once is enough
			}
		}
		got.Refused, got.Unknown = a.Refused.Error(), errors.Is(a.Refused, wire.ErrUnknownSchema)
		h.heard.Refused = append(h.heard.Refused, got)
		return
	}
	if _, twice := h.heard.Answers[a.Host]; twice {
		return // another has asked meanwhile
	}
	got.Skew = Unseen[time.Duration]("it does not tell the time")
	if !a.Sent.IsZero() {
		got.Skew = Saw(skew(a.Sent, h.since, at))
	}
	for _, d := range a.States.Domains {
		if !d.Incoming {
			got.Domains = append(got.Domains, d.Instance)
			if d.State == "running" || d.State == "paused" {
				got.Running = append(got.Running, d.Instance)
			}
		}
	}
	h.heard.Answers[a.Host] = got
}

// skew gives by how much a clock is ahead at least (behind, if negative) that showed sent at a
// moment of which we know no more than that it was between two times of our own clock.
func skew(sent, from, until time.Time) time.Duration {
	from, until = from.Round(0), until.Round(0) // wall clocks
	switch {
	case sent.After(until):
		return sent.Sub(until)
	case sent.Before(from):
		return sent.Sub(from)
	}
	return 0
}

// notification takes one, of which it keeps no content.
func (h *hearing) notification(key string, body []byte) {
	source, ok := sourceOf(key, body)
	if !ok {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Notifications[source]++
}

// sourceOf tells where a notification comes from: publisher_id is "compute.<host>", and
// "nova-compute:<host>" in versioned notifications (nova/rpc.py, get_notifier and
// get_versioned_notifier).
func sourceOf(key string, body []byte) (Source, bool) {
	n, err := wire.Decode(body)
	if err != nil {
		return Source{}, false
	}
	s := Source{Topic: key[:max(strings.LastIndex(key, "."), 0)]} // <topic>.<priority>
	if i := strings.IndexAny(n.PublisherID, ".:"); i >= 0 {
		s.Service, s.Host = n.PublisherID[:i], n.PublisherID[i+1:]
	}
	var envelope struct {
		Version string `json:"oslo.version"`
	}
	var payload struct {
		Object string `json:"nova_object.name"`
	}
	_ = json.Unmarshal(body, &envelope)
	_ = json.Unmarshal(n.Payload, &payload) // a payload of another kind is unversioned
	s.Enveloped, s.Versioned = envelope.Version != "", payload.Object != ""
	return s, true
}

// so is what was heard so far: a copy, since more may come.
func (h *hearing) so() Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	return Heard{
		Notifications: maps.Clone(h.heard.Notifications),
		Answers:       maps.Clone(h.heard.Answers),
		Refused:       slices.Clone(h.heard.Refused),
		Silent:        slices.Clone(h.heard.Silent),
	}
}

func (h *hearing) silent(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Silent = append(h.heard.Silent, host)
}
