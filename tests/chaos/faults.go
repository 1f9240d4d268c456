package main

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"time"
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

// deck is how often each fault comes in one round of them.
var deck = map[fault]int{kill: 5, freeze: 2, noBroker: 2, noNeutron: 2}

// The pause before a fault: short before the first of each kind, so that a short
// run meets them all; long enough later for most handovers to end undisturbed.
var (
	calmAtFirst = span{8000, 18000}
	calmLater   = span{20000, 40000}
)

// frozenFor is long enough for the broker to take a replica for dead: two
// and a half heartbeats of 5 s, and some.
const frozenFor = 30 * time.Second

// rage brings one fault after the other until the context ends; each round of
// them in an order that the seed gives, one of each first.
func (g *game) rage(ctx context.Context, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	pauses := calmAtFirst
	for ctx.Err() == nil {
		var round []fault
		for _, f := range []fault{kill, freeze, noBroker, noNeutron} {
			round = append(round, slices.Repeat([]fault{f}, deck[f]-1)...)
		}
		rng.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		first := []fault{kill, freeze, noBroker, noNeutron}
		rng.Shuffle(len(first), func(i, j int) { first[i], first[j] = first[j], first[i] })
		for i, f := range append(first, round...) {
			if i == len(first) {
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

// strike brings one fault and returns when it is over.
func (g *game) strike(ctx context.Context, f fault, rng *rand.Rand) {
	i := g.weather.begin(f)
	defer g.weather.end(i)
	g.say("%s", f)
	abated := ctx
	ctx = context.WithoutCancel(ctx) // what is begun is brought to its end
	var err error
	switch f {
	case kill:
		r := g.consumers.acting()
		if err = r.signal(syscall.SIGKILL); err == nil {
			r.wait()
			sleep(ctx, time.Duration(rng.IntN(2000))*time.Millisecond)
			err = r.start()
		}
	case freeze:
		r := g.consumers.replicas[rng.IntN(len(g.consumers.replicas))]
		if rng.IntN(4) > 0 {
			r = g.consumers.acting()
		}
		if err = r.signal(syscall.SIGSTOP); err == nil {
			sleep(abated, frozenFor)
			err = r.signal(syscall.SIGCONT)
		}
	case noBroker:
		err = g.cloud.restartBroker(ctx, time.Duration(1+rng.IntN(5))*time.Second)
	case noNeutron:
		err = g.cloud.restartNeutron(ctx)
	}
	if err != nil {
		g.fail("%s: %v", f, err)
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

// between gives the faults that were there in a time, and how long they lasted.
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
		lasted += end.Sub(s.from)
		if !slices.Contains(met, s.fault) {
			met = append(met, s.fault)
		}
	}
	return met, lasted
}
