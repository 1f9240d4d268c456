// Command bench measures earlybind against what bounds it, in one run, and prints
// goals beside results; see doc in docs/performance.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options say how much is measured.
type options struct {
	steady int // handovers of each kind, one a second
	spread int // handovers of each number of ports
	burst  int // handovers at once
	bursts int // rounds
}

var (
	full  = options{steady: 120, spread: 50, burst: 1000, bursts: 3}
	short = options{steady: 12, spread: 10, burst: 1000, bursts: 1}
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	brief := flag.Bool("short", false, "few samples")
	results := flag.String("results", "bench/results.json", "where the results are kept")
	flag.Parse()
	if err := findRoot(); err != nil {
		return err
	}
	o := full
	if *brief {
		o = short
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	removeContainers()
	defer removeContainers()
	if err := buildImages(ctx, "rabbitmq"); err != nil {
		return err
	}
	r, err := startRabbit(ctx)
	if err != nil {
		return err
	}
	rep := &report{Date: time.Now().UTC().Format(time.RFC3339), Short: *brief, Machine: describeMachine(), Versions: versions()}
	if rep.Versions["rabbitmq"], err = r.version(ctx); err != nil {
		return err
	}
	if err := react(ctx, r, o, rep); err != nil {
		return err
	}
	rep.print(os.Stdout)
	return rep.write(*results)
}
