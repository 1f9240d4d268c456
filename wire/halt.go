package wire

import (
	"errors"
	"fmt"
	"slices"
)

// Event types of what `earlybind pause` and the consumers say to each other.
const (
	EventPaused = "earlybind.consumer.paused" // Halt
	EventObeys  = "earlybind.consumer.obeys"  // Obeys
)

// Halt is what no consumer commits, from when it is told: the whole of it, never a
// change alone.
type Halt struct {
	Schema int `json:"schema"`
	// Revision rises with each order: of two the higher one holds.
	Revision int64    `json:"revision"`
	All      bool     `json:"all"`   // nothing at all is committed
	Hosts    []string `json:"hosts"` // nothing from or to these; sorted
	By       string   `json:"by"`    // who gave the last order to pause, or resumed the last of it; for people
	Why      string   `json:"why"`   // for people, may be empty
	// Order is the last order, as its command, with who gave it and why: for people, and
	// empty if it came from a version that does not tell it.
	Order string `json:"order,omitempty"`
}

// ParseHalt reads the payload of what is paused.
func ParseHalt(n Notification) (Halt, error) {
	var h Halt
	if err := parseOwn(n, &h, &h.Schema); err != nil {
		return Halt{}, err
	}
	if err := h.check(); err != nil {
		return Halt{}, fmt.Errorf("payload of %s: %w", n.EventType, err)
	}
	return h, nil
}

func (h Halt) check() error {
	if h.Revision <= 0 {
		return errors.New("it has no revision")
	}
	for i, host := range h.Hosts {
		if err := CheckHost(host); err != nil {
			return fmt.Errorf("host %d %w", i+1, err)
		}
		if i > 0 && h.Hosts[i-1] >= host {
			return errors.New("the hosts are not sorted, or one is there twice")
		}
	}
	return nil
}

// With gives what is paused when a host is too; all, if none is named.
func (h Halt) With(hosts ...string) Halt {
	h.All = h.All || len(hosts) == 0
	h.Hosts = slices.Concat(h.Hosts, hosts)
	slices.Sort(h.Hosts)
	h.Hosts = slices.Compact(h.Hosts)
	return h
}

// Without gives what is paused when a host no longer is; when all no longer is, if none
// is named. It takes back what [Halt.With] has done, and no more: a host that is
// paused by name stays so when all is resumed.
func (h Halt) Without(hosts ...string) Halt {
	h.All = h.All && len(hosts) > 0
	h.Hosts = slices.DeleteFunc(slices.Clone(h.Hosts), func(host string) bool { return slices.Contains(hosts, host) })
	return h
}

// Obeys is a session's word that it goes by what is paused as of a revision.
type Obeys struct {
	Schema   int    `json:"schema"`
	Revision int64  `json:"revision"`
	Replica  string `json:"replica"`
	Share    string `json:"share,omitempty"` // as "2 of 4"; empty where there is one only
}

// ParseObeys reads the payload of a session's word.
func ParseObeys(n Notification) (Obeys, error) {
	var o Obeys
	if err := parseOwn(n, &o, &o.Schema); err != nil {
		return Obeys{}, err
	}
	return o, nil
}
