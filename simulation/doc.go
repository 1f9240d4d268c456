// Package simulation tells how far one consumer goes: it drives the real consumer with a
// synthetic cloud, in virtual time.
//
// Real are the consumer's registry, actors, core, workers and roll-back
// ([consumer.Offline], as in package replay), its client of Neutron, and so the rules by
// which it queues: a worker for each port with one request at a time
// (consumer/worker.go, run), rows of an instance's ports read side by side
// (internal/neutron, Ports), and as many requests at once as [Options] bounds, restores
// first (internal/turn). Neutron's rows and answers are package simulated/neutron's, Nova's calls
// those of package simulated/nova.
//
// Simulated are:
//
//   - Neutron's API workers: a queue, first come first served, with k of them. A request
//     holds one for a time that is drawn from what was measured for its kind
//     (data/neutron.json), whoever sends it, and has its effect at the end of it. Between
//     p50, p90, p99 and the greatest it is drawn evenly; below p50 evenly down to as far
//     below it as p90 is above, since no lowest was kept. A client that goes away does
//     not end it.
//   - Migrations: they begin at random (Poisson), between two hosts drawn evenly. When the
//     guest arrives, the source stops and Nova takes over, counted from the pause, is
//     drawn from those that were measured in the lab, the three together
//     (data/switchovers.json, from docs/measurements). How one fails is drawn evenly from
//     lab recordings (data/failures.json), with their times. What Nova then asks of
//     Neutron takes its turn in the same queue, so that a full Neutron makes Nova late too.
//   - The way from libvirt's callback, or from Nova, to the consumer: drawn from the lab's
//     times from the pause to the first activate's arrival, which hold a little more than
//     that way.
//   - The consumer's session, which takes messages in one after the other: each holds it
//     for [MessageTakes].
//   - The age of a message in the queue as the consumer knows it: up to a second too old,
//     for a tick comes each second.
//
// The lead is found by running the same migrations again without the consumer: by how
// much later each port's row was ACTIVE on the destination then. Draws depend on the seed,
// the migration and the request, not on the order in which things happen: both runs have
// the same.
//
// Not modelled:
//
//   - what the consumer computes after a message was taken in, apart from the count of
//     CPU in the report: it takes no time;
//   - agents, which wire at once: what is told is when rows are ACTIVE, not when packets
//     flow, and restores without the wait for the agent;
//   - a database that slows down as more workers use it, token renewal, network latency,
//     requests that fail, two transactions in one activate;
//   - Nova's reads that lead to no write, and its limit of migrations at once on a host;
//   - failures in which the source's libvirtd restarts or no guest is left, and those in
//     which a migration is refused; lists of domains; other replicas, the lease, the
//     journal's queue; lost or doubled messages. Package replay, tests/chaos and
//     tests/races have those.
package simulation
