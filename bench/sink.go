package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
)

// The two hosts of all handovers; the lab's RabbitMQ has users for them.
const (
	source      = "compute1"
	destination = "compute2"
)

// sink answers as Keystone and Neutron do and notes when each activate arrived. It
// is as thin as can be: what a port is stands in its id.
type sink struct {
	url     string
	arrived chan arrival
	ports   sync.Map // port -> stage; missing: untouched
	server  *http.Server
	lastAt  atomic.Int64 // when the last request came, in ns since 1970
	// workers have requests for ports take the time that Neutron's take, and tell of each;
	// nil: all are answered at once.
	workers *workers
}

// stage is where a port's rows are on the way to the destination and back.
type stage int

const (
	untouched stage = iota // ACTIVE on the source, bound there, and announcing its migration
	moved                  // ACTIVE on the destination; the source's row is unbound
	unbound                // ACTIVE on the source again, and still unbound: activate does not bind it
	restored               // ACTIVE on the source and bound, announcing nothing
)

func (s *sink) stage(port string) stage {
	at, _ := s.ports.Load(port)
	now, _ := at.(stage)
	return now
}

type arrival struct {
	port string
	at   time.Time
}

func newSink() (*sink, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{url: "http://" + listener.Addr().String(), arrived: make(chan arrival, 1<<17)}
	s.server = &http.Server{Handler: s}
	go func() { _ = s.server.Serve(listener) }() // until it is closed
	return s, nil
}

func (s *sink) close() { _ = s.server.Close() }

// newInstance makes the id of an instance with so many ports: its last byte is
// zero, and the one before their number.
func newInstance(number, ports int) string {
	return fmt.Sprintf("%08x-bec4-4bec-8bec-%08x%02x00", os.Getpid(), number, ports)
}

// portsOf lists an instance's ports, which differ from it in the last byte.
func portsOf(instance string) []string {
	count, _ := strconv.ParseUint(instance[32:34], 16, 8)
	ports := make([]string, count)
	for i := range ports {
		ports[i] = fmt.Sprintf("%s%02x", instance[:34], i+1)
	}
	return ports
}

// rest returns when nothing has been asked for a while, and the garbage of what was
// measured before is collected: it would fall on whoever is measured next.
func (s *sink) rest(ctx context.Context) {
	const calm = 300 * time.Millisecond
	for time.Since(time.Unix(0, s.lastAt.Load())) < calm && ctx.Err() == nil {
		pause(ctx, calm/10)
	}
	runtime.GC()
	pause(ctx, calm/10)
}

func instanceOf(port string) string { return port[:34] + "00" }

// ServeHTTP notes the time first.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	s.lastAt.Store(at.UnixNano())
	path, ok := strings.CutPrefix(r.URL.Path, "/v2.0/ports")
	if !ok {
		s.cloud(w, r)
		return
	}
	part := strings.Split(strings.Trim(path, "/"), "/")
	if s.workers != nil {
		defer s.workers.serve(requestOf(r.Method, part, at))()
	}
	port := part[0]
	switch {
	case r.Method == http.MethodPut && len(part) == 4:
		s.arrived <- arrival{port, at}
		s.ports.Store(port, map[string]stage{destination: moved, source: unbound}[part[2]])
		answer(w, http.StatusOK, s.row(port, part[2]))
	case r.Method == http.MethodPut && len(part) == 1:
		if s.on(port) == source {
			s.ports.Store(port, restored)
		}
		answer(w, http.StatusOK, `{"port":`+s.port(port)+`}`)
	case r.Method != http.MethodGet: // the probe for the right to write
		answer(w, http.StatusNotFound, `{"NeutronError":{"type":"PortNotFound","message":"Port could not be found.","detail":""}}`)
	case port == "":
		var list []string
		if instance := r.URL.Query().Get("device_id"); instance != "" {
			for _, p := range portsOf(instance) {
				list = append(list, s.port(p))
			}
		}
		answer(w, http.StatusOK, `{"ports":[`+strings.Join(list, ",")+`]}`)
	case len(part) == 1:
		answer(w, http.StatusOK, `{"port":`+s.port(port)+`}`)
	default:
		answer(w, http.StatusOK, `{"bindings":[`+s.row(port, source)+`,`+s.row(port, destination)+`]}`)
	}
}

