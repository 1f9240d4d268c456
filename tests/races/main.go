// Command races has our calls to the lab's Neutron meet Nova's, at staggers from
// -300 to +300 ms in steps of 25 (negative: Nova's first), and prints what became
// of the ports and of Nova.
//
//	races                        20 rounds of every case at every stagger
//	races -cases r2,r3 -n 5      some of them
//	races -results FILE          appends to the file and goes on where it stopped
//	races -force                 r1 on a Neutron where two activates at once are not safe
//
// EARLYBIND_LAB_RELEASE chooses the lab. The exit status is 1 if any port has
// ended wrong or Nova was hurt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/tests/duel"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/tests/results"
)

// The staggers.
const (
	farthest = 300 * time.Millisecond
	step     = 25 * time.Millisecond
)

func main() { lab.Main("races", run) }

func run(ctx context.Context) error {
	n := flag.Int("n", 20, "rounds of each case at each stagger")
	only := flag.String("cases", "", "cases, e.g. r1,r3; empty: all")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the order and of what is left to chance")
	file := flag.String("results", "", "append results to this file and count those that are in it")
	lanes := flag.Int("lanes", 2, "how many ports at once")
	force := flag.Bool("force", false, "on a Neutron where two activates at once are not safe, play the cases with two all the same")
	flag.Parse()

	cases, err := choose(*only)
	if err != nil {
		return err
	}
	l, err := lab.Open(ctx)
	if err != nil {
		return err
	}
	arena, remove, err := open(ctx, l)
	if err != nil {
		return err
	}
	defer func() {
		if err := remove(context.WithoutCancel(ctx)); err != nil {
			fmt.Fprintln(os.Stderr, "races: something is left in Neutron:", err)
		}
	}()
	safe, err := concurrentActivateSafe(ctx, l)
	if err != nil {
		return err
	}
	if !safe && !*force {
		cases = slices.DeleteFunc(cases, func(c duel.Case) bool {
			if c.TwoActivates {
				fmt.Printf("(%s) is left out: on this Neutron earlybind observes (%s)\n", c.Key, c.Title)
			}
			return c.TwoActivates
		})
	}
	found, err := load(*file, l.Release)
	if err != nil {
		return err
	}
	jobs := missing(cases, found, *n)
	fmt.Printf("seed %d, release %s: %d duels, %d of them done before\n", *seed, l.Release, len(jobs)+len(found), len(found))
	rand.New(rand.NewPCG(*seed, 0)).Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })

	out, err := results.Open[line](*file)
	if err != nil {
		return err
	}
	defer out.Close()
	began, faults := time.Now(), []error(nil)
	err = arena.Run(ctx, jobs, *lanes, *seed, func(r duel.Result) {
		found = append(found, r)
		faults = append(faults, out.Save(line{l.Release, r}))
		if r.Bad() {
			fmt.Print(story(r))
		}
		if len(found)%100 == 0 {
			fmt.Printf("%d done, %s\n", len(found), time.Since(began).Round(time.Second))
		}
	})
	fmt.Println(table(cases, found))
	faults = append(faults, err, ctx.Err(), verdict(found))
	return errors.Join(faults...)
}

func choose(only string) ([]duel.Case, error) {
	if only == "" {
		return slices.Clone(duel.Cases), nil
	}
	var cases []duel.Case
	for _, key := range strings.Split(only, ",") {
		i := slices.IndexFunc(duel.Cases, func(c duel.Case) bool { return c.Key == key })
		if i < 0 {
			return nil, fmt.Errorf("there is no case %q", key)
		}
		cases = append(cases, duel.Cases[i])
	}
	return cases, nil
}

// open makes the arena on the lab's Neutron, with a network of its own.
func open(ctx context.Context, l *lab.Lab) (duel.Arena, func(context.Context) error, error) {
	novas, err := l.NeutronAs(ctx, "nova")
	if err != nil {
		return duel.Arena{}, nil, err
	}
	ours, err := l.NeutronAs(ctx, "earlybind")
	if err != nil {
		return duel.Arena{}, nil, err
	}
	network, err := lab.NewNetwork(ctx, novas, "earlybind-races")
	if err != nil {
		return duel.Arena{}, nil, err
	}
	arena := duel.NewArena(novas, ours, lab.Computes)
	arena.NewPort, arena.RemovePort = network.NewPort, network.RemovePort
	return arena, network.Remove, nil
}

func concurrentActivateSafe(ctx context.Context, l *lab.Lab) (bool, error) {
	return binding.ConcurrentActivateSafe(ctx, l.Neutron)
}

// missing gives the duels that the results lack.
func missing(cases []duel.Case, results []duel.Result, n int) []duel.Job {
	var jobs []duel.Job
	for _, c := range cases {
		for stagger := -farthest; stagger <= farthest; stagger += step {
			done := 0
			for _, r := range results {
				if r.Case == c.Key && r.StaggerMS == int(stagger.Milliseconds()) {
					done++
				}
			}
			for ; done < n; done++ {
				jobs = append(jobs, duel.Job{Case: c, Stagger: stagger})
			}
		}
	}
	return jobs
}

func verdict(results []duel.Result) error {
	wrong, hurt := 0, 0
	for _, r := range results {
		if !r.Right {
			wrong++
		}
		if len(r.Hurt) > 0 {
			hurt++
		}
	}
	if wrong+hurt == 0 {
		return nil
	}
	return fmt.Errorf("of %d duels %d ended wrong and %d hurt Nova", len(results), wrong, hurt)
}
