package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

// react measures from libvirt's callback in the publisher to the activate's arrival
// at the server: the last one where an instance has several ports.
func react(ctx context.Context, r *rabbit, o options, rep *report) (failed error) {
	directory, err := os.MkdirTemp("", "earlybind-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if failed == nil { // a fault names the log in it
			_ = os.RemoveAll(directory)
		}
	}()
	s, err := newSink()
	if err != nil {
		return err
	}
	defer s.close()
	rig, err := newRig(ctx, r, s, directory, atOnce)
	if err != nil {
		return fmt.Errorf("earlybind in this process: %w", err)
	}
	defer rig.stop()
	body, err := captured(ctx, r, rig)
	if err != nil {
		return fmt.Errorf("capture a message of the publisher: %w", err)
	}
	f, err := newFloor(ctx, r, s, body)
	if err != nil {
		return fmt.Errorf("the floor: %w", err)
	}
	defer f.stop()
	one := reaction{rig: rig, floor: f, rep: rep, next: 10}
	if err := one.steadily(ctx, o.steady); err != nil {
		return fmt.Errorf("one handover a second: %w", err)
	}
	if err := one.spread(ctx, o.spread); err != nil {
		return fmt.Errorf("ports in parallel: %w", err)
	}
	if err := one.bursts(ctx, o.burst, o.bursts); err != nil {
		return fmt.Errorf("burst: %w", err)
	}
	return nil
}

// captured gives the bytes that a publisher sends when a guest is paused.
func captured(ctx context.Context, r *rabbit, rig *rig) ([]byte, error) {
	ch, closeTap, err := r.channel(ctx, "admin")
	if err != nil {
		return nil, err
	}
	defer closeTap() // the queue goes with it
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return nil, err
	}
	if err := ch.QueueBind(q.Name, "libvirt.#.suspended.*", wire.ExchangeEvents, false, nil); err != nil {
		return nil, err
	}
	deliveries, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	if err != nil {
		return nil, err
	}
	instance := newInstance(2, 1)
	if err := rig.arm(ctx, instance); err != nil {
		return nil, err
	}
	if _, err := rig.pause(ctx, instance); err != nil {
		return nil, err
	}
	rig.finish(ctx, instance)
	return first(ctx, deliveries)
}

