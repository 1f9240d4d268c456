package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/earlybind/earlybind/wire"
)

// serving finds two replicas that act for one share at once, whatever has led to it: one
// that was cut off or frozen, or whose queue has gone to another without a word.
//
// A replica sends a tick through each share's queue of events every second, and may write for
// 5 s after it has sent the last one that came back to it (package consumer). Chaos has a queue of its
// own for all ticks, and so knows when each was sent; which of them came back, and to whom,
// the consumers' logs say: a tick is acknowledged like any message (message.settled, at level
// trace). So for each write it is known when the queue last served its replica, by
// other means than the replica's own lease. A queue has one active consumer: whoever was
// served since is another, and who writes without having been served is a second writer.
// That the queue does not serve two in turn is looked for too.
//
// What is not known is what Neutron does with a write that has come to it in time.
type serving struct {
	mu       sync.Mutex
	ticks    map[string]tick // by digest
	services []service
	writes   []portWrite
	owners   map[string]string       // port -> instance
	shares   map[string]map[int]bool // instance -> the shares that lines about it name
}

// tick is one that was sent.
type tick struct {
	replica string // as it calls itself
	sent    time.Time
}

// service is a line by which a replica acknowledges a tick.
type service struct {
	replica, identity string // chaos' name for it, and its own
	share             int
	digest            string
	at                time.Time
}

// portWrite is a call to Neutron.
type portWrite struct {
	replica, port string
	began         time.Time
	call          string
}

func newServing() *serving {
	return &serving{ticks: map[string]tick{}, owners: map[string]string{}, shares: map[string]map[int]bool{}}
}

// owns tells whose ports these are.
func (s *serving) owns(in *instance) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range in.ports {
		s.owners[p.ID] = in.id
	}
}

// wrote notes a write. A consumer that begins asks of a port that nobody has what it may do
// (binding.ProbePermission), which is none.
func (s *serving) wrote(w portWrite) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.owners[w.port] != "" {
		s.writes = append(s.writes, w)
	}
}

// ticked notes a tick that was sent.
func (s *serving) ticked(body []byte) {
	n, err := wire.Decode(body)
	if err != nil {
		return
	}
	t, err := wire.ParseTick(n)
	sent, known := n.SentAt()
	if err != nil || !known {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticks[digest(body)] = tick{replica: t.Replica, sent: sent}
}

// line takes a line of a replica's log in.
func (s *serving) line(replica string, l auditLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.Instance != "" && l.Share != "" {
		if s.shares[l.Instance] == nil {
			s.shares[l.Instance] = map[int]bool{}
		}
		s.shares[l.Instance][shareNamed(l.Share)] = true
	}
	if key, digest, ok := settledMessage(l); ok && isTick(key) {
		s.services = append(s.services, service{replica: replica, identity: l.Replica, share: shareNamed(l.Share), digest: digest, at: l.Time})
	}
}

// served is that a tick of its own came back to a replica.
type served struct {
	at, sent time.Time
	replica  string
}

// fresh tells whether the lease that it gave was not over at once.
func (s served) fresh() bool { return s.at.Sub(s.sent) < leaseFor+onTheWay }

// byShare gives what is known of each share, in the order of the lines, and how many
// ticks were acknowledged that chaos has not seen sent: those may be fresh.
func (s *serving) byShare() (all map[int][]served, unseen int) {
	all = map[int][]served{}
	for _, one := range s.services {
		t, seen := s.ticks[one.digest]
		switch {
		case !seen:
			unseen++
			t.sent = one.at
		case t.replica != one.identity:
			continue // another's, which waits for the share
		}
		all[one.share] = append(all[one.share], served{at: one.at, sent: t.sent, replica: one.replica})
	}
	for _, of := range all {
		slices.SortFunc(of, func(a, b served) int { return a.at.Compare(b.at) })
	}
	return all, unseen
}

// servingVerdict is what serving has found.
type servingVerdict struct {
	writes, ticks, unseen int
	strays                []string // writes without being served
	pairs                 []string // two were served in turn
	divided               []string // instances of several shares
}

func (s *serving) verdict() servingVerdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, unseen := s.byShare()
	v := servingVerdict{writes: len(s.writes), ticks: len(s.services), unseen: unseen}
	own := map[string][]served{} // by share and replica
	key := func(share int, replica string) string { return fmt.Sprint(share, " ", replica) }
	for share, of := range all {
		for _, one := range of {
			k := key(share, one.replica)
			own[k] = append(own[k], one)
		}
		v.pairs = append(v.pairs, inTurn(share, of)...)
	}
	latest := map[string][]time.Time{} // the last tick's time up to each line
	for k, of := range own {
		var last time.Time
		for _, one := range of {
			if one.sent.After(last) {
				last = one.sent
			}
			latest[k] = append(latest[k], last)
		}
	}
	for _, w := range s.writes {
		share, among := 1, slices.Sorted(maps.Keys(s.shares[s.owners[w.port]]))
		switch {
		case len(among) > 0:
			share = among[0] // the only one
		case len(all) > 1:
			v.strays = append(v.strays, "no line tells of which share its instance is: "+w.call)
			continue
		}
		k := key(share, w.replica)
		// The lease is renewed before the line is written.
		n := sort.Search(len(own[k]), func(i int) bool { return own[k][i].at.After(w.began.Add(onTheWay)) })
		switch {
		case n == 0:
			v.strays = append(v.strays, fmt.Sprintf("share %d: it was never served: %s", share, w.call))
		case w.began.Sub(latest[k][n-1]) > leaseFor+onTheWay:
			v.strays = append(v.strays, fmt.Sprintf("share %d: the last tick that came back had been sent %.1f s before; since then it has served %s: %s", share,
				w.began.Sub(latest[k][n-1]).Seconds(), others(all[share], w.replica, latest[k][n-1], w.began), w.call))
		}
	}
	for _, instance := range slices.Sorted(maps.Keys(s.shares)) {
		if of := s.shares[instance]; len(of) > 1 {
			v.divided = append(v.divided, fmt.Sprintf("%s: %v", instance, slices.Sorted(maps.Keys(of))))
		}
	}
	return v
}

