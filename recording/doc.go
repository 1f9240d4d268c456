// Package recording is the format of recorded streams: what a consumer reads off
// RabbitMQ, in a file that can be given away.
//
// A recording is JSON lines. The first is the [Header], each other one a [Message],
// in the order in which they were consumed:
//
//	{"earlybind_recording":1,"made_by":"earlybind record v1","began":"2026-11-25T08:00:00Z",...}
//	{"ms":412.7,"exchange":"nova","key":"notifications.info","body":{"oslo.version":"2.0",...}}
//	{"ms":890.1,"exchange":"earlybind","key":"libvirt.compute1.suspended.6732...","user":"earlybind-compute1","body":{...}}
//
// Nova's notifications hold Keystone tokens, and names of projects, users and
// instances. [Scrub] keeps of a message what package wire reads and what a person needs
// to understand the line, by name, and drops everything else: a field that nobody has
// thought of is dropped too. What is no notification at all is kept as its size and
// SHA-256.
package recording
