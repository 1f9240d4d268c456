package neutron

import "net/http"

// Fault changes what the fake, or a [Proxy], does with calls. All fields may be combined; things
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

	// Between runs between the two transactions of activate; of the fake only.
	Between func()

	// Apply lets the call take effect although Status, Body, Drop or Half is set.
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

	// Gateway makes the answer that of a proxy in front of Neutron, as HAProxy
	// gives it: a page, without Neutron's error type and request id.
	Gateway bool

	// Header is added to the answer, for example Retry-After.
	Header http.Header

	// Drop breaks the connection in place of an answer.
	Drop bool

	// Half breaks the connection after half of the body of the answer; before the
	// answer if that has no body.
	Half bool
}

func (f Fault) replaces() bool { return f.Status != 0 || f.Body != nil || f.Drop || f.Half }
