package lab

import (
	"context"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Addresses are the guest's, by the network whose namespace on the probe host
// reaches them; see deploy/lab/lab.
var Addresses = []struct{ Network, IP string }{
	{"net1", "10.77.0.101"}, {"net1", "10.77.0.102"}, {"net2", "10.78.0.101"},
}

// Reachable counts the guest's addresses that answer the probe now.
func (l *Lab) Reachable(ctx context.Context) int {
	answers := 0
	for _, a := range Addresses {
		if _, err := l.Exec(ctx, "probe", "ip", "netns", "exec", a.Network, "ping", "-q", "-c", "2", "-i", "0.2", "-W", "1", a.IP); err == nil {
			answers++
		}
	}
	return answers
}

// Silence pings one address of the guest from the probe every 50 ms until Stop.
type Silence struct {
	lab  *Lab
	done sync.WaitGroup
	out  strings.Builder
}

// Listen starts pinging; it ends by itself after 200 s.
func (l *Lab) Listen(ctx context.Context) *Silence {
	s := &Silence{lab: l}
	a := Addresses[0]
	cmd := exec.CommandContext(ctx, "docker", "exec", l.Container("probe"),
		"ip", "netns", "exec", a.Network, "ping", "-D", "-n", "-i", "0.05", "-w", "200", a.IP)
	cmd.Stdout = &s.out
	s.done.Go(func() { _ = cmd.Run() }) // no answer at all is an exit status too
	return s
}

// Stop ends it and gives the longest gap between two answers that lies after
// since; zero if there were none.
func (s *Silence) Stop(ctx context.Context, since time.Time) time.Duration {
	// SIGINT has ping write what it has buffered; killing docker exec would
	// leave it running.
	_, _ = s.lab.Exec(ctx, "probe", "pkill", "-INT", "-x", "ping")
	s.done.Wait()
	var last time.Time
	var longest time.Duration
	for _, line := range strings.Split(s.out.String(), "\n") {
		stamp, rest, ok := strings.Cut(strings.TrimPrefix(line, "["), "] ")
		if !ok || !strings.Contains(rest, "bytes from") {
			continue
		}
		seconds, err := strconv.ParseFloat(stamp, 64)
		if err != nil {
			continue
		}
		at := time.UnixMicro(int64(seconds * 1e6))
		if !last.IsZero() && at.After(since) {
			longest = max(longest, at.Sub(last))
		}
		last = at
	}
	return longest
}
