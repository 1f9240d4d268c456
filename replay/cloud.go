package replay

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/simulated/neutron"
	"github.com/earlybind/earlybind/simulated/nova"
)

// writeTakes is how long Neutron takes for a request that writes; it has its effect in
// the middle. An activate took 150 to 350 ms on two cores. Reads take no time.
const writeTakes = 160 * time.Millisecond

// cloud is the Neutron and the Nova of a replay.
type cloud struct {
	clock   *clock.Virtual
	neutron *neutron.Neutron
	// written is told of every write when it has its effect.
	written func(who, method, path, port string, status int)
	tasks   sync.WaitGroup
	playing int // migrations that Nova is not done with
}

// newCloud makes a cloud in which every instance of the migrations has its ports, bound
// where its first one begins.
func newCloud(c *clock.Virtual, all []*migration, written func(who, method, path, port string, status int)) *cloud {
	var hosts []string
	for _, m := range all {
		hosts = append(hosts, m.Source, m.Destination)
	}
	cl := &cloud{clock: c, neutron: neutron.New(hosts...), written: written}
	cl.neutron.AutoWire(true)
	ports := map[string][]nova.Port{}
	for _, m := range all {
		if ports[m.Instance] == nil {
			ports[m.Instance] = cl.addPorts(m)
		}
		m.Ports = ports[m.Instance]
	}
	return cl
}

func (c *cloud) addPorts(m *migration) []nova.Port {
	ports := m.Ports
	if len(ports) == 0 { // only versioned notifications name them
		ports = []nova.Port{{VNICType: "normal", Profile: profile()}}
	}
	for i, p := range ports {
		ports[i].ID = c.neutron.AddPort(neutron.PortOpts{
			ID: p.ID, DeviceID: m.Instance, Host: m.Source, Profile: p.Profile, Status: binding.PortActive,
		})
	}
	return ports
}

// client is Neutron's for one who calls.
func (c *cloud) client(who string) *gophercloud.ServiceClient {
	return neutron.NewClient(neutron.InMemory, paced{cloud: c, who: who, to: neutron.Transport{Handler: c.neutron.Handler()}})
}

// paced has writes take their time.
type paced struct {
	cloud *cloud
	who   string
	to    http.RoundTripper
}

func (p paced) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodGet {
		return p.to.RoundTrip(r)
	}
	// What has reached Neutron is carried out, whether its caller waits or not.
	p.cloud.clock.Wait(context.Background(), writeTakes/2, nil)
	answer, err := p.to.RoundTrip(r.WithContext(context.Background()))
	if err != nil {
		return nil, err
	}
	port, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2.0/ports/"), "/")
	p.cloud.written(p.who, r.Method, r.URL.Path, port, answer.StatusCode)
	p.cloud.clock.Wait(context.Background(), writeTakes/2, nil)
	return answer, nil
}

// stepPost is Nova's step that activates the destination's rows.
const stepPost = "post"

// play has Nova do its part in a migration, each step at its time but not before the one
// before it is done. note is told of what the recording has no notification of.
func (c *cloud) play(m *migration, note func(what string)) {
	network := nova.Network{Client: c.client(timeline.ByNova)}
	steps := []struct {
		at   time.Duration
		name string // as notifications have it; empty if there is none
		call func(context.Context, nova.Migration) []nova.Harm
	}{
		{m.rows, "", network.BindPortsToHost},
		{m.setUp, "pre", network.SetUpMigration},
		{m.early, "", network.MigrateInstanceStart},
		{m.rollback, "rollback", network.TearDownDestination},
		{m.post, stepPost, network.MigrateInstanceStart},
		{m.finish, "post_dest", network.MigrateInstanceFinish},
		{m.finish, "", network.TearDownSource},
	}
	c.playing++
	c.clock.Go(&c.tasks, func() {
		defer func() { c.playing-- }()
		ctx := context.Background()
		for _, s := range steps {
			if s.at == never {
				continue
			}
			c.clock.Wait(ctx, max(0, origin+s.at-c.clock.Now()), nil)
			if m.RequestID == "" && s.name != "" {
				note(s.name)
			}
			for _, h := range s.call(ctx, m.Migration) {
				h.Call.Took = 0 // real time, which is another in each replay
				if h.Call.Method != http.MethodGet {
					h.Call.Took = writeTakes
				}
				note(h.Error())
			}
		}
	})
}

// rows draws a port's rows and its status.
func (c *cloud) rows(id string) string {
	var rows []string
	for _, r := range c.neutron.Rows(id) {
		rows = append(rows, fmt.Sprintf("%s %s %s", r.Host, r.Status, r.VIFType))
	}
	return fmt.Sprintf("port %s: %s; status %s", id, strings.Join(rows, ", "), c.neutron.PortStatus(id))
}
