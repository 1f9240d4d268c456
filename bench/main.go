// Command bench measures earlybind against what bounds it, in one run, and prints
// goals beside results. `make bench` runs it; docs/performance.md explains it.
//
//	reaction  from libvirt's callback to the activate's arrival, and ports in parallel
//	drain     fifty guests pause at once and some fail, before two slow API workers
//	firehose  notifications filtered, against a bare consumer and oslo.messaging's
//	memory    of consumer and publisher, and how often the publisher wakes
//	growth    the consumer's own benchmarks
//
// It needs docker, and starts containers of its own, named bench-*.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"
	"syscall"
	"time"
)

// options say how much is measured.
type options struct {
	steady int // handovers of each kind, one a second
	spread int // handovers of each number of ports
	burst  int // handovers at once
	bursts int // rounds

	drained   int   // guests that pause at once
	failing   int   // of them, where some fail
	limits    []int // EARLYBIND_NEUTRON_AT_ONCE
	failingAt []int // of them, with guests that fail

	messages int // notifications in a round of the firehose
	rounds   int
	oslo     int // of them with oslo.messaging's listener, which is slow

	armed       int           // handovers, to measure their memory
	armedAtOnce int           // in one step
	idle        time.Duration // until memory is read
	watch       time.Duration // how long wake-ups are counted

	growth     int    // runs of the benchmarks
	growthTime string // of each, as -benchtime has it
}

var (
	full = options{steady: 240, spread: 50, burst: 1000, bursts: 4,
		drained: 50, failing: 10, limits: []int{1, 2, 4, 8, 16, atOnce}, failingAt: []int{8, atOnce},
		messages: 60_000, rounds: 5, oslo: 3,
		armed: 100_000, armedAtOnce: 2_500, idle: 10 * time.Second, watch: time.Minute,
		growth: 5, growthTime: "500x",
	}
	short = options{steady: 12, spread: 10, burst: 200, bursts: 2,
		drained: 50, failing: 10, limits: []int{atOnce}, failingAt: []int{atOnce},
		messages: 5_000, rounds: 2, oslo: 1,
		armed: 2_000, armedAtOnce: 250, idle: 3 * time.Second, watch: 15 * time.Second,
		growth: 1, growthTime: "200x",
	}
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// longest is after how long a run is given up: it takes 15 minutes.
const longest = 25 * time.Minute

var began = time.Now()

// say tells how far the run is.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

func run() error {
	brief := flag.Bool("short", false, "few samples, in 2 minutes")
	parts := flag.String("parts", "", "only these parts, with commas between them: reaction, drain, firehose, memory, growth")
	results := flag.String("results", "", "where the results are kept; empty: bench/results.json, and of some parts alone nowhere")
	profile := flag.String("cpuprofile", "", "write a CPU profile of this process, in which the reaction runs")
	messages := flag.Int("bare", -1, "be the bare consumer of so many messages: the bench starts itself as that")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *results == "" && *parts == "" {
		*results = "bench/results.json"
	}
	if *messages >= 0 {
		return bare(ctx, rabbitFromEnvironment(), bareQueue, *messages)
	}
	if err := findRoot(); err != nil {
		return err
	}
	o := full
	if *brief {
		o = short
	}
	ctx, end := context.WithTimeout(ctx, longest)
	defer end()
	removeContainers()
	defer removeContainers()
	if err := buildImages(ctx, "openstack", "rabbitmq", "earlybind"); err != nil {
		return err
	}
	r, err := startRabbit(ctx)
	if err != nil {
		return err
	}
	rep := &report{Date: time.Now().UTC().Format(time.RFC3339), Short: *brief, Only: *parts, Machine: describeMachine(), Versions: versions()}
	if rep.Versions["rabbitmq"], err = r.version(ctx); err != nil {
		return err
	}
	if *profile != "" {
		file, err := os.Create(*profile)
		if err != nil {
			return err
		}
		defer file.Close()
		if err := pprof.StartCPUProfile(file); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	var faults []error
	for _, part := range []struct {
		name    string
		measure func(context.Context, *rabbit, options, *report) error
	}{
		{"reaction", react}, {"drain", drain}, {"firehose", filter}, {"memory", remember}, {"growth", grow},
	} {
		if *parts != "" && !slices.Contains(strings.Split(*parts, ","), part.name) {
			continue
		}
		say("%s", part.name)
		// What the other parts have measured is kept.
		if err := part.measure(ctx, r, o, rep); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", part.name, err))
			rep.Faults = append(rep.Faults, faults[len(faults)-1].Error())
		}
	}
	rep.Machine.LoadAtEnd = load()
	rep.print(os.Stdout)
	return errors.Join(append(faults, rep.write(*results))...)
}
