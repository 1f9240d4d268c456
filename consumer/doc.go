// Package consumer is the shell around the pure core: it reads Nova's
// notifications and the hosts' events off RabbitMQ, hands them to the
// handovers, and carries out what those decide.
//
//	session    one connection with its queues, thrown away whole
//	feed       one queue that a session reads
//	share      which instances a session takes in
//	balance    how shares spread over replicas
//	layout     all replicas have as many shares
//	intake     bytes to signs, or to the parking queue
//	registry   signs to the instance they are about
//	actor      one instance: its handover, its ports, its unsettled messages
//	worker     one port: commit, restore, verify
//	shelf      messages that are not settled, by instance
//	parked     what lies in the parking queue, for an operator
//	stop       how a session ends in order
//
// # Who acts
//
// The queue of the hosts' events has a single active consumer: RabbitMQ delivers to
// one replica and turns to the next when that one's connection ends. That replica
// opens the queue of Nova's notifications, too: the two are apart so that an event
// does not stand behind thousands of those. A replica's state lives as
// long as its session. A message that a handover has taken in is acknowledged
// when the handover has ended, so that the next replica is given the same
// messages again and comes to the same place. That has bounds, 10 minutes, 64
// messages per instance and 8,000 in all: a longer migration is found again
// through what its hosts list and Neutron's rows.
//
// # How old is a message
//
// Clocks of hosts decide nothing. Each replica sends itself a tick through the
// queue every second: what is delivered after its own tick was queued after
// that tick was sent, which bounds the age by the replica's own monotonic
// clock. The same tick is the lease: a replica that has not got one back
// lately, because it was frozen or cut off, writes nothing.
package consumer
