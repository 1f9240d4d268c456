package duel

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/rollback"
	"github.com/earlybind/earlybind/simulated/nova"
)

// RepairWithin is how long after the last call of Nova a port may stay wrong.
const RepairWithin = 5 * time.Second

// Arena is where duels take place.
type Arena struct {
	Nova  *gophercloud.ServiceClient // Neutron with Nova's rights
	Ours  rollback.Neutron           // with earlybind's
	Hosts [2]string                  // with live agents
	// NewPort makes a port of an instance, bound on a host.
	NewPort    func(ctx context.Context, instance, host string, profile map[string]any) (string, error)
	RemovePort func(ctx context.Context, id string) error
}

// NewArena makes an arena on a Neutron.
func NewArena(novas, ours *gophercloud.ServiceClient, hosts [2]string) Arena {
	return Arena{Nova: novas, Ours: consumer.NewNeutron(ours), Hosts: hosts}
}

// Result is how one duel went.
type Result struct {
	Case      string `json:"case"`
	StaggerMS int    `json:"stagger_ms"`
	// ApartMS is how much later Nova's first write was sent than ours, as
	// measured; nil if one side had nothing to write.
	ApartMS *float64 `json:"apart_ms,omitempty"`
	// LateMS is how much later than planned the later starter began.
	LateMS float64 `json:"late_ms"`
	// AtOnce: the rows were right at the first look after Nova's last call.
	AtOnce bool   `json:"at_once"`
	Right  bool   `json:"right"` // in the end
	Why    string `json:"why,omitempty"`
	// Hurt are the answers that hurt Nova.
	Hurt []string `json:"hurt,omitempty"`
	// Refused: the new migration did not begin, since a row was in its way.
	Refused bool `json:"refused,omitempty"`
	// TimeToRightMS is from Nova's last answer until the rows were found right.
	TimeToRightMS float64 `json:"time_to_right_ms"`
	Calls         []Entry `json:"calls,omitempty"` // of one that ended wrong or hurt Nova
}

// Bad tells whether a duel ended wrong or hurt Nova.
func (r Result) Bad() bool { return !r.Right || len(r.Hurt) > 0 }

// Lane is one port that goes from duel to duel. Not for use by two goroutines.
type Lane struct {
	arena Arena
	rng   *rand.Rand
	m     nova.Migration // whose source is where the guest is; no instance: none yet
}

// NewLane makes one; what is left to chance in a duel comes from rng.
func (a Arena) NewLane(rng *rand.Rand) *Lane { return &Lane{arena: a, rng: rng} }

// Close removes the lane's port.
func (l *Lane) Close(ctx context.Context) error {
	if l.m.Instance == "" {
		return nil
	}
	id := l.m.Ports[0].ID
	l.m = nova.Migration{}
	return l.arena.RemovePort(ctx, id)
}

// Fight runs one duel. An error means that it did not take place.
func (l *Lane) Fight(ctx context.Context, c Case, stagger time.Duration) (Result, error) {
	if err := l.ready(ctx); err != nil {
		return Result{}, err
	}
	d := &duel{Lane: l, ctx: ctx, stagger: stagger, port: l.m.Ports[0].ID, record: newRecord(time.Now())}
	d.ours = recorded{l.arena.Ours, d.record}
	d.nova = nova.Network{Client: l.arena.Nova, Report: d.record.nova}
	if err := c.prepare(d); err != nil {
		return Result{}, errors.Join(fmt.Errorf("case %s could not be prepared: %w", c.Key, err), l.Close(ctx))
	}
	d.aim(time.Now().Add(max(0, -stagger) + 20*time.Millisecond))
	guest := c.fight(d)
	result := d.judge(guest)
	result.Case, result.StaggerMS = c.Key, int(stagger.Milliseconds())
	if result.Bad() {
		result.Calls = d.record.all()
		return result, l.Close(ctx)
	}
	l.m.Source, l.m.Destination = guest, l.other(guest)
	return result, nil
}

// ready has a port with one row on the source, and a new migration of it.
func (l *Lane) ready(ctx context.Context) error {
	if l.m.Instance == "" {
		l.m = nova.Migration{Instance: nova.NewUUID(), Source: l.arena.Hosts[0], Destination: l.arena.Hosts[1]}
		id, err := l.arena.NewPort(ctx, l.m.Instance, l.m.Source, Profile())
		if err != nil {
			l.m = nova.Migration{}
			return err
		}
		l.m.Ports = []nova.Port{{ID: id, VNICType: "normal", Profile: Profile()}}
	}
	l.m.RequestID = nova.NewRequestID()
	return nil
}

func (l *Lane) other(host string) string {
	return l.arena.Hosts[1-slices.Index(l.arena.Hosts[:], host)]
}
