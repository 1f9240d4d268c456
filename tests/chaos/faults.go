package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// weather is the faults of the whole cloud, one after the other.
type weather struct {
	mu     sync.Mutex
	spells []spell
}

// spell is one fault and how long it lasted; until is zero while it does.
type spell struct {
	fault       fault
	from, until time.Time
}

// card is a fault and how often it comes in one round of them.
type card struct {
	fault fault
	times int
}

// deck is one round; clusterDeck that of a broker of several nodes.
var (
	deck        = []card{{kill, 4}, {freeze, 2}, {unplug, 3}, {cutOff, 3}, {absent, 2}, {noBroker, 2}, {noNeutron, 2}}
	clusterDeck = append(slices.Clone(deck), card{parted, 3})
)

// The pause before a fault: short before the first of each kind, so that a short
// run meets them all; long enough later for most handovers to end undisturbed.
var (
	calmAtFirst = span{5000, 12000}
	calmLater   = span{20000, 40000}
)

// frozenFor is long enough for the broker to take a replica for dead: two
// and a half heartbeats of 5 s, and some.
const frozenFor = 30 * time.Second

// cutFor is about as long as the lease (5 s) and as the broker's patience (10 to
// 15 s): the replica is the active one still when it is back, or has long been
// replaced.
var cutFor = span{4000, 25000}

// partedFor is from what no node of RabbitMQ notices but the quorum queues' own detector, to longer than net_ticktime
// (60 s): then a node that is alone stops to serve (pause_minority), and starts anew when it is back.
var partedFor = span{5000, 90000}

// round gives the faults of one round in the order that chance gives, one of each
// first.
func round(rng *rand.Rand, deck []card) []fault {
	var first, further []fault
	for _, card := range deck {
		first = append(first, card.fault)
		further = append(further, slices.Repeat([]fault{card.fault}, card.times-1)...)
	}
	for _, some := range [][]fault{first, further} {
		rng.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	}
	return append(first, further...)
}

// rage brings one fault after the other until the context ends.
func (g *game) rage(ctx context.Context, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	pauses, deck := calmAtFirst, deck
	if g.cloud.part != nil {
		deck = clusterDeck
	}
	for ctx.Err() == nil {
		for i, f := range round(rng, deck) {
			if i == len(deck) {
				pauses = calmLater
			}
			sleep(ctx, pauses.draw(rng))
			if ctx.Err() != nil {
				return
			}
			g.strike(ctx, f, rng)
		}
	}
}

// strike brings one fault and returns when it is over. What is begun is brought to
// its end, but for waiting, when the context ends.
func (g *game) strike(ctx context.Context, f fault, rng *rand.Rand) {
	i := g.weather.begin(f)
	defer g.weather.end(i)
	g.say("%s", f)
	var err error
	switch f {
	case kill:
		err = g.kill(ctx, rng)
	case freeze:
		err = g.freeze(ctx, rng)
	case unplug:
		err = g.unplug(context.WithoutCancel(ctx), rng)
	case cutOff:
		g.cutOff(ctx, rng)
	case absent:
		err = g.takeAllAway(ctx, rng)
	case noBroker:
		if g.cloud.part == nil {
			g.account.unrouted.unbinds(time.Now()) // its queues go before the exchange is missed
		}
		err = g.cloud.restartBroker(context.WithoutCancel(ctx), rng.IntN(len(g.cloud.bus.urls)), time.Duration(1+rng.IntN(5))*time.Second)
	case parted:
		err = g.cloud.part(context.WithoutCancel(ctx), rng.IntN(len(g.cloud.bus.urls)), func() { sleep(ctx, partedFor.draw(rng)) })
	case noNeutron:
		err = g.cloud.restartNeutron(context.WithoutCancel(ctx))
	}
	if err != nil {
		g.fail("%s: %v", f, err)
	}
	if slices.Contains([]fault{kill, freeze, unplug, cutOff}, f) && rng.IntN(2) == 0 {
		g.remind(ctx, rng)
	}
}

