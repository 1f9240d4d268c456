package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

// drain has many guests with one port each pause at one moment, before a Neutron with two
// slow API workers: with each bound on the consumer's requests, and with some of the guests
// failing. Nova's own calls are not played, which take workers too: `earlybind simulate
// -drain` has them.
func drain(ctx context.Context, r *rabbit, o options, rep *report) (failed error) {
	directory, err := os.MkdirTemp("", "earlybind-bench-")
	if err != nil {
		return err
	}
	defer func() {
		if failed == nil { // a fault names the log in it
			_ = os.RemoveAll(directory)
		}
	}()
	for _, limit := range o.limits {
		if err := drainBy(ctx, r, o, rep, filepath.Join(directory, strconv.Itoa(limit)), limit); err != nil {
			return fmt.Errorf("%d at once: %w", limit, err)
		}
	}
	return nil
}

// drainBy measures with one bound on the consumer's requests.
func drainBy(ctx context.Context, r *rabbit, o options, rep *report, directory string, limit int) error {
	if err := os.Mkdir(directory, 0o700); err != nil {
		return err
	}
	s, err := newSink()
	if err != nil {
		return err
	}
	defer s.close()
	s.workers = newWorkers(apiWorkers)
	rig, err := newRig(ctx, r, s, directory, limit)
	if err != nil {
		return fmt.Errorf("earlybind in this process: %w", err)
	}
	defer rig.stop()
	d := drainer{rig: rig, next: (1<<8 + limit) << 16}
	once := func(failing int) (figures, error) {
		say("drain: at most %d requests at once, %d of %d guests fail", limit, failing, o.drained)
		c, err := d.drain(ctx, o.drained, failing)
		if err != nil {
			return figures{}, err
		}
		return c.figures(), d.end(ctx, c)
	}
	f, err := once(0)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("at most %d at once", limit)
	// No order and no bound beats this, as long as each worker has an activate to do.
	least := neutronTakes(activateRow) * time.Duration((o.drained+apiWorkers-1)/apiWorkers)
	rep.beside("drain", name+fmt.Sprintf(": pause to the last of %d ACTIVE", o.drained-f.left), "ms", quantile(f.active, 1), ms(least))
	rep.note("drain", name+": too late, left to Nova", "of "+strconv.Itoa(o.drained), float64(f.left))
	if !slices.Contains(o.failingAt, limit) {
		return nil
	}
	if f, err = once(o.failing); err != nil {
		return err
	}
	f.report(rep, fmt.Sprintf("%s, %d of %d fail: ", name, o.failing, o.drained), limit == atOnce)
	return nil
}

// report tells of a drain with failures; goals are for the bound that is shipped.
func (f figures) report(rep *report, name string, shipped bool) {
	rep.series("drain", name+"pause to activate's arrival", "ms", f.waits)
	rep.series("drain", name+"pause to ACTIVE", "ms", f.active)
	rep.series("drain", name+"failure's word to restore's first request", "ms", f.restores)
	rep.series("drain", name+"failure's word to rows right", "ms", f.right)
	rep.note("drain", name+"pause to activate's arrival, p50", "ms", median(f.waits))
	rep.note("drain", name+"pause to activate's arrival, max", "ms", quantile(f.waits, 1))
	// Whom the bound holds back gets a turn with an answer: the k-th restore with the k-th
	// answer after the word. More "restores first" cannot promise before workers that are
	// busy; one turn of five may be lost to an activate that goes while the word is on its way.
	for _, q := range []struct {
		text string
		q    float64
	}{{"min", 0}, {"p50", 0.5}, {"max", 1}} {
		text, value, against := name+"word to restore's first request, "+q.text, quantile(f.restores, q.q), quantile(f.turns, q.q)
		if shipped {
			rep.judge("drain", text, "ms", value, against, atMost(1.25, "as many answers"))
		} else {
			rep.beside("drain", text, "ms", value, against)
		}
	}
	rep.beside("drain", name+"restore's wait beside activate's, max", "ms", quantile(f.restores, 1), quantile(f.waits, 1))
	rep.note("drain", name+"word to rows right, p50", "ms", median(f.right))
	// Served first, restores would not notice the activates, but for those that are being
	// carried out: as many as the bound lets stand in Neutron's own line go before them.
	passed, last := name+"activates sent while a restore waited to be", name+"word to rows right, max"
	if shipped {
		rep.judge("drain", passed, "", float64(f.passed), 0, atMost(apiWorkers, ""))
		rep.judge("drain", last, "ms", quantile(f.right, 1), f.alone, atMost(1.25, "restores alone"))
	} else {
		rep.note("drain", passed, "", float64(f.passed))
		rep.beside("drain", last, "ms", quantile(f.right, 1), f.alone)
	}
	rep.note("drain", name+"too late, left to Nova", "", float64(f.left))
}

// drainer drains the source again and again.
type drainer struct {
	rig  *rig
	next int // number of the next instance
}

// course is how one drain went.
type course struct {
	guests   []string
	paused   time.Time
	failed   map[string]bool // of the guests
	word     time.Time       // when they failed
	requests []request       // in the order of their answers
}

// A drain is over when all is done, or, since too late an activate is not sent, when the
// window for it has passed and no write was answered for a while.
const (
	window = 6 * time.Second
	over   = time.Second
)

