package handover

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Canary is the share of the instances whose ports may be committed; the ports of the others
// are observed. It is decided by the instance's UUID alone, so that every replica, after
// every restart, decides the same, and that who is in a share is in every larger one. The
// zero value has all.
type Canary struct{ without int } // percent that it has not

// CanaryOf gives the share of so many percent, from 0 to 100.
func CanaryOf(percent int) Canary { return Canary{100 - min(max(percent, 0), 100)} }

// Decode reads a whole number of percent; envconfig calls it.
func (c *Canary) Decode(text string) error {
	percent, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil || percent < 0 || percent > 100 {
		return errors.New("must be a whole number of percent, from 0 to 100")
	}
	*c = CanaryOf(percent)
	return nil
}

func (c Canary) percent() int { return 100 - c.without }

// Whole tells whether it has every instance.
func (c Canary) Whole() bool { return c.without == 0 }

func (c Canary) String() string { return fmt.Sprintf("%d%%", c.percent()) }

// has tells whether an instance is of the share: the first 8 bytes of its UUID's SHA-256,
// as a big-endian number, modulo 100. It has nothing to do with the shares that replicas
// have (FNV-1a modulo their number), or a small canary would be of a few of them alone.
func (c Canary) has(instance string) bool {
	if c.without == 0 {
		return true
	}
	sum := sha256.Sum256([]byte(strings.ToLower(instance)))
	return binary.BigEndian.Uint64(sum[:8])%100 < uint64(c.percent())
}
