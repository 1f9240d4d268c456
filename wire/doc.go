// Package wire holds what stands on the message bus: bytes in, types out, and
// back. It is pure: no connection, no clock, no log.
//
// Everything on the bus is an oslo.messaging notification, Nova's and
// earlybind's own alike, so that any OpenStack tool can read both:
//
//   - [Decode] reads the envelope of driver messagingv2 ("oslo.version" 2.0)
//     and the bare form of driver messaging (1.0).
//   - [ParseNova] picks out of a Nova notification, legacy or versioned, what
//     it says about a live migration.
//   - [HostEvent], [HostStates] and [StatesRequest] are earlybind's own
//     messages between publisher and consumer, [Halt] and [Obeys] those between
//     "earlybind pause" and the consumers; their payloads carry
//     [SchemaVersion], and a reader refuses a version it does not know.
//
// Nova's messages carry Keystone tokens: nothing in this package puts a payload
// or a body into an error.
package wire
