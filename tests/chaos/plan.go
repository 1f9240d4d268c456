package main

import (
	"math/rand/v2"
	"slices"
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
	hourOld    fault = "messages an hour late"   // see archive.go
	lost       fault = "lost notifications"      // all of Nova's, or every second
	dropped    fault = "lost host messages"      // see loss
	again      fault = "new migration at once"   // to the same host, after a failure
	kill       fault = "consumer killed"         // with -9
	freeze     fault = "consumer frozen 30 s"    // SIGSTOP
	unplug     fault = "connection closed"       // by name, by the broker: one of the consumer's, or all
	cutOff     fault = "consumer cut off"        // from the broker, without a word
	absent     fault = "no consumer"             // for a while: messages wait
	noBroker   fault = "broker restarted"        // of a cluster, one node: killed
	parted     fault = "broker node partitioned" // of a cluster: no packet to it or from it
	noNeutron  fault = "Neutron killed, restart" //
)

// allFaults are in the order of the table.
var allFaults = []fault{
	calm, race, duplicates, late, hourOld, lost, dropped, again, kill, freeze, unplug, cutOff, absent, noBroker, parted, noNeutron,
}

// loss is what does not arrive of the hosts' messages. Nova does its own work
// whatever we hear, so that the rows end right as soon as we do no harm and mend
// ours; that takes a host's word of where the guest is. So the bound counts
// from Nova's last answer as ever (rightWithin), and a publisher that was away
// tells of its domains within ten seconds after that. One that loses a single
// event, because its outbox has run over, does so with its next message, as the
// real one does.
type loss int

const (
	ofAHost loss = iota // all events of the source, or of the destination
	ofOne               // one event, not the first
	ofAList             // the next list of each host, whoever asks for it
	losses  = int(ofAList) + 1
)

// plan is one handover before it is played. It depends on the seed and the number
// of the handover alone. Results of November 2026 and before know no hourOld and no
// dropped: their seeds give the same recordings and the same other faults, but what
// is left to chance while a handover is played, and the weather, are drawn anew.
type plan struct {
	number int
	fails  bool
	stream string
	shared bool // the disks: which part of Nova rolls back
	faults []fault
	// stagger is how much later than our first call Nova's is planned; of a race.
	stagger time.Duration
	lostAll bool
	// loss is what is dropped: of the source's messages, or of the destination's.
	loss     loss
	ofSource bool
	rng      *rand.Rand // for what is drawn while it is played
}

func (p plan) has(f fault) bool { return slices.Contains(p.faults, f) }

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
	// Later than what older plans have drawn.
	for _, f := range []fault{hourOld, dropped} {
		if rng.IntN(100) < 12 {
			p.faults = append(p.faults, f)
		}
	}
	p.loss, p.ofSource = loss(rng.IntN(losses)), rng.IntN(2) == 0
	return p
}
