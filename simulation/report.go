package simulation

import (
	"context"
	"time"
)

// Report is what was simulated.
type Report struct {
	Seed         uint64  `json:"seed"`
	Policy       string  `json:"policy"`
	Hosts        int     `json:"hosts"`
	Minutes      float64 `json:"minutes"`
	Ports        int     `json:"ports"`
	Failing      float64 `json:"failing_percent"`
	Drain        int     `json:"drain,omitempty"`
	Workers      int     `json:"neutron_workers"`
	Scale        float64 `json:"neutron_scale"`
	ActivateMean float64 `json:"neutron_activate_mean_ms"`
	Latency      string  `json:"neutron_latency"` // its origin
	AtOnce       int     `json:"at_once,omitempty"`
	Loads        []Load  `json:"loads"`
}

// Load is one run. Utilisation and the queue are of the time in which migrations begin.
type Load struct {
	PerMinute  float64        `json:"migrations_per_minute"`
	Neutron    Neutron        `json:"neutron"`
	Alone      Neutron        `json:"neutron_with_nova_alone"`
	Consumer   Consumer       `json:"consumer"`
	All        Group          `json:"migrations"`
	Drained    *Group         `json:"drained,omitempty"`
	NotEnded   int            `json:"not_ended"`
	Alarms     map[string]int `json:"alarms,omitempty"`       // by kind
	NovaFailed map[string]int `json:"nova_failed,omitempty"`  // Nova's calls, by what became of the migration
	Left       map[string]int `json:"left_to_nova,omitempty"` // ports that were not activated, by reason
}

// Neutron is how busy its workers were.
type Neutron struct {
	Utilisation float64            `json:"utilisation"`
	Shares      map[string]float64 `json:"shares"` // of that, by who asks
	Requests    map[string]int     `json:"requests"`
	Queue       Spread             `json:"queue"` // of all requests, for a worker
}

// Consumer is how busy the consumer was.
type Consumer struct {
	Messages       int     `json:"messages"`
	PerSecond      float64 `json:"messages_per_second"`
	Session        float64 `json:"session_utilisation"` // of the one goroutine that takes messages in
	Cores          float64 `json:"cores"`               // CPU seconds per second, from above
	Handovers      float64 `json:"handovers_at_once"`   // mean
	MostHandovers  int     `json:"most_handovers_at_once"`
	MostRequests   int     `json:"most_requests_at_once"`
	WritesFailed   int     `json:"writes_failed"`
	ActivatesAimed int     `json:"activates_decided"`
	// Requests are what it asks of Neutron, by kind, over the whole run.
	Requests map[string]int `json:"requests"`
}

// Group are migrations.
type Group struct {
	Migrations int            `json:"migrations"`
	Failing    int            `json:"failing"`
	Outcomes   map[string]int `json:"outcomes"` // of the handovers, as the log has them
	RowsWrong  int            `json:"ports_wrong_in_the_end"`
	Activated  int            `json:"ports_activated"`
	Late       int            `json:"ports_past_deadline"`
	LateShare  float64        `json:"past_deadline_share"` // of those that were, or were to be, activated
	Sent       Spread         `json:"pause_to_sent"`
	Reacted    Spread         `json:"cause_to_sent"` // from the pause or the arrival, which the policy waits for
	Queued     Spread         `json:"activate_queue"`
	Answered   Spread         `json:"pause_to_answered"`
	Active     Spread         `json:"pause_to_active"`
	ActiveNova Spread         `json:"pause_to_active_with_nova_alone"`
	Lead       Spread         `json:"lead"` // earlier than with Nova alone, of every port that succeeded
	Later      int            `json:"ports_later_than_with_nova_alone"`
	LeadTold   Spread         `json:"lead_told"` // lead_ms of the audit log
	Restores   Spread         `json:"restores"`  // from the failure, of ports that were wrong then or later
	Unmoved    int            `json:"ports_of_failed_never_wrong"`
	TookMS     float64        `json:"first_pause_to_last_row_ms"`
}

