// Command outage measures what a live migration costs a guest's network, with Nova alone
// and with earlybind in turn: a probe on a third host sends one of the guest's addresses a
// packet every 5 ms, and the others every 50, while real Nova migrates it to and fro.
//
//	outage -n 10
//
// Samples are appended to a file, and a run goes on where it was stopped. The exit status is
// 1 if a port's rows did not end right.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/tests/results"
)

func main() { lab.Main("outage", run) }

func run(ctx context.Context) error {
	n := flag.Int("n", 10, "how many migrations in each cell")
	file := flag.String("results", "", "append samples to this file and count those that are in it")
	length := flag.Duration("for", 3*time.Hour, "no migration begins later than this")
	sizes := flag.String("guests", "small,large", "which of the guests")
	flag.Parse()

	samples, err := results.Load[sample](*file)
	if err != nil {
		return err
	}
	l, err := lab.Open(ctx)
	if err != nil {
		return err
	}
	drivers, err := l.Drivers(ctx)
	if err != nil {
		return err
	}
	// Also of a run that breaks off.
	defer func() { fmt.Print(table(samples)) }()
	end := time.Now().Add(*length)
	for name := range strings.SplitSeq(*sizes, ",") {
		g, err := guestOf(name)
		if err != nil {
			return err
		}
		taken, err := series(ctx, l, g, missing(samples, l.Release, drivers, name, *n), drivers, *file, end)
		samples = append(samples, taken...)
		if err != nil {
			return err
		}
	}
	return verdict(samples)
}

// missing lists the arms of the samples still to be taken of a guest, in turn: what else the
// machine does then falls on all of them.
func missing(samples []sample, release, drivers, guest string, n int) []arm {
	have := map[string]int{}
	for _, m := range samples {
		if m.Release == release && m.Drivers == drivers && m.Guest == guest && m.Fault == "" {
			have[m.Arm]++
		}
	}
	var left []arm
	for round := range n {
		for _, a := range arms {
			if have[a.name] <= round {
				left = append(left, a)
			}
		}
	}
	return left
}

// series takes a sample of each arm in turn, with Nova as it is installed: the lab's own
// longest pause would have the guest stand still while its whole memory is copied.
func series(ctx context.Context, l *lab.Lab, g guest, left []arm, drivers, file string, end time.Time) (taken []sample, err error) {
	if len(left) == 0 {
		return nil, nil
	}
	to, err := results.Open[sample](file)
	if err != nil {
		return nil, err
	}
	defer to.Close()
	of := l.About(g.id)
	if err := g.boot(ctx, of); err != nil {
		return nil, err
	}
	defer func() {
		ctx := context.WithoutCancel(ctx)
		err = errors.Join(err, l.SetDowntime(ctx, lab.LabDowntime), l.SetReplug(ctx, false), l.SetPolicy(ctx, "auto", concurrent+"detect"))
	}()
	// The publishers plug ports in again in every arm, so that they need no restart in between; without a failure they
	// have nothing to do. They can on Open vSwitch only.
	replug := strings.HasPrefix(drivers, "openvswitch")
	if err := errors.Join(l.SetDowntime(ctx, lab.DefaultDowntime), l.SetReplug(ctx, replug)); err != nil {
		return nil, err
	}
	for i, a := range left {
		if time.Now().After(end) {
			return taken, nil
		}
		m, err := take(ctx, of, g, a, drivers)
		if err != nil {
			return taken, fmt.Errorf("%s guest, %s: %w", g.name, a.title, err)
		}
		fmt.Printf("%s guest, %d to go: %s\n", g.name, len(left)-i-1, m)
		taken = append(taken, m)
		if err := to.Save(m); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

func verdict(samples []sample) error {
	wrong := 0
	for _, m := range samples {
		if !m.RowsRight && m.Fault == "" {
			wrong++
		}
	}
	if wrong > 0 {
		return fmt.Errorf("a port's rows did not end right in %d migrations", wrong)
	}
	return nil
}
