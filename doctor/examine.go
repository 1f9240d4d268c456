package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
)

// Neutron is what an examination needs of the API.
type Neutron interface {
	rollback.Neutron
	// OnHost gives the ports that have a row on host, ACTIVE or not.
	OnHost(ctx context.Context, host string) ([]binding.Port, error)
}

// Nova is what it needs of Nova's.
type Nova interface {
	// Hosts gives the compute hosts, and why they may not be all: gap, empty if they
	// are.
	Hosts(ctx context.Context) (hosts []string, gap string, err error)
	// OnHost gives the instances that Nova has on a host.
	OnHost(ctx context.Context, host string) ([]string, error)
	// Server gives an instance; an error that wraps [ErrNoInstance] where there is
	// none.
	Server(ctx context.Context, id string) (Server, error)
	// Migrations gives an instance's migrations, the newest first (as Nova has them from
	// microversion 2.59 on).
	Migrations(ctx context.Context, id string) ([]Migration, error)
}

// atOnce bounds the requests under way: an examination is in no hurry.
const atOnce = 4

// Cloud is what is examined.
type Cloud struct {
	Neutron Neutron
	Nova    Nova
	// Ask has the publishers of these hosts say where they see the guests, as
	// [AskPublishers] does; nil if they are not to be asked.
	Ask func(ctx context.Context, hosts []string) (Guests, error)
	// Hosts are looked at beside those that Nova names: such as were removed.
	Hosts []string
	// Ports are looked at closely whatever the lists say. A port without any row is in no
	// host's list. One that Neutron does not know is an error.
	Ports []string
	// Clock has a mending wait.
	Clock clock.Clock
	// Notes is the undo journal, for what an earlier run has written down; nil if there is none.
	Notes *Notes
}

// Case is one port that was looked at closely.
type Case struct {
	Port     port.Port
	Server   *Server
	Sighting Sighting
	// Newest is the instance's newest migration, ended or not; nil if it has none.
	Newest *Migration
	Finding
}

// Report is what an examination has found.
type Report struct {
	Hosts []string
	Ports int    // of instances, in all
	Right int    // of these and their trunks' subports, such as are right; with Cases, all that were looked at
	Gap   string // why Nova's word is not whole; empty if it is
	// Silent are the hosts whose publisher was asked where the guests are, and has not
	// answered: of them Nova's word counts.
	Silent []string
	Cases  []Case // that are not right, by instance and port

	leaving string // they are of guests on this host alone; empty: of all
}

// Wrong gives the cases that an operator is to hear of.
func (r Report) Wrong() []Case {
	return slices.DeleteFunc(slices.Clone(r.Cases), func(c Case) bool { return !c.Verdict.Wrong() })
}

// suspect is a port whose rows have to be read.
type suspect struct {
	id     string
	parent string // host of a trunk's parent
}

// Examine looks at every port that has a row on any host. An error is that of a list that
// could not be read, or of a port that was named and is not there: a part of a cloud is not
// reported as the whole.
func (c Cloud) Examine(ctx context.Context) (Report, error) {
	hosts, gap, err := c.Nova.Hosts(ctx)
	if err != nil {
		return Report{}, fmt.Errorf("list the compute hosts: %w", err)
	}
	guests, err := c.guests(ctx, hosts)
	if err != nil {
		return Report{}, err
	}
	r := Report{Gap: gap, Hosts: slices.Concat(hosts, c.Hosts)}
	if c.Ask != nil {
		r.Silent = guests.silent(hosts)
	}
	slices.Sort(r.Hosts)
	r.Hosts = slices.Compact(r.Hosts)

	lists, err := each(ctx, r.Hosts, c.Neutron.OnHost)
	if err != nil {
		return Report{}, fmt.Errorf("list the ports of a host: %w", err)
	}
	instances, err := each(ctx, r.Hosts, c.Nova.OnHost)
	if err != nil {
		return Report{}, fmt.Errorf("list the instances of a host: %w", err)
	}
	ports, right, suspects := sift(r.Hosts, lists, instances)
	if named := slices.Concat(instances...); ports == 0 && len(named) > 0 {
		return Report{}, fmt.Errorf("Nova names %d instances on these hosts, and Neutron not one port of an instance: does its user see only its own project's ports, "+
			"or is it another region's Neutron? (docs/settings.md)", len(named))
	}
	r.Ports = ports
	for _, id := range slices.Concat(c.Ports, c.Notes.ports()) {
		if !slices.ContainsFunc(suspects, func(s suspect) bool { return s.id == id }) {
			suspects = append(suspects, suspect{id: id})
		}
	}
	cases, err := each(ctx, suspects, func(ctx context.Context, s suspect) (*Case, error) { return c.look(ctx, s, guests, gap) })
	if err != nil {
		return Report{}, err
	}
	for i, found := range cases {
		switch {
		case found == nil && slices.Contains(c.Ports, suspects[i].id):
			return Report{}, fmt.Errorf("port %s: Neutron knows no such port, or this user may not see it", suspects[i].id)
		case found == nil || found.Verdict == NotOurs:
		case found.Verdict == Right:
			right[suspects[i].id] = true
		default:
			delete(right, suspects[i].id)
			r.Cases = append(r.Cases, *found)
		}
	}
	r.Right = len(right)
	slices.SortFunc(r.Cases, func(a, b Case) int {
		return cmp.Or(cmp.Compare(a.Port.Device, b.Port.Device), cmp.Compare(a.Port.ID, b.Port.ID))
	})
	return r, nil
}

