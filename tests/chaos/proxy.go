package main

import (
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strings"
	"sync"
	"time"
)

// proxy stands between the consumers and the cloud: the cloud's catalog names
// hosts that this machine does not know, and what the consumers ask of Neutron
// is written down here.
type proxy struct {
	address string
	server  *http.Server

	mu    sync.Mutex
	moves map[string]string   // port -> destination of the migration that goes on
	calls map[string][]string // writes of the consumers by port
	// early counts the activates of a destination while Nova was not done.
	early int
	// apart holds since when a replica has been cut off from the broker, strays
	// what it has written although its lease was over.
	apart   map[string]time.Time
	strays  []string
	serving *serving
}

const (
	// leaseFor is how long a replica may write after it has last heard from the queue
	// (package consumer).
	leaseFor = 5 * time.Second
	// onTheWay bounds the time from its last look at the lease to a request's arrival
	// here.
	onTheWay = time.Second
)

var portPath = regexp.MustCompile(`^/v2\.0/ports/([0-9a-f-]{36})(?:/bindings(?:/([^/]+)(/activate)?)?)?$`)

// startProxy listens on a port of its own of this machine.
func startProxy(transport http.RoundTripper, s *serving) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &proxy{address: listener.Addr().String(), moves: map[string]string{}, calls: map[string][]string{}, apart: map[string]time.Time{}, serving: s}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL, r.Out.Host = r.In.URL, r.In.Host },
		Transport: transport,
		ErrorLog:  log.New(discard{}, "", 0), // Neutron is restarted now and then
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			panic(http.ErrAbortHandler) // no answer is no answer
		},
	}
	p.server = &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: forward.ErrorLog, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began, answer := time.Now(), &statusWriter{ResponseWriter: w}
		defer func() { p.note(r, began, answer.status) }()
		forward.ServeHTTP(answer, r)
	})}
	go func() { _ = p.server.Serve(listener) }()
	return p, nil
}

// note writes a call down.
func (p *proxy) note(r *http.Request, began time.Time, status int) {
	part := portPath.FindStringSubmatch(r.URL.Path)
	if part == nil || r.Method == http.MethodGet {
		return
	}
	replica := sender(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	call := fmt.Sprintf("%s %s: %s %s: %d in %d ms", began.UTC().Format(stampFormat), replica, r.Method, r.URL.Path, status, time.Since(began).Milliseconds())
	p.calls[part[1]] = append(p.calls[part[1]], call)
	p.serving.wrote(portWrite{replica: replica, port: part[1], began: began, call: call})
	if since, ok := p.apart[replica]; ok && began.Sub(since) > leaseFor+onTheWay {
		p.strays = append(p.strays, call)
	}
	if part[3] != "" && part[2] == p.moves[part[1]] {
		p.early++
	}
}

// urlFor is the proxy's URL for one replica, by which its requests are told from
// others'.
func (p *proxy) urlFor(replica string) string { return "http://" + replica + ":@" + p.address }

// sender tells which replica has made a request.
func sender(r *http.Request) string {
	name, _, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
	return name
}

// cutOff says since when a replica has been cut off from the broker; the zero time
// that it is not.
func (p *proxy) cutOff(replica string, since time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apart[replica] = since
	if since.IsZero() {
		delete(p.apart, replica)
	}
}

// verdict is nil if no replica has written when its lease was over.
func (p *proxy) verdict() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.strays) == 0 {
		return nil
	}
	return fmt.Errorf("a replica that was cut off has written %d times without its lease:\n  %s", len(p.strays), strings.Join(p.strays, "\n  "))
}

// migrates says where an instance's ports migrate to; "" when Nova is done.
func (p *proxy) migrates(in *instance, destination string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, one := range in.ports {
		p.moves[one.ID] = destination
	}
}

// about gives the consumers' writes to an instance's ports.
func (p *proxy) about(in *instance) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var calls []string
	for _, one := range in.ports {
		calls = append(calls, p.calls[one.ID]...)
	}
	return calls
}

func (p *proxy) earlyActivates() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.early
}

// statusWriter remembers the status that was answered; 0 if none was.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
