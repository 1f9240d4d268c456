// The program earlybind records what a consumer would read, and replays recordings.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// version is set when a release is linked.
var version = "dev"

// Exit codes.
const (
	done       = 0
	failed     = 1
	wrongUsage = 2
)

const usage = `earlybind looks into live migrations as earlybind's consumer sees them.

  earlybind replay FILE    run the consumer over a recording and print what happened, and what it did
  earlybind record FILE    record what a consumer would read off RabbitMQ, without tokens and names

"earlybind replay -h" and "earlybind record -h" list their options. Recordings to begin with are in recordings/:

  earlybind replay recordings/success.jsonl
`

// errUsage marks what the user has called wrongly; it was said already.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	context.AfterFunc(ctx, stop) // a second signal has its default effect
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// run runs a command and gives the exit code.
func run(ctx context.Context, args []string, out, faults io.Writer) int {
	commands := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"record": record, "replay": replayFile,
	}
	switch {
	case len(args) == 0:
		fmt.Fprint(faults, usage)
		return wrongUsage
	case slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]):
		fmt.Fprint(out, usage)
		return done
	case args[0] == "-version":
		fmt.Fprintln(out, "earlybind", version)
		return done
	}
	command, ok := commands[args[0]]
	if !ok {
		fmt.Fprintf(faults, "there is no command %q\n\n%s", args[0], usage)
		return wrongUsage
	}
	err := command(ctx, args[1:], out, faults)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return done
	case errors.Is(err, errUsage):
		return wrongUsage
	}
	fmt.Fprintf(faults, "earlybind %s: %v\n", args[0], err)
	return failed
}

// parse reads a command's options and its FILE.
func parse(f *flag.FlagSet, about string, args []string, faults io.Writer) (file string, err error) {
	f.SetOutput(faults)
	f.Usage = func() {
		fmt.Fprintf(faults, "usage: earlybind %s [options] FILE\n\n%s\n\noptions:\n", f.Name(), about)
		f.PrintDefaults()
	}
	var files []string
	for len(args) > 0 { // options may stand after FILE
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			return "", err
		} else if err != nil {
			return "", errUsage
		}
		if args = f.Args(); len(args) > 0 {
			files, args = append(files, args[0]), args[1:]
		}
	}
	if len(files) != 1 {
		return "", misused(f, faults, "one FILE is needed")
	}
	return files[0], nil
}

// misused says what is wrong with how a command was called.
func misused(f *flag.FlagSet, faults io.Writer, what string) error {
	fmt.Fprintf(faults, "earlybind %s: %s\n\n", f.Name(), what)
	f.Usage()
	return errUsage
}
