package simulation

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/earlybind/earlybind/handover"
)

// Options are the synthetic cloud and the consumer's settings.
type Options struct {
	Seed     uint64        // every run with the same options is the same
	Hosts    int           // that guests migrate between
	Loads    []float64     // live migrations per minute; one run each
	Duration time.Duration // for which migrations begin; a run goes on until all have ended
	Ports    int           // of each instance
	Failing  float64       // percent of the migrations
	PreCopy  time.Duration // mean, from STARTED to the pause: drawn evenly from half to one and a half of it
	Drain    int           // instances of one host whose guests are paused at once, half-way
	Workers  int           // Neutron's API workers
	Latency  Latency       // of Neutron
	Scale    float64       // Neutron takes that many times as long as Latency says
	Others   float64       // requests per second of other clients of Neutron, each like a list of ports
	Policy   handover.Policy
	Window   time.Duration // as EARLYBIND_COMMIT_WINDOW
	AtOnce   int           // as EARLYBIND_NEUTRON_AT_ONCE
}

// Defaults are what a run begins with: the lab's Neutron.
func Defaults() Options {
	return Options{
		Seed: 1, Hosts: 100, Loads: []float64{1, 10, 30}, Duration: 10 * time.Minute, Ports: 2, Failing: 2, PreCopy: 20 * time.Second,
		Workers: 4, Latency: Measured()["2025.1"], Scale: 1, Policy: handover.PolicyAuto, Window: 5 * time.Second, AtOnce: 32,
	}
}

// Validate gives all that is wrong.
func (o Options) Validate() error {
	var faults []error
	wrong := func(is bool, format string, args ...any) {
		if is {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	within := func(name string, value, low, high float64) {
		wrong(!(value >= low && value <= high), "%s must be from %v to %v, not %v", name, low, high, value)
	}
	wrong(len(o.Loads) == 0, "loads are missing")
	for _, load := range o.Loads {
		within("-load: a load", load, 0, 100_000)
		wrong(load == 0 && o.Drain <= 0, "-load: a load of 0 needs a drain")
	}
	within("-hosts", float64(o.Hosts), 2, 100_000)
	within("-ports", float64(o.Ports), 1, 64)
	within("-failing", o.Failing, 0, 100)
	within("-drain", float64(o.Drain), 0, 100_000)
	within("-workers", float64(o.Workers), 1, 10_000)
	within("-scale", o.Scale, 0.001, 1000)
	within("-others", o.Others, 0, 100_000)
	within("-at-once", float64(o.AtOnce), 0, 100_000)
	wrong(o.Duration < time.Second || o.Duration > 24*time.Hour, "-duration must be from 1s to 24h, not %s", o.Duration)
	wrong(o.PreCopy < time.Second || o.PreCopy > time.Hour, "-pre-copy must be from 1s to 1h, not %s", o.PreCopy)
	wrong(o.Window < time.Second || o.Window > 10*time.Second, "-window must be from 1s to 10s, not %s", o.Window)
	if err := o.Latency.validate(); err != nil {
		faults = append(faults, fmt.Errorf("latency: %w", err))
	}
	return joined(faults)
}

// joined puts faults on one line.
func joined(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	var texts []string
	for _, f := range faults {
		texts = append(texts, strings.ReplaceAll(f.Error(), "\n", "; "))
	}
	return errors.New(strings.Join(texts, "; "))
}
