package simulation

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/earlybind/earlybind/wire"
)

// What the consumer computes, in CPU time, from above (docs/scale.md has the commands).
// MessageTakes is for how long a message holds its session: decoding it, and handing it to
// its instance; BenchmarkMessage of package consumer, with the making of the message.
// HandoverTakes is a handover of one port without its messages' decoding and without a
// client of Neutron; BenchmarkHandover. RequestTakes is one request to Neutron: this
// simulation's own CPU for each, both ends, without sockets and TLS.
const (
	MessageTakes  = 200 * time.Microsecond
	HandoverTakes = 200 * time.Microsecond
	RequestTakes  = 300 * time.Microsecond
)

//go:embed data/neutron.json
var neutronData []byte

//go:embed data/switchovers.json
var switchoverData []byte

//go:embed data/failures.json
var failureData []byte

// The kinds of requests to Neutron.
const (
	activate      = "activate"
	activateAgain = "activate again" // of a row that is ACTIVE: 409
	readRows      = "read rows"
	readPorts     = "read ports"
	updatePort    = "update port"
	createRow     = "create row"
	deleteRow     = "delete row"
)

var kinds = []string{activate, activateAgain, readRows, readPorts, updatePort, createRow, deleteRow}

// Latency is how long Neutron takes for each kind of request while it does nothing else,
// in milliseconds.
type Latency struct {
	Origin       string               `json:"origin"`
	Milliseconds map[string]Quantiles `json:"milliseconds"`
}

// Quantiles are of a latency, in milliseconds, rising.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// at gives the quantile q.
func (v Quantiles) at(q float64) time.Duration {
	points := []struct{ q, ms float64 }{{0, max(v.P50-(v.P90-v.P50), 0)}, {0.5, v.P50}, {0.9, v.P90}, {0.99, v.P99}, {1, v.Max}}
	i := 1
	for i < len(points)-1 && q > points[i].q {
		i++
	}
	low, high := points[i-1], points[i]
	ms := low.ms + (high.ms-low.ms)*(q-low.q)/(high.q-low.q)
	return time.Duration(ms * float64(time.Millisecond))
}

// mean is of the distribution that at draws from.
func (v Quantiles) mean() time.Duration {
	low := max(v.P50-(v.P90-v.P50), 0)
	ms := 0.5*(low+v.P50)/2 + 0.4*(v.P50+v.P90)/2 + 0.09*(v.P90+v.P99)/2 + 0.01*(v.P99+v.Max)/2
	return time.Duration(ms * float64(time.Millisecond))
}

// Measured gives what was measured of Neutron's releases, by their names.
func Measured() map[string]Latency {
	measured := map[string]Latency{}
	mustRead(neutronData, &measured)
	return measured
}

// Releases are the names of [Measured].
func Releases() []string { return slices.Sorted(maps.Keys(Measured())) }

// ReadLatency reads a latency of one's own: an object of data/neutron.json.
func ReadLatency(r io.Reader) (Latency, error) {
	var l Latency
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, err
	}
	return l, l.validate()
}

func (l Latency) validate() error {
	var faults []error
	for _, kind := range kinds {
		q, ok := l.Milliseconds[kind]
		if !ok {
			faults = append(faults, fmt.Errorf("milliseconds of %q are missing", kind))
		} else if !(q.P50 > 0 && q.P50 <= q.P90 && q.P90 <= q.P99 && q.P99 <= q.Max) {
			faults = append(faults, fmt.Errorf("%q: p50, p90, p99, max must be positive and rise: %v, %v, %v, %v", kind, q.P50, q.P90, q.P99, q.Max))
		}
	}
	for kind := range l.Milliseconds {
		if !slices.Contains(kinds, kind) {
			faults = append(faults, fmt.Errorf("%q is no kind of request", kind))
		}
	}
	return errors.Join(faults...)
}

// switchovers are what was measured of migrations that succeeded, in milliseconds.
type switchovers struct {
	Origin      string       `json:"origin"`
	Switchovers []switchover `json:"switchovers"`
	Reactions   []float64    `json:"reactions"`
}

// switchover is one, in milliseconds from the guest's pause: the guest runs on the
// destination, the source has stopped, Nova takes over.
type switchover struct {
	Arrival float64 `json:"arrival"`
	Stopped float64 `json:"stopped"`
	Nova    float64 `json:"nova"`
}

// failure is how a migration fails, from the pause or, where it fails before, from its
// first sign.
type failure struct {
	Kind    string   `json:"kind"`
	Origin  string   `json:"origin"`
	Moments []moment `json:"moments"`
}

type moment struct {
	MS     float64     `json:"ms"`
	Host   string      `json:"host,omitempty"` // source or destination
	Event  wire.Event  `json:"event,omitempty"`
	Detail wire.Detail `json:"detail,omitempty"`
	Nova   string      `json:"nova,omitempty"` // rollback: Nova begins to
}

// The parts of hosts in a moment.
const (
	source      = "source"
	destination = "destination"
)

func readSwitchovers() switchovers {
	var s switchovers
	mustRead(switchoverData, &s)
	return s
}

func readFailures() []failure {
	var f []failure
	mustRead(failureData, &f)
	return f
}

// mustRead reads what is compiled in.
func mustRead(data []byte, to any) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		panic(fmt.Sprintf("simulation: %v", err))
	}
}

func ms(f float64) time.Duration { return time.Duration(f * float64(time.Millisecond)) }
