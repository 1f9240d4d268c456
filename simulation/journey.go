package simulation

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// journey is one live migration.
type journey struct {
	number              int
	drained             bool // of the host that is drained
	instance, requestID string
	source, destination string
	begins, preCopy     time.Duration
	fails               *failure // nil: it succeeds
	succeeds            switchover
	ports               []*portRun
	draws               *rand.Rand
	calls               map[string]uint64 // to Neutron, by who and what

	// What has become of it; 0 is never.
	paused, arrived, failed time.Duration // when the host saw it
	failing                 bool          // the guest goes on on its source
	novaDone                bool
	open                    int // handovers that the consumer has begun and not ended
	begun                   int
	outcome                 string
	told                    []time.Duration // the leads that the consumer tells
	over                    bool
}

// portRun is a port of a journey.
type portRun struct {
	id             string
	of             *journey
	sent, answered time.Duration // the consumer's activate of the destination
	queued         time.Duration // for which that one waited for a worker
	onDestination  time.Duration // first ACTIVE and bound there
	wrong          bool          // not right on the source, of a guest that stays there
	moved          bool          // it was wrong at some time, or ACTIVE elsewhere, when the migration failed
	right          time.Duration // since when it is right on the source again
}

// cause is when the consumer may first activate, as far as the hosts have said.
func (j *journey) cause() time.Duration { return max(j.paused, j.arrived) }

// host is where the guest runs in the end.
func (j *journey) host() string {
	if j.fails != nil {
		return j.source
	}
	return j.destination
}

// plan draws all migrations of a load, so that what happens in a run changes none of them.
func plan(o Options, load float64) []*journey {
	var all []*journey
	s, failures := readSwitchovers(), readFailures()
	add := func(draws *rand.Rand, begins time.Duration, from int) *journey {
		n := len(all)
		to := draws.IntN(o.Hosts - 1)
		if to >= from {
			to++
		}
		j := &journey{
			number: n, instance: fmt.Sprintf("%08x-0000-4000-8000-000000000000", n), requestID: fmt.Sprintf("req-%08x-0000-4000-8000-000000000000", n),
			source: fmt.Sprintf("compute%d", from+1), destination: fmt.Sprintf("compute%d", to+1), begins: begins,
			preCopy: time.Duration(float64(o.PreCopy) * (0.5 + draws.Float64())), succeeds: s.Switchovers[draws.IntN(len(s.Switchovers))],
			draws: draws, calls: map[string]uint64{},
		}
		failing, how := draws.Float64()*100 < o.Failing, draws.IntN(len(failures))
		if failing {
			j.fails = &failures[how]
		}
		for i := range o.Ports {
			j.ports = append(j.ports, &portRun{id: fmt.Sprintf("%08x-0000-4000-9000-%012x", n, i), of: j})
		}
		all = append(all, j)
		return j
	}
	own := func() *rand.Rand { return rand.New(rand.NewPCG(o.Seed, uint64(len(all)))) }
	if load > 0 {
		arrivals := rand.New(rand.NewPCG(o.Seed, 1<<63))
		for at := time.Duration(0); ; {
			at += time.Duration(arrivals.ExpFloat64() * float64(time.Minute) / load)
			if at >= o.Duration {
				break
			}
			draws := own()
			add(draws, at, draws.IntN(o.Hosts))
		}
	}
	for range o.Drain {
		j := add(own(), 0, 0)
		j.drained, j.preCopy = true, o.PreCopy
		j.begins = max(0, o.Duration/2-beforePreCopy-j.preCopy)
	}
	return all
}
