package bindingtest

import (
	"slices"
	"time"
)

// Fault changes what the fake does with calls. All fields may be combined; things
// happen in the order of the fields.
type Fault struct {
	// Op is one of the Op constants of package binding that is a single request;
	// empty for any.
	Op string

	// PortID and Host choose calls for one port or host; empty for any.
	PortID, Host string

	// Times is for how many calls it is good; 0 for one, negative for all.
	Times int

	// Arrived runs when the call has come, before anything else.
	Arrived func()

	// Until holds the call before it takes effect until the channel is closed. A
	// client that gave up does not end it: Neutron finishes what it has begun.
	Until <-chan struct{}

	// Before runs before the call takes effect.
	Before func()

	// Between runs between the two transactions of activate.
	Between func()

	// Apply lets the call take effect although Status, Body or Drop is set.
	Apply bool

	// After runs when the call has taken effect, before the answer.
	After func()

	// Status is answered in place of what the call would have; with Type and
	// Message as Neutron's error, unless Body is set.
	Status        int
	Type, Message string

	// Body is answered as JSON in place of what the call would have, with Status
	// or 200.
	Body any

	// Drop breaks the connection in place of an answer.
	Drop bool
}

// Inject adds a fault. The first that fits a call is used.
func (n *Neutron) Inject(f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	n.faults = append(n.faults, &f)
}

// ClearFaults forgets all faults.
func (n *Neutron) ClearFaults() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = nil
}

// fault takes the fault for a call; n.mu is held.
func (n *Neutron) fault(op, portID, host string) Fault {
	fits := func(want, got string) bool { return want == "" || want == got }
	for _, f := range n.faults {
		if f.Times != 0 && fits(f.Op, op) && fits(f.PortID, portID) && fits(f.Host, host) {
			if f.Times > 0 {
				f.Times--
			}
			return *f
		}
	}
	return Fault{}
}

func (f Fault) replaces() bool { return f.Status != 0 || f.Body != nil || f.Drop }

// Request is one call that the fake got.
type Request struct {
	Op           string // one of the Op constants of package binding, "" if unknown
	Method, Path string // Path with its query
	PortID, Host string
	Body         string
	IfMatch      string
	UserAgent    string

	Began     time.Time
	Ended     time.Time // zero while it runs
	Status    int       // 0 while it runs, and if the connection was broken
	RequestID string
}

// Requests are all calls in the order in which they came.
func (n *Neutron) Requests() []Request {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]Request, 0, len(n.log))
	for _, r := range n.log {
		list = append(list, *r)
	}
	return list
}

// Writes are the calls that change something, in the order in which they came.
func (n *Neutron) Writes() []Request {
	return slices.DeleteFunc(n.Requests(), func(r Request) bool { return r.Method == "GET" })
}
