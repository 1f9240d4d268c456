package neutron

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/earlybind/earlybind/binding"
)

// Calls are the calls that came, and the faults for those to come. Its methods may
// be called at any time from any goroutine.
type Calls struct {
	done chan struct{} // closed by Close

	mu     sync.Mutex
	came   int
	faults []*Fault
	log    []*Request
}

// Request is one call that came.
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
	RequestID string    // of the fake, also of a call that was broken
}

// Close lets go of the calls that a fault holds.
func (c *Calls) Close() { close(c.done) }

// Inject adds a fault. The first that fits a call is used.
func (c *Calls) Inject(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Times == 0 {
		f.Times = 1
	}
	c.faults = append(c.faults, &f)
}

// ClearFaults forgets all faults.
func (c *Calls) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// Requests are all calls in the order in which they came.
func (c *Calls) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]Request, 0, len(c.log))
	for _, r := range c.log {
		list = append(list, *r)
	}
	return list
}

// Forget forgets the calls that came, so that many millions may.
func (c *Calls) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.log = nil
}

// Writes are the calls that change something, in the order in which they came.
func (c *Calls) Writes() []Request {
	return slices.DeleteFunc(c.Requests(), func(r Request) bool { return r.Method == "GET" })
}

// operations are the calls that are known, by the pattern of their URL.
var operations = map[string]string{
	"GET /v2.0/extensions":                            binding.OpExtensions,
	"GET /v2.0/ports":                                 binding.OpListPorts,
	"GET /v2.0/ports/{port}":                          binding.OpGetPort,
	"PUT /v2.0/ports/{port}":                          binding.OpUpdateProfile,
	"GET /v2.0/ports/{port}/bindings":                 binding.OpList,
	"POST /v2.0/ports/{port}/bindings":                binding.OpCreate,
	"GET /v2.0/ports/{port}/bindings/{host}":          binding.OpGet,
	"DELETE /v2.0/ports/{port}/bindings/{host}":       binding.OpDelete,
	"PUT /v2.0/ports/{port}/bindings/{host}/activate": binding.OpActivate,
	"/": "",
}

// reply is an answer as it is sent.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// handler lets every call run into its fault, and carry carry it out.
func (c *Calls) handler(carry func(op string, r request, f Fault) reply) http.Handler {
	mux := http.NewServeMux()
	for pattern, op := range operations {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { c.serve(w, r, op, carry) })
	}
	return mux
}

func (c *Calls) serve(w http.ResponseWriter, r *http.Request, op string, carry func(string, request, Fault) reply) {
	raw, _ := io.ReadAll(r.Body)
	req := request{Request: r, portID: r.PathValue("port"), host: r.PathValue("host"), raw: raw}
	_ = decode(raw, &req.body)
	if row, ok := req.body["binding"].(map[string]any); ok && op == binding.OpCreate {
		req.host, _ = row["host"].(string)
	}

	c.mu.Lock()
	c.came++
	entry := &Request{
		Op: op, Method: r.Method, Path: r.URL.RequestURI(), PortID: req.portID, Host: req.host,
		Body: string(raw), IfMatch: r.Header.Get("If-Match"), UserAgent: r.UserAgent(),
		Began:     time.Now(),
		RequestID: fmt.Sprintf("req-00000000-0000-4000-8000-%012x", c.came),
	}
	c.log = append(c.log, entry)
	fault := c.fault(op, req.portID, req.host)
	c.mu.Unlock()

	req.between, req.id = fault.Between, entry.RequestID
	run(fault.Arrived)
	if fault.Until != nil {
		select {
		case <-fault.Until:
		case <-c.done:
		}
	}
	run(fault.Before)
	a := carry(op, req, fault)
	run(fault.After)

	broken := fault.Drop || fault.Half
	c.mu.Lock()
	entry.Ended = time.Now()
	if !broken {
		entry.Status = a.status
	}
	c.mu.Unlock()
	a.write(w, fault)
	if broken {
		panic(http.ErrAbortHandler)
	}
}

// write sends as much of an answer as its fault lets through.
func (a reply) write(w http.ResponseWriter, f Fault) {
	if f.Drop || f.Half && len(a.body) == 0 {
		return
	}
	maps.Copy(w.Header(), a.header)
	maps.Copy(w.Header(), f.Header)
	if len(a.body) > 0 {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if f.Half {
		_, _ = w.Write(a.body[:len(a.body)/2])
		_ = http.NewResponseController(w).Flush()
		return
	}
	_, _ = w.Write(a.body)
}

// fault takes the fault for a call; c.mu is held.
func (c *Calls) fault(op, portID, host string) Fault {
	fits := func(want, got string) bool { return want == "" || want == got }
	for _, f := range c.faults {
		if f.Times != 0 && fits(f.Op, op) && fits(f.PortID, portID) && fits(f.Host, host) {
			if f.Times > 0 {
				f.Times--
			}
			return *f
		}
	}
	return Fault{}
}
