package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/tests/duel"
	"github.com/earlybind/earlybind/wire"
)

// instance is one that is migrated again and again.
type instance struct {
	id   string
	host string // where the guest is
	// ports as Nova's network info cache has them.
	ports []nova.Port
	last  []sentLetter // what was sent in its last migration
}

// played is one handover after Nova's part in it.
type played struct {
	plan
	request             string
	source, destination string
	began               time.Time
	ended               time.Time // Nova's last answer
	atOnce              bool      // the ports were right then
	harms               []nova.Harm
	calls               []string
}

// How long Nova takes between its steps; see package nova and
// docs/measurements.md.
var (
	bindToPre     = span{300, 700}
	preToStart    = span{20, 120}
	failedToNova  = span{80, 210} // from the driver's failure to _rollback.start
	leftToNova    = span{50, 500} // Nova asks libvirt every 0.5 s
	sourceCleanUp = span{100, 700}
	toDestination = span{100, 300} // a cast to the other nova-compute
)

// span is a range of milliseconds.
type span struct{ low, high int }

func (s span) draw(rng *rand.Rand) time.Duration {
	return time.Duration(s.low+rng.IntN(s.high-s.low)) * time.Millisecond
}

// handover is one that is being played.
type handover struct {
	*game
	played
	in        *instance
	stream    stream
	migration nova.Migration
	network   nova.Network
	mail      *mail
	start     time.Time // of the stream

	mu sync.Mutex // for what both sides write
}

// play plays one migration of an instance: Nova's calls and notifications, and
// what the two hosts' libvirt would say. It returns when Nova is done; the
// instance's host is then where the guest is.
func (g *game) play(ctx context.Context, p plan, in *instance) played {
	h := &handover{game: g, in: in, stream: g.streams[p.stream]}
	h.mail = newMail(g, p, in, len(h.stream.moments))
	sentBefore := g.archive.length(in.id)
	h.migration = nova.Migration{
		Instance: in.id, RequestID: nova.NewRequestID(), Source: in.host, Destination: g.other(in.host), Ports: in.ports,
	}
	h.played = played{
		plan: p, request: h.migration.RequestID, source: h.migration.Source, destination: h.migration.Destination, began: time.Now(),
	}
	h.network = nova.Network{Client: g.cloud.nova, Report: h.report, Patience: novaPatience}
	g.migrates(in, h.migration.Destination)
	defer g.migrates(in, "")

	if h.must(h.network.BindPortsToHost(ctx, h.migration)) {
		h.migrate(ctx)
	} else {
		h.glance(ctx)
	}
	h.mail.end()
	in.last = g.archive.since(in.id, sentBefore)
	return h.played
}

// novaPatience is for how long Nova's calls are made again while Neutron is
// restarted: a real Nova would give the migration up, which is no matter of ours.
const novaPatience = 90 * time.Second

// migrate is all that follows the conductor's part.
func (h *handover) migrate(ctx context.Context) {
	rng := h.plan.rng
	sleep(ctx, bindToPre.draw(rng))
	h.notify(nova.Pre, false)
	prepared := h.must(h.network.SetUpMigration(ctx, h.migration))
	h.notify(nova.Pre, true)
	if !prepared {
		h.rollBack(ctx)
		h.glance(ctx)
		return
	}
	if source := h.hosts[h.migration.Source]; !source.runs(h.in.id) {
		h.mail.event(source.name, source.says(h.in.id, wire.Started, "booted")) // its QEMU had been killed
	}
	h.mail.begin(h.in.last)
	h.start = time.Now().Add(max(preToStart.draw(rng), -h.plan.stagger))

	var both sync.WaitGroup
	both.Go(func() { h.libvirt(ctx) })
	both.Go(func() { h.conclude(ctx); h.glance(ctx) })
	both.Wait()
}

// libvirt has both hosts say what was recorded, each thing at its time.
func (h *handover) libvirt(ctx context.Context) {
	for _, m := range h.stream.moments {
		sleepUntil(ctx, h.start.Add(m.at))
		name := h.migration.Destination
		if m.onSource {
			name = h.migration.Source
		}
		on := h.hosts[name]
		if !m.returned {
			h.mail.event(name, on.says(h.in.id, m.event, m.detail))
			continue
		}
		if m.onSource == h.plan.fails {
			on.has(h.in.id) // what its libvirt reads when it is back
		}
		h.mail.list(on)
	}
	// A destination whose libvirt has died finds no domain when it is back.
	if to := h.hosts[h.migration.Destination]; h.plan.fails && to.runs(h.in.id) {
		sleep(ctx, longestGap)
		to.forgets(h.in.id)
		h.mail.list(to)
	}
}

