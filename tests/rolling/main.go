// Command rolling live-migrates the lab's guests by Nova while everything is restarted in
// turn, as in an operator's roll-out: both consumers, both publishers, every node of RabbitMQ, Neutron. It
// judges every port after each migration, rows and status, and once more before the guest's
// next one, and asks whether the guest answers.
//
//	rolling -n 50
//
// Samples are appended to a file, and a run goes on where it was stopped. The exit status is
// 1 if a port ended wrong, an activate of Nova's failed that met one of ours, a guest was silent at the end and it is not known why, or no migration
// met a restart of one of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/tests/results"
)

func main() { lab.Main("rolling", run) }

func run(ctx context.Context) error {
	n := flag.Int("n", 50, "how many migrations in all")
	file := flag.String("results", "", "append samples to this file and count those that are in it")
	length := flag.Duration("for", 40*time.Minute, "no migration begins later than this")
	policy := flag.String("policy", "auto", "EARLYBIND_POLICY of the consumers")
	replug := flag.Bool("replug", true, "the publishers plug ports in again, so that auto activates while a guest stands still")
	cluster := flag.Bool("cluster", false, "RabbitMQ has three nodes meanwhile, and each is restarted in turn")
	flag.Parse()

	earlier, err := results.Load[sample](*file)
	if err != nil {
		return err
	}
	if left := *n - judged(earlier); left > 0 {
		taken, err := roll(ctx, left, *file, *length, *policy, *replug, *cluster)
		if err != nil {
			return err
		}
		earlier = append(earlier, taken...)
	}
	fmt.Print(table(earlier))
	return verdict(earlier, *n, order(*cluster))
}

// judged counts the samples that tell how their ports have ended.
func judged(samples []sample) int {
	n := 0
	for _, m := range samples {
		if m.judged() {
			n++
		}
	}
	return n
}

// roll takes samples: two guests in turn from host to host, each as soon as Nova takes it.
// They begin on different hosts, since Nova migrates one guest at a time away from a host.
func roll(ctx context.Context, n int, file string, length time.Duration, policy string, replug, cluster bool) (_ []sample, err error) {
	l, err := lab.Open(ctx)
	if err != nil {
		return nil, err
	}
	second := l.About("guest2")
	for _, guest := range []*lab.Lab{l, second} {
		if err := (&traveller{lab: guest}).takeUp(ctx); err != nil {
			return nil, err
		}
	}
	first, err := l.Server(ctx)
	if err != nil {
		return nil, err
	}
	if err := second.Boot(ctx, lab.Other(first.Host)); err != nil {
		return nil, err
	}
	if err := errors.Join(l.SetReplug(ctx, replug), l.SetPolicy(ctx, policy)); err != nil {
		return nil, err
	}
	if cluster {
		if err := l.LosesNothingWithANode(ctx); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, l.RemoveNodes(context.WithoutCancel(ctx))) }()
		if err := l.AddNodes(ctx); err != nil {
			return nil, err
		}
	}
	to, err := results.Open[sample](file)
	if err != nil {
		return nil, err
	}
	defer to.Close()

	restarting, stop := context.WithCancel(ctx)
	defer stop()
	r := &restarts{lab: l, cluster: cluster}
	var rolling, migrating sync.WaitGroup
	var fault error
	rolling.Go(func() { fault = r.run(restarting) })

	var left atomic.Int64
	left.Store(int64(n))
	end := time.Now().Add(length)
	more := func() bool { return ctx.Err() == nil && time.Now().Before(end) && left.Add(-1) >= 0 }
	var lock sync.Mutex
	var taken []sample
	keep := func(m sample) {
		lock.Lock()
		defer lock.Unlock()
		m.Restarts = r.since(m.Began, m.Ended)
		taken = append(taken, m)
		fmt.Printf("%3d %s\n", len(taken), m)
		if err := to.Save(m); err != nil {
			fmt.Fprintln(os.Stderr, "rolling:", err)
		}
	}
	for _, guest := range []*lab.Lab{l, second} {
		migrating.Go(func() { (&traveller{lab: guest}).travel(ctx, more, keep) })
	}
	migrating.Wait()
	stop()
	rolling.Wait()
	return taken, errors.Join(ctx.Err(), fault)
}
