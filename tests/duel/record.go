package duel

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/earlybind/earlybind/port"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/simulated/nova"
)

// Entry is one call of a duel, for the record of one that ended wrong.
type Entry struct {
	Who    string  `json:"who"`   // earlybind or Nova
	AtMS   float64 `json:"at_ms"` // from the moment that the stagger counts from
	TookMS float64 `json:"took_ms"`
	What   string  `json:"what"`
	Answer string  `json:"answer"`
}

func (e Entry) String() string {
	return fmt.Sprintf("%9.1f ms %-9s %s: %s in %.0f ms", e.AtMS, e.Who, e.What, e.Answer, e.TookMS)
}

// record keeps the calls of a duel. zero is the moment that the stagger counts
// from.
type record struct {
	zero time.Time

	mu      sync.Mutex
	entries []Entry
	writes  map[string]time.Time // when each side's first write after fight began
	fight   time.Time            // calls before it only prepare; far off until it is known
	ended   map[string]time.Time // each side's last answer
}

const (
	earlybind = "earlybind"
	novas     = "Nova"
)

func newRecord(zero time.Time) *record {
	return &record{zero: zero, fight: zero.Add(time.Hour), writes: map[string]time.Time{}, ended: map[string]time.Time{}}
}

func (r *record) add(who, what string, write bool, began time.Time, took time.Duration, answer string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, Entry{Who: who, AtMS: ms(began.Sub(r.zero)), TookMS: ms(took), What: what, Answer: answer})
	if began.Before(r.fight) {
		return
	}
	if _, known := r.writes[who]; write && !known {
		r.writes[who] = began
	}
	if end := began.Add(took); end.After(r.ended[who]) {
		r.ended[who] = end
	}
}

// apart gives how much later Nova's first write was sent than ours, in
// milliseconds; false if one side wrote nothing.
func (r *record) apart() (float64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ours, a := r.writes[earlybind]
	theirs, b := r.writes[novas]
	return ms(theirs.Sub(ours)), a && b
}

func (r *record) lastOf(who string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ended[who]
}

func (r *record) all() []Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]Entry(nil), r.entries...)
}

func (r *record) nova(c nova.Call) {
	answer := fmt.Sprint(c.Status)
	if c.Answer != "" {
		answer += " " + c.Answer
	}
	r.add(novas, c.Method+" "+c.Path+" ("+c.After+")", c.Method != "GET", c.Began, c.Took, answer)
}

// recorded writes down what earlybind asks of Neutron.
type recorded struct {
	rollback.Neutron
	record *record
}

func (n recorded) add(what string, write bool, began time.Time, err error) {
	answer := "done"
	if err != nil {
		answer = err.Error()
	}
	n.record.add(earlybind, what, write, began, time.Since(began), answer)
}

func (n recorded) Read(ctx context.Context, id string) (p port.Port, err error) {
	defer func(began time.Time) { n.add("read", false, began, err) }(time.Now())
	return n.Neutron.Read(ctx, id)
}

func (n recorded) Activate(ctx context.Context, id, host string) (err error) {
	defer func(began time.Time) { n.add("activate "+host, true, began, err) }(time.Now())
	return n.Neutron.Activate(ctx, id, host)
}

func (n recorded) SetProfile(ctx context.Context, id string, profile map[string]any, revision int) (err error) {
	defer func(began time.Time) { n.add("set profile", true, began, err) }(time.Now())
	return n.Neutron.SetProfile(ctx, id, profile, revision)
}

func (n recorded) Rebind(ctx context.Context, id string) (err error) {
	defer func(began time.Time) { n.add("rebind", true, began, err) }(time.Now())
	return n.Neutron.Rebind(ctx, id)
}

func (n recorded) Create(ctx context.Context, id, host, vnic string, profile map[string]any) (err error) {
	defer func(began time.Time) { n.add("create "+host, true, began, err) }(time.Now())
	return n.Neutron.Create(ctx, id, host, vnic, profile)
}

func (n recorded) Delete(ctx context.Context, id, host string) (err error) {
	defer func(began time.Time) { n.add("delete "+host, true, began, err) }(time.Now())
	return n.Neutron.Delete(ctx, id, host)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
