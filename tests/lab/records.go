package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Request is one request to Neutron, from its access log.
type Request struct {
	At     time.Time // arrival
	Took   time.Duration
	Method string
	Path   string
	Status int
	Agent  string
}

// ByEarlybind tells whether earlybind has sent it.
func (r Request) ByEarlybind() bool { return strings.Contains(r.Agent, "earlybind/") }

// Activates tells whether it activates a row.
func (r Request) Activates() bool {
	return r.Method == "PUT" && strings.HasSuffix(r.Path, "/activate")
}

// DeletesRow tells whether it deletes a row.
func (r Request) DeletesRow() bool {
	return r.Method == "DELETE" && strings.Contains(r.Path, "/bindings/")
}

// Requests reads Neutron's access log from a time on.
func (l *Lab) Requests(ctx context.Context, since time.Time) ([]Request, error) {
	text, err := l.Exec(ctx, "controller", "tail", "-n", "2000", "/var/log/neutron/access.log")
	if err != nil {
		return nil, err
	}
	var found []Request
	for _, line := range strings.Split(text, "\n") {
		if r, ok := parseRequest(line); ok && !r.At.Before(since) {
			found = append(found, r)
		}
	}
	// The log is in the order of the answers.
	slices.SortFunc(found, func(a, b Request) int { return a.At.Compare(b.At) })
	return found, nil
}

// parseRequest reads a line: arrival in ms since 1970, method, path, status,
// duration in ms, user agent in quotes.
func parseRequest(line string) (Request, bool) {
	f := strings.SplitN(line, " ", 6)
	if len(f) != 6 {
		return Request{}, false
	}
	at, err1 := strconv.ParseInt(f[0], 10, 64)
	status, err2 := strconv.Atoi(f[3])
	took, err3 := strconv.ParseInt(f[4], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil {
		return Request{}, false
	}
	return Request{
		At: time.UnixMilli(at), Took: time.Duration(took) * time.Millisecond,
		Method: f[1], Path: f[2], Status: status, Agent: strings.Trim(f[5], `"`),
	}, true
}

// Line is one line of earlybind's logs.
type Line struct {
	Service string
	Time    time.Time
	Fields  map[string]any
}

// Text gives a field as text; empty if it is not there.
func (l Line) Text(field string) string {
	s, _ := l.Fields[field].(string)
	return s
}

// Number gives a field as a number; false if it is not there.
func (l Line) Number(field string) (float64, bool) {
	n, ok := l.Fields[field].(float64)
	return n, ok
}

// Lines reads what services of earlybind have logged from a time on.
func (l *Lab) Lines(ctx context.Context, since time.Time, services ...string) ([]Line, error) {
	var found []Line
	for _, service := range services {
		text, err := l.docker(ctx, "logs", "--since", since.UTC().Format(time.RFC3339Nano), l.Container(service))
		if err != nil {
			return nil, err
		}
		lines := bufio.NewScanner(strings.NewReader(text))
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fields := map[string]any{}
			if json.Unmarshal(lines.Bytes(), &fields) != nil {
				continue
			}
			stamp, _ := fields["time"].(string)
			at, err := time.Parse(time.RFC3339Nano, stamp)
			if err != nil || at.Before(since) {
				continue
			}
			found = append(found, Line{Service: service, Time: at, Fields: fields})
		}
		if err := lines.Err(); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// HostEvent is a lifecycle event as a publisher has logged it.
type HostEvent struct {
	At            time.Time // in libvirt's callback
	Host          string
	Event, Detail string
}

// HostEvents reads what the publishers have seen of the guest from a time on.
func (l *Lab) HostEvents(ctx context.Context, since time.Time, instance string, hosts ...string) ([]HostEvent, error) {
	var found []HostEvent
	for _, host := range hosts {
		lines, err := l.Lines(ctx, since, publisherOf[host])
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			if line.Text("instance") != instance || line.Text("event") == "" {
				continue
			}
			at, err := time.Parse(time.RFC3339Nano, line.Text("at"))
			if err != nil {
				continue
			}
			found = append(found, HostEvent{At: at, Host: host, Event: line.Text("event"), Detail: line.Text("detail")})
		}
	}
	return found, nil
}
