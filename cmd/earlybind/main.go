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
	"io/fs"
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

// run runs a command and gives the exit code. That its answer could not be written is told here, whatever the command
// has made of it.
func run(ctx context.Context, args []string, out, faults io.Writer) int {
	answer := &stdout{Writer: out}
	return answer.ends(runInto(ctx, args, answer, faults), args, faults)
}

func runInto(ctx context.Context, args []string, out *stdout, faults io.Writer) int {
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
	err := out.others(command(ctx, args[1:], out, faults))
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

// stdout is where a command's answer goes. It keeps its first error, for [run] to tell, and writes nothing more.
type stdout struct {
	io.Writer
	fault error
}

func (o *stdout) Write(p []byte) (n int, err error) {
	if o.fault == nil {
		n, o.fault = o.Writer.Write(p)
	}
	return n, o.fault
}

// ends gives the exit code of a command that has ended so: none that promises an answer where there is none.
func (o *stdout) ends(code int, args []string, faults io.Writer) int {
	if o.fault != nil && (code == done || code == notRight) {
		fmt.Fprintf(faults, "earlybind %s: the output could not be written: %v\n", args[0], withoutPath(o.fault))
		return failed
	}
	return code
}

// others gives what of a command's error is not that of the output.
func (o *stdout) others(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok && errors.Is(err, o.fault) {
		var others []error
		for _, e := range joined.Unwrap() {
			others = append(others, o.others(e))
		}
		return errors.Join(others...)
	}
	if errors.Is(err, o.fault) {
		return nil
	}
	return err
}

// withoutPath leaves the name out of a file's error: of /dev/stdout, say, which is whatever the shell has made of it.
func withoutPath(err error) error {
	var of *fs.PathError
	if errors.As(err, &of) {
		return of.Err
	}
	return err
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

// parseFiles reads a command's options and all that is none. An option that is given and empty is refused.
func parseFiles(f *flag.FlagSet, about, operands string, args []string, faults io.Writer) (files []string, err error) {
	empty := ""
	given := flag.NewFlagSet(f.Name(), flag.ContinueOnError)
	given.SetOutput(io.Discard)
	f.VisitAll(func(o *flag.Flag) { given.Var(option{o, f, &empty}, o.Name, o.Usage) })
	usage := strings.TrimSpace("usage: earlybind " + f.Name() + " [options] " + operands)
	for len(args) > 0 { // options may stand after FILE
		switch err := given.Parse(args); {
		case errors.Is(err, flag.ErrHelp):
			var said bytes.Buffer
			f.SetOutput(&said)
			fmt.Fprintf(&said, "%s\n\n%s\n\noptions:\n", usage, about)
			f.PrintDefaults()
			return nil, help{said.String()}
		case empty != "":
			return nil, misused(f, faults, "-"+empty+" must not be empty")
		case err != nil:
			return nil, misused(f, faults, err.Error())
		}
		if args = given.Args(); len(args) > 0 {
			files, args = append(files, args[0]), args[1:]
		}
	}
	return files, nil
}

// mayBeEmpty are the options to which an empty text says something: a publisher's user may be called as its host is.
var mayBeEmpty = []string{"rights -prefix"}

// option sets one of a command's, and refuses an empty text: a variable of a script's that is not set leaves one, and
// the option would count as not given.
type option struct {
	*flag.Flag
	of    *flag.FlagSet // the command's
	empty *string       // the name of one that is given and empty
}

func (o option) String() string { return "" }

// IsBoolFlag tells the flag package whether it needs no value.
func (o option) IsBoolFlag() bool {
	b, ok := o.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

func (o option) Set(text string) error {
	if text == "" && !slices.Contains(mayBeEmpty, o.of.Name()+" -"+o.Name) {
		*o.empty = o.Name
		return errors.New("it is empty")
	}
	return o.of.Set(o.Name, text)
}

// misused says what is wrong with how a command was called, and where it stands how it is.
func misused(f *flag.FlagSet, faults io.Writer, what string) error {
	fmt.Fprintf(faults, "earlybind %[1]s: %[2]s\nHow it is called: earlybind %[1]s -h\n", f.Name(), what)
	return errUsage
}