// conclude is Nova's part from the outcome on.
func (h *handover) conclude(ctx context.Context) {
	rng := h.plan.rng
	var early sync.WaitGroup
	if at := h.stream.postCopy; at != never {
		// handle_lifecycle_event (nova/compute/manager.py) activates at once.
		early.Go(func() {
			sleepUntil(ctx, h.start.Add(at+50*time.Millisecond))
			h.must(h.network.MigrateInstanceStart(ctx, h.migration))
		})
	}
	if h.plan.fails {
		begins := h.stream.decided + failedToNova.draw(rng)
		if h.plan.has(race) {
			begins = h.stream.decided + h.plan.stagger
		}
		sleepUntil(ctx, h.start.Add(begins))
		h.rollBack(ctx)
		return
	}
	begins := h.stream.decided + leftToNova.draw(rng)
	if h.plan.has(race) {
		begins = h.stream.paused + h.plan.stagger
	}
	sleepUntil(ctx, h.start.Add(begins))
	early.Wait()
	h.in.host = h.migration.Destination
	h.takeOver(ctx)
}

// takeOver is _post_live_migration on the source and on the destination.
func (h *handover) takeOver(ctx context.Context) {
	rng := h.plan.rng
	h.notify(nova.Post, false)
	if !h.must(h.network.MigrateInstanceStart(ctx, h.migration)) {
		return
	}
	sleep(ctx, sourceCleanUp.draw(rng))
	if !h.must(h.network.MigrateInstanceFinish(ctx, h.migration)) {
		return
	}
	h.notify(nova.PostDest, false)
	sleep(ctx, toDestination.draw(rng))
	h.must(h.network.TearDownSource(ctx, h.migration))
	h.notify(nova.PostDest, true)
	h.notify(nova.Post, true)
}

// rollBack is _rollback_live_migration, or the destination's part in it.
func (h *handover) rollBack(ctx context.Context) {
	h.notify(nova.Rollback, false)
	if h.plan.shared {
		h.must(h.network.TearDownDestination(ctx, h.migration))
		h.notify(nova.Rollback, true)
		return
	}
	h.notify(nova.Rollback, true)
	sleep(ctx, toDestination.draw(h.plan.rng))
	h.notify(nova.RollbackDest, false)
	h.must(h.network.TearDownDestination(ctx, h.migration))
	h.notify(nova.RollbackDest, true)
}

func (h *handover) notify(step nova.Step, ended bool) {
	for _, n := range h.migration.Notifications(step, ended) {
		h.mail.notify(novaLetter(n))
	}
}

// must keeps what hurts Nova; false if something does.
func (h *handover) must(harms []nova.Harm) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.harms = append(h.harms, harms...)
	return len(harms) == 0
}

func (h *handover) report(c nova.Call) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, fmt.Sprintf("%s Nova: %s", c.Began.UTC().Format(stampFormat), c))
	if end := c.Began.Add(c.Took); end.After(h.played.ended) {
		h.played.ended = end
	}
}

// glance looks at the ports as soon as Nova is done.
func (h *handover) glance(ctx context.Context) { h.atOnce, _ = h.right(ctx, h.in) }

// stampFormat is that of the audit log.
const stampFormat = "2006-01-02T15:04:05.000000Z"

// newInstance makes an instance with one or two ports on the first host.
func (g *game) newInstance(ctx context.Context, ports int) (*instance, error) {
	in := &instance{id: nova.NewUUID(), host: g.cloud.hosts[0]}
	for range ports {
		id, err := g.cloud.newPort(ctx, in.id, in.host, duel.Profile())
		if err != nil {
			return nil, err
		}
		in.ports = append(in.ports, nova.Port{ID: id, VNICType: "normal", Profile: duel.Profile()})
	}
	g.serving.owns(in)
	g.hosts[in.host].has(in.id)
	return in, nil
}

// removeInstance takes it out of the cloud, as its deletion by a user does: the
// guest's host says so, and then its ports go.
func (g *game) removeInstance(ctx context.Context, in *instance) {
	for _, h := range g.hosts {
		if h.runs(in.id) {
			h.courier.send(h.says(in.id, wire.Stopped, "destroyed"))
		}
	}
	g.archive.forget(in.id)
	for _, p := range in.ports {
		if err := g.cloud.removePort(ctx, p.ID); err != nil {
			g.say("port %s is left until the network goes: %v", p.ID, err)
			g.account.keepsPort(p.ID)
		}
	}
}

func (g *game) other(host string) string {
	return g.cloud.hosts[1-slices.Index(g.cloud.hosts[:], host)]
}
