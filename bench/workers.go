package main

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/simulation"
)

// apiWorkers is how many the Neutron had whose times [neutronTakes] are.
const apiWorkers = 2

// The kinds of requests, as the simulation's data names them.
const (
	activateRow = "activate"
	updatePort  = "update port"
	createRow   = "create row"
	deleteRow   = "delete row"
	readRows    = "read rows"
	readPorts   = "read ports"
)

// neutronTakes is for how long each kind of request holds a worker: the medians measured
// of Neutron 21.0.0 on two shared cores, two workers, one request at a time (the
// simulation's data). An activate has 157 ms. Eight at once all the time were measured to
// take 565 ms each there (p50), and take 628 before workers that serve one after the other.
func neutronTakes(kind string) time.Duration {
	return time.Duration(simulation.Measured()["zed"].Milliseconds[kind].P50 * float64(time.Millisecond))
}

// request is one for a port, or for a list of ports, which has none.
type request struct {
	kind, port, host  string
	arrived, answered time.Time
	takes             time.Duration // of a worker
}

// requestOf tells what is asked; part is the path from the port on.
func requestOf(method string, part []string, at time.Time) request {
	r := request{port: part[0], arrived: at}
	switch {
	case method == http.MethodPut && len(part) == 4:
		r.kind, r.host = activateRow, part[2]
	case method == http.MethodPut:
		r.kind = updatePort
	case method == http.MethodPost:
		r.kind = createRow
	case method == http.MethodDelete:
		r.kind = deleteRow
	case len(part) > 1:
		r.kind = readRows
	default:
		r.kind = readPorts
	}
	return r
}

// workers are Neutron's API workers, before which requests stand in one line: first come,
// first served. While they are off nothing takes any time.
type workers struct {
	takes    map[string]time.Duration
	answered chan request // while they are on

	mu   sync.Mutex
	on   bool
	free []time.Time // when each is free again
}

func newWorkers(count int) *workers {
	w := &workers{takes: map[string]time.Duration{}, answered: make(chan request, 1<<14), free: make([]time.Time, count)}
	for _, kind := range []string{activateRow, updatePort, createRow, deleteRow, readRows, readPorts} {
		w.takes[kind] = neutronTakes(kind)
	}
	return w
}

// turn has them take their time, or none. Who stands in line when they are turned off is
// still served in turn.
func (w *workers) turn(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.on = on
	clear(w.free)
}

// take gives until when a request that comes at that time has the worker that is free next.
func (w *workers) take(at time.Time, takes time.Duration) time.Time {
	slices.SortFunc(w.free, time.Time.Compare)
	if w.free[0].Before(at) {
		w.free[0] = at
	}
	w.free[0] = w.free[0].Add(takes)
	return w.free[0]
}

// serve returns when the request has had its worker's time. What it gives is called when
// the request is answered.
func (w *workers) serve(r request) (answered func()) {
	w.mu.Lock()
	if !w.on {
		w.mu.Unlock()
		return func() {}
	}
	r.takes = w.takes[r.kind]
	ends := w.take(r.arrived, r.takes)
	w.mu.Unlock()
	time.Sleep(time.Until(ends))
	return func() {
		r.answered = time.Now()
		w.answered <- r
	}
}
