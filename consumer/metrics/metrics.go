// Package metrics is what Prometheus is shown of a consumer. docs/metrics.md describes it
// to operators.
//
// What is counted is counted off the audit log ([Consumer.Count]), so that the metrics
// say what the log says. What no line tells is read at a scrape ([Standing]), or counted
// where it happens: the messages and the requests to Neutron.
package metrics

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/internal/prom"
)

// Consumer are the metrics of a consumer process, which may serve several cells. It is
// safe for concurrent use; a nil Consumer takes everything and keeps nothing.
type Consumer struct {
	registry prometheus.Registerer

	drivers map[string]bool
	lines   *prometheus.CounterVec
	alarms  *prometheus.CounterVec
	ended   *prometheus.CounterVec
	goals   *prometheus.CounterVec
	found   *prometheus.CounterVec
	parked  *prometheus.CounterVec
	taken   *prometheus.CounterVec
	refused *prometheus.CounterVec
	answers *prometheus.CounterVec

	lead        *prometheus.HistogramVec
	wouldLead   *prometheus.HistogramVec
	toActive    *prometheus.HistogramVec
	toNova      *prometheus.HistogramVec
	reaction    prometheus.Histogram
	requestTook *prometheus.HistogramVec

	mu    sync.RWMutex
	cells map[part]*Cell
}

var (
	// leads go below 0 where Nova was first, and to minutes where it cleans up storage
	// before it activates.
	leads = []float64{-1, -0.1, 0, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300}
	// spans are of a switchover.
	spans = []float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}
	// reactions are figures of whole milliseconds.
	reactions = []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5}
)

// NewConsumer makes them. The drivers are those that have a name of their own in a
// label; any other is "other": what Neutron may call one is not bounded.
func NewConsumer(r prometheus.Registerer, drivers []string) *Consumer {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: prom.Namespace, Name: name, Help: help}, labels)
		r.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: prom.Namespace, Name: name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(v)
		return v
	}
	c := &Consumer{
		registry: r,

		drivers: map[string]bool{audit.DriverMixed: true},
		cells:   map[part]*Cell{},

		lines:   counter("audit_lines_total", "Lines of the audit log, those included that EARLYBIND_LOG_LEVEL leaves out.", "cell", "event"),
		alarms:  counter("alarms_total", "Alarms: an operator is needed.", "cell", "kind"),
		ended:   counter("handovers_total", "Handovers that have ended.", "cell", "outcome"),
		goals:   counter("ports_decided_total", "Goals that ports were given.", "cell", "goal"),
		found:   counter("ports_verified_total", "Ports whose goal has ended, by what was read of them then.", "cell", "goal", "outcome"),
		parked:  counter("messages_parked_total", "Messages that could not be understood, or have come back too often, and were parked.", "cell", "kind"),
		taken:   counter("messages_total", "Messages that were delivered.", "cell", "kind"),
		refused: counter("messages_refused_total", "Messages that were dropped because their sender is not believed.", "cell", "kind"),
		answers: counter("neutron_requests_total", "Requests to Neutron, by what came of them.", "action", "result"),

		lead:      histogram("lead_seconds", "How much earlier than Nova began to look the destination was ACTIVE; negative where Nova was first. Of migrations that succeeded.", leads, "driver"),
		wouldLead: histogram("would_lead_seconds", "How much earlier than Nova an activate could have been sent under the policy, where none was.", leads, "driver", "policy"),
		toActive:  histogram("pause_to_active_seconds", "From the guest's pause until the destination was ACTIVE by an early activate.", spans, "driver"),
		toNova:    histogram("pause_to_nova_seconds", "From the guest's pause until Nova took over, and would have activated.", spans, "driver"),
		reaction: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: prom.Namespace, Name: "reaction_seconds", Help: "From the delivery of what led to a handover's first activate to its request.", Buckets: reactions,
		}),
		requestTook: histogram("neutron_request_duration_seconds", "How long requests to Neutron took, a new token included.", prometheus.DefBuckets, "action"),
	}
	r.MustRegister(c.reaction, standingOf{c})
	for _, d := range drivers {
		c.drivers[d] = true
	}
	for _, action := range actions {
		c.requestTook.WithLabelValues(action)
		for _, result := range results {
			c.answers.WithLabelValues(action, result)
		}
	}
	return c
}

