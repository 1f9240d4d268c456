package main

import (
	"math/rand/v2"
	"time"
)

// fault is what can go wrong.
type fault string

// The faults of one handover, and those of the whole cloud, which count for every
// handover that meets them.
const (
	calm fault = "none"

	race       fault = "Nova's calls race ours"  // at -300 to +300 ms
	duplicates fault = "duplicate messages"      // any message, within 5 s
	late       fault = "late and old messages"   // up to 8 s; of the last migration too
	lost       fault = "lost notifications"      // all of Nova's, or every second
	again      fault = "new migration at once"   // to the same host, after a failure
	kill       fault = "consumer killed"         // with -9
	freeze     fault = "consumer frozen 30 s"    // SIGSTOP
	noBroker   fault = "broker restarted"        //
	noNeutron  fault = "Neutron killed, restart" //
)

// plan is one handover before it is played. It depends on the seed and the number
// of the handover alone.
type plan struct {
	number int
	fails  bool
	stream string
	shared bool // the disks: which part of Nova rolls back
	faults []fault
	// stagger is how much later than our first call Nova's is planned; of a race.
	stagger time.Duration
	lostAll bool
	rng     *rand.Rand // for what is drawn while it is played
}

func (p plan) has(f fault) bool {
	for _, one := range p.faults {
		if one == f {
			return true
		}
	}
	return false
}

// outcomes says for each of n handovers whether it fails: every second one, in an
// order that the seed gives.
func outcomes(seed uint64, n int) []bool {
	all := make([]bool, n)
	for i := range all {
		all[i] = i%2 == 0
	}
	rand.New(rand.NewPCG(seed, 1)).Shuffle(n, func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// draw makes the plan of a handover.
func draw(seed uint64, number int, fails bool) plan {
	rng := rand.New(rand.NewPCG(seed, 1000+uint64(number)))
	p := plan{number: number, fails: fails, rng: rng}
	p.stream = recordings[fails][rng.IntN(len(recordings[fails]))]
	p.shared = rng.IntN(2) == 0
	for _, chance := range []struct {
		fault   fault
		percent int
	}{{race, 30}, {duplicates, 15}, {late, 12}, {lost, 8}, {again, 12}} {
		if rng.IntN(100) < chance.percent && (fails || chance.fault != again) {
			p.faults = append(p.faults, chance.fault)
		}
	}
	p.stagger = time.Duration(rng.IntN(25)-12) * 25 * time.Millisecond
	p.lostAll = rng.IntN(2) == 0
	return p
}
