package check

import (
	"time"

	"github.com/earlybind/earlybind/consumer"
)

// Seen is a fact, or why it could not be seen. The zero value is a fact that nobody has
// looked for.
type Seen[T any] struct {
	value T
	seen  bool
	why   string
}

// Saw is a fact.
func Saw[T any](value T) Seen[T] { return Seen[T]{value: value, seen: true} }

// Unseen is the want of one.
func Unseen[T any](why string) Seen[T] { return Seen[T]{why: why} }

// Look is what a call has given.
func Look[T any](value T, err error) Seen[T] {
	if err != nil {
		return Unseen[T](err.Error())
	}
	return Saw(value)
}

// Get gives the fact; false if it was not seen.
func (s Seen[T]) Get() (T, bool) { return s.value, s.seen }

// Why tells why it was not seen.
func (s Seen[T]) Why() string {
	if s.why == "" {
		return "it was not looked at"
	}
	return s.why
}

// Facts are what a verdict is made from.
type Facts struct {
	Settings consumer.Settings
	// Rights are what the consumers' user is to have in RabbitMQ.
	Rights Permissions
	// Listened is for how long notifications were listened to.
	Listened time.Duration
	Neutron  NeutronFacts
	Nova     NovaFacts
	Brokers  []BrokerFacts
}

// NeutronFacts are what Keystone and Neutron have told.
type NeutronFacts struct {
	// Account is as whom Keystone has let us in. Where it is not seen, nothing else is.
	Account Seen[Account]
	// Next is what to look at where it has not.
	Next string
	// Extended: it has extension binding-extended. Safe: two activates at once do no harm,
	// as far as its extensions show.
	Extended, Safe Seen[bool]
	// MayWrite is the answer to the POST of a row for a port that does not exist; not seen
	// where Neutron cannot read either.
	MayWrite Seen[bool]
	// ReadsRows: the rows of a port could be read.
	ReadsRows Seen[bool]
	Agents    Seen[[]Agent]
	// Ports are the instances' ports that have a row on a host, by host. PortsBefore are
	// those that were listed before the publishers were asked, of the hosts known by then.
	Ports, PortsBefore map[string]Seen[[]Port]
}

// Account is a user as its token tells of it.
type Account struct {
	User, Project string
	Roles         []string
}

// Agent is one that makes a host's ports work (L2).
type Agent struct {
	Host, Type string
	Alive      bool
}

// Port is an instance's.
type Port struct {
	ID, Instance, Network, Owner string
	Driver                       string // mechanism driver; empty if Neutron does not show it
	Trunk                        bool   // a trunk's parent
	Active                       bool   // its ACTIVE row is on the host that it was listed for
}

// NovaFacts are what Nova's API has told.
type NovaFacts struct {
	// Version is the newest microversion that it has.
	Version Seen[string]
	Hosts   Seen[[]ComputeHost]
}

// ComputeHost is one that nova-compute runs on.
type ComputeHost struct {
	Name string
	Up   bool
}

// BrokerFacts are what one cell's RabbitMQ has told.
type BrokerFacts struct {
	Name  string // its nodes
	Vhost string
	// Version is what it calls itself. Where it is not seen there was no connection, and
	// nothing else is.
	Version Seen[string]
	// Next is what to look at where there was no connection.
	Next string
	// Alarm is why it takes no messages; empty if it does.
	Alarm  string
	Rights []Right
	// Exchanges are there or not, by name; Queues by name, those that are not there too.
	Exchanges map[string]Seen[bool]
	Queues    map[string]Seen[Queue]
	// Kept: a message that was put in a queue of our own at the beginning is still there at
	// the end of the listening.
	Kept Seen[bool]
	// Asked: the publishers were asked for their domains, and could be heard. Listened: so
	// could Nova's notifications.
	Asked, Listened Seen[bool]
	Heard
	// Made is how things were made; by the management API alone.
	Made Seen[Made]
}

// Right is one that earlybind's user needs, and whether it has it.
type Right struct {
	What string // "make queues named earlybind.…"
	Has  Seen[bool]
}

// Queue is one that is there or not. What waits in it does not count what is with a consumer.
type Queue struct {
	There               bool
	Messages, Consumers int
}

// Heard is what came through a broker in the time of listening.
type Heard struct {
	Notifications map[Source]int
	// Answers are what the hosts' publishers have answered, by host; Refused are answers
	// that a consumer does not believe.
	Answers map[string]Answer
	Refused []Answer
	// Silent are hosts whose publisher has not answered, but is connected to the broker, as far
	// as they were looked at.
	Silent []string
}

// Source is where a notification comes from, and how it looks.
type Source struct {
	Service   string // "nova-compute", "compute", "conductor"
	Host      string
	Topic     string
	Versioned bool
	// Enveloped: by driver messagingv2. Without, by driver messaging.
	Enveloped bool
}

// Answer is a publisher's.
type Answer struct {
	Host, User string
	Refused    string // why it is not believed; empty if it is
	Unknown    bool   // because of its schema version
	// Domains are the instances that it lists, but those that are still coming in; Running
	// are those of them that run or are paused.
	Domains, Running []string
	After            time.Duration // that it was asked
	// Skew is by how much its wall clock is ahead of ours, at least; behind, if negative.
	Skew Seen[time.Duration]
}

// Made is how exchanges and queues were made, by name; what is not there is missing.
type Made struct {
	Exchanges   map[string]MadeExchange
	Queues      map[string]MadeQueue
	Permissions Seen[Permissions]
	// Novas are those of the user who has made Nova's exchange.
	Novas Seen[Permissions]
}

// MadeExchange is one that is there.
type MadeExchange struct {
	Type    string
	Durable bool
	By      string // the user who has made it; empty if RabbitMQ does not know
}

// MadeQueue is one that is there, with the policy that is in force on it.
type MadeQueue struct {
	Type    string
	Durable bool
	Policy  string // its name; of an operator's policy, if that is the only one
	// Limits are the numbers that policies put in force on it, by the policy's key
	// ("message-ttl", "expires", "max-length", "max-length-bytes", "delivery-limit").
	Limits Seen[map[string]float64]
}

// Permissions are a user's in a vhost, patterns of names.
type Permissions struct{ Configure, Write, Read string }
