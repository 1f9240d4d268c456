package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/replay"
)

const aboutReplay = `Runs earlybind's consumer over a recording, against a simulated Neutron and Nova, and prints of each
live migration what happened when, in milliseconds from the guest's pause: what the hosts and Nova said, what
earlybind decided, the requests to Neutron, and how every port has ended. No server is needed.

  earlybind replay recordings/success.jsonl
  earlybind replay -policy suspended -audit audit.log migration.jsonl

Exit status: 0; 1 could not be done, as of a FILE that is no recording or holds no message; 2 wrong options, as an -audit
that is there and is no replay's log.`

// replica is what a replay's audit log has in place of a consumer's host, process and random part.
const replica = "replay"

// slowest is the lowest speed: what is slower is taken for a slip.
const slowest = 0.1

func replayFile(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("replay", flag.ContinueOnError)
	options := replay.Options{}
	f.Float64Var(&options.Speed, "speed", 0, "how many times as fast as recorded, a `FACTOR`: 1 is as it was; gaps are cut to 5 s; 0: as fast as possible. At a speed each moment is printed as it comes, too")
	log := f.String("audit", "", "write the consumer's audit log to this `FILE`, too: earlybind audit reads it; in place of an earlier replay's log, of no other file")
	policy := f.String("policy", "auto", "when earlybind activates, a `POLICY` as EARLYBIND_POLICY: observe, auto, suspended or resumed")
	name, err := parse(f, aboutReplay, args, faults)
	if err != nil {
		return err
	}
	if options.Speed != 0 && !(options.Speed >= slowest && options.Speed <= math.MaxFloat64) { // NaN is neither
		return misused(f, faults, fmt.Sprintf("-speed must be 0, or at least %v", slowest))
	}
	if err := decodePolicy(*policy, &options.Policy); err != nil {
		return misused(f, faults, err.Error())
	}
	written := sideFile{"audit", *log, "the audit log of a replay", ofReplay}
	if *log != "" {
		if fault := written.refused([]string{name}, out); fault != "" {
			return misused(f, faults, fault)
		}
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
		err := written.write(func(to io.Writer) error { _, err := lines.WriteTo(to); return err })
		if err != nil {
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
	log := audit.NewAt(func() time.Time { return now }, w, zerolog.InfoLevel, replica)
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
	var begin head
	header, messages, err := recording.Read(io.TeeReader(file, &begin))
	switch what := whatIs(begin.Bytes()); {
	case err == nil && len(messages) == 0:
		return header, nil, fmt.Errorf("%s: it holds no message: was it cut?", name)
	case err == nil:
		return header, messages, nil
	case what == isRecording && bytes.HasPrefix(begin.Bytes(), []byte("\x1f\x8b")):
		return header, nil, fmt.Errorf("%[1]s is compressed by gzip: earlybind replay <(zcat %[1]s)", name)
	case what == isRecording || begin.Len() == 0:
		return header, nil, fmt.Errorf("%s: %w", name, err)
	case what != "":
		return header, nil, fmt.Errorf("%s: %s", name, what)
	}
	return header, nil, fmt.Errorf("%s: %w (what a recording is: docs/recording.md)", name, err)
}

// decodePolicy reads the option -policy of what has no settings that could name ports.
func decodePolicy(name string, policy *handover.Policy) error {
	if err := policy.Decode(name); err != nil || *policy == handover.PolicyNamed {
		return errors.New("-policy: one of observe, resumed, suspended, auto")
	}
	return nil
}
