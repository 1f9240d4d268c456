package lab

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	var answers atomic.Int32
	var asking sync.WaitGroup
	for _, a := range addressesOf(l.guest) {
		asking.Go(func() {
			if _, err := l.Exec(ctx, "probe", "ip", "netns", "exec", a.Network, "ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", a.IP); err == nil {
				answers.Add(1)
			}
		})
	}
	asking.Wait()
	return int(answers.Load())
}

// Silence pings a guest's addresses from the probe until Stop, and knows when they did
// not answer.
type Silence struct {
	lab     *Lab
	done    sync.WaitGroup
	out     []string  // what each ping has written, once stopped
	replies [][]reply // by address, once stopped
	stopped time.Time
}

// reply is an answer to one of ping's packets.
type reply struct {
	at  time.Time
	seq int // the packet's number, from 1
}

// Listen starts pinging, the first address every 50 ms and the others every 200; it ends
// by itself after 200 s.
func (l *Lab) Listen(ctx context.Context) *Silence {
	return l.ListenClosely(ctx, 50*time.Millisecond, 200*time.Millisecond)
}

// ListenClosely is [Lab.Listen] with other intervals.
func (l *Lab) ListenClosely(ctx context.Context, first, others time.Duration) *Silence {
	s := &Silence{lab: l}
	for i, a := range addressesOf(l.guest) {
		every := others
		if i == 0 {
			every = first
		}
		// Into a file: docker's way of each line costs more CPU than all else.
		script := fmt.Sprintf("exec ip netns exec %s lab-ping %s %g 200 >%s 2>&1", a.Network, a.IP, every.Seconds(), pingFile(i))
		s.done.Go(func() { _, _ = l.Exec(ctx, "probe", "sh", "-c", script) }) // no answer at all is an exit status too
		s.out = append(s.out, "")
	}
	return s
}

func pingFile(i int) string { return fmt.Sprintf("/tmp/ping-%d", i) }

// Stop ends it and gives the first address's longest gap between two answers that
// lies after since; zero if there were none.
func (s *Silence) Stop(ctx context.Context, since time.Time) time.Duration {
	s.stopped = time.Now()
	// SIGINT has it write what it has buffered; killing docker exec would leave it running.
	_, _ = s.lab.Exec(ctx, "probe", "pkill", "-INT", "-x", "lab-ping")
	s.done.Wait()
	for i := range s.out {
		out, err := s.lab.Exec(ctx, "probe", "cat", pingFile(i))
		if err != nil {
			out = err.Error()
		}
		s.out[i] = out
		s.replies = append(s.replies, readReplies(out))
	}
	return gapOf(s.replies[0], since).Length()
}

// Gap is the longest time between two answers of an address.
type Gap struct {
	From, To time.Time // the two answers; zero if there was no gap
	Lost     int       // packets without an answer, in this gap or another
}

// Length is how long it was.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// Gaps gives each address's after since, once stopped.
func (s *Silence) Gaps(since time.Time) []Gap {
	var gaps []Gap
	for _, replies := range s.replies {
		gaps = append(gaps, gapOf(replies, since))
	}
	return gaps
}

func gapOf(replies []reply, since time.Time) Gap {
	var g Gap
	for i := 1; i < len(replies); i++ {
		last, next := replies[i-1], replies[i]
		if !next.at.After(since) {
			continue
		}
		g.Lost += max(0, next.seq-last.seq-1) // a double has the same number
		if next.at.Sub(last.at) > g.Length() {
			g.From, g.To = last.at, next.at
		}
	}
	return g
}

// silent is the gap after which an address counts as cut off.
const silent = time.Second

// AnsweredFrom tells from when on every address has answered without a gap of a
// second until Stop; why not, if one of them was silent at the end.
func (s *Silence) AnsweredFrom() (from time.Time, why string) {
	for i, replies := range s.replies {
		var since, last time.Time
		for _, r := range replies {
			if last.IsZero() || r.at.Sub(last) > silent {
				since = r.at
			}
			last = r.at
		}
		switch {
		case last.IsZero():
			return time.Time{}, fmt.Sprintf("address %d has never answered; its ping wrote: %s", i+1, s.end(i))
		case s.stopped.Sub(last) > silent:
			return time.Time{}, fmt.Sprintf("address %d has answered %d times, and not in the last %.1f s; its ping wrote last: %s",
				i+1, len(replies), s.stopped.Sub(last).Seconds(), s.end(i))
		}
		if since.After(from) {
			from = since
		}
	}
	return from, ""
}

// end gives the last lines that an address's ping has written.
func (s *Silence) end(i int) string {
	if i >= len(s.out) {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(s.out[i]), "\n")
	return strings.Join(lines[max(0, len(lines)-4):], "; ")
}

// readReplies reads the answers from what lab-ping writes.
func readReplies(out string) []reply {
	var replies []reply
	for line := range strings.Lines(out) {
		stamp, number, ok := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "[")), "] icmp_seq=")
		if !ok {
			continue
		}
		seconds, err1 := strconv.ParseFloat(stamp, 64)
		seq, err2 := strconv.Atoi(number)
		if err1 == nil && err2 == nil {
			replies = append(replies, reply{time.UnixMicro(int64(seconds * 1e6)), seq})
		}
	}
	return replies
}
