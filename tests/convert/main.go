// The program convert makes recordings of what was captured before there was earlybind
// record: event streams of two libvirtd, or Nova's notifications off RabbitMQ.
//
//	go run ./tests/convert -about "..." handover/testdata/a-plain-success.jsonl > recordings/success.jsonl
//
// A stream's events become a publisher's messages, and each connection to libvirt a list
// of its domains. A folder of captured notifications becomes their messages. Neither has
// what the other has.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/wire"
)

// began stands in every header, so that a conversion gives the same file each time.
var began = time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)

const userPrefix = "earlybind-"

func main() {
	about := flag.String("about", "", "what is shown, in a sentence")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("one stream of events, or one folder of notifications, is needed")
	}
	if err := convert(flag.Arg(0), *about); err != nil {
		log.Fatal(err)
	}
}

func convert(from, about string) error {
	read := events
	if info, err := os.Stat(from); err != nil {
		return err
	} else if info.IsDir() {
		read = notifications
	}
	deliveries, err := read(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	w, err := recording.NewWriter(os.Stdout, recording.Header{
		MadeBy: "tests/convert from " + filepath.Base(from), Began: began, About: about, NovaExchange: "nova", HostUserPrefix: userPrefix,
	})
	for _, d := range deliveries {
		if m, ok := (recording.Recorder{}).Take(d); ok && err == nil {
			err = w.Write(m)
		}
	}
	return err
}

// record is a line of a stream; event and detail are libvirt's numbers.
type record struct {
	Ms     float64 `json:"t_ms"`
	Host   string  `json:"host"`
	Domain string  `json:"domain"`
	Kind   string  `json:"kind"`
	Event  int     `json:"event"`
	Detail int     `json:"detail"`
}

// names are libvirt's, as the publisher has them (libvirt-domain.h).
var (
	eventNames  = []wire.Event{wire.Defined, wire.Undefined, wire.Started, wire.Suspended, wire.Resumed, wire.Stopped, wire.Shutdown}
	detailNames = map[wire.Event][]wire.Detail{
		wire.Started:   {"booted", wire.Migrated, "restored", "from_snapshot", "wakeup"},
		wire.Suspended: {wire.Paused, wire.Migrated, "ioerror", "watchdog", "restored", "from_snapshot", "api_error", wire.PostCopy, wire.PostCopyFailed},
		wire.Resumed:   {wire.Unpaused, wire.Migrated, "from_snapshot", wire.PostCopy, wire.PostCopyFailed},
		wire.Stopped:   {"shutdown", "destroyed", "crashed", wire.Migrated, "saved", wire.Failed, "from_snapshot"},
		wire.Shutdown:  {"finished", "guest", "host"},
		wire.Defined:   {"added", "updated", "renamed", "from_snapshot"},
		wire.Undefined: {"removed", "renamed"},
	}
)

// instances are the guests' UUIDs; a stream names them g1 and g2.
var instances = map[string]string{
	"g1": "67322275-37eb-4301-9b66-d8d416b4cca1",
	"g2": "8a8ade9a-b2f1-4251-bb53-a50320e62024",
}

// host is what a publisher knows of its domains.
type host struct {
	order   wire.Order
	domains map[string]wire.DomainState
	met     bool // libvirt was connected to before
}

// events reads a stream.
func events(name string) ([]recording.Delivery, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var stream []record
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var r record
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, err
		}
		stream = append(stream, r)
	}
	hosts := map[string]*host{}
	for _, r := range stream {
		if r.Host != "" && hosts[r.Host] == nil {
			hosts[r.Host] = &host{order: wire.Order{Epoch: 1}, domains: map[string]wire.DomainState{}}
		}
	}
	// A guest whose first event is its arrival on one host has run on the other.
	met := map[string]bool{}
	for _, r := range stream {
		if r.Kind != "lifecycle" || met[r.Domain] {
			continue
		}
		met[r.Domain] = true
		for name, h := range hosts {
			if arrives := r.Event == 2 && r.Detail == 1; arrives == (name != r.Host) {
				h.domains[instances[r.Domain]] = state(instances[r.Domain], "running")
			}
		}
	}
	var out []recording.Delivery
	for i, r := range stream {
		h := hosts[r.Host]
		switch {
		case r.Kind == "connected":
			if h.met { // what it did not see it reads now
				h.catchUp(stream[i:], r.Host)
			}
			out = append(out, h.states(r))
			h.met = true
		case r.Kind == "lifecycle" && r.Event < len(eventNames):
			out = append(out, h.event(r))
		}
	}
	return out, nil
}

