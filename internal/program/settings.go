package program

import (
	"errors"
	"fmt"
	"net"
	"time"
)

// Settings are the environment variables of every program (prefix EARLYBIND_).
type Settings struct {
	// Drain is how long a stop may take. The default leaves Kubernetes 5 of its
	// 30 s, and is well under systemd's 90.
	Drain time.Duration `default:"25s"`
	// Health is where /live, /ready and /metrics are answered, host:port; empty: nowhere.
	Health string
}

const (
	minDrain = time.Second
	maxDrain = 10 * time.Minute
)

// Validate names every fault at once.
func (s *Settings) Validate() error {
	var faults []error
	if s.Drain < minDrain || s.Drain > maxDrain {
		faults = append(faults, fmt.Errorf("EARLYBIND_DRAIN must be at least %s and at most %s", minDrain, maxDrain))
	}
	if s.Health != "" {
		if _, port, err := net.SplitHostPort(s.Health); err != nil || port == "" {
			faults = append(faults, errors.New("EARLYBIND_HEALTH must be host:port, as 127.0.0.1:8642 or [::1]:8642"))
		}
	}
	return errors.Join(faults...)
}
