package nova

import (
	"crypto/rand"
	"fmt"
)

// Migration is one live migration as Nova knows it.
type Migration struct {
	Instance    string // UUID
	RequestID   string // the same in every notification of the migration
	Source      string
	Destination string
	Ports       []Port
}

// Port is one port of the instance as Nova's network info cache has it.
type Port struct {
	ID       string
	VNICType string
	Profile  map[string]any
}

// NewRequestID makes the id of a request to Nova.
func NewRequestID() string { return "req-" + NewUUID() }

// NewUUID makes a random UUID.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails since Go 1.24
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
