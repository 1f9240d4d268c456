package simulation

import (
	"context"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/clock"
	api "github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/simulated/neutron"
	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

const (
	// beforePreCopy is from the conductor's first call to the destination's STARTED, if
	// Neutron is not in the way.
	beforePreCopy = nova.ConductorToPre + nova.PreToStarted
	// shortest is the shortest pre-copy, of a guest whose preparation was late.
	shortest = 100 * time.Millisecond
	// longest is for how long a run goes on after the last migration has begun: longer
	// than the consumer waits for anything.
	longest = 2 * time.Hour
	// tick is how often the consumer learns for how long messages wait in the queue.
	tick = time.Second
)

// cloud is one run.
type cloud struct {
	options  Options
	alone    bool // without the consumer
	clock    *clock.Virtual
	neutron  *neutron.Neutron
	network  nova.Network
	workers  *servers
	session  *servers // the consumer's
	offline  *consumer.Offline
	plan     []*journey
	journeys map[string]*journey // by instance, those that go on
	ports    map[string]*portRun
	orders   map[string]uint64        // by host, of its last message
	last     map[string]time.Duration // by sender, when its last message arrives
	react    []float64
	left     int // journeys that are not over
	atOnce   int // requests of the consumer under way
	tasks    sync.WaitGroup
	figures  figures
}

func newCloud(o Options, load float64, alone bool) *cloud {
	hosts := map[string]bool{}
	c := &cloud{
		options: o, alone: alone, clock: clock.NewVirtual(), workers: newServers(o.Workers), session: newServers(1), plan: plan(o, load),
		journeys: map[string]*journey{}, ports: map[string]*portRun{}, orders: map[string]uint64{}, last: map[string]time.Duration{},
		react: readSwitchovers().Reactions, figures: newFigures(),
	}
	c.left = len(c.plan)
	var names []string
	for _, j := range c.plan {
		for _, host := range []string{j.source, j.destination} {
			if !hosts[host] {
				hosts[host], names = true, append(names, host)
			}
		}
	}
	c.neutron = neutron.New(names...)
	c.neutron.AutoWire(true)
	c.network = nova.Network{Client: c.client(novas)}
	settings := consumer.Settings{
		NeutronAtOnce: o.AtOnce,
		Settings:      broker.Settings{AMQPUser: "earlybind"}, Policy: o.Policy, Repair: handover.RepairOwn,
		BreakerFailures: 3, BreakerPause: time.Hour, CommitWindow: o.Window, UpWithin: time.Minute, HoldMessages: 10 * time.Minute,
	}
	c.offline = consumer.NewOffline(settings, fanned{api.New(c.client(ours)).Through(settings.Turns(c.clock)), c.clock}, true, c.clock, c.hear)
	return c
}

// run lets every migration begin at its time, and goes on until all have ended.
func (c *cloud) run(ctx context.Context) error {
	defer c.neutron.Close()
	for _, j := range c.plan {
		c.clock.At(j.begins, func() { c.begin(j) })
	}
	c.crowd()
	c.tidy()
	end := c.options.Duration + longest
	for steps := 0; c.left > 0 && c.clock.Now() < end; steps++ {
		for c.clock.Step() {
			if steps++; steps%4096 == 0 && ctx.Err() != nil {
				break
			}
		}
		if ctx.Err() != nil {
			break
		}
		next, ok := c.clock.Next()
		if !ok {
			break
		}
		c.clock.Advance(next)
	}
	c.offline.Stop()
	for c.clock.Step() { // what waited on the consumer's context returns
	}
	return ctx.Err()
}

// tidy is what the consumer does every minute.
func (c *cloud) tidy() {
	c.clock.At(c.clock.Now()+time.Minute, func() {
		c.offline.Tidy()
		c.neutron.Forget()
		c.tidy()
	})
}

// crowd has other clients ask Neutron.
func (c *cloud) crowd() {
	if c.options.Others == 0 {
		return
	}
	draws := rand.New(rand.NewPCG(c.options.Seed, 1<<62))
	var next func()
	next = func() {
		at := c.clock.Now() + time.Duration(draws.ExpFloat64()*float64(time.Second)/c.options.Others)
		if at >= c.options.Duration {
			return
		}
		c.clock.At(at, func() {
			c.serve(others, scaled(c.options.Latency.Milliseconds[readPorts].at(draws.Float64()), c.options.Scale))
			next()
		})
	}
	next()
}

func (c *cloud) begin(j *journey) {
	c.journeys[j.instance] = j
	for _, p := range j.ports {
		c.ports[p.id] = p
		c.neutron.AddPort(neutron.PortOpts{
			ID: p.id, DeviceID: j.instance, Host: j.source, Profile: map[string]any{"os_vif_delegation": true}, Status: binding.PortActive,
		})
	}
	c.clock.Go(&c.tasks, func() { c.play(j) })
}

// play is a migration as the hosts and Nova have it.
func (c *cloud) play(j *journey) {
	m := nova.Migration{Instance: j.instance, RequestID: j.requestID, Source: j.source, Destination: j.destination}
	for _, p := range j.ports {
		m.Ports = append(m.Ports, nova.Port{ID: p.id, VNICType: "normal", Profile: map[string]any{"os_vif_delegation": true}})
	}
	ctx := context.Background()
	do := func(call func(context.Context, nova.Migration) []nova.Harm) {
		for _, h := range call(ctx, m) {
			c.figures.harms[string(h.Kind)]++
		}
	}
	do(c.network.BindPortsToHost)
	c.until(j.begins + nova.ConductorToPre)
	c.announce(j, wire.NovaPre, false)
	do(c.network.SetUpMigration)
	c.announce(j, wire.NovaPre, true)
	c.until(j.begins + beforePreCopy)
	c.says(j, j.destination, wire.Started, wire.Migrated)
	zero := max(j.begins+beforePreCopy+j.preCopy, c.clock.Now()+shortest)
	if j.fails == nil {
		c.succeed(j, zero, do)
	} else {
		c.fail(j, zero, do)
	}
	j.novaDone = true
	c.close(j)
}

func (c *cloud) succeed(j *journey, zero time.Duration, do func(func(context.Context, nova.Migration) []nova.Harm)) {
	c.until(zero)
	c.says(j, j.source, wire.Suspended, wire.Migrated)
	c.until(zero + ms(j.succeeds.Arrival))
	c.says(j, j.destination, wire.Resumed, wire.Migrated)
	c.until(zero + ms(j.succeeds.Stopped))
	c.says(j, j.source, wire.Stopped, wire.Migrated)
	begins := zero + ms(j.succeeds.Nova)
	c.until(begins)
	c.announce(j, wire.NovaPost, false)
	do(c.network.MigrateInstanceStart)
	c.until(begins + nova.PostToFinish)
	do(c.network.MigrateInstanceFinish)
	c.announce(j, wire.NovaPostDest, false)
	do(c.network.TearDownSource)
	c.announce(j, wire.NovaPostDest, true)
	c.announce(j, wire.NovaPost, true)
}

func (c *cloud) fail(j *journey, zero time.Duration, do func(func(context.Context, nova.Migration) []nova.Harm)) {
	for _, m := range j.fails.Moments {
		c.until(zero + ms(m.MS))
		if m.Nova != "" {
			c.announce(j, wire.NovaRollback, false)
			do(c.network.TearDownDestination)
			c.announce(j, wire.NovaRollback, true)
			continue
		}
		host := j.source
		if m.Host == destination {
			host = j.destination
		}
		c.says(j, host, m.Event, m.Detail)
	}
}

// until waits for a time; one that has passed is not waited for.
func (c *cloud) until(at time.Duration) {
	c.clock.Wait(context.Background(), max(0, at-c.clock.Now()), nil)
}

// says has a host's publisher tell of an event.
func (c *cloud) says(j *journey, host string, event wire.Event, detail wire.Detail) {
	now := c.clock.Now()
	switch {
	case host == j.source && event == wire.Suspended && detail == wire.Migrated:
		j.paused = now
	case host == j.destination && event == wire.Resumed:
		j.arrived = now
	case host == j.source && event == wire.Resumed, host == j.destination && event == wire.Stopped && j.paused == 0:
		j.failed, j.failing = now, true
		for _, p := range j.ports {
			c.look(p)
		}
	}
	c.orders[host]++
	c.send(j, host, wire.HostEvent{
		Schema: wire.SchemaVersion, Host: host, Order: wire.Order{Epoch: 1, Sequence: c.orders[host]}, Instance: j.instance, Event: event, Detail: detail,
	})
}

// announce has Nova send both of its notifications.
func (c *cloud) announce(j *journey, step wire.NovaStep, ended bool) {
	e := wire.NovaEvent{Instance: j.instance, RequestID: j.requestID, Step: step, Ended: ended, PublisherHost: j.source, PayloadHost: j.source}
	if step == wire.NovaPre || step == wire.NovaPostDest {
		e.PublisherHost = j.destination
	}
	if step == wire.NovaPostDest && ended {
		e.PayloadHost = j.destination
	}
	c.send(j, "nova on "+e.PublisherHost, e)
	for _, p := range j.ports {
		e.Ports = append(e.Ports, p.id)
	}
	c.send(j, "nova on "+e.PublisherHost, e) // the versioned one
}

// send brings a message to the consumer, after the sender's earlier ones.
func (c *cloud) send(j *journey, from string, read any) {
	arrives := max(c.clock.Now()+ms(c.react[j.draws.IntN(len(c.react))]), c.last[from])
	doubt := time.Duration(j.draws.Float64() * float64(tick))
	c.last[from] = arrives
	if c.alone {
		return
	}
	c.clock.At(arrives, func() {
		taken := c.session.take(arrives, MessageTakes) + MessageTakes
		c.figures.messages++
		c.clock.At(taken, func() { c.offline.Tell(read, taken-arrives+doubt) })
	})
}

// hear takes a line of the consumer's log.
func (c *cloud) hear(l audit.Line) {
	j := c.journeys[l.Handover.Instance]
	if j == nil || j.over {
		return
	}
	switch l.Event {
	case audit.HandoverBegun:
		j.begun++
		j.open++
		c.figures.change(c.clock.Now(), 1)
	case audit.HandoverEnded:
		j.open--
		j.outcome = l.Outcome
		c.figures.change(c.clock.Now(), -1)
		if lead, told := l.Figures["lead_ms"]; told {
			j.told = append(j.told, time.Duration(lead)*time.Millisecond)
		}
		c.clock.At(c.clock.Now(), func() { c.close(j) })
	case audit.HandoverAlarm:
		c.figures.alarms[string(l.Kind)]++
	case audit.PortDecided:
		if l.Decided == handover.GoalCommit.String() {
			c.figures.decided++
		}
	case audit.PortObserved:
		c.figures.observed[anyHost.ReplaceAllString(l.Why, "HOST")]++
		if tooLate(l.Why) {
			c.figures.of(j).late++
		}
	case audit.PortWritten:
		if l.Err != nil {
			c.figures.failed++
		}
	}
}

// anyHost is a host's name in a reason.
var anyHost = regexp.MustCompile(`compute\d+`)

// tooLate tells, of the reasons of a port that was not activated, those in which a deadline
// had passed (consumer/worker.go, commit; handover/decide.go, refuse).
func tooLate(why string) bool {
	return strings.HasPrefix(why, "the deadline passed") || strings.HasPrefix(why, "the sign is too old")
}

// activeOn is the host of a port's ACTIVE row, "" if there is none.
func (c *cloud) activeOn(p *portRun) string {
	for _, r := range c.neutron.Rows(p.id) {
		if r.Active() {
			return r.Host
		}
	}
	return ""
}

// rightOn tells whether a port has one ACTIVE row, bound, on host.
func (c *cloud) rightOn(p *portRun, host string) bool {
	active, there := 0, false
	for _, r := range c.neutron.Rows(p.id) {
		if r.Active() {
			active++
			there = r.Host == host && r.Bound()
		}
	}
	return active == 1 && there
}

// look notes how a port's rows stand, after each change and when its migration fails.
func (c *cloud) look(p *portRun) {
	j := p.of
	if p.onDestination == 0 && c.rightOn(p, j.destination) {
		p.onDestination = c.clock.Now()
	}
	if !j.failing {
		return
	}
	switch right := c.rightOn(p, j.source); {
	case !right:
		p.wrong, p.moved = true, true
	case p.wrong:
		p.wrong, p.right = false, c.clock.Now()
	}
}

// close ends a journey that Nova is done with and the consumer too.
func (c *cloud) close(j *journey) {
	if j.over || !j.novaDone || j.open > 0 || !c.alone && j.begun == 0 {
		return
	}
	j.over = true
	c.left--
	c.figures.add(j, func(p *portRun) bool { return c.rightOn(p, j.host()) })
	for _, p := range j.ports {
		c.neutron.DeletePort(p.id)
		delete(c.ports, p.id)
	}
	delete(c.journeys, j.instance)
	j.calls = nil
}
