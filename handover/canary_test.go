package handover

import (
	"crypto/sha256"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"testing"
)

// uuid gives the n-th of a row of version 4 UUIDs that is the same each time.
func uuid(n int) string {
	sum := sha256.Sum256(fmt.Append(nil, "instance ", n))
	sum[6], sum[8] = sum[6]&0x0f|0x40, sum[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// Who is in a share must never change with the version: replicas of two run side by side
// in an upgrade. The numbers are those of Python's hashlib.
func TestWhoIsInACanaryIsSettled(t *testing.T) {
	for instance, from := range map[string]int{ // the first share that has it
		"67322275-37eb-4301-9b66-d8d416b4cca1": 93,
		"67322275-37EB-4301-9B66-D8D416B4CCA1": 93,
		"52a29486-f502-4a47-8198-bc08e6ba1800": 77,
		"00000000-0000-4000-8000-000000000000": 19,
	} {
		for percent := range 101 {
			if got := CanaryOf(percent).has(instance); got != (percent >= from) {
				t.Errorf("%s at %d%%: %t, want it from %d%% on", instance, percent, got, from)
			}
		}
	}
}

func TestACanaryHasItsShareOfTheInstances(t *testing.T) {
	const n = 20_000
	for _, percent := range []int{0, 1, 5, 10, 50, 99, 100} {
		has := 0
		for i := range n {
			if CanaryOf(percent).has(uuid(i)) {
				has++
			}
		}
		p := float64(percent) / 100
		if off := math.Abs(float64(has) - p*n); off > 5*math.Sqrt(n*p*(1-p)) {
			t.Errorf("%d%%: %d of %d", percent, has, n)
		}
	}
}

// Replicas that act for a share of the instances each (docs/brokers.md) have as many
// canaries as one another.
func TestCanariesAreSpreadOverTheSharesOfReplicas(t *testing.T) {
	const n = 20_000
	for _, shares := range []uint32{2, 4, 5, 8} {
		all, canaries := make([]float64, shares), make([]float64, shares)
		for i := range n {
			h := fnv.New32a()
			_, _ = h.Write([]byte(uuid(i))) // as consumer.share.whose
			share := h.Sum32() % shares
			all[share]++
			if CanaryOf(10).has(uuid(i)) {
				canaries[share]++
			}
		}
		for i := range shares {
			if off := math.Abs(canaries[i] - 0.1*all[i]); off > 5*math.Sqrt(all[i]*0.09) {
				t.Errorf("share %d of %d: %v of %v", i, shares, canaries[i], all[i])
			}
		}
	}
}

func TestACanaryIsReadBack(t *testing.T) {
	for text, want := range map[string]string{"100": "100%", " 5 ": "5%", "0": "0%"} {
		c := CanaryOf(50)
		if err := c.Decode(text); err != nil || c.String() != want {
			t.Errorf("%q: %s, %v", text, c, err)
		}
	}
	for _, text := range []string{"", "-1", "101", "5%", "0.5", "hunter2"} {
		c := CanaryOf(50)
		if err := c.Decode(text); err == nil || strings.Contains(err.Error(), "hunter2") || c != CanaryOf(50) {
			t.Errorf("%q: %s, %v", text, c, err)
		}
	}
	if (Canary{}) != CanaryOf(100) || CanaryOf(-3) != CanaryOf(0) || CanaryOf(1000) != CanaryOf(100) {
		t.Error("the bounds of a share")
	}
}