func state(instance, is string) wire.DomainState {
	reason := map[string]string{"running": "booted", "paused": "migration"}[is]
	return wire.DomainState{Instance: instance, State: is, Reason: reason}
}

// catchUp: libvirt was away. Its guests that were paused for a migration run, unless the
// stream goes on to say that they are gone.
func (h *host) catchUp(rest []record, name string) {
	for instance, d := range h.domains {
		gone := slices.ContainsFunc(rest, func(r record) bool { return r.Host == name && instances[r.Domain] == instance && r.Event == 5 })
		switch {
		case d.Incoming && !gone:
			delete(h.domains, instance)
		case d.State == "paused" && !gone:
			h.domains[instance] = state(instance, "running")
		}
	}
}

func (h *host) states(r record) recording.Delivery {
	h.order.Sequence++
	s := wire.HostStates{Schema: wire.SchemaVersion, Host: r.Host, Order: h.order, Reconnected: true, Domains: []wire.DomainState{}}
	for _, d := range h.domains {
		s.Domains = append(s.Domains, d)
	}
	slices.SortFunc(s.Domains, func(a, b wire.DomainState) int { return bytes.Compare([]byte(a.Instance), []byte(b.Instance)) })
	return delivery(r, wire.EventStates, s.RoutingKey(), s, h.order)
}

func (h *host) event(r record) recording.Delivery {
	h.order.Sequence++
	instance := instances[r.Domain]
	e := wire.HostEvent{
		Schema: wire.SchemaVersion, Host: r.Host, Order: h.order, Instance: instance, Event: eventNames[r.Event],
		At: began.Add(time.Duration(r.Ms * float64(time.Millisecond))),
	}
	if details := detailNames[e.Event]; r.Detail < len(details) {
		e.Detail = details[r.Detail]
	}
	switch e.Event {
	case wire.Started:
		d := state(instance, "running")
		if e.Detail == wire.Migrated {
			d.State, d.Incoming = "paused", true
		}
		h.domains[instance] = d
	case wire.Resumed:
		h.domains[instance] = state(instance, "running")
	case wire.Suspended:
		h.domains[instance] = state(instance, "paused")
	case wire.Stopped:
		delete(h.domains, instance)
	}
	return delivery(r, e.EventType(), e.RoutingKey(), e, h.order)
}

func delivery(r record, eventType, key string, payload any, o wire.Order) recording.Delivery {
	at := time.Duration(r.Ms * float64(time.Millisecond))
	n, err := wire.NewNotification(wire.PublisherID(r.Host), eventType, payload, fmt.Sprintf("%s-%d", r.Host, o.Sequence), began.Add(at))
	if err != nil {
		log.Fatal(err) // the payloads are ours
	}
	body, err := n.Encode()
	if err != nil {
		log.Fatal(err)
	}
	return recording.Delivery{At: at, Exchange: wire.ExchangeEvents, Key: key, User: userPrefix + r.Host, Body: body}
}

// notifications reads a folder of captured messages, one file each.
func notifications(folder string) ([]recording.Delivery, error) {
	names, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil {
		return nil, err
	}
	var out []recording.Delivery
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		var captured struct {
			Seconds  float64 `json:"t_rel"`
			Exchange string  `json:"exchange"`
			Key      string  `json:"routing_key"`
			Body     string  `json:"raw_body"`
		}
		if err := json.Unmarshal(raw, &captured); err != nil {
			return nil, err
		}
		out = append(out, recording.Delivery{
			At: time.Duration(captured.Seconds * float64(time.Second)), Exchange: captured.Exchange, Key: captured.Key, Body: []byte(captured.Body),
		})
	}
	slices.SortStableFunc(out, func(a, b recording.Delivery) int { return int(a.At - b.At) })
	return out, nil
}
