// Command chaos plays hundreds of handovers, half of them failing, against the
// lab's Neutron and RabbitMQ and two processes of the real consumer, while
// consumers are killed, frozen and cut off, their connections closed, broker and
// Neutron restarted, messages lost, doubled, late and an hour old, and Nova's calls
// race ours. It prints how the ports have ended, and what has become of every
// message that the broker has taken for the consumers.
//
//	chaos -results var/chaos.jsonl   500 failed and 500 successful ones, in 40 minutes
//	chaos -handovers 24 -seed 1 -for 10m
//	chaos -cluster -results var/chaos-cluster.jsonl
//	chaos -shares 4
//
// With -shares the consumers divide the instances into so many shares (EARLYBIND_SHARES): each
// has queues, connections, a lease and a journal of its own, and a fault meets the replica that acts for one
// of them, which a fault that closes connections leaves the others of.
//
// With -cluster all meet at a RabbitMQ of three nodes that chaos starts for itself: a node
// is killed or parted from the others instead of the lab's one restarted.
//
// When all is played, it waits until every message has its outcome: a handover that
// nothing ends holds its messages for ten minutes.
//
// What libvirt says is recorded (handover/testdata), with no pause longer than
// 2 s; what Nova says and calls is package nova's. Of the lab it needs rabbitmq,
// controller, compute1 and compute2. A run that was cut off goes on where it
// stopped, with the seed of its results; handovers whose end was not told by then are
// played again.
//
// The exit status is 1 if a port has ended wrong, Nova was hurt, a replica has
// written that was cut off, or that the queue of the share no longer served, the end of a handover was not told
// without reason, a message has no outcome in a share, or was taken by no queue though one was bound, a journal holds
// something in the end, or handovers are missing.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/tests/results"
)

// settings are the flags.
type settings struct {
	handovers int
	seed      uint64
	bound     time.Duration
	results   string
	atOnce    int
	cluster   bool
	shares    int
	consumer  string
	logs      string
}

// A short run meets each of the cloud's faults, which takes some 160 s, and waits for nothing more; its
// bound is for slow machines.
const (
	slowestPace = 8 * time.Second
	eachFault   = 180 * time.Second
)

