package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"time"
)

// Follow delivers the lines that a service of earlybind logs from now on, until
// the context ends.
func (l *Lab) Follow(ctx context.Context, services ...string) (<-chan Line, error) {
	lines := make(chan Line, 1000)
	since := time.Now().UTC().Format(time.RFC3339Nano)
	for _, service := range services {
		cmd := exec.CommandContext(ctx, "docker", "logs", "-f", "--since", since, l.Container(service))
		out, err := cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		go func() {
			defer func() { _ = cmd.Wait() }() // killed when the context ends
			scanner := bufio.NewScanner(out)
			scanner.Buffer(nil, 1<<20)
			for scanner.Scan() {
				line := Line{Service: service, Time: time.Now()}
				if json.Unmarshal(scanner.Bytes(), &line.Fields) != nil {
					continue
				}
				select {
				case lines <- line:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	return lines, nil
}

// Await takes lines until one matches.
func Await(ctx context.Context, lines <-chan Line, match func(Line) bool) error {
	for {
		select {
		case line := <-lines:
			if match(line) {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// AwaitEvent takes the publishers' lines until one has told of a lifecycle event of an
// instance, as wire names it: "suspended", "migrated". An empty detail is any.
func AwaitEvent(ctx context.Context, events <-chan Line, host, instance, event, detail string) error {
	err := Await(ctx, events, func(e Line) bool {
		return e.Service == PublisherOf(host) && e.Text("instance") == instance && e.Text("event") == event &&
			(detail == "" || e.Text("detail") == detail)
	})
	if err != nil {
		return fmt.Errorf("waiting for %s/%s on %s: %w", event, detail, host, err)
	}
	return nil
}

// PublisherOf gives the publisher's service of a host.
func PublisherOf(host string) string { return publisherOf[host] }

// Other gives the other compute host.
func Other(host string) string {
	if host == Computes[0] {
		return Computes[1]
	}
	return Computes[0]
}