// Simulate runs each load, with the consumer and without. The error is of the options, or
// the context's.
func Simulate(ctx context.Context, o Options) (Report, error) {
	if err := o.Validate(); err != nil {
		return Report{}, err
	}
	r := Report{
		Seed: o.Seed, Policy: o.Policy.String(), Hosts: o.Hosts, Minutes: o.Duration.Minutes(), Ports: o.Ports, Failing: o.Failing, Drain: o.Drain,
		Workers: o.Workers, Scale: o.Scale, ActivateMean: milliseconds(scaled(o.Latency.Milliseconds[activate].mean(), o.Scale)),
		Latency: o.Latency.Origin, AtOnce: o.AtOnce,
	}
	for _, load := range o.Loads {
		with, alone := newCloud(o, load, false), newCloud(o, load, true)
		for _, c := range []*cloud{with, alone} {
			if err := c.run(ctx); err != nil {
				return r, err
			}
		}
		r.Loads = append(r.Loads, told(load, with, alone))
	}
	return r, nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func told(load float64, with, alone *cloud) Load {
	f := &with.figures
	seconds := with.options.Duration.Seconds()
	busy := time.Duration(f.messages) * MessageTakes
	handovers := time.Duration(len(with.plan)) * HandoverTakes
	requests := time.Duration(f.requests[ours]) * RequestTakes
	f.change(max(with.clock.Now(), with.options.Duration), 0)
	l := Load{
		PerMinute: load,
		Neutron:   with.neutronTold(), Alone: alone.neutronTold(),
		Consumer: Consumer{
			Messages: f.messages, PerSecond: float64(f.messages) / seconds, Session: busy.Seconds() / seconds,
			Cores:     (busy + handovers + requests).Seconds() / seconds,
			Handovers: f.handovers.area / seconds, MostHandovers: f.handovers.most, MostRequests: f.mostAtOnce,
			WritesFailed: f.failed, ActivatesAimed: f.decided, Requests: f.kinds,
		},
		NotEnded: with.left + alone.left,
		Alarms:   f.alarms, NovaFailed: f.harms, Left: f.observed,
	}
	f.all.late += f.drained.late
	l.All = groupTold(&f.all, with, alone, func(*journey) bool { return true })
	if with.options.Drain > 0 {
		drained := groupTold(&f.drained, with, alone, func(j *journey) bool { return j.drained })
		l.Drained = &drained
	}
	return l
}

func (c *cloud) neutronTold() Neutron {
	f := &c.figures
	capacity := c.options.Duration.Seconds() * float64(c.options.Workers)
	n := Neutron{Shares: map[string]float64{}, Requests: f.requests, Queue: spread(f.queued)}
	for who, busy := range f.busy {
		n.Shares[who] = busy.Seconds() / capacity
		n.Utilisation += n.Shares[who]
	}
	return n
}

func groupTold(g *group, with, alone *cloud, is func(*journey) bool) Group {
	t := Group{
		Migrations: g.migrations, Failing: g.failing, Outcomes: g.outcomes, RowsWrong: g.wrong, Activated: g.activated, Late: g.late,
		Sent: spread(g.sent), Reacted: spread(g.reacted), Queued: spread(g.queued), Answered: spread(g.answered), LeadTold: spread(g.told),
		Restores: spread(g.restores), Unmoved: g.unmoved,
	}
	if g.activated+g.late > 0 {
		t.LateShare = float64(g.late) / float64(g.activated+g.late)
	}
	if g.last > g.first {
		t.TookMS = milliseconds(g.last - g.first)
	}
	var leads, active, activeNova []time.Duration
	for n, j := range with.plan {
		if j.fails != nil || !is(j) {
			continue
		}
		for i, p := range j.ports {
			a := alone.plan[n]
			q := a.ports[i]
			if p.onDestination == 0 || q.onDestination == 0 {
				continue
			}
			own, nova := p.onDestination-j.paused, q.onDestination-a.paused
			active, activeNova, leads = append(active, own), append(activeNova, nova), append(leads, nova-own)
			if own > nova {
				t.Later++
			}
		}
	}
	t.Active, t.ActiveNova, t.Lead = spread(active), spread(activeNova), spread(leads)
	return t
}

// Right tells whether every migration has ended with its rows where the guest is.
func (r Report) Right() bool {
	for _, l := range r.Loads {
		if l.NotEnded > 0 || l.All.RowsWrong > 0 {
			return false
		}
	}
	return true
}