func (s *sink) on(port string) string {
	if s.stage(port) == moved {
		return destination
	}
	return source
}

func (s *sink) row(port, host string) string {
	status := binding.StatusInactive
	if s.on(port) == host {
		status = binding.StatusActive
	}
	profile := `{}`
	if host == source && s.stage(port) != restored {
		profile = `{"migrating_to":"` + destination + `"}`
	}
	return `{"host":"` + host + `","status":"` + status + `","vif_type":"` + s.vifType(port, host) + `","vnic_type":"normal","profile":` + profile + `,` +
		`"vif_details":{"port_filter":true,"connectivity":"l2","bridge_name":"br-int","datapath_type":"system"},"project_id":"1eb3faed665e41d9b6618e17dae5fde7"}`
}

func (s *sink) vifType(port, host string) string {
	if now := s.stage(port); host == source && (now == moved || now == unbound) {
		return binding.VIFTypeUnbound
	}
	return "ovs"
}

func (s *sink) port(port string) string {
	return `{"id":"` + port + `","name":"","network_id":"8ea8cb6b-09f1-45aa-9c97-64e0531e6d59","project_id":"1eb3faed665e41d9b6618e17dae5fde7",` +
		`"mac_address":"fa:16:3e:37:7b:92","admin_state_up":true,"status":"ACTIVE","device_id":"` + instanceOf(port) + `","device_owner":"compute:nova",` +
		`"fixed_ips":[{"subnet_id":"97ce1183-42aa-4cac-88f9-8a92f1a8c4d1","ip_address":"10.10.3.229"}],"revision_number":7,` +
		`"binding:host_id":"` + s.on(port) + `","binding:vif_type":"` + s.vifType(port, s.on(port)) + `","binding:vnic_type":"normal","binding:profile":{},` +
		`"binding:vif_details":{"port_filter":true,"connectivity":"l2","bridge_name":"br-int","datapath_type":"system","bound_drivers":{"0":"openvswitch"}}}`
}

// cloud answers what is asked once, at the start: a token, the versions and the
// extensions.
func (s *sink) cloud(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/auth/tokens"):
		w.Header().Set("X-Subject-Token", "a-token-of-the-sink")
		answer(w, http.StatusCreated, `{"token":{"expires_at":"`+time.Now().Add(24*time.Hour).UTC().Format("2006-01-02T15:04:05.000000Z")+`",`+
			`"catalog":[{"type":"network","name":"neutron","id":"n","endpoints":[{"id":"e","interface":"public","region":"RegionOne","region_id":"RegionOne","url":"`+s.url+`"}]}]}}`)
	case strings.HasSuffix(r.URL.Path, "/extensions"):
		answer(w, http.StatusOK, `{"extensions":[{"alias":"binding-extended","name":"","description":"","updated":"2017-07-17T10:00:00-00:00","links":[]}]}`)
	default:
		answer(w, http.StatusOK, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"`+s.url+`/v2.0/"}]}]}`)
	}
}

func answer(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}

// environment has a client authenticate here.
func (s *sink) environment() []string {
	return []string{
		"OS_AUTH_URL=" + s.url + "/v3", "OS_USERNAME=bench", "OS_PASSWORD=bench", "OS_PROJECT_NAME=service",
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne",
	}
}

// client is the client that the consumer uses, with its transport.
func (s *sink) client(ctx context.Context) (*gophercloud.ServiceClient, error) {
	// What the caller has would come before these.
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "OS_") {
			_ = os.Unsetenv(name)
		}
	}
	for _, pair := range s.environment() {
		name, value, _ := strings.Cut(pair, "=")
		if err := os.Setenv(name, value); err != nil {
			return nil, err
		}
	}
	return binding.NewClient(ctx, binding.ClientOpts{Version: "bench"})
}
