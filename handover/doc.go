// Package handover decides, and does nothing else: no I/O, no clock, no
// goroutine, no log. The same core serves the live consumer, the replay of
// recorded streams and simulation.
//
// A handover is one live migration of one instance. An [Instance] takes inputs
// one at a time and answers with decisions:
//
//	decisions := instance.Step(input)
//
// # Any order, any number of times
//
// A handover only collects evidence: flags that are set once, sets that grow,
// and marks that keep the lowest or highest place in a host's stream
// ([wire.Order]). None depends on the order of arrival, and a duplicate adds
// nothing. The [Phase] is
// a function of the evidence, so any interleaving of the same inputs ends in
// the same phase.
//
// # What decides
//
// Where the guest is, by the hosts' own events, and what Neutron's rows say.
// A notification of Nova arms a handover and stops it, but alone it never moves
// a binding: any compute host can forge one.
//
// # What stops
//
// A [Breaker] takes what came of the commits of all instances and bars those of
// a pair of hosts, or of a mechanism driver, that have ended badly. An instance
// is told of the bars before it takes an input ([Instance.Heed]).
package handover
