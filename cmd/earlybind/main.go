// The program earlybind checks clouds, tells what a consumer's audit log says, shows it live, pauses
// consumers, mends ports, records what a consumer would read, replays recordings, and simulates a cloud.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
)

// version is set when a release is linked.
var version = "dev"

// Exit codes.
const (
	done       = 0
	failed     = 1
	wrongUsage = 2
	notRight   = 3 // of audit, check, doctor and simulate
)

const usage = `earlybind looks into live migrations as earlybind's consumer sees them.

  earlybind audit FILE...  tell what a consumer's log says: what ended wrong, what was or would be gained
  earlybind check          read a cloud and say what is fit for earlybind, what is not, and what to change
  earlybind doctor         find ports whose bindings are not where their guest is, and mend them
  earlybind parked         list the messages that consumers have put aside
  earlybind pause, resume  stop early activation at once, or go on with it, in all replicas
  earlybind replay FILE    run the consumer over a recording and print what happened, and what it did
  earlybind rights HOST... print the commands that make earlybind's RabbitMQ users, with no more rights than they need
  earlybind record FILE    record what a consumer would read off RabbitMQ, without tokens and names
  earlybind simulate       run the consumer in a synthetic cloud and print how far it goes
  earlybind watch FILE...  show live which handovers go on, and how the last have ended

"earlybind COMMAND -h" lists a command's options, "earlybind -version" prints the version. Recordings to begin with are in
the directory recordings of earlybind's source:

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
		"audit": auditLogs, "check": checkCloud, "doctor": examine, "parked": parked, "pause": pause, "record": record, "replay": replayFile, "resume": resume, "rights": printRights,
		"simulate": simulate, "watch": watchLogs,
	}
	switch {
	case len(args) == 0:
		fmt.Fprint(faults, usage)
		return wrongUsage
	case slices.Contains([]string{"help", "-h", "-help", "--help"}, args[0]):
		if len(args) > 1 {
			return run(ctx, []string{args[1], "-h"}, out, faults)
		}
		fmt.Fprint(out, usage)
		return done
	case slices.Contains([]string{"version", "-version", "--version"}, args[0]):
		fmt.Fprintln(out, "earlybind", version)
		return done
	}
	command, ok := commands[args[0]]
	if !ok && strings.HasPrefix(args[0], "-") {
		fmt.Fprintf(faults, "earlybind: there is no option %q; earlybind -h lists the commands\n", args[0])
		return wrongUsage
	}
	if !ok {
		fmt.Fprintf(faults, "earlybind: there is no command %q; earlybind -h lists them\n", args[0])
		return wrongUsage
	}
	err := command(ctx, args[1:], out, faults)
	var asked help
	switch {
	case errors.As(err, &asked):
		fmt.Fprint(out, asked.text)
		return done
	case err == nil:
		return done
	case errors.Is(err, errUsage):
		return wrongUsage
	case errors.Is(err, errNotRight):
		return notRight
	}
	fmt.Fprintf(faults, "earlybind %s: %v\n", args[0], err)
	return failed
}

// oneLine says in one what the broker's package says in a line per node.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// help is what who asks for it is told: it goes where a command's answer does.
type help struct{ text string }

func (help) Error() string { return "help was asked for" }

// parse reads a command's options and its FILE.
func parse(f *flag.FlagSet, about string, args []string, faults io.Writer) (file string, err error) {
	files, err := parseFiles(f, about, "FILE", args, faults)
	if err == nil && len(files) != 1 {
		return "", misused(f, faults, "one FILE is needed")
	}
	if err != nil {
		return "", err
	}
	return files[0], nil
}

// parseFiles reads a command's options and all that is none.
func parseFiles(f *flag.FlagSet, about, operands string, args []string, faults io.Writer) (files []string, err error) {
	var said bytes.Buffer
	f.SetOutput(&said)
	usage := strings.TrimSpace("usage: earlybind " + f.Name() + " [options] " + operands)
	f.Usage = func() {}
	for len(args) > 0 { // options may stand after FILE
		if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(&said, "%s\n\n%s\n\noptions:\n", usage, about)
			f.PrintDefaults()
			return nil, help{said.String()}
		} else if err != nil {
			return nil, misused(f, faults, err.Error())
		}
		if args = f.Args(); len(args) > 0 {
			files, args = append(files, args[0]), args[1:]
		}
	}
	return files, nil
}

// misused says what is wrong with how a command was called, and where it stands how it is.
func misused(f *flag.FlagSet, faults io.Writer, what string) error {
	fmt.Fprintf(faults, "earlybind %[1]s: %[2]s\nHow it is called: earlybind %[1]s -h\n", f.Name(), what)
	return errUsage
}
