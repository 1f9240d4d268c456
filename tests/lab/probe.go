package lab

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Address is one of a guest's, and the network whose namespace on the probe host
// reaches it.
type Address struct{ Network, IP string }

// Addresses are the first guest's; see deploy/lab/lab.
var Addresses = addressesOf(Guest)

// addressesOf gives a guest's addresses, as labcloud does.
func addressesOf(guest string) []Address {
	number, _ := strconv.Atoi(strings.TrimPrefix(guest, "guest"))
	first, second := strconv.Itoa(91+10*number), strconv.Itoa(92+10*number)
	return []Address{{"net1", "10.77.0." + first}, {"net1", "10.77.0." + second}, {"net2", "10.78.0." + first}}
}

// Reachable counts the guest's addresses that answer the probe now.
func (l *Lab) Reachable(ctx context.Context) int {
	answers := 0
	for _, a := range addressesOf(l.guest) {
		if _, err := l.Exec(ctx, "probe", "ip", "netns", "exec", a.Network, "ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", a.IP); err == nil {
			answers++
		}
	}
	return answers
}

// Silence pings the guest's addresses from the probe until Stop: the first every
// 50 ms, the others every 200.
type Silence struct {
	lab     *Lab
	done    sync.WaitGroup
	out     []*strings.Builder
	replies [][]time.Time // by address, once stopped
	stopped time.Time
}

// Listen starts pinging; it ends by itself after 200 s.
func (l *Lab) Listen(ctx context.Context) *Silence {
	s := &Silence{lab: l}
	for i, a := range addressesOf(l.guest) {
		interval := "0.2"
		if i == 0 {
			interval = "0.05"
		}
		cmd := exec.CommandContext(ctx, "docker", "exec", l.Container("probe"),
			"ip", "netns", "exec", a.Network, "ping", "-D", "-n", "-i", interval, "-w", "200", a.IP)
		out := &strings.Builder{}
		cmd.Stdout = out
		s.out = append(s.out, out)
		s.done.Go(func() { _ = cmd.Run() }) // no answer at all is an exit status too
	}
	return s
}

// Stop ends it and gives the first address's longest gap between two answers that
// lies after since; zero if there were none.
func (s *Silence) Stop(ctx context.Context, since time.Time) time.Duration {
	s.stopped = time.Now()
	// SIGINT has ping write what it has buffered; killing docker exec would
	// leave it running.
	_, _ = s.lab.Exec(ctx, "probe", "pkill", "-INT", "-x", "ping")
	s.done.Wait()
	for _, out := range s.out {
		s.replies = append(s.replies, readReplies(out.String()))
	}
	var last time.Time
	var longest time.Duration
	for _, at := range s.replies[0] {
		if !last.IsZero() && at.After(since) {
			longest = max(longest, at.Sub(last))
		}
		last = at
	}
	return longest
}

// silent is the gap after which an address counts as cut off.
const silent = time.Second

// AnsweredFrom tells from when on every address has answered without a gap of a
// second until Stop; false if one of them was silent at the end.
func (s *Silence) AnsweredFrom() (from time.Time, ok bool) {
	for _, replies := range s.replies {
		var since, last time.Time
		for _, at := range replies {
			if last.IsZero() || at.Sub(last) > silent {
				since = at
			}
			last = at
		}
		if last.IsZero() || s.stopped.Sub(last) > silent {
			return time.Time{}, false
		}
		if since.After(from) {
			from = since
		}
	}
	return from, true
}

// readReplies reads the times of the answers from what ping -D writes.
func readReplies(out string) []time.Time {
	var replies []time.Time
	for line := range strings.Lines(out) {
		stamp, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		if !ok || !strings.Contains(rest, "bytes from") {
			continue
		}
		if seconds, err := strconv.ParseFloat(stamp, 64); err == nil {
			replies = append(replies, time.UnixMicro(int64(seconds*1e6)))
		}
	}
	return replies
}
