package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/consumer"
)

const aboutPause = `Stops early activation at once: in all replicas, of all shares and cells, without a restart, and in those that
start later too. What is activated already goes on, and restores do. The instances migrate as they would without
earlybind.

  earlybind pause                                       activate nothing early
  earlybind pause -host compute7 -why "new NIC driver"  nothing that leaves compute7 or comes to it
  earlybind pause -show                                 changes nothing: what is paused, by whom and why
  earlybind resume                                      takes back the first
  earlybind resume -host compute7                       takes back the second`

const aboutResume = `Takes back what "earlybind pause" has stopped. Migrations whose moment comes from then on are handed over again;
what was left to Nova meanwhile stays so. A host that is paused by name stays so until it is resumed by name.

  earlybind resume                  takes back "earlybind pause"
  earlybind resume -host compute7   takes back "earlybind pause -host compute7"`

const aboutOrders = `

It needs what a consumer's environment holds of EARLYBIND_AMQP_..., EARLYBIND_OTHER_CELLS, EARLYBIND_QUEUE and
EARLYBIND_QUEUE_TYPE (docs/settings.md), and waits 2 s for the replicas to answer. Exit status: 0 all that run obey;
1 it could not be done, or one that runs has not answered; 2 wrong options or settings.`

func pause(ctx context.Context, args []string, out, faults io.Writer) error {
	var o consumer.Order
	f := flag.NewFlagSet("pause", flag.ContinueOnError)
	f.BoolVar(&o.Show, "show", false, "change nothing: tell what is paused")
	return order(ctx, &o, f, aboutPause, args, out, faults)
}

func resume(ctx context.Context, args []string, out, faults io.Writer) error {
	return order(ctx, &consumer.Order{Resume: true}, flag.NewFlagSet("resume", flag.ContinueOnError), aboutResume, args, out, faults)
}

// order gives an order to the consumers of all cells, and tells who obeys, or shows what is
// paused.
func order(ctx context.Context, o *consumer.Order, f *flag.FlagSet, about string, args []string, out, faults io.Writer) error {
	f.Func("host", "only what leaves this `HOST`, or comes to it; may be given again", func(host string) error {
		if err := hostOf(host); err != nil {
			return err
		}
		if !slices.Contains(o.Hosts, host) {
			o.Hosts = append(o.Hosts, host)
		}
		return nil
	})
	by := f.String("by", "", "the `NAME` of who gives the order, which the consumers' logs show; default SUDO_USER, or the user that runs this")
	f.StringVar(&o.Why, "why", "", "a `REASON`, which the consumers' logs show")
	words, err := parseFiles(f, about+aboutOrders, "", args, faults)
	if err != nil {
		return err
	}
	if len(words) > 0 {
		return misused(f, faults, "it takes options only: a host is named with -host")
	}
	if o.Show && (len(o.Hosts) > 0 || o.Why != "" || *by != "") {
		return misused(f, faults, "-show takes no other option: it changes nothing")
	}
	settings, err := settingsFor(f.Name(), faults)
	if err != nil {
		return err
	}
	o.By = operator(*by)
	told := consumer.Give(ctx, settings, *o)
	if o.Show {
		return reportPaused(told, out)
	}
	return reportOrder(*o, told, out)
}

// reportPaused tells what is paused, and fails where that is not known.
func reportPaused(told []consumer.Told, out io.Writer) error {
	var wrong []string
	for _, t := range told {
		if t.Err != nil {
			wrong = append(wrong, ofCell(t.Cell, len(told), t.Err))
			continue
		}
		fmt.Fprintf(out, "%s: %s\n", t.Cell, t.Is)
		if t.Is.Any() && t.Is.Why != "" {
			fmt.Fprintf(out, "  the last order to pause: %s\n", t.Is.Why)
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}

// operator names who gives an order: by -by, or who has become another user by sudo.
func operator(by string) string {
	name, host := cmp.Or(by, os.Getenv("SUDO_USER")), ""
	if u, err := user.Current(); err == nil {
		name = cmp.Or(name, u.Username)
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return cmp.Or(name, "somebody") + "@" + cmp.Or(host, "somewhere")
}

// reportOrder tells what has come of an order, and fails where not all obey.
func reportOrder(o consumer.Order, told []consumer.Told, out io.Writer) error {
	if len(o.Hosts) > 0 && !o.Resume {
		fmt.Fprintln(out, "a host's name is taken as it is given; Nova's are in: openstack compute service list")
	}
	var wrong []string
	for _, t := range told {
		if t.Given {
			fmt.Fprintf(out, "%s: %s\n", t.Cell, t.Is)
			if o.Resume && len(o.Hosts) == 0 && len(t.Is.Hosts) > 0 {
				fmt.Fprintf(out, "  what was paused by name is resumed by name: earlybind resume -host %s\n", strings.Join(t.Is.Hosts, " -host "))
			}
		}
		if t.Err != nil {
			wrong = append(wrong, ofCell(t.Cell, len(told), t.Err))
			continue
		}
		for _, w := range t.Words {
			name := w.Replica
			if w.Share != "" {
				name += " share " + w.Share
			}
			fmt.Fprintf(out, "  %s obeys, after %d ms\n", name, w.After.Milliseconds())
		}
		switch {
		case t.Missing > 0:
			wrong = append(wrong, fmt.Sprintf("%s: %d of %d that run have not answered: they are frozen, cut off, or of a version without pause; who starts anew obeys",
				t.Cell, t.Missing, t.Missing+len(t.Words)))
		case len(t.Words) == 0:
			fmt.Fprintln(out, "  no consumer runs; who starts obeys")
		}
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "\n"))
	}
	return nil
}