func first(ctx context.Context, deliveries <-chan amqp.Delivery) ([]byte, error) {
	select {
	case d := <-deliveries:
		return d.Body, nil
	case <-time.After(patience):
		return nil, fmt.Errorf("no message came within %s", patience)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// reaction measures earlybind and the floor in turn.
type reaction struct {
	rig   *rig
	floor *floor
	rep   *report
	next  int // number of the next instance
	// stages of one port's reaction: from the callback to the consumer, and from there to the activate's arrival. Of
	// earlybind the consumer's place is its first line about the pause, which it writes when the request is on its way;
	// of the floor it is the delivery.
	stages, floorStages [2][]float64
}

func (r *reaction) instance(ports int) string {
	r.next++
	return newInstance(r.next, ports)
}

// ours is one handover; it gives how long each port took, in order of arrival.
func (r *reaction) ours(ctx context.Context, ports int) ([]time.Duration, error) {
	instance := r.instance(ports)
	if err := r.rig.arm(ctx, instance); err != nil {
		return nil, err
	}
	r.calm(ctx)
	took, err := r.rig.pause(ctx, instance)
	if err != nil {
		return nil, err
	}
	if ports == 1 {
		seen := r.rig.said.when("evidence.seen", instance).Sub(r.rig.pausedAt)
		r.stages[0] = append(r.stages[0], ms(seen))
		r.stages[1] = append(r.stages[1], ms(took[0]-seen))
	}
	r.rig.finish(ctx, instance)
	return took, r.rig.said.await(ctx, "handover.ended", instance)
}

// bare is the floor's.
func (r *reaction) bare(ctx context.Context, ports int) ([]time.Duration, error) {
	instance := r.instance(ports)
	if err := r.floor.arm(ctx, instance); err != nil {
		return nil, err
	}
	r.calm(ctx)
	took, err := r.floor.pause(ctx, instance)
	if err == nil && ports == 1 {
		reached := r.floor.deliveredAfter()
		r.floorStages[0] = append(r.floorStages[0], ms(reached))
		r.floorStages[1] = append(r.floorStages[1], ms(took[0]-reached))
	}
	return took, err
}

// calm lets what the preparation has started come to rest.
func (r *reaction) calm(ctx context.Context) {
	select {
	case <-time.After(20 * time.Millisecond):
	case <-ctx.Done():
	}
}

// steadily has handovers with one port and with eight come once a second each, and
// the floor's between them, in an order and at times drawn anew each second: nothing that
// comes round by itself meets one of them always.
func (r *reaction) steadily(ctx context.Context, count int) error {
	ours, bare := map[int][]float64{}, map[int][]float64{}
	kinds := []struct {
		ports int
		into  map[int][]float64
		take  func(context.Context, int) ([]time.Duration, error)
	}{{1, ours, r.ours}, {8, ours, r.ours}, {1, bare, r.bare}, {8, bare, r.bare}}
	for range count {
		rand.Shuffle(len(kinds), func(i, j int) { kinds[i], kinds[j] = kinds[j], kinds[i] })
		for _, kind := range kinds {
			next := time.Now().Add(200*time.Millisecond + rand.N(100*time.Millisecond))
			took, err := kind.take(ctx, kind.ports)
			if err != nil {
				return err
			}
			kind.into[kind.ports] = append(kind.into[kind.ports], ms(slices.Max(took)))
			pause(ctx, time.Until(next))
		}
	}
	for _, ports := range []int{1, 8} {
		r.compare(fmt.Sprintf("%s, 1/s", portsText(ports)), ours[ports], bare[ports])
	}
	for i, name := range []string{"callback to consumer", "consumer to arrival"} {
		r.rep.series("reaction", "1 port, 1/s: "+name, "ms", r.stages[i])
		r.rep.series("reaction", "1 port, 1/s: "+name+", floor", "ms", r.floorStages[i])
		r.rep.beside("reaction", "1 port, 1/s: "+name+", p50", "ms", median(r.stages[i]), median(r.floorStages[i]))
	}
	return nil
}

// bursts pauses many guests at once, in rounds that alternate with the floor's. What one
// round measures hangs together, so each has its own quantiles, and their medians are
// compared.
func (r *reaction) bursts(ctx context.Context, handovers, rounds int) error {
	ours, bare := map[int][][]float64{}, map[int][][]float64{}
	for round := range rounds {
		for _, ports := range []int{1, 8} {
			turns := []func() error{
				func() error { return r.round(ctx, ours, r.burst, handovers, ports) },
				func() error { return r.round(ctx, bare, r.floorBurst, handovers, ports) },
			}
			if round%2 == 1 {
				slices.Reverse(turns)
			}
			for _, take := range turns {
				r.rig.sink.rest(ctx)
				if err := take(); err != nil {
					return err
				}
			}
		}
	}
	for _, ports := range []int{1, 8} {
		name := fmt.Sprintf("%s, burst of %d", portsText(ports), handovers)
		all := slices.Concat(ours[ports]...)
		r.rep.series("reaction", name, "ms", all)
		r.rep.series("reaction", name+", floor", "ms", slices.Concat(bare[ports]...))
		for _, goal := range []struct {
			q     float64
			text  string
			bound float64
		}{{0.5, "p50", 1.10}, {0.99, "p99", 1.25}} {
			r.rep.judge("reaction", name+", "+goal.text, "ms", ofRounds(ours[ports], goal.q), ofRounds(bare[ports], goal.q), atMost(goal.bound, "floor"))
		}
		left := 0
		for _, took := range all {
			if math.IsInf(took, 1) {
				left++
			}
		}
		r.rep.judge("reaction", name+", left to Nova", "of "+strconv.Itoa(len(all)), float64(left), 0, atMost(0, ""))
		// The floor loses none, or it is no floor.
		if slices.ContainsFunc(slices.Concat(bare[ports]...), func(v float64) bool { return math.IsInf(v, 1) }) {
			return fmt.Errorf("%s: the floor has lost an activate", name)
		}
	}
	return nil
}

// round adds what a burst has taken.
func (r *reaction) round(ctx context.Context, into map[int][][]float64, burst func(context.Context, int, int) ([]float64, error), handovers, ports int) error {
	took, err := burst(ctx, handovers, ports)
	into[ports] = append(into[ports], took)
	return err
}

// ofRounds is the median of a quantile of each round.
func ofRounds(rounds [][]float64, q float64) float64 {
	var each []float64
	for _, took := range rounds {
		each = append(each, quantile(took, q))
	}
	return median(each)
}

func (r *reaction) burst(ctx context.Context, handovers, ports int) ([]float64, error) {
	instances := make([]string, handovers)
	for i := range instances {
		instances[i] = r.instance(ports)
		if err := r.rig.announce(ctx, instances[i]); err != nil {
			return nil, err
		}
	}
	for _, instance := range instances {
		if err := r.rig.said.await(ctx, armed, instance); err != nil {
			return nil, err
		}
	}
	say("burst: %d handovers are armed, with %s each", handovers, portsText(ports))
	r.rig.sink.rest(ctx) // a handover may be read twice while it is armed
	since := map[string]time.Time{}
	// As of the floor: all have happened when the first is called back.
	began := time.Now()
	for _, instance := range instances {
		_, ok := r.rig.source.Call(instance, wire.Suspended, wire.Migrated)
		if !ok {
			return nil, errNotConnected
		}
		since[instance] = began
	}
	took, err := r.rig.sink.collect(ctx, since)
	if err != nil {
		return nil, err
	}
	for _, instance := range instances {
		r.rig.finish(ctx, instance)
	}
	for _, instance := range instances {
		if err := r.rig.said.await(ctx, "handover.ended", instance); err != nil {
			return nil, err
		}
	}
	return lasts(since, took), nil
}

func (r *reaction) floorBurst(ctx context.Context, handovers, ports int) ([]float64, error) {
	// All have happened when the first is sent, as all of the guests were paused.
	since := map[string]time.Time{}
	at := time.Now()
	for range handovers {
		instance := r.instance(ports)
		if _, err := r.floor.send(ctx, instance); err != nil {
			return nil, err
		}
		since[instance] = at
	}
	took, err := r.floor.sink.collect(ctx, since)
	return lasts(since, took), err
}

// spread measures from the first to the last activate of one instance.
func (r *reaction) spread(ctx context.Context, count int) error {
	ours, bare := map[int][]float64{}, map[int][]float64{}
	counts := []int{1, 2, 8, 32}
	for range count {
		for _, ports := range counts {
			took, err := r.ours(ctx, ports)
			if err != nil {
				return err
			}
			ours[ports] = append(ours[ports], ms(slices.Max(took)-slices.Min(took)))
			if took, err = r.bare(ctx, ports); err != nil {
				return err
			}
			bare[ports] = append(bare[ports], ms(slices.Max(took)-slices.Min(took)))
		}
	}
	for _, ports := range counts {
		r.rep.series("ports in parallel", portsText(ports)+", first to last", "ms", ours[ports])
		r.rep.series("ports in parallel", portsText(ports)+", first to last, floor", "ms", bare[ports])
		if ports > 1 {
			r.rep.beside("ports in parallel", portsText(ports)+", first to last, p50", "ms", median(ours[ports]), median(bare[ports]))
		}
	}
	return nil
}

func (r *reaction) compare(name string, ours, bare []float64) {
	r.rep.series("reaction", name, "ms", ours)
	r.rep.series("reaction", name+", floor", "ms", bare)
	r.rep.judge("reaction", name+", p50", "ms", median(ours), median(bare), atMost(1.10, "floor"))
	r.rep.judge("reaction", name+", p99", "ms", quantile(ours, 0.99), quantile(bare, 0.99), atMost(1.25, "floor"))
}

// lasts gives, of each instance, when its last port's activate arrived: never, if one is
// missing.
func lasts(since map[string]time.Time, took map[string][]time.Duration) []float64 {
	var all []float64
	for instance := range since {
		last := math.Inf(1)
		if ports := took[instance]; len(ports) == len(portsOf(instance)) {
			last = ms(slices.Max(ports))
		}
		all = append(all, last)
	}
	return all
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func portsText(n int) string {
	if n == 1 {
		return "1 port"
	}
	return fmt.Sprintf("%d ports", n)
}
