package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/replay"
)

const aboutReplay = `Runs earlybind's consumer over a recording, against a simulated Neutron and Nova, and prints of each
live migration what happened when, in milliseconds from the guest's pause: what the hosts and Nova said, what
earlybind decided, the requests to Neutron, and how every port has ended. No server is needed.

  earlybind replay recordings/success.jsonl
  earlybind replay -policy suspended -audit audit.log migration.jsonl

Exit status: 0; 1 could not be done; 2 wrong options.`

// slowest is the lowest speed: what is slower is taken for a slip.
const slowest = 0.1

func replayFile(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("replay", flag.ContinueOnError)
	options := replay.Options{}
	f.Float64Var(&options.Speed, "speed", 0, "how many times as fast as recorded, a `FACTOR`: 1 is as it was; gaps are cut to 5 s; 0: as fast as possible. At a speed each moment is printed as it comes, too")
	log := f.String("audit", "", "write the consumer's audit log to this `FILE`, too: earlybind audit reads it")
	policy := f.String("policy", "auto", "when earlybind activates, a `POLICY` as EARLYBIND_POLICY: observe, auto, suspended or resumed")
	name, err := parse(f, aboutReplay, args, faults)
	if err != nil {
		return err
	}
	if options.Speed != 0 && !(options.Speed >= slowest && options.Speed <= math.MaxFloat64) { // NaN is neither
		return misused(f, faults, fmt.Sprintf("-speed must be 0, or at least %v", slowest))
	}
	if err := options.Policy.Decode(*policy); err != nil {
		return misused(f, faults, "-policy: "+err.Error())
	}
	header, messages, err := open(name)
	if err != nil {
		return err
	}
	if options.Speed != 0 {
		options.Follow = func(at time.Duration, instance, who, what string) {
			fmt.Fprintf(out, "%8.3f s  %.8s  %-22s %s\n", at.Seconds(), instance, who, what)
		}
	}
	var lines bytes.Buffer
	options.Audit = auditTo(&lines, header.Began)
	stories, err := replay.Run(ctx, header, messages, options)
	if err != nil {
		return err
	}
	if *log != "" {
		if err := os.WriteFile(*log, lines.Bytes(), 0o600); err != nil {
			return err
		}
	}
	if options.Speed != 0 {
		fmt.Fprintln(out)
	}
	fmt.Fprint(out, replay.Text(header, stories))
	_, err = fmt.Fprintf(out, "live migrations: %d; messages: %d; policy: %s\n", len(stories), len(messages), options.Policy)
	return err
}

// auditTo writes the audit log of a replay of what was recorded then.
func auditTo(w io.Writer, began time.Time) func(time.Duration, audit.Line) {
	var now time.Time
	log := audit.NewAt(func() time.Time { return now }, w, zerolog.InfoLevel, "replay")
	return func(at time.Duration, line audit.Line) {
		now = began.Add(at)
		log.Record(line)
	}
}

func open(name string) (recording.Header, []recording.Message, error) {
	file, err := os.Open(name)
	if err != nil {
		return recording.Header{}, nil, err
	}
	defer file.Close()
	header, messages, err := recording.Read(file)
	if err != nil {
		return header, nil, fmt.Errorf("%s: %w", name, err)
	}
	return header, messages, nil
}
