package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/consumer"
)

// cloud is what chaos needs of a cloud: the lab's, see lab.go.
type cloud struct {
	release string
	hosts   [2]string // with live agents
	// safe: two activates at once do not hurt; if not, the consumers observe.
	safe bool
	bus  bus
	nova *gophercloud.ServiceClient // Neutron, with Nova's rights

	newPort    func(ctx context.Context, instance, host string, profile map[string]any) (string, error)
	removePort func(ctx context.Context, id string) error
	// restartBroker and restartNeutron return when they serve again. Of a cluster the node of that number is restarted.
	restartBroker  func(ctx context.Context, node int, away time.Duration) error
	restartNeutron func(context.Context) error
	// part takes a node off the network until wait returns, and returns when it has met the others; nil if there
	// is but one.
	part func(ctx context.Context, node int, wait func()) error
	// closeConnections has the broker close the connections of these names, if it
	// knows them yet; deadLetters has what it drops from queues go to an exchange.
	closeConnections func(ctx context.Context, names ...string) (int, error)
	deadLetters      func(ctx context.Context, exchange string, queues ...string) error
	// held counts what is in queues, ready or unacknowledged, as the broker has last counted it, each 5 s.
	held func(ctx context.Context, queues ...string) (int, error)

	transport   http.RoundTripper // to the names in the cloud's catalog
	environment []string          // of the consumers: where the cloud is
}

// game is one run.
type game struct {
	cloud     cloud
	neutron   consumer.Neutron // to look with
	streams   map[string]stream
	hosts     map[string]*host
	nova      *courier
	consumers *consumers
	proxy     *proxy
	weather   weather
	archive   archive
	account   *account
	serving   *serving
	build     string // of the consumers
	directory string // of logs and stories
	began     time.Time

	mu      sync.Mutex
	faults  []error     // of the harness itself
	retired []*instance // that are migrated no more, and go at the end
	open    []unended   // whose end was not told while they were watched
}

// say writes a line for whoever watches.
func (g *game) say(format string, args ...any) {
	fmt.Printf("%6.1f s  %s\n", time.Since(g.began).Seconds(), fmt.Sprintf(format, args...))
}

// fail remembers what the harness could not do.
func (g *game) fail(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	g.say("HARNESS: %v", err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.faults = append(g.faults, err)
}

func (g *game) failed() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.faults...)
}

// migrates says where an instance migrates to; "" when Nova is done.
func (g *game) migrates(in *instance, destination string) { g.proxy.migrates(in, destination) }

// order is what a run is to do.
type order struct {
	seed   uint64
	fails  []bool       // by number
	done   map[int]bool // in earlier runs
	atOnce int          // handovers that keep Neutron busy
	until  time.Time    // no handover begins later
	// pace is how soon one may begin after the one before, so that few of them
	// meet as many of the cloud's faults as many.
	pace   time.Duration
	record func(record) error

	mu      sync.Mutex
	number  int       // of the next
	earlier time.Time // when the last one was given out to begin
}

// next gives the number of a handover to play, at its time.
func (o *order) next(ctx context.Context) (int, bool) {
	number, begin, ok := o.take()
	if ok {
		sleepUntil(ctx, begin)
	}
	return number, ok && ctx.Err() == nil && time.Now().Before(o.until)
}

func (o *order) take() (number int, begin time.Time, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.number < len(o.fails) && o.done[o.number] {
		o.number++
	}
	if o.number == len(o.fails) {
		return 0, time.Time{}, false
	}
	o.number++
	o.earlier = o.earlier.Add(o.pace)
	if now := time.Now(); o.earlier.Before(now) {
		o.earlier = now
	}
	return o.number - 1, o.earlier, true
}

// workersPerSlot: a handover that only waits for the consumers' last word leaves
// its slot to another.
const workersPerSlot = 8

// perInstance is how many handovers an instance lives through.
const perInstance = 8

// run plays until the order is filled, its time is up, or the context ends.
func (g *game) run(ctx context.Context, o *order) {
	slots := make(chan struct{}, o.atOnce)
	var all sync.WaitGroup
	for i := range o.atOnce * workersPerSlot {
		all.Go(func() { g.work(ctx, o, slots, 1+i%2) })
	}
	all.Wait()
}

// work plays handovers one after the other, on instances of its own.
func (g *game) work(ctx context.Context, o *order, slots chan struct{}, ports int) {
	var in *instance
	left := 0
	defer func() { g.retire(in) }()
	for ctx.Err() == nil {
		slots <- struct{}{}
		release := sync.OnceFunc(func() { <-slots })
		number, ok := o.next(ctx)
		if !ok {
			release()
			return
		}
		if left--; left <= 0 {
			g.retire(in)
			var err error
			if in, err = g.instanceWhen(ctx, ports); err != nil {
				release()
				g.fail("no instance could be made: %v", err)
				return
			}
			left = perInstance
		}
		if right := g.playAndJudge(ctx, o, number, in, release); !right {
			left = 0 // what is wrong with it stays its own
		}
		release()
	}
}

// retire keeps an instance that is not migrated any more until the end: messages of
// it are still to come.
func (g *game) retire(in *instance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if in != nil {
		g.retired = append(g.retired, in)
	}
}

// instanceWhen makes an instance; a Neutron that is restarted is waited for.
func (g *game) instanceWhen(ctx context.Context, ports int) (*instance, error) {
	until := time.Now().Add(novaPatience)
	for {
		in, err := g.newInstance(ctx, ports)
		if err == nil || time.Now().After(until) || ctx.Err() != nil {
			return in, err
		}
		sleep(ctx, look)
	}
}

// playAndJudge plays one handover and those that follow it at once, judges them
// and records them.
func (g *game) playAndJudge(ctx context.Context, o *order, number int, in *instance, settled func()) bool {
	chain := []played{g.play(ctx, draw(o.seed, number, o.fails[number]), in)}
	for last := chain[0]; last.fails && last.has(again) && len(last.harms) == 0; last = chain[len(chain)-1] {
		following, _, ok := o.take() // without waiting for its time
		if !ok {
			break
		}
		chain = append(chain, g.play(ctx, draw(o.seed, following, o.fails[following]), in))
	}
	last := chain[len(chain)-1]
	j := g.judge(ctx, last, in, settled)
	if ctx.Err() != nil {
		return false // cut off, and not to be judged
	}
	for _, p := range chain {
		j.met, _ = g.weather.between(p.began, last.ended.Add(j.toRight))
		r := newRecord(g.cloud.release, g.build, o.seed, g.account.shares, p, j)
		if !r.Right || len(r.Hurt) > 0 {
			story, err := g.keepStory(p, in, j)
			if err != nil {
				g.fail("%v", err)
			}
			r.Story = story
			g.say("handover %d: right %t %s; hurt Nova: %v; see %s", p.number, r.Right, r.Why, r.Hurt, story)
		}
		e, ok := g.consumers.endOf(p, in.id, false)
		if !ok {
			g.keepOpen(unended{played: p, in: in, j: j, record: r})
			continue
		}
		r.ends(p, e)
		if err := o.record(r); err != nil {
			g.fail("%v", err)
		}
	}
	return j.right
}
