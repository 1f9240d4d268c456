package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// replica is one process of the real consumer. It is started again when it ends.
type replica struct {
	name        string
	environment []string
	cables      []*cable // to the broker, one to each of its nodes
	all         *consumers

	mu     sync.Mutex
	cmd    *exec.Cmd
	id     string            // as it calls itself: another one after each start
	active map[int]time.Time // by share, when it last said that it acts
	ended  chan struct{}
}

// consumers are the replicas and what they have written.
type consumers struct {
	binary    string
	directory string // of their logs
	shares    int
	replicas  []*replica
	account   *account
	serving   *serving

	mu     sync.Mutex
	lines  map[string][]string // audit lines by instance
	ends   map[string][]ending // by instance
	alarms map[string]int      // by instance
}

func newConsumers(binary, directory string, a *account, s *serving) *consumers {
	return &consumers{
		binary: binary, directory: directory, shares: a.shares, account: a, serving: s,
		lines: map[string][]string{}, ends: map[string][]ending{}, alarms: map[string]int{},
	}
}

// add makes a replica: its way to the broker, and its name for the proxy before
// Neutron. It is not started yet.
func (c *consumers) add(cloud cloud, p *proxy) error {
	r := &replica{name: fmt.Sprintf("consumer%d", len(c.replicas)+1), all: c, active: map[int]time.Time{}}
	var through []string
	for _, node := range cloud.bus.urls {
		cable, err := layCable(node)
		if err != nil {
			return err
		}
		r.cables = append(r.cables, cable)
		through = append(through, cable.url)
	}
	r.environment = append(environment(cloud, strings.Join(through, ","), p.urlFor(r.name)), fmt.Sprintf("EARLYBIND_SHARES=%d", c.shares))
	c.replicas = append(c.replicas, r)
	return nil
}

// start starts a replica's process; its log is appended to its file.
func (r *replica) start() error {
	log, err := os.OpenFile(filepath.Join(r.all.directory, r.name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	cmd := exec.Command(r.all.binary)
	cmd.Env = r.environment
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	r.mu.Lock()
	r.cmd, r.ended = cmd, ended
	r.mu.Unlock()
	go func() {
		defer close(ended)
		defer log.Close()
		r.read(io.TeeReader(out, log))
		_ = cmd.Wait() // killed, mostly
	}()
	return nil
}

// signal sends a signal to the process.
func (r *replica) signal(s syscall.Signal) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cmd.Process.Signal(s)
}

// wait returns when the process has ended.
func (r *replica) wait() {
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	<-ended
}

// identity gives the name that the process calls itself by.
func (r *replica) identity() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.id
}

// alive tells whether the process has not ended.
func (r *replica) alive() bool {
	r.mu.Lock()
	ended := r.ended
	r.mu.Unlock()
	select {
	case <-ended:
		return false
	default:
		return true
	}
}

// auditLine is what is read of a line; docs/audit.md has all fields.
type auditLine struct {
	Time      time.Time
	Event     string
	Replica   string
	Share     string
	Instance  string
	Port      string
	RequestID string `json:"request_id"`

	Source, Destination string

	Outcome string
	Saw     string
	Why     string
}

// onlyDown tells of an alarm that it complains of a port's status alone: here no
// port is ever plugged in.
func (l auditLine) onlyDown() bool { return strings.Contains(l.Why, "has not reported the port up") }

// read takes the audit log in.
func (r *replica) read(log io.Reader) {
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var l auditLine
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			continue
		}
		share := shareNamed(l.Share)
		if share > r.all.shares {
			continue // there is none such: what is settled in it is missed
		}
		r.all.account.line(l)
		r.all.serving.line(r.name, l)
		switch l.Event {
		case "consumer.active":
			r.mu.Lock()
			r.active[share], r.id = time.Now(), l.Replica
			r.mu.Unlock()
		case "consumer.started":
			if l.Saw == "exchange nova" && l.Outcome == "bound" {
				r.all.account.unrouted.bound(share, l.Time)
			}
		}
		if l.Instance == "" {
			continue
		}
		r.all.mu.Lock()
		r.all.lines[l.Instance] = append(r.all.lines[l.Instance], lines.Text())
		switch l.Event {
		case "handover.ended":
			r.all.ends[l.Instance] = append(r.all.ends[l.Instance], ending{
				request: l.RequestID, source: l.Source, destination: l.Destination, outcome: l.Outcome, at: l.Time,
			})
		case "handover.alarm":
			if !l.onlyDown() {
				r.all.alarms[l.Instance]++
			}
		}
		r.all.mu.Unlock()
	}
}

// acting gives the replica that was the last to say that it acts for a share.
func (c *consumers) acting(share int) *replica {
	var last *replica
	var since time.Time
	for _, r := range c.replicas {
		r.mu.Lock()
		if last == nil || r.active[share].After(since) {
			last, since = r, r.active[share]
		}
		r.mu.Unlock()
	}
	return last
}

// allActed tells whether any replica has said so, of each share.
func (c *consumers) allActed() bool {
	for share := 1; share <= c.shares; share++ {
		r := c.acting(share)
		r.mu.Lock()
		never := r.active[share].IsZero()
		r.mu.Unlock()
		if never {
			return false
		}
	}
	return true
}

// about gives what was written about an instance.
func (c *consumers) about(instance string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.lines[instance]...)
}

func (c *consumers) alarmsOf(instance string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.alarms[instance]
}

// stop ends all processes in order, or else at all. It can be called again.
func (c *consumers) stop() {
	for _, r := range c.replicas {
		for _, cable := range r.cables {
			cable.close()
		}
		if !r.alive() {
			continue
		}
		_ = r.signal(syscall.SIGCONT)
		_ = r.signal(syscall.SIGTERM)
	}
	for _, r := range c.replicas {
		if !r.alive() {
			continue
		}
		killed := time.AfterFunc(30*time.Second, func() { _ = r.signal(syscall.SIGKILL) })
		r.wait()
		killed.Stop()
	}
}