// Settings shows what the consumer was told to do, so that replicas that were told
// differently are seen.
func (c *Consumer) Settings(policy, repair string, concurrentActivateSafe bool) {
	if c == nil {
		return
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Namespace: prom.Namespace, Name: "consumer_info", Help: "1; how this replica is set up is in the labels.",
	}, []string{"policy", "repair", "concurrent_activate"})
	c.registry.MustRegister(info)
	safe := "unsafe"
	if concurrentActivateSafe {
		safe = "safe"
	}
	info.WithLabelValues(policy, repair, safe).Set(1)
}

// part names a share of a cell. Either is empty where there is one only.
type part struct{ cell, share string }

// Cell are the metrics of one cell, or of one share of it: what is counted is of the
// whole cell, how it stands is of the share.
type Cell struct {
	lines    map[audit.Event]prometheus.Counter
	alarms   map[audit.Kind]prometheus.Counter
	ended    map[string]prometheus.Counter // by outcome
	goals    map[string]prometheus.Counter
	found    map[[2]string]prometheus.Counter // by goal and outcome
	parked   map[audit.Kind]prometheus.Counter
	taken    map[Message]prometheus.Counter
	refused  map[audit.Kind]prometheus.Counter
	underWay atomic.Int64
	standing atomic.Pointer[func() Standing] // nil until it is known
}

// Message is a kind of message that a consumer is delivered.
type Message string

// The kinds. Other is what says nothing to earlybind, or cannot be read.
const (
	Notification Message = "notification"
	Event        Message = "event"
	States       Message = "states"
	Tick         Message = "tick"
	Other        Message = "other"
)

// Standing is how a replica stands in one share of one cell.
type Standing struct {
	Active      bool // it may write now
	Held        int  // messages that it has been delivered and not acknowledged
	JournalRead bool // it knows what the journal holds
	Journal     int  // entries of the journal
	// JournalAge is the age of its oldest entry, 0 where there is none.
	JournalAge     time.Duration
	StoppedPairs   int // pairs of hosts, and drivers, whose commits the breaker has stopped
	StoppedDrivers int
	PausedAll      bool // an operator has paused all commits, or it is not known whether one has
	PausedHosts    int  // hosts from and to which commits are paused
}

// Cell gives the metrics of a share of a cell, all counters at 0 at first; a name is
// empty where there is one only, as in the log. now tells at each scrape how it stands.
func (c *Consumer) Cell(name, share string, now func() Standing) *Cell {
	if c == nil {
		return nil
	}
	cell := c.cell(part{name, share})
	cell.standing.Store(&now)
	return cell
}

// Took counts a message.
func (c *Cell) Took(m Message) {
	if c != nil {
		c.taken[m].Inc()
	}
}

// Refused counts a message whose sender is not believed.
func (c *Cell) Refused(k audit.Kind) {
	if c != nil {
		count(c.refused, k)
	}
}

