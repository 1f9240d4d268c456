// Package publisher turns the lifecycle events of one host's libvirt into
// messages on RabbitMQ. [Run] is the whole of it.
//
// # What it promises
//
//   - Order: messages carry (epoch, sequence). The epoch rises with every start,
//     the sequence with every message, in the order of libvirt's callbacks. A
//     [wire.HostStates] holds the effect of every event of lower sequence; an
//     event of higher sequence is later, or repeats what the states have said.
//   - Delivery: at least once while the buffer lasts. A message leaves the
//     buffer when the broker has confirmed it; until then it is sent again by
//     every new session, its age counted anew.
//   - Loss is told: where events may be missing (libvirt was away, the buffer
//     or the callback queue ran over, the publisher has just started) a
//     HostStates with Reconnected follows.
//   - Nothing is asked of libvirt between an event and its message, and nothing
//     at all of a domain because of its SUSPENDED, RESUMED or STOPPED.
//
// # What it needs
//
// The exchanges exist (the consumer declares them); the host's RabbitMQ user may
// configure ^earlybind-publisher\.<host>$, write that and
// [wire.ExchangeEvents], read that and [wire.ExchangeRequests].
//
// # How it works
//
//	libvirt's callback -> inbox -> watcher -> outbox -> sender -> RabbitMQ
//	                                  ^                    |
//	                                  +---- states wanted -+
//
// With EARLYBIND_OVSDB the watcher tells package publisher/ovs of each event, and
// learns at the pause which ports could be plugged in again; both in memory.
//
// The watcher owns the libvirt connection, the cache of domains and the order;
// the sender owns the broker session and the requests for states. Both live
// through the loss of their server: a session is thrown away whole, and opened
// anew after a growing delay. No server is polled.
package publisher
