// Command record stages the outcomes of a live migration in the lab, with real Nova, and
// records each with bin/earlybind record: hosts' events and Nova's notifications together.
//
//	record                        every outcome that has no file yet
//	record -only success,aborted  these
//
// A recording is kept only if the migration has ended as its name says. Each begins with
// the guest on compute1. The consumers observe, so that the streams are Nova's and libvirt's
// own; what earlybind would have done is the replay's to say.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/earlybind/earlybind/tests/lab"
)

func main() { lab.Main("record", run) }

func run(ctx context.Context) error {
	only := flag.String("only", "", "names of outcomes, with commas; empty: all")
	flag.Parse()
	wanted, err := outcomesOf(*only)
	if err != nil {
		return err
	}
	l, err := lab.Open(ctx)
	if err != nil {
		return err
	}
	if err := l.SetReplug(ctx, false); err != nil {
		return err
	}
	if err := l.SetPolicy(ctx, "observe"); err != nil {
		return err
	}
	var faults []error
	for _, o := range wanted {
		file := l.Path("recordings", "lab-"+o.name+".jsonl")
		if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
			fmt.Printf("%s: is there\n", o.name)
			continue
		}
		fmt.Printf("=== %s: %s\n", o.name, o.about)
		err := stage(ctx, l, o, file)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Printf("    FAULT: %v\n", err)
			faults = append(faults, fmt.Errorf("%s: %w", o.name, err))
		}
	}
	return errors.Join(faults...)
}

func outcomesOf(names string) ([]outcome, error) {
	if names == "" {
		return outcomes, nil
	}
	var found []outcome
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(outcomes, func(o outcome) bool { return o.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no outcome %q", name)
		}
		found = append(found, outcomes[i])
	}
	return found, nil
}
