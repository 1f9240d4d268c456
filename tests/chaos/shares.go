package main

import (
	"math/rand/v2"
	"strconv"
	"strings"
)

// The consumers divide the instances into shares (EARLYBIND_SHARES, docs/brokers.md). Each has
// queues of its own, is given every message, and has one replica that acts for it. Shares are
// numbered from 1 on; where there is one, no line names it.

// shareNamed reads the share that a line of the log is about: "2 of 4" is 2.
func shareNamed(name string) int {
	first, _, _ := strings.Cut(name, " ")
	return max(1, atoi(first))
}

// atoi gives 0 for what is no number.
func atoi(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return n
}

const queueName = "earlybind"

// queues are those of one share: of the hosts' events, of Nova's notifications, and its journal.
type queues struct{ events, notifications, journal string }

func queuesOf(share int) queues {
	own := queueName
	if share > 1 {
		own += "." + strconv.Itoa(share)
	}
	return queues{events: own, notifications: own + ".notifications", journal: own + ".journal"}
}

// read are those that messages are sent to.
func (q queues) read() []string { return []string{q.events, q.notifications} }

// shareOfQueue is the way back.
func shareOfQueue(queue string) int {
	rest, _ := strings.CutPrefix(queue, queueName+".")
	number, _, _ := strings.Cut(rest, ".")
	return max(1, atoi(number))
}

// eachQueue gives some queues of each share.
func eachQueue(shares int, of func(queues) []string) []string {
	var all []string
	for share := 1; share <= shares; share++ {
		all = append(all, of(queuesOf(share))...)
	}
	return all
}

// connection is how a replica calls its connection for a share; the notifications' and the
// sender's have a word more.
func (c *consumers) connection(identity string, share int) string {
	name := "earlybind-consumer " + identity
	if c.shares > 1 {
		name += " share " + strconv.Itoa(share) + " of " + strconv.Itoa(c.shares)
	}
	return name
}

// anyShare draws one. With one nothing is drawn: old seeds have the same weather.
func (c *consumers) anyShare(rng *rand.Rand) int {
	if c.shares == 1 {
		return 1
	}
	return 1 + rng.IntN(c.shares)
}