// sift counts the instances' ports, and gives those that the lists of all hosts show to be right,
// subports too, and those that they do not: one that has rows on two hosts, whose row is not ACTIVE, not bound or
// marked, whose instance Nova has elsewhere, or that its agent does not report.
func sift(hosts []string, lists [][]binding.Port, instances [][]string) (ports int, right map[string]bool, suspects []suspect) {
	rows := map[string]int{}       // of a port
	parents := map[string]string{} // subport -> its parent's host
	for _, list := range lists {
		for _, p := range list {
			rows[p.ID]++
			for _, sub := range p.Subports {
				parents[sub] = p.HostID
			}
		}
	}
	listed := map[string]bool{}
	right = map[string]bool{}
	for i, list := range lists {
		for _, p := range list {
			parent, sub := parents[p.ID]
			if listed[p.ID] || !compute(p.DeviceOwner) && !sub {
				continue
			}
			listed[p.ID] = true
			_, marked := p.Profile[rollback.MadeHere]
			fine := rows[p.ID] == 1 && p.HostID == hosts[i] && p.Bound() && p.MigratingTo() == "" && !marked && p.Status == binding.PortActive
			if sub {
				fine = fine && p.HostID == parent
			} else {
				ports++
				fine = fine && slices.Contains(instances[i], p.DeviceID)
			}
			if fine {
				right[p.ID] = true
			} else {
				suspects = append(suspects, suspect{p.ID, parent})
			}
		}
	}
	return ports, right, suspects
}

// guests asks the hosts; none answer where they are not to be asked.
func (c Cloud) guests(ctx context.Context, hosts []string) (Guests, error) {
	if c.Ask == nil {
		return nil, nil
	}
	guests, err := c.Ask(ctx, hosts)
	if err != nil {
		return nil, fmt.Errorf("ask the hosts' publishers for their guests: %w", err)
	}
	return guests, nil
}

// look reads all of one port; nil if it is not there.
func (c Cloud) look(ctx context.Context, s suspect, guests Guests, gap string) (*Case, error) {
	p, err := c.Neutron.Read(ctx, s.id)
	if errors.Is(err, port.ErrGone) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read port %s: %w", s.id, err)
	}
	f := Facts{Port: p, Gap: gap, Parent: s.parent}
	if s.parent == "" && compute(p.DeviceOwner) {
		if err := c.ask(ctx, &f, guests); err != nil {
			return nil, err
		}
	}
	return &Case{Port: p, Server: f.Server, Sighting: f.Sighting, Newest: f.Newest, Finding: Diagnose(f)}, nil
}

// ask has Nova and the hosts speak of the port's instance.
func (c Cloud) ask(ctx context.Context, f *Facts, guests Guests) error {
	server, err := c.Nova.Server(ctx, f.Port.Device)
	switch {
	case errors.Is(err, ErrNoInstance):
		// With a filter Nova leaves an instance out whose cell is down, and the cell may have gone down since.
		if _, gap, err := c.Nova.Hosts(ctx); err != nil || gap != "" {
			f.Gap = cmp.Or(gap, f.Gap)
			return err
		}
		return nil
	case err != nil:
		return fmt.Errorf("read instance %s: %w", f.Port.Device, err)
	}
	f.Server = &server
	all, err := c.Nova.Migrations(ctx, server.ID)
	if err != nil {
		return fmt.Errorf("list the migrations of instance %s: %w", server.ID, err)
	}
	if len(all) > 0 {
		f.Newest = &all[0]
	}
	f.Unfinished = slices.DeleteFunc(slices.Clone(all), func(m Migration) bool { return slices.Contains(finished, m.Status) })
	f.Sighting = guests.Of(server.ID, server.Host)
	f.Held = c.Notes.held(f.Port.ID, server.Host)
	return nil
}

func compute(owner string) bool {
	return len(owner) > len("compute:") && owner[:len("compute:")] == "compute:"
}

// each calls f for every item, some at once, and gives the results in the items' order,
// or the first error.
func each[T, R any](ctx context.Context, items []T, f func(context.Context, T) (R, error)) ([]R, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]R, len(items))
	room := make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for i, item := range items {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			if ctx.Err() != nil {
				return
			}
			call, done := context.WithTimeout(ctx, callBound)
			defer done()
			result, err := f(call, item)
			if err != nil {
				cancel(err)
			}
			results[i] = result
		})
	}
	all.Wait()
	return results, context.Cause(ctx)
}

// callBound bounds the requests for one host or one port.
const callBound = time.Minute