func (g *game) kill(ctx context.Context, rng *rand.Rand) error {
	r := g.consumers.acting(g.consumers.anyShare(rng))
	if err := r.signal(syscall.SIGKILL); err != nil {
		return err
	}
	r.wait()
	sleep(ctx, time.Duration(rng.IntN(2000))*time.Millisecond)
	return r.start()
}

func (g *game) freeze(ctx context.Context, rng *rand.Rand) error {
	r := g.consumers.replicas[rng.IntN(len(g.consumers.replicas))]
	if rng.IntN(4) > 0 {
		r = g.consumers.acting(g.consumers.anyShare(rng))
	}
	if err := r.signal(syscall.SIGSTOP); err != nil {
		return err
	}
	sleep(ctx, frozenFor)
	return r.signal(syscall.SIGCONT)
}

// unplug has the broker close connections of the replica that acts for a share: one of those that the share's
// host events and notifications come through and that it sends through, or all three. Its other shares keep theirs.
func (g *game) unplug(ctx context.Context, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	which, share := rng.IntN(4), g.consumers.anyShare(rng)
	return lab.Until(ctx, "a connection to close", func() (bool, error) {
		name := g.consumers.connection(g.consumers.acting(share).identity(), share)
		closed, err := g.cloud.closeConnections(ctx, [][]string{{name}, {name + " notifications"}, {name + " sender"}, {name, name + " notifications", name + " sender"}}[which]...)
		return closed > 0, err
	})
}

// cutOff cuts the replica that acts for a share off from the broker, with all its shares.
func (g *game) cutOff(ctx context.Context, rng *rand.Rand) {
	r := g.consumers.acting(g.consumers.anyShare(rng))
	for _, cable := range r.cables {
		cable.cut()
	}
	g.proxy.cutOff(r.name, time.Now())
	sleep(ctx, cutFor.draw(rng))
	g.proxy.cutOff(r.name, time.Time{}) // before it can be told
	for _, cable := range r.cables {
		cable.mend()
	}
}

// takeAllAway kills all replicas for a while. The hosts' and Nova's messages wait
// for them in the broker, and among them some as if they had done so for long.
func (g *game) takeAllAway(ctx context.Context, rng *rand.Rand) error {
	for _, r := range g.consumers.replicas {
		if err := r.signal(syscall.SIGKILL); err != nil {
			return err
		}
		r.wait()
	}
	sleep(ctx, 2*time.Second)
	defer g.weather.end(g.weather.begin(hourOld))
	for _, old := range g.archive.draw(rng, "", 20) {
		old.courier.send(old.letter.after(unheld))
	}
	sleep(ctx, span{2000, 10000}.draw(rng))
	for _, r := range g.consumers.replicas {
		if err := r.start(); err != nil {
			return err
		}
	}
	return nil
}

// remind sends messages as if an hour had passed: to a replica that has just
// taken over, and knows of nothing newer, or that is about to.
func (g *game) remind(ctx context.Context, rng *rand.Rand) {
	defer g.weather.end(g.weather.begin(hourOld))
	for range 20 {
		for _, old := range g.archive.draw(rng, "", 1) {
			old.courier.send(old.letter.after(anHour))
		}
		sleep(ctx, span{50, 500}.draw(rng))
	}
}

func (w *weather) begin(f fault) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spells = append(w.spells, spell{fault: f, from: time.Now()})
	return len(w.spells) - 1
}

func (w *weather) end(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spells[i].until = time.Now()
}

// between gives the faults that were there in a time, and how long they lasted. Old
// messages keep nobody from his work, and a node that is parted from the two others not for long.
func (w *weather) between(from, until time.Time) (met []fault, lasted time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.spells {
		end := s.until
		if end.IsZero() {
			end = time.Now()
		}
		if s.from.After(until) || end.Before(from) {
			continue
		}
		if s.fault != hourOld && s.fault != parted {
			lasted += end.Sub(s.from)
		}
		if !slices.Contains(met, s.fault) {
			met = append(met, s.fault)
		}
	}
	return met, lasted
}