// cell gives the metrics of a share of a cell, made when it is first heard of.
func (c *Consumer) cell(p part) *Cell {
	c.mu.RLock()
	cell, known := c.cells[p]
	c.mu.RUnlock()
	if known {
		return cell
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if cell, known := c.cells[p]; known {
		return cell
	}
	name := p.cell
	cell = &Cell{
		lines:   of(c.lines, name, audit.Events()),
		alarms:  of(c.alarms, name, []audit.Kind{audit.AlarmGuest, audit.AlarmRows, audit.AlarmDown, audit.AlarmUnfinished, audit.AlarmJournal}),
		ended:   of(c.ended, name, outcomes),
		goals:   of(c.goals, name, goals),
		found:   map[[2]string]prometheus.Counter{},
		parked:  of(c.parked, name, []audit.Kind{audit.FaultEnvelope, audit.FaultPayload, audit.FaultReturned}),
		taken:   of(c.taken, name, []Message{Notification, Event, States, Tick, Other}),
		refused: of(c.refused, name, []audit.Kind{audit.FaultIdentity, audit.FaultSchema}),
	}
	for _, goal := range finalGoals {
		for _, outcome := range readings {
			cell.found[[2]string{goal, outcome}] = c.found.WithLabelValues(name, goal, outcome)
		}
	}
	c.cells[p] = cell
	return cell
}

// of gives a counter for each value of the label after the cell.
func of[T ~string](v *prometheus.CounterVec, cell string, values []T) map[T]prometheus.Counter {
	counters := map[T]prometheus.Counter{}
	for _, value := range values {
		counters[value] = v.WithLabelValues(cell, string(value))
	}
	return counters
}

// count leaves out what has no counter: a label takes no value that is not known.
func count[K comparable](counters map[K]prometheus.Counter, value K) {
	if counter, ok := counters[value]; ok {
		counter.Inc()
	}
}

var (
	activeDesc   = prom.Describe("consumer_active", "Whether this replica acts for the share of the cell: its queue delivers to it, and it may write.", "cell", "share")
	heldDesc     = prom.Describe("messages_held", "Messages that are delivered and not acknowledged, because their handover goes on.", "cell", "share")
	underWayDesc = prom.Describe("handovers_under_way", "Handovers that have begun and not ended in this replica.", "cell", "share")
	journalDesc  = prom.Describe("journal_entries", "Entries of the journal, of the replica that acts.", "cell", "share")
	oldestDesc   = prom.Describe("journal_oldest_age_seconds", "The age of the oldest entry of the journal, of the replica that acts; 0 where there is none.", "cell", "share")
	pausedDesc   = prom.Describe("consumer_paused", "What an operator has paused, as this replica knows it: whether all commits (1 too where that is not known), and how many hosts'.", "cell", "share", "scope")
	breakerDesc  = prom.Describe("breaker_open", "Pairs of hosts, or drivers, whose commits this replica has stopped or lets through on trial only.", "cell", "share", "circuit")
)

// standingOf reads at a scrape how every share of every cell stands.
type standingOf struct{ *Consumer }

func (standingOf) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{activeDesc, heldDesc, underWayDesc, journalDesc, oldestDesc, breakerDesc, pausedDesc} {
		out <- d
	}
}

func (s standingOf) Collect(out chan<- prometheus.Metric) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for p, cell := range s.cells {
		now := cell.standing.Load()
		if now == nil {
			continue // of the log's first lines, before the cells are known
		}
		is := (*now)()
		out <- prom.Gauge(activeDesc, prom.Truth(is.Active), p.cell, p.share)
		out <- prom.Gauge(heldDesc, float64(is.Held), p.cell, p.share)
		out <- prom.Gauge(underWayDesc, float64(cell.underWay.Load()), p.cell, p.share)
		if is.JournalRead {
			out <- prom.Gauge(journalDesc, float64(is.Journal), p.cell, p.share)
			out <- prom.Gauge(oldestDesc, is.JournalAge.Seconds(), p.cell, p.share)
		}
		out <- prom.Gauge(pausedDesc, prom.Truth(is.PausedAll), p.cell, p.share, "all")
		out <- prom.Gauge(pausedDesc, float64(is.PausedHosts), p.cell, p.share, "hosts")
		out <- prom.Gauge(breakerDesc, float64(is.StoppedPairs), p.cell, p.share, "hosts")
		out <- prom.Gauge(breakerDesc, float64(is.StoppedDrivers), p.cell, p.share, "driver")
	}
}
