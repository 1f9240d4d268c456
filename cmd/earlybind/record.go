package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/recording/live"
)

const aboutRecord = `Records what earlybind's consumer would read off RabbitMQ: Nova's notifications and the hosts' events.
It connects with the consumer's settings (EARLYBIND_AMQP_*, see docs/settings.md), reads from a queue of its own,
which goes away with it, takes nothing from anybody, and asks the hosts for their domains. Tokens, and names of users,
projects and instances, are not written. It ends with Ctrl-C, after -for, or when the connection is lost; what
was written until then is whole.

  earlybind record -for 10m migrations.jsonl
  earlybind record -instance UUID -anonymise-hosts -about "it failed" migration.jsonl

Exit status: 0; 1 could not be done; 2 wrong options or settings.`

func record(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("record", flag.ContinueOnError)
	length := f.Duration("for", 0, "how long to record, for example 10m; 0: until Ctrl-C")
	var recorder recording.Recorder
	idsFlag(f, &recorder.Instances, "instance", "an instance's id, a UUID", "record only what is about the instance with this `UUID`; may be given again")
	anonymise := f.Bool("anonymise-hosts", false, "write host1, host2, ... instead of the hosts' names")
	about := f.String("about", "", "a `SENTENCE` for the recording's header: what is shown")
	name, err := parse(f, aboutRecord, args, faults)
	if err != nil {
		return err
	}
	if *length < 0 {
		return misused(f, faults, "-for must not be negative")
	}
	settings, err := settingsFor("record", faults)
	if err != nil {
		return err
	}
	if *length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, *length)
		defer cancel()
	}
	header := recording.Header{MadeBy: "earlybind record " + version, About: *about}
	if *anonymise {
		recorder.Hosts = recording.NewHosts(settings.HostUserPrefix)
	}
	// A recording that is there already is not written over.
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists already, and nothing is written over: choose another name", name)
	}
	if err != nil {
		return err
	}
	written, err := live.Record(ctx, settings, recorder, header, file)
	if err != nil {
		err = errors.New(broker.Told(err))
	}
	err = errors.Join(err, file.Close())
	if err != nil && written == 0 {
		return errors.Join(err, os.Remove(name)) // so that it can be tried again
	}
	fmt.Fprintf(out, "%s: %d messages\n", name, written)
	return err
}
