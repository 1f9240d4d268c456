package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/audit/watch"
)

const aboutWatch = `Shows live which handovers go on, where each stands and what it waits for, how the last have ended and with what lead,
by the audit logs of earlybind's consumers. A file is followed, also when it is rotated; - is standard input. Give it the
logs of all replicas: one that takes a handover over is then known. Journals are read as below, in bash, as root on both
controllers. Of a file that is there already the last 16 MiB are read first. On a terminal it draws in place, in colours
unless NO_COLOR is set; else it writes one line for each change, and on standard error how many handovers it has found
when it has read what is there, and in which log no line of an audit log comes.

  earlybind watch <(journalctl -u earlybind-consumer -a -o json -f -n 5000) \
    <(ssh CONTROLLER2 journalctl -u earlybind-consumer -a -o json -f -n 5000)
  earlybind watch <(docker logs -f CONSUMER1) <(docker logs -f CONSUMER2)
  earlybind watch /var/log/earlybind/consumer.log
  docker logs -f --since 1h CONSUMER | earlybind watch -      one alone

It ends with Ctrl-C, or when its input does. Exit status: 0; 1 a log could not be read, a file holds lines and none of an
audit log (an empty one is waited for), or the input has ended without one; 2 wrong options. "earlybind audit" tells more
of a handover.`

// mostOutcomes bounds how many outcomes are shown.
const mostOutcomes = 500

func watchLogs(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("watch", flag.ContinueOnError)
	outcomes := f.Int("n", 10, "how many of the last outcomes are shown on a terminal, a `NUMBER`")
	files, err := parseFiles(f, aboutWatch, "FILE...", args, faults)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return misused(f, faults, "at least one FILE is needed, or - for standard input")
	}
	if *outcomes < 1 || *outcomes > mostOutcomes {
		return misused(f, faults, fmt.Sprintf("-n must be from 1 to %d", mostOutcomes))
	}
	if fault := sameTwice(files); fault != "" {
		return misused(f, faults, fault)
	}
	var sources []watch.Source
	for _, name := range files {
		source, err := sourceOf(ctx, name)
		if err != nil {
			return err
		}
		sources = append(sources, source)
	}
	o := watch.Options{Outcomes: *outcomes, Terminal: draws(out), Colour: colours(), Size: func() watch.Size { return sizeOf(out) }}
	if !o.Terminal { // there a frame says it
		o.Silent = func(name string) {
			fmt.Fprintf(faults, "earlybind watch: %s: no line of earlybind's audit log in it yet, one is waited for; %s\n", name, whatTheLogIs)
		}
	}
	o.CaughtUp = func(ended, going int) {
		fmt.Fprintf(faults, "earlybind watch: read what is there: handovers that have ended: %d, that go on: %d; what comes is waited for (Ctrl-C ends it)\n", ended, going)
	}
	read, err := watch.Run(ctx, sources, out, o)
	if err == nil && ctx.Err() == nil && read.Lines == 0 {
		err = noLine(files, read.Skipped)
	}
	return err
}

func sourceOf(ctx context.Context, name string) (watch.Source, error) {
	if name == "-" {
		return watch.Stream("standard input", os.Stdin), nil
	}
	if err := grows(ctx, name); err != nil {
		return watch.Source{}, err
	}
	return watch.Follow(name)
}

// grows refuses a file in a form that nothing is added to, and one that holds something else than an audit log. An
// empty one may become one.
func grows(ctx context.Context, name string) error {
	info, err := os.Stat(name)
	if err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	magic := make([]byte, 8)
	n, err := io.ReadFull(file, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	if strings.HasPrefix(string(magic[:n]), "\x1f\x8b") {
		return fmt.Errorf("%s is compressed, and so nothing is added to it: earlybind audit %s", name, name)
	}
	found := false
	skipped, begin, err := readLog(ctx, name, func(audit.Entry) bool { found = true; return false })
	if err != nil || found || skipped == (audit.Skipped{}) {
		return err
	}
	var other silent
	other.add(name, skipped, begin)
	return other.fault()
}
