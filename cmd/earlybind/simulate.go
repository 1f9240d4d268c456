package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/earlybind/earlybind/simulation"
)

const aboutSimulate = `Drives earlybind's consumer with a synthetic cloud, in virtual time: live migrations that begin at random, some
of which fail, and a Neutron with few workers that take as long as was measured in the lab. Prints how busy
Neutron and the consumer are, how long activates wait, how much earlier than with Nova alone ports are bound,
and how long restores take. No server is needed.

  earlybind simulate                                 the lab's Neutron at 1, 10 and 30 migrations a minute
  earlybind simulate -load 60 -workers 16 -scale 0.3 a larger one, three times as fast
  earlybind simulate -load 0 -drain 50               fifty guests of one host paused at once

What is modelled and what is not: docs/scale.md. Exit status: 0 every port ended where its guest runs; 1 could
not be done; 2 wrong options; 3 some did not.`

func simulate(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("simulate", flag.ContinueOnError)
	o := simulation.Defaults()
	f.Uint64Var(&o.Seed, "seed", o.Seed, "what chance begins with, a `NUMBER`; the same gives the same")
	loads := f.String("load", list(o.Loads), "live migrations per minute, a `NUMBER` or several with commas between: one run each; 0 with -drain: only the drain")
	f.DurationVar(&o.Duration, "duration", o.Duration, "for how long migrations begin, in virtual time, 1s to 24h; a run goes on until all have ended")
	f.IntVar(&o.Hosts, "hosts", o.Hosts, "compute hosts, a `NUMBER`")
	f.IntVar(&o.Ports, "ports", o.Ports, "ports of each instance, a `NUMBER`")
	f.Float64Var(&o.Failing, "failing", o.Failing, "`PERCENT` of the migrations that fail, in one of the recorded ways")
	f.DurationVar(&o.PreCopy, "pre-copy", o.PreCopy, "from the guest's start on the destination to its pause, on average, 1s to 1h")
	f.IntVar(&o.Drain, "drain", 0, "half-way, so many guests of one host are paused at once, a `NUMBER`")
	f.IntVar(&o.Workers, "workers", o.Workers, "Neutron's API workers, each with a core of its own, a `NUMBER`")
	release := f.String("release", "2025.1", "whose measured latency Neutron has, a `NAME`: "+strings.Join(simulation.Releases(), " or "))
	latency := f.String("latency", "", "a `FILE` with a latency of your own, in milliseconds, in place of -release's: JSON, docs/scale.md has its form")
	f.Float64Var(&o.Scale, "scale", o.Scale, "Neutron takes so many times as long as its latency says, a `FACTOR`, 0.001 to 1000")
	f.Float64Var(&o.Others, "others", 0, "requests per second of Neutron's other clients, a `NUMBER`; each takes as long as a list of ports")
	policy := f.String("policy", o.Policy.String(), "when earlybind activates, a `POLICY` as EARLYBIND_POLICY: observe, auto, suspended or resumed")
	f.DurationVar(&o.Window, "window", o.Window, "how old an event may be that leads to an activate, as EARLYBIND_COMMIT_WINDOW, 1s to 10s")
	f.IntVar(&o.AtOnce, "at-once", o.AtOnce, "at most that `NUMBER` of the consumer's requests are under way, a restore's first, then activates, as EARLYBIND_NEUTRON_AT_ONCE; 0: no bound")
	asJSON := f.Bool("json", false, "print JSON; its times are in milliseconds")
	words, err := parseFiles(f, aboutSimulate, "", args, faults)
	if err != nil {
		return err
	}
	var wrong []string
	if len(words) > 0 {
		wrong = append(wrong, "it takes options only")
	}
	if err := readLoads(*loads, &o); err != nil {
		wrong = append(wrong, err.Error())
	}
	if err := decodePolicy(*policy, &o.Policy); err != nil {
		wrong = append(wrong, err.Error())
	}
	if measured, ok := simulation.Measured()[*release]; ok {
		o.Latency = measured
	} else {
		wrong = append(wrong, fmt.Sprintf("-release: %q was not measured, only %s", *release, strings.Join(simulation.Releases(), " and ")))
	}
	if err := o.Validate(); err != nil {
		wrong = append(wrong, err.Error())
	}
	if len(wrong) > 0 {
		return misused(f, faults, strings.Join(wrong, "; "))
	}
	if *latency != "" {
		if o.Latency, err = latencyOf(*latency); err != nil {
			return err
		}
	}
	report, err := simulation.Simulate(ctx, o)
	if err != nil {
		return err
	}
	if *asJSON {
		text, err := json.MarshalIndent(report, "", "  ")
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s\n", text)
	} else {
		fmt.Fprint(out, report.Text())
	}
	if !report.Right() {
		return errNotRight
	}
	return nil
}

// readLoads reads loads; those that are none leave the default, and are told.
func readLoads(text string, o *simulation.Options) error {
	var loads []float64
	for _, word := range strings.Split(text, ",") {
		load, err := strconv.ParseFloat(strings.TrimSpace(word), 64)
		if err != nil {
			return fmt.Errorf("-load: %q is not a number", word)
		}
		loads = append(loads, load)
	}
	o.Loads = loads
	return nil
}

func latencyOf(file string) (simulation.Latency, error) {
	text, err := os.Open(file)
	if err != nil {
		return simulation.Latency{}, fmt.Errorf("-latency: %w", err)
	}
	defer text.Close()
	l, err := simulation.ReadLatency(text)
	if err != nil {
		why := oneLine(err)
		if errors.Is(err, io.EOF) {
			why = "it is empty"
		}
		return l, fmt.Errorf("-latency: %s: %s (what it holds: docs/scale.md)", file, why)
	}
	return l, nil
}

func list(numbers []float64) string {
	var words []string
	for _, n := range numbers {
		words = append(words, strconv.FormatFloat(n, 'g', -1, 64))
	}
	return strings.Join(words, ",")
}