// drain pauses guests, has those fail whose activates are answered first, all at one
// moment, and tells of every request to Neutron until it is over.
func (d *drainer) drain(ctx context.Context, guests, failing int) (course, error) {
	c := course{guests: make([]string, guests), failed: map[string]bool{}}
	for i := range c.guests {
		d.next++
		c.guests[i] = newInstance(d.next, 1)
		if err := d.rig.announce(ctx, c.guests[i]); err != nil {
			return c, err
		}
	}
	for _, instance := range c.guests {
		if err := d.rig.said.await(ctx, armed, instance); err != nil {
			return c, err
		}
	}
	d.rig.sink.rest(ctx)
	d.rig.sink.workers.turn(true)
	defer d.rig.sink.workers.turn(false)
	c.paused = time.Now()
	for _, instance := range c.guests {
		if _, ok := d.rig.source.Call(instance, wire.Suspended, wire.Migrated); !ok {
			return c, errNotConnected
		}
	}
	err := d.listen(ctx, &c, failing)
	return c, err
}

// listen follows a drain's requests, and has its guests fail.
func (d *drainer) listen(ctx context.Context, c *course, failing int) error {
	activated, right := 0, 0
	late := time.NewTimer(window)
	defer late.Stop()
	for activated < len(c.guests) || right < failing {
		select {
		case r := <-d.rig.sink.workers.answered:
			if r.arrived.Before(c.paused) {
				continue // of the drain before
			}
			c.requests = append(c.requests, r)
			switch {
			case r.kind == updatePort:
				right++
				d.rollBack(ctx, instanceOf(r.port))
			case r.kind == activateRow && r.host == destination:
				activated++
				d.fail(c, instanceOf(r.port), failing)
			case r.kind != activateRow:
				continue
			}
			late.Reset(max(over, window-time.Since(c.paused)))
		case <-late.C:
			switch {
			case right == failing:
				return nil
			case time.Since(c.paused) > patience:
				return fmt.Errorf("%d of %d failed guests have right rows after %s", right, failing, patience)
			}
			late.Reset(over)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// fail counts a guest among those that fail, and lets them fail when they are complete.
func (d *drainer) fail(c *course, instance string, failing int) {
	if len(c.failed) == failing {
		return
	}
	c.failed[instance] = true
	if len(c.failed) < failing {
		return
	}
	c.word = time.Now()
	for instance := range c.failed {
		d.rig.source.Call(instance, wire.Resumed, wire.Unpaused)
		d.rig.destination.Call(instance, wire.Stopped, wire.Failed)
	}
}

// rollBack has Nova tell of its own roll-back, until whose end a restore looks again and again.
func (d *drainer) rollBack(ctx context.Context, instance string) {
	for _, ended := range []bool{false, true} {
		_ = d.rig.tell(ctx, instance, nova.Rollback, ended) // the broker's end shows in the next step
	}
}

// end has the other guests arrive, and returns when every handover has ended.
func (d *drainer) end(ctx context.Context, c course) error {
	for _, instance := range c.guests {
		if c.failed[instance] {
			continue
		}
		for _, port := range portsOf(instance) { // what was left to Nova
			d.rig.sink.ports.Store(port, moved)
		}
		d.rig.finish(ctx, instance)
	}
	for _, instance := range c.guests {
		if err := d.rig.said.await(ctx, "handover.ended", instance); err != nil {
			return err
		}
	}
	return nil
}

// figures are what is read from a drain; milliseconds.
type figures struct {
	waits    []float64 // pause to an activate's arrival
	active   []float64 // pause to its answer, of guests that do not fail
	left     int       // guests that no activate came for
	restores []float64 // failure's word to a restore's first request's arrival
	turns    []float64 // failure's word to the first answer, the second, ...; as many as restores
	passed   int       // activates that came after the word and before the last restore's first request
	right    []float64 // failure's word to rows right on the source
	alone    float64   // how long the workers need for the restores' requests, after an activate that they are at
}

func (c course) figures() figures {
	var f figures
	came := map[string]bool{}       // activates, by instance
	first := map[string]time.Time{} // a restore's first request's arrival, by instance
	right := map[string]bool{}
	work := neutronTakes(activateRow) * apiWorkers
	for _, r := range c.requests {
		if !c.word.IsZero() && r.answered.After(c.word) && len(f.turns) < len(c.failed) {
			f.turns = append(f.turns, ms(r.answered.Sub(c.word)))
		}
		if r.port == "" {
			continue // a list
		}
		instance := instanceOf(r.port)
		if r.kind == activateRow && r.host == destination {
			came[instance] = true
			f.waits = append(f.waits, ms(r.arrived.Sub(c.paused)))
			if !c.failed[instance] {
				f.active = append(f.active, ms(r.answered.Sub(c.paused)))
			}
		}
		if !c.failed[instance] || r.arrived.Before(c.word) || right[instance] {
			continue
		}
		work += r.takes
		// A restore begins by reading its port.
		if at, known := first[instance]; r.kind == readPorts && (!known || r.arrived.Before(at)) {
			first[instance] = r.arrived
		}
		if r.kind == updatePort {
			right[instance] = true
			f.right = append(f.right, ms(r.answered.Sub(c.word)))
		}
	}
	f.left, f.alone = len(c.guests)-len(came), ms(work/apiWorkers)
	last := c.word
	for _, at := range first {
		f.restores = append(f.restores, ms(at.Sub(c.word)))
		if at.After(last) {
			last = at
		}
	}
	for _, r := range c.requests {
		if r.kind == activateRow && r.host == destination && r.arrived.After(c.word) && r.arrived.Before(last) {
			f.passed++
		}
	}
	return f
}
