package ovs

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/rs/zerolog"

	"github.com/earlybind/earlybind/publisher/metrics"
	"github.com/earlybind/earlybind/wire"
)

// CheckAddress tells whether an address names a socket as Open vSwitch's own
// tools do: "unix:/run/openvswitch/db.sock". There is no other way in: over TCP
// the database asks nobody who he is.
func CheckAddress(address string) error {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || !filepath.IsAbs(path) {
		return errors.New("must be unix: and the absolute path of a socket")
	}
	return nil
}

// Replugger follows one host's Open vSwitch database and plugs interfaces in
// again. Heard and Read may be called at any time, before Run too; they answer
// from memory and never wait for the database.
type Replugger struct {
	dial func(context.Context) (net.Conn, error)
	file string // where what is saved is kept
	log  zerolog.Logger

	metrics *metrics.Publisher

	wake chan struct{} // holds a token when levels has changed

	mu       sync.Mutex
	contents *contents // nil while the database is away
	levels   *levels
}

// New makes a Replugger for the database at an address; see [CheckAddress]. The
// file keeps what is saved of guests that stand still over a restart.
func New(address, file string, m *metrics.Publisher, log zerolog.Logger) *Replugger {
	path := strings.TrimPrefix(address, "unix:")
	r := newReplugger(func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}, file, log)
	r.metrics = m
	return r
}

func newReplugger(dial func(context.Context) (net.Conn, error), file string, log zerolog.Logger) *Replugger {
	r := &Replugger{dial: dial, file: file, log: log, wake: make(chan struct{}, 1), levels: newLevels()}
	all, err := load(file)
	if err != nil {
		log.Error().Err(err).Msg("replug: what was saved before this start cannot be read")
	}
	r.levels.recall(all)
	return r
}

// Heard takes an event of one of Nova's domains. Of SUSPENDED/MIGRATED it gives
// the instance's Neutron ports that can be plugged in again, sorted; none while
// the database is away.
func (r *Replugger) Heard(instance string, event wire.Event, detail wire.Detail) []string {
	defer r.signal()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.levels.heard(r.contents, instance, event, detail, time.Now())
}

// Read takes what libvirt says of all domains after events may have been missed.
func (r *Replugger) Read(states []wire.DomainState) {
	defer r.signal()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.levels.read(states, time.Now())
}

func (r *Replugger) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// storeAgain is how long after a failure what is saved is tried to be kept again.
const storeAgain = 5 * time.Second

// Run follows the database until ctx ends; no event must come after that. A database that is away, at the start
// or later, is ridden out.
func (r *Replugger) Run(ctx context.Context) {
	news := make(chan any)
	var connecting sync.WaitGroup
	connecting.Go(func() {
		r.connect(ctx, func(n any) {
			select {
			case news <- n:
			case <-ctx.Done():
			}
		})
	})
	defer connecting.Wait()

	var to *session // nil while the database is away
	tasks := map[int]task{}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case n := <-news:
			switch n := n.(type) {
			case opened:
				to = n.session
				r.open(n.contents)
			case changed:
				r.change(n.updates)
			case answered:
				t, ok := tasks[n.id]
				delete(tasks, n.id)
				if ok {
					r.send(to, tasks, r.answer(t, n))
				}
			case lost:
				to = nil
				clear(tasks)
				r.lose()
			}
		case <-r.wake:
		case <-timer.C:
		case <-ctx.Done():
			r.next() // what was announced last is kept
			return
		}
		todo, at := r.next()
		r.send(to, tasks, todo)
		timer.Stop()
		if !at.IsZero() {
			timer.Reset(time.Until(at))
		}
	}
}

func (r *Replugger) open(c *contents) {
	r.metrics.Connected(metrics.ToOVSDB)
	r.log.Info().Int("interfaces", len(c.interfaces)).Msg("Open vSwitch database connected")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.contents = c
}

func (r *Replugger) change(u updates) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.contents.apply(u)
}

func (r *Replugger) lose() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.contents = nil
	r.levels.away()
}

