package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	// silenceWithin is how long a handover that is over holds its messages: Nova's
	// silence is waited for half a minute, and a port whose messages another replica has
	// acted on is watched for a minute; the last look at it comes some seconds after that.
	silenceWithin = 90 * time.Second
	// settleWithin bounds the wait for outcomes: a handover that nothing ends holds
	// its messages for ten minutes (holdFor of package consumer), and looks each
	// minute.
	settleWithin = 12 * time.Minute
)

// closeAccount has everything sent that was still to come, waits until every
// message has an outcome, stops all, and reads what is left.
func (g *game) closeAccount(ctx context.Context, stopSenders func()) (balance, error) {
	ctx, cancel := context.WithTimeout(ctx, settleWithin+5*time.Minute)
	defer cancel()
	until := time.Now().Add(settleWithin)
	if err := g.eachSender(func(c *courier) error { return c.finish(ctx) }); err != nil {
		return balance{}, err
	}
	g.awaitOutcomes(ctx, time.Now().Add(silenceWithin))
	g.migrateOnceMore(ctx)
	for _, in := range g.retired {
		g.removeInstance(ctx, in)
	}
	if err := g.eachSender(func(c *courier) error { return c.flush(ctx) }); err != nil {
		return balance{}, err
	}
	g.awaitOutcomes(ctx, until)
	g.awaitEnds(ctx, until)
	stopSenders() // a consumer's question for lists would still be answered
	g.awaitOutcomes(ctx, until)
	g.awaitJournals(ctx, until)
	g.consumers.stop()
	if err := readRemains(ctx, g.cloud.bus, g.account); err != nil {
		return balance{}, fmt.Errorf("the account cannot be closed: %w", err)
	}
	return g.account.balance(), nil
}

func (g *game) eachSender(do func(*courier) error) error {
	faults := []error{do(g.nova)}
	for _, h := range g.hosts {
		faults = append(faults, do(h.courier))
	}
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("the last messages could not be sent: %w", err)
	}
	return nil
}

// awaitOutcomes waits until every message has one, and says each half minute how
// many have not. Of those that a share's queue may not have been given the broker is asked.
func (g *game) awaitOutcomes(ctx context.Context, until time.Time) {
	empty := g.watchQueues(func(q queues) []string { return []string{q.notifications} })
	for said := time.Now(); time.Now().Before(until) && ctx.Err() == nil; sleep(ctx, look) {
		open, unsure, _ := g.account.open()
		if open == 0 && (unsure == 0 || empty(ctx)) {
			return
		}
		if time.Since(said) > 30*time.Second {
			said = time.Now()
			if err := readDead(ctx, g.cloud.bus, g.account); err != nil {
				g.say("what has expired could not be read: %v", err)
				continue
			}
			open, unsure, _ = g.account.open()
			g.say("%d messages have no outcome yet, and %d may not have come to a share", open, unsure)
		}
	}
}

// awaitJournals waits until the journals are empty. All ports are gone by now; each is looked at again
// when it is due, the later the longer it was wrong.
func (g *game) awaitJournals(ctx context.Context, until time.Time) {
	empty := g.watchQueues(func(q queues) []string { return []string{q.journal} })
	for time.Now().Before(until) && ctx.Err() == nil && !empty(ctx) {
		sleep(ctx, look)
	}
}

// emptyFor is longer than the broker takes to count what is in a queue.
const emptyFor = 6 * time.Second

// watchQueues gives what tells, when it is asked again and again, that some queues have been empty for a while.
func (g *game) watchQueues(of func(queues) []string) (empty func(context.Context) bool) {
	var since time.Time
	return func(ctx context.Context) bool {
		n, err := g.cloud.held(ctx, eachQueue(g.account.shares, of)...)
		switch {
		case err != nil || n > 0:
			since = time.Time{} // a broker that does not answer may be restarted by others
		case since.IsZero():
			since = time.Now()
		}
		return !since.IsZero() && time.Since(since) > emptyFor
	}
}

// migrateOnceMore migrates the instances that messages are still held of, in calm:
// a late message of an earlier migration can have begun a handover that nothing
// ends but the next migration. That has to end right like any other.
func (g *game) migrateOnceMore(ctx context.Context) {
	_, _, open := g.account.open()
	var all sync.WaitGroup
	for i, in := range g.retired {
		if !open[in.id] {
			continue
		}
		all.Go(func() {
			p := plan{number: -1 - i, stream: recordings[false][0], rng: rand.New(rand.NewPCG(1, uint64(i)))}
			last := g.play(ctx, p, in)
			j := g.judge(ctx, last, in, func() {})
			r := newRecord(g.cloud.release, g.build, 0, g.account.shares, last, j)
			if r.Right && len(r.Hurt) == 0 {
				return
			}
			story, err := g.keepStory(last, in, j)
			g.fail("%w", errors.Join(err, fmt.Errorf("the last migration of %s: right %t %s; hurt Nova: %v; see %s", in.id, r.Right, r.Why, r.Hurt, story)))
		})
	}
	all.Wait()
}
