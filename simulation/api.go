package simulation

import (
	"context"
	"hash/fnv"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/internal/clock"
	api "github.com/earlybind/earlybind/internal/neutron"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/simulated/neutron"
)

// Who asks Neutron.
const (
	ours   = "earlybind"
	novas  = "nova"
	others = "others"
)

// way is how one who asks reaches Neutron: through the queue of its workers.
type way struct {
	cloud *cloud
	who   string
	to    http.RoundTripper
}

// request is one as the queue knows it.
type request struct {
	kind string
	port *portRun // nil of a list
	of   *journey
}

func (w way) RoundTrip(r *http.Request) (*http.Response, error) {
	c, ctx := w.cloud, r.Context()
	if err := binding.Check(r); err != nil {
		return nil, err
	}
	asked := c.read(r)
	commit := w.who == ours && (asked.kind == activate || asked.kind == activateAgain) && strings.Contains(r.URL.Path, "/bindings/"+asked.of.destination+"/")
	now := c.clock.Now()
	if w.who == ours {
		c.atOnce++
		c.figures.kinds[asked.kind]++
		c.figures.mostAtOnce = max(c.figures.mostAtOnce, c.atOnce)
		defer func() { c.atOnce-- }()
	}
	takes := c.takes(asked, w.who)
	begins := c.serve(w.who, takes)
	if commit && asked.port.sent == 0 {
		asked.port.sent, asked.port.queued = now, begins-now
	}
	var answer *http.Response
	var err error
	done := make(chan struct{}, 1)
	// What has reached Neutron is carried out, whether its caller waits or not.
	c.clock.At(begins+takes, func() {
		answer, err = w.to.RoundTrip(r.WithContext(context.Background()))
		if asked.port != nil && r.Method != http.MethodGet {
			c.look(asked.port)
		}
		done <- struct{}{}
	})
	if !c.clock.Wait(ctx, clock.Forever, done) {
		return nil, ctx.Err()
	}
	if commit && asked.port.answered == 0 && err == nil && answer.StatusCode == http.StatusOK {
		asked.port.answered = c.clock.Now()
	}
	return answer, err
}

// read tells what a request asks.
func (c *cloud) read(r *http.Request) request {
	id, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2.0/ports"), "/bindings")
	asked := request{port: c.ports[strings.TrimPrefix(id, "/")], of: c.journeys[r.URL.Query().Get("device_id")]}
	if asked.port != nil {
		asked.of = asked.port.of
	}
	rows := strings.Contains(r.URL.Path, "/bindings")
	switch {
	case r.Method == http.MethodGet && rows:
		asked.kind = readRows
	case r.Method == http.MethodGet:
		asked.kind = readPorts
	case r.Method == http.MethodPost:
		asked.kind = createRow
	case r.Method == http.MethodDelete:
		asked.kind = deleteRow
	case !rows:
		asked.kind = updatePort
	default:
		asked.kind = activate
		if host := strings.TrimSuffix(strings.TrimPrefix(rest, "/"), "/activate"); c.activeOn(asked.port) == host {
			asked.kind = activateAgain
		}
	}
	return asked
}

// takes draws for how long a request holds a worker. The draw depends on who asks what
// for the how manyth time, so that it is the same in each run.
func (c *cloud) takes(asked request, who string) time.Duration {
	h := fnv.New64a()
	key := who + " " + asked.kind
	if asked.port != nil {
		key += " " + asked.port.id
	}
	count := asked.of.calls[key]
	asked.of.calls[key]++
	_, _ = h.Write([]byte(asked.of.instance + key))
	q := mix(h.Sum64() ^ mix(c.options.Seed+count*0x9e3779b97f4a7c15))
	return scaled(c.options.Latency.Milliseconds[asked.kind].at(float64(q>>11)/(1<<53)), c.options.Scale)
}

// mix is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func scaled(d time.Duration, by float64) time.Duration { return time.Duration(float64(d) * by) }

// serve has a request take its turn, and gives when a worker begins with it.
func (c *cloud) serve(who string, takes time.Duration) (begins time.Duration) {
	begins = c.workers.take(c.clock.Now(), takes)
	if c.clock.Now() < c.options.Duration {
		c.figures.queued = append(c.figures.queued, begins-c.clock.Now())
	}
	c.figures.requests[who]++
	c.figures.busy[who] += max(0, min(begins+takes, c.options.Duration)-min(begins, c.options.Duration))
	return begins
}

// fanned is Neutron's API whose reads side by side are tasks of the clock.
type fanned struct {
	api.API
	clock *clock.Virtual
}

// Ports is [api.API.Ports].
func (f fanned) Ports(ctx context.Context, instance string) ([]port.Port, error) {
	found, err := f.List(ctx, instance)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	ports, faults := make([]port.Port, len(found)), make([]error, len(found))
	left, done := len(found), make(chan struct{}, 1)
	var tasks sync.WaitGroup
	for i, p := range found {
		f.clock.Go(&tasks, func() {
			ports[i], faults[i] = f.WithRows(ctx, p)
			if left--; left == 0 {
				done <- struct{}{}
			}
		})
	}
	f.clock.Wait(context.Background(), clock.Forever, done)
	for _, err := range faults {
		if err != nil {
			return nil, err
		}
	}
	return ports, nil
}

// client is Neutron's for one who asks.
func (c *cloud) client(who string) *gophercloud.ServiceClient {
	return neutron.NewClient(neutron.InMemory, way{cloud: c, who: who, to: neutron.Transport{Handler: c.neutron.Handler()}})
}