func (r *Replugger) answer(t task, a answered) []task {
	insert := insertOfPort
	if t.remove != "" {
		insert = -1
	}
	portRow, err := "", a.err
	if err == nil {
		portRow, err = readOutcome(a.result, insert)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if more := r.levels.answered(t, portRow, err, time.Now()); more != nil {
		return []task{*more}
	}
	return nil
}

// next asks what to do, keeps what is to be kept and writes what there is to say.
func (r *Replugger) next() (todo []task, at time.Time) {
	r.mu.Lock()
	todo, at = r.levels.next(r.contents, time.Now())
	lines := r.levels.takeLines()
	unkept, failed := r.levels.unkept, r.levels.unkeepable
	r.levels.unkept = false
	var all []kept
	if unkept {
		all = r.levels.keep()
	}
	r.mu.Unlock()
	if unkept {
		err := store(r.file, all)
		r.mu.Lock()
		r.levels.unkeepable = err != nil
		r.levels.unkept = r.levels.unkept || err != nil
		r.mu.Unlock()
		if err != nil {
			if !failed {
				r.log.Error().Err(err).Msg("replug: what is saved is not kept over a restart, and nothing is announced until it can be")
			}
			if again := time.Now().Add(storeAgain); at.IsZero() || again.Before(at) {
				at = again
			}
		}
	}
	for _, s := range lines {
		s.count(r.metrics)
		s.write(r.log)
	}
	return todo, at
}

// send sends transactions; a session that cannot take one has failed, which its
// reader tells.
func (r *Replugger) send(to *session, tasks map[int]task, todo []task) {
	for _, t := range todo {
		operations := t.saved.plug()
		if t.remove != "" {
			operations = t.saved.unplug(t.remove)
		}
		if to == nil {
			continue // lost meanwhile, and told
		}
		id, err := to.transact(operations)
		if err != nil {
			_ = to.conn.Close()
			continue
		}
		tasks[id] = t
	}
}

// maxDelay caps the delay between two attempts: the socket is local, and nothing
// is announced while it is away.
const maxDelay = 5 * time.Second

// connect opens one session after the other until ctx ends.
func (r *Replugger) connect(ctx context.Context, news func(any)) {
	delays := backoff.NewExponentialBackOff()
	delays.InitialInterval, delays.MaxInterval = 100*time.Millisecond, maxDelay
	said := ""
	for ctx.Err() == nil {
		conn, err := r.dial(ctx)
		if err == nil {
			err = newSession(conn).serve(ctx, func(n any) {
				if _, ok := n.(opened); ok {
					delays.Reset()
					said = ""
				}
				news(n)
			})
			news(lost{err})
		}
		if ctx.Err() != nil {
			return
		}
		delay := delays.NextBackOff()
		log := r.log.Warn()
		if err.Error() == said { // the first of equal faults is told, the others are for debug
			log = r.log.Debug()
		}
		said = err.Error()
		log.Err(err).Dur("retry_in_ms", delay).Msg("Open vSwitch database is away: nothing is announced for re-plug")
		select {
		case <-time.After(delay):
		case <-ctx.Done():
		}
	}
}

// count counts the decisions that tell how it goes with a port.
func (s line) count(m *metrics.Publisher) {
	switch s.what {
	case sayVerified:
		m.Replugged(metrics.ReplugVerified)
	case sayLong:
		m.Replugged(metrics.ReplugLate)
	case sayGaveUp:
		m.Replugged(metrics.ReplugGaveUp)
	}
}

// write writes one decision.
func (s line) write(log zerolog.Logger) {
	e := log.WithLevel(s.level).Str("instance", s.instance)
	if s.saved != nil {
		e = e.Str("port", s.saved.port).Str("interface", s.saved.name).Str("bridge", s.saved.bridge)
	}
	if len(s.ports) > 0 {
		e = e.Strs("ports", s.ports)
	}
	if len(s.leftOut) > 0 {
		e = e.Strs("left_out", s.leftOut)
	}
	if s.attempt > 0 {
		e = e.Int("attempt", s.attempt)
	}
	if s.ofport > 0 {
		e = e.Int("ofport", s.ofport)
	}
	if s.took > 0 {
		e = e.Dur("took_ms", s.took)
	}
	if s.why != "" {
		e = e.Str("why", s.why)
	}
	if s.mend != "" {
		e = e.Str("mend", s.mend)
	}
	e.Msg(s.what)
}