func main() {
	var s settings
	flag.IntVar(&s.handovers, "handovers", 1000, "how many, half of them failing")
	flag.Uint64Var(&s.seed, "seed", 0, "of everything that is left to chance; 0: that of the results, or a new one")
	flag.DurationVar(&s.bound, "for", 40*time.Minute, "for how long to play at most")
	flag.StringVar(&s.results, "results", "", "append to this file, and leave out the handovers that are in it")
	flag.IntVar(&s.atOnce, "at-once", 6, "how many handovers keep Neutron busy at once")
	flag.BoolVar(&s.cluster, "cluster", false, "on a RabbitMQ of three nodes")
	flag.IntVar(&s.shares, "shares", 1, "into how many shares the consumers divide the instances (EARLYBIND_SHARES)")
	flag.StringVar(&s.consumer, "consumer", "bin/earlybind-consumer", "the consumer")
	flag.StringVar(&s.logs, "logs", "var/chaos", "directory of logs, and of the stories of handovers that went wrong")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := chaos(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

func chaos(ctx context.Context, s settings) error {
	if s.shares < 1 {
		return fmt.Errorf("-shares %d: there is one at least", s.shares)
	}
	l, err := lab.Open(ctx)
	if err != nil {
		return err
	}
	streams, err := readStreams(l.Path("handover", "testdata"))
	if err != nil {
		return err
	}
	c, closing, err := openLab(ctx, l, s.cluster)
	defer func() {
		if err := closing(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "chaos: something is left in the lab:", err)
		}
	}()
	if err != nil {
		return err
	}
	return play(ctx, s, c, streams)
}

func readStreams(directory string) (map[string]stream, error) {
	streams := map[string]stream{}
	for _, names := range recordings {
		for _, name := range names {
			s, err := readStream(filepath.Join(directory, name+".jsonl"), name)
			if err != nil {
				return nil, err
			}
			streams[name] = s
		}
	}
	return streams, nil
}

// drainWithin is how long before the end no handover begins any more.
const drainWithin = rightWithin + 30*time.Second

// play is chaos on any cloud.
func play(ctx context.Context, s settings, c cloud, streams map[string]stream) error {
	build, err := buildOf(ctx, s.consumer)
	if err != nil {
		return err
	}
	records, balances, err := load(s.results, c.release)
	if err != nil {
		return err
	}
	if err := s.chooseSeed(records); err != nil {
		return err
	}
	file, err := results.Open[any](s.results)
	if err != nil {
		return err
	}
	defer file.Close()
	g := &game{
		cloud: c, neutron: consumer.NewNeutron(c.nova), streams: streams, build: build, began: time.Now(),
		hosts: map[string]*host{}, account: newAccount(s.shares), serving: newServing(),
		directory: filepath.Join(s.logs, fmt.Sprintf("%s-%d-%d", c.release, s.seed, len(records))),
	}
	if err := os.MkdirAll(g.directory, 0o755); err != nil {
		return err
	}
	o := &order{seed: s.seed, fails: outcomes(s.seed, s.handovers), done: map[int]bool{}, atOnce: s.atOnce}
	for _, r := range records {
		o.done[r.Number] = true
	}
	fmt.Printf("seed %d, release %s, build %s, shares %d: %d handovers, %d of them done before; logs in %s\n", s.seed, c.release, build, s.shares, s.handovers, len(o.done), g.directory)

	var mu sync.Mutex
	o.record = func(r record) error {
		mu.Lock()
		defer mu.Unlock()
		records = append(records, r)
		if len(records)%25 == 0 {
			g.say("%d handovers", len(records))
		}
		return file.Save(r)
	}
	window := max(s.bound-drainWithin, s.bound*6/10)
	o.until = g.began.Add(window)
	if left := s.handovers - len(o.done); left > 0 {
		o.pace = min(max(slowestPace, eachFault/time.Duration(left)), window*9/10/time.Duration(left))
	}
	b, err := g.playAll(ctx, s, o)
	if err != nil {
		return err
	}
	g.findEnds(o.record)
	balances = append(balances, b)
	if err := file.Save(accountLine{Release: c.release, Build: build, Seed: s.seed, Account: &b}); err != nil {
		return err
	}
	fmt.Println(table(records))
	fmt.Println(ends(records))
	fmt.Println(statement(balances))
	served := g.serving.verdict()
	fmt.Println(served)
	faults := []error{verdict(records), endVerdict(records), b.verdict(), g.proxy.verdict(), served.fault(), g.failed()}
	if n := g.proxy.earlyActivates(); n > 0 && !c.safe {
		faults = append(faults, fmt.Errorf("%d activates of a destination on a Neutron where that can hurt Nova", n))
	} else {
		fmt.Printf("%d activates of a destination by the consumers while Nova was at work (concurrent activate safe: %t)\n", n, c.safe)
	}
	if missing := s.handovers - len(records); missing > 0 {
		faults = append(faults, fmt.Errorf("%d handovers are missing: run it again with the same -results", missing))
	}
	return errors.Join(faults...)
}

// chooseSeed takes the seed of the results, whose handovers another one would not
// have.
func (s *settings) chooseSeed(records []record) error {
	switch {
	case len(records) > 0 && s.seed != 0 && s.seed != records[0].Seed:
		return fmt.Errorf("%s was begun with -seed %d", s.results, records[0].Seed)
	case len(records) > 0:
		s.seed = records[0].Seed
	case s.seed == 0:
		s.seed = uint64(time.Now().Unix())
	}
	return nil
}

// playAll starts all parts, plays, and ends them. The account is closed only if
// the context has not ended before.
func (g *game) playAll(ctx context.Context, s settings, o *order) (balance, error) {
	var err error
	if g.proxy, err = startProxy(g.cloud.transport, g.serving); err != nil {
		return balance{}, err
	}
	defer g.proxy.server.Close()
	toRead := eachQueue(s.shares, queues.read)
	if err := errors.Join(prepareDead(ctx, g.cloud.bus), prepareTicks(ctx, g.cloud.bus), g.cloud.deadLetters(ctx, deadName, toRead...)); err != nil {
		return balance{}, err
	}
	defer g.watchTicks(ctx)()
	if err := g.startConsumers(s.consumer); err != nil {
		return balance{}, err
	}
	defer g.consumers.stop()

	parts, stop := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	stopSenders := func() { stop(); running.Wait() }
	defer stopSenders()
	g.makeSenders()
	running.Go(func() { g.nova.run(parts) }) // makes the exchange that the consumers bind
	if err := lab.Until(ctx, "a consumer to act (see its log in "+g.directory+")", func() (bool, error) {
		for _, r := range g.consumers.replicas {
			if !r.alive() {
				return false, fmt.Errorf("%s has ended by itself: see %s", r.name, g.directory)
			}
		}
		return g.consumers.allActed(), nil
	}); err != nil {
		return balance{}, err
	}
	// The queues of all shares are there now: a host's message that came before would be taken by some.
	for _, h := range g.hosts {
		running.Go(func() { h.courier.run(parts) })
	}
	first := g.hosts[g.cloud.hosts[0]]
	first.courier.send(unreadable(first))
	g.playUntil(ctx, s.bound, o)
	if ctx.Err() != nil {
		return balance{}, ctx.Err()
	}
	return g.closeAccount(ctx, stopSenders)
}

func (g *game) startConsumers(binary string) error {
	g.consumers = newConsumers(binary, g.directory, g.account, g.serving)
	for range 2 {
		if err := g.consumers.add(g.cloud, g.proxy); err != nil {
			return err
		}
	}
	for _, r := range g.consumers.replicas {
		if err := r.start(); err != nil {
			return err
		}
	}
	return nil
}

// watchTicks reads all ticks until it is ended.
func (g *game) watchTicks(ctx context.Context) (end func()) {
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	var reading sync.WaitGroup
	reading.Go(func() { g.serving.watch(ctx, g.cloud.bus) })
	return func() { stop(); reading.Wait() }
}

// makeSenders makes the hosts and Nova.
func (g *game) makeSenders() {
	g.nova = newNovaCourier(g.cloud.bus, g.account)
	for _, name := range g.cloud.hosts {
		g.hosts[name] = newHost(g.cloud.bus, g.account, name)
	}
}

// playUntil plays the order in fair and foul weather.
func (g *game) playUntil(ctx context.Context, bound time.Duration, o *order) {
	ctx, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	raging, abate := context.WithCancel(ctx)
	var storm sync.WaitGroup
	storm.Go(func() { g.rage(raging, o.seed) })
	g.run(ctx, o)
	abate()
	storm.Wait()
}
