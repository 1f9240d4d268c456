// Command tour runs live migrations in the lab and shows what happens: with
// Nova alone, with earlybind, and with failures forced into the switchover.
//
//	tour                       the six stories, and a migration between that plugs the guest in
//	tour -scenario b -n 20     twenty migrations of one story, for the figures
//	tour -notifications=false  with Nova's notifications switched off
//
// Long runs append their samples to a file and go on where they were stopped.
// After the six stories bin/earlybind audit reads what the consumers have logged, and bin/earlybind doctor
// looks at the ports. The exit status is 1 if any port's rows did not end right, or one of the two says what
// no story was to lead to.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/tests/lab"
	"github.com/earlybind/earlybind/tests/results"
)

func main() { lab.Main("tour", run) }

func run(ctx context.Context) error {
	only := flag.String("scenario", "", "letters of the stories to run in turn, e.g. b or ds; empty: the tour")
	n := flag.Int("n", 1, "how many rounds of them")
	file := flag.String("results", "", "append samples to this file and count those that are in it")
	notifications := flag.Bool("notifications", true, "whether Nova sends notifications; switched on again at the end")
	flag.Parse()

	l, err := lab.Open(ctx)
	if err != nil {
		return err
	}
	if !*notifications {
		if err := l.SetNotifications(ctx, false); err != nil {
			return err
		}
		defer func() {
			if err := l.SetNotifications(context.WithoutCancel(ctx), true); err != nil {
				fmt.Fprintln(os.Stderr, "tour: Nova's notifications are still off:", err)
			}
		}()
	}
	if *only == "" {
		return tour(ctx, l, *file)
	}
	return series(ctx, l, *only, *n, *file)
}

// tour shows each story once. The second b plugs the guest in that d and e have
// cut off; f leaves it reachable.
func tour(ctx context.Context, l *lab.Lab, file string) error {
	if _, err := os.Stat(l.Path(program)); err != nil {
		return fmt.Errorf("%w: make build makes it", err)
	}
	began := time.Now()
	log := logs{ends: []time.Time{began}}
	var samples []*sample
	for _, key := range []string{"a", "b", "c", "d", "e", "b", "f"} {
		s, _ := scenarioOf(key)
		m, err := show(ctx, l, s, file)
		if err != nil {
			return err
		}
		samples = append(samples, m)
		if err := log.read(ctx, l); err != nil {
			return err
		}
	}
	fmt.Println(summary(samples))
	err := errors.Join(verdict(samples), log.audit(ctx, l, samples), doctor(ctx, l))
	fmt.Printf("the tour took %s\n", time.Since(began).Round(time.Second))
	return err
}

// series runs stories in turn until the file holds n samples of each.
func series(ctx context.Context, l *lab.Lab, keys string, n int, file string) error {
	samples, err := results.Load[*sample](file)
	if err != nil {
		return err
	}
	for {
		began := len(samples)
		for _, r := range keys {
			key := string(r)
			s, ok := scenarioOf(key)
			if !ok {
				return fmt.Errorf("there is no story %q", key)
			}
			if count(samples, key, l.Release) >= n {
				continue
			}
			m, err := show(ctx, l, s, file)
			if err != nil {
				return err
			}
			samples = append(samples, m)
		}
		if len(samples) == began {
			break
		}
	}
	fmt.Println(statistics(samples, keys, l.Release))
	return verdict(samples)
}

// show runs one sample and prints it.
func show(ctx context.Context, l *lab.Lab, s scenario, file string) (*sample, error) {
	fmt.Printf("\n=== (%s) %s\n    %s\n", s.Key, s.Title, s.Expect)
	m, err := take(ctx, l, s)
	for tries := 0; errors.As(err, new(onceMore)) && tries < 2; tries++ {
		fmt.Println("    once more:", err)
		m, err = take(ctx, l, s)
	}
	if err != nil {
		return nil, fmt.Errorf("(%s): %w", s.Key, err)
	}
	fmt.Print(timeline.Text(m.Timeline))
	for _, p := range m.Ports {
		verdict := "rows right"
		if !p.Right {
			verdict = "ROWS WRONG: " + p.Why
		}
		fmt.Printf("    port %s  %s; port status %s; rows %s\n", p.Port[:8], verdict, p.Status, p.Rows)
	}
	fmt.Printf("    guest answers on %d of %d addresses; longest silence %.2f s; Nova calls the migration %s\n",
		m.Reachable, len(lab.Addresses), float64(m.SilenceMS)/1000, m.Migration)
	if m.unplugged() {
		fmt.Println("    cut off: after an early activation ML2/OVS' agent on the source has unplugged the taps; the rows are")
		fmt.Println("    right, the next migration of the guest plugs it in again. This is why the default for ML2/OVS is resumed,")
		fmt.Println("    unless the source's publisher can plug in again.")
	}
	if after := m.Figures.FailedToAnswering; after != nil && s.Replug {
		fmt.Printf("    every address answers from %.2f s after the guest runs on the source again; %d ports were plugged in again\n",
			*after/1000, m.Figures.Replugged)
	}
	if m.Fault != "" {
		fmt.Println("    FAULT:", m.Fault)
	}
	return m, save(file, m)
}

// unplugged tells whether the guest is cut off where its story has nobody plug it in again.
func (m *sample) unplugged() bool {
	s, _ := scenarioOf(m.Scenario)
	return m.Reachable == 0 && s.Fail != none && !s.Replug
}

func verdict(samples []*sample) error {
	var faults []error
	for i, m := range samples {
		if m.Fault != "" {
			faults = append(faults, fmt.Errorf("sample %d (%s): %s", i+1, m.Scenario, m.Fault))
		}
		if !m.RowsRight {
			faults = append(faults, fmt.Errorf("sample %d (%s): a port's rows did not end right", i+1, m.Scenario))
		}
		if m.Figures.NovaFailed > 0 {
			faults = append(faults, fmt.Errorf("sample %d (%s): Nova's own activate failed", i+1, m.Scenario))
		}
	}
	return errors.Join(faults...)
}

func save(file string, m *sample) error {
	f, err := results.Open[sample](file)
	if err != nil {
		return err
	}
	defer f.Close()
	kept := *m
	if m.RowsRight && m.Fault == "" {
		kept.Timeline = nil // the figures are enough where all went well
	}
	return f.Save(kept)
}

func count(samples []*sample, key, release string) int {
	n := 0
	for _, m := range samples {
		if m.Scenario == key && m.Release == release {
			n++
		}
	}
	return n
}
