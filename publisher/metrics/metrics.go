// Package metrics is what Prometheus is shown of a publisher. docs/metrics.md describes
// it to operators.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/earlybind/earlybind/internal/prom"
)

// What a publisher connects to.
const (
	ToBroker  = "broker"
	ToLibvirt = "libvirt"
	ToOVSDB   = "ovsdb"
)

// How the plugging in of a port has ended.
const (
	ReplugVerified = "verified"
	ReplugLate     = "late" // not for a minute, and still tried
	ReplugGaveUp   = "gave_up"
)

// States is the kind of a message that lists the host's domains.
const States = "states"

// kinds are of messages: else the event of libvirt that they tell. Any other event is
// "other".
var kinds = []string{States, "defined", "undefined", "started", "suspended", "resumed", "stopped", "shutdown", "pmsuspended", "crashed", "other"}

// Publisher are the metrics of a publisher. A nil Publisher takes everything and keeps
// nothing.
type Publisher struct {
	registry    prometheus.Registerer
	messages    map[string]prometheus.Counter
	unroutable  prometheus.Counter
	dropped     prometheus.Counter
	lost        prometheus.Counter
	connections *prometheus.CounterVec
	replugs     *prometheus.CounterVec
	confirm     prometheus.Histogram
}

// NewPublisher makes them, all counters at 0.
func NewPublisher(r prometheus.Registerer) *Publisher {
	name := func(n, help string) prometheus.Opts {
		return prometheus.Opts{Namespace: prom.Namespace, Subsystem: "publisher", Name: n, Help: help}
	}
	counter := func(n, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts(name(n, help)), labels)
		r.MustRegister(v)
		return v
	}
	messages := counter("messages_total", "Messages that the broker has confirmed.", "kind")
	p := &Publisher{
		registry:    r,
		messages:    map[string]prometheus.Counter{},
		unroutable:  counter("messages_unroutable_total", "Of the confirmed messages those that no queue has taken.").WithLabelValues(),
		dropped:     counter("messages_dropped_total", "Messages that were dropped because the buffer was full.").WithLabelValues(),
		lost:        counter("events_lost_total", "Events of libvirt that were lost because too many came at once.").WithLabelValues(),
		connections: counter("connections_total", "Connections that were made.", "to"),
		replugs:     counter("replugs_total", "Ports that were missing from Open vSwitch after a failed migration, by how the attempt to plug them in has ended.", "outcome"),
		confirm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: prom.Namespace, Subsystem: "publisher", Name: "confirm_seconds", Help: "From libvirt's callback to the broker's confirmation of the event.",
			Buckets: prometheus.DefBuckets,
		}),
	}
	r.MustRegister(p.confirm)
	for _, kind := range kinds {
		p.messages[kind] = messages.WithLabelValues(kind)
	}
	for _, to := range []string{ToBroker, ToLibvirt, ToOVSDB} {
		p.connections.WithLabelValues(to)
	}
	for _, outcome := range []string{ReplugVerified, ReplugLate, ReplugGaveUp} {
		p.replugs.WithLabelValues(outcome)
	}
	return p
}

// Backlog has a scrape read how many messages the broker has not confirmed, and how old
// the oldest is, 0 where there is none.
func (p *Publisher) Backlog(unsent func() (n int, oldest time.Duration)) {
	if p != nil {
		p.registry.MustRegister(backlog(unsent))
	}
}

// Confirmed counts a message that the broker has. took is since libvirt's callback.
func (p *Publisher) Confirmed(kind string, took time.Duration, unroutable bool) {
	if p == nil {
		return
	}
	counter, known := p.messages[kind]
	if !known {
		counter = p.messages["other"]
	}
	counter.Inc()
	if unroutable {
		p.unroutable.Inc()
	}
	if kind != States {
		p.confirm.Observe(took.Seconds())
	}
}

// Dropped counts messages for which the buffer had no room.
func (p *Publisher) Dropped(n int) {
	if p != nil {
		p.dropped.Add(float64(n))
	}
}

// Lost counts events of libvirt that came faster than they were taken.
func (p *Publisher) Lost(n int64) {
	if p != nil {
		p.lost.Add(float64(n))
	}
}

// Connected counts a connection.
func (p *Publisher) Connected(to string) {
	if p != nil {
		p.connections.WithLabelValues(to).Inc()
	}
}

// Replugged counts a port.
func (p *Publisher) Replugged(outcome string) {
	if p != nil {
		p.replugs.WithLabelValues(outcome).Inc()
	}
}

var (
	unsentDesc = prom.Describe("publisher_messages_unsent", "Messages that the broker has not confirmed.")
	ageDesc    = prom.Describe("publisher_oldest_unsent_age_seconds", "The age of the oldest of them; 0 where there is none.")
)

type backlog func() (n int, oldest time.Duration)

func (backlog) Describe(out chan<- *prometheus.Desc) {
	out <- unsentDesc
	out <- ageDesc
}

func (b backlog) Collect(out chan<- prometheus.Metric) {
	n, oldest := b()
	out <- prom.Gauge(unsentDesc, float64(n))
	out <- prom.Gauge(ageDesc, oldest.Seconds())
}