// others names who else was served between.
func others(of []served, replica string, from, until time.Time) string {
	found := map[string]bool{}
	for _, one := range of {
		if one.replica != replica && one.sent.After(from) && one.at.Before(until) {
			found[one.replica] = true
		}
	}
	return cmp.Or(strings.Join(slices.Sorted(maps.Keys(found)), " and "), "nobody")
}

// inTurn finds where a queue has served one, another, the first and the other again within a
// lease. It may go from one to another and back, as a node comes back; a fault that has it do so twice comes
// but each few seconds.
func inTurn(share int, of []served) []string {
	var found []string
	var changes []served
	last := ""
	for _, one := range of {
		if !one.fresh() {
			continue // from what had come before it was frozen
		}
		if last != "" && one.replica != last {
			changes = append(changes, one)
			if n := len(changes); n >= 3 && one.at.Sub(changes[n-3].at) <= leaseFor+onTheWay {
				found = append(found, fmt.Sprintf("share %d, %s: %s again", share, one.at.UTC().Format(stampFormat), one.replica))
			}
		}
		last = one.replica
	}
	return found
}

// fault is nil if nobody has written but whom the queue served. Where too few ticks were seen it
// proves nothing.
func (v servingVerdict) fault() error {
	faults := []error{
		listed(fmt.Sprintf("%d of %d writes were of a replica that the share's queue no longer served", len(v.strays), v.writes), v.strays),
		listed("a queue has served two replicas in turn", v.pairs),
		listed("lines about one instance are of several shares", v.divided),
	}
	if v.writes > 0 && v.unseen*10 > v.ticks {
		faults = append(faults, fmt.Errorf("who acts is not known: of %d ticks that came back %d were not seen sent", v.ticks, v.unseen))
	}
	return errors.Join(faults...)
}

func (v servingVerdict) String() string {
	return fmt.Sprintf("%d writes of the consumers, %d of them by one that the share's queue no longer served; %d ticks came back, %d of them were not seen sent",
		v.writes, len(v.strays), v.ticks, v.unseen)
}

// ticksName is chaos' own queue for all ticks.
const ticksName = "chaos.ticks"

// prepareTicks makes it, before there is a consumer. The exchange is made as the consumers make it.
func prepareTicks(ctx context.Context, b bus) error {
	conn, ch, err := open(ctx, b)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := ch.ExchangeDeclare(wire.ExchangeEvents, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return err
	}
	args := amqp.Table{"x-max-length": int64(100_000), "x-queue-type": "quorum"}
	if _, err := ch.QueueDeclare(ticksName, true, false, false, false, args); err != nil {
		return err
	}
	return ch.QueueBind(ticksName, wire.TickKey("#"), wire.ExchangeEvents, false, nil)
}

// watch reads the ticks until the context ends. Those that come while it has no connection wait.
func (s *serving) watch(ctx context.Context, b bus) {
	for ctx.Err() == nil {
		_ = s.session(ctx, b) // the broker is away, or has been
		sleep(ctx, 500*time.Millisecond)
	}
}

func (s *serving) session(ctx context.Context, b bus) error {
	conn, ch, err := open(ctx, b)
	if err != nil {
		return err
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) }()
	if err := ch.Qos(100, 0, false); err != nil {
		return err
	}
	ticks, err := ch.Consume(ticksName, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d, ok := <-ticks:
			if !ok {
				return errClosed
			}
			s.ticked(d.Body)
			if err := d.Ack(false); err != nil {
				return err
			}
		}
	}
}
