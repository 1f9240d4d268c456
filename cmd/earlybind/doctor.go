package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/doctor"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/wire"
)

const aboutDoctor = `Finds the ports of a cloud whose bindings are not right where Nova has their instance: stale, wrong way
round, without an ACTIVE row, half rolled back, left migrating_to. Prints what would mend each, request by request.
It reads only, unless -fix is given: then it looks again after a minute, and sends what still stands, each request
written to the undo journal before. What has a migration of any type, a task or an unconfirmed resize, or is
soft-deleted, is left alone.

  earlybind doctor                              examine all compute hosts that Nova names
  earlybind doctor -before-migrate compute7     what would be in the way of migrating compute7's instances (of what is under
                                                way there too)
  earlybind doctor -fix -journal doctor.jsonl   and mend it
  earlybind doctor -port 0b6f…                  look at this port too: one without any row is in no host's list
  earlybind doctor -ask                         and have the publishers say where the guests run
  earlybind doctor -json | jq '.cases[] | select(.wrong) | {port, verdict, host}'

-ask reads the consumer's settings of RabbitMQ from the environment (docs/settings.md). Where a publisher's list and Nova
disagree about an instance nothing of it is mended; where Nova has it in ERROR the list says where its guest is.

Neutron is read with -cloud, as the consumer with EARLYBIND_CLOUD, OS_CLOUD or the OS_* variables, Nova with -nova-cloud
if that is given. Neutron's user must be one that may see and write port bindings (docs/settings.md), Nova's one that sees
all projects' servers (docs/doctor.md). Exit status: 0 nothing found, or all of it mended; 1 could not be done, as of a
-port that Neutron does not know; 2 wrong options or settings; 3 something is not right.`

// portID is a port's as Neutron makes it (oslo_utils.uuidutils.generate_uuid).
var portID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// hostOf tells what is wrong with an option that names a host.
func hostOf(host string) error {
	if err := wire.CheckHost(host); err != nil {
		return fmt.Errorf("it %w", err)
	}
	return nil
}

func examine(ctx context.Context, args []string, out, faults io.Writer) error {
	f := flag.NewFlagSet("doctor", flag.ContinueOnError)
	var hosts []string
	f.Func("host", "look at this `HOST` too, which Nova does not name any more; may be repeated", func(host string) error {
		hosts = append(hosts, host)
		return hostOf(host)
	})
	var ports []string
	idsFlag(f, &ports, "port", "a port's id, a UUID", "look closely at this `PORT` too, by its id: one that has no row at all is in no host's list; may be repeated")
	leaving := ""
	f.Func("before-migrate", "report only what is about instances on this `HOST`", func(host string) error {
		leaving = host
		return hostOf(host)
	})
	fix := f.Bool("fix", false, "carry out the plans")
	journal := f.String("journal", "earlybind-doctor.jsonl", "with -fix: the undo journal, a `FILE` that is added to")
	cloud := f.String("cloud", "", "`ENTRY` of clouds.yaml for Neutron; EARLYBIND_CLOUD, OS_CLOUD or the OS_* variables if empty")
	asJSON := f.Bool("json", false, "print the report as JSON; what -fix does meanwhile goes to standard error")
	novaCloud := f.String("nova-cloud", "", "`ENTRY` of clouds.yaml for Nova; the same as Neutron's if empty")
	ask := f.Bool("ask", false, "ask the hosts' publishers where the guests are, over RabbitMQ")
	words, err := parseFiles(f, aboutDoctor, "", args, faults)
	if err != nil {
		return err
	}
	journalled := false
	f.Visit(func(o *flag.Flag) { journalled = journalled || o.Name == "journal" })
	switch {
	case len(words) > 0:
		return misused(f, faults, "it takes options only")
	case journalled && !*fix:
		return misused(f, faults, "-journal goes with -fix: nothing is sent without it")
	case *journal == "":
		return misused(f, faults, "-journal must name a file")
	}
	// The cloud is the consumer's, whose other settings are not needed where no publisher is asked.
	var settings consumer.Settings
	if *ask {
		settings, err = settingsFor("doctor", faults)
	} else {
		settings, err = cloudSettings("doctor", faults)
	}
	if err != nil {
		return err
	}
	settings.Cloud = cmp.Or(*cloud, settings.Cloud)
	if err := letIn("doctor", neutronOf(settings), novaOf(settings, *novaCloud), faults); err != nil {
		return err
	}

	client, err := binding.NewClient(ctx, neutronOf(settings))
	if err != nil {
		return unmet("Neutron", err)
	}
	provider, endpoint, err := binding.NewProvider(ctx, novaOf(settings, *novaCloud))
	if err != nil {
		return unmet("Nova", err)
	}
	compute, err := serviceOf(provider, endpoint, openstack.NewComputeV2)
	if err != nil {
		return unmet("Nova", err)
	}
	c := doctor.Cloud{Neutron: neutron.New(client), Nova: doctor.NewNova(compute), Hosts: hosts, Ports: ports, Clock: clock.Real()}
	if *ask {
		c.Ask = publishersOf(settings)
	}
	if *fix {
		if c.Notes, err = doctor.OpenNotes(*journal, time.Now); err != nil {
			return err
		}
		defer c.Notes.Close()
	}
	return round{c, leaving, *fix, *journal, *asJSON}.make(ctx, out, faults)
}

// publishersOf asks those that the settings' brokers reach.
func publishersOf(s consumer.Settings) func(context.Context, []string) (doctor.Guests, error) {
	return func(ctx context.Context, hosts []string) (doctor.Guests, error) {
		guests, err := doctor.AskPublishers(ctx, s, hosts)
		if err != nil {
			err = errors.New(broker.Told(err))
		}
		return guests, err
	}
}

// round is what a doctor is asked to do in a cloud.
type round struct {
	doctor.Cloud
	leaving string // report only what is about instances on this host; empty: all
	fix     bool
	journal string // its name
	asJSON  bool
}

func (r round) make(ctx context.Context, out, faults io.Writer) error {
	report, err := r.Examine(ctx)
	if err != nil {
		return err
	}
	if r.leaving != "" {
		if report, err = report.Leaving(r.leaving); err != nil {
			return err
		}
	}
	if !r.asJSON {
		fmt.Fprint(out, report.Text())
	}
	left := len(report.Wrong())
	if r.leaving != "" { // a drain is to wait for what is under way, and for what never ends there
		for _, c := range report.Cases {
			if c.Verdict == doctor.InFlight {
				left++
			}
		}
	}
	all := left
	var mended []doctor.Mended
	if r.fix {
		progress := out
		if r.asJSON {
			progress = faults
		}
		mended, err = r.mend(ctx, report, progress)
		for _, m := range mended {
			if m.Right {
				left--
			}
		}
		if err == nil {
			fmt.Fprintf(progress, "%d mended, %d left\n", all-left, left)
		}
	}
	if r.asJSON { // also where the mending was cut short: of what was done by then
		err = errors.Join(err, report.JSON(out, mended))
	}
	if err == nil && left > 0 {
		return errNotRight
	}
	return err
}

// mend carries out a report's plans and tells what has come of each.
func (r round) mend(ctx context.Context, report doctor.Report, progress io.Writer) ([]doctor.Mended, error) {
	fmt.Fprintf(progress, "\nlooking again in %s; the undo journal is %s\n", doctor.Patience, r.journal)
	mended, err := r.Mend(ctx, report, func(id, said string) { fmt.Fprintf(progress, "%s: %s\n", id, said) })
	for _, m := range mended {
		fmt.Fprintf(progress, "%s: %s\n", m.Port.ID, m.Outcome)
	}
	return mended, err
}
