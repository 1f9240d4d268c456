// Package replay runs the consumer over a recording, against a Neutron in memory and a
// Nova that does what the recording shows: no server is needed.
//
// The decoding, the correlation, the handovers, the workers and the roll-back are the
// consumer's own ([consumer.Offline]); they wait on a clock that stands still while
// anything works. So a replay takes no longer than its work, and each one of the same
// recording is the same.
//
// What is simulated and not recorded: Neutron (package simulated/neutron; agents wire at
// once, a write takes 160 ms), and Nova's calls to it (package simulated/nova), at the
// times of its recorded notifications, or where there are none some time after what the
// hosts said.
package replay

import (
	"context"
	"time"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/internal/broker"
	"github.com/earlybind/earlybind/internal/clock"
	"github.com/earlybind/earlybind/internal/timeline"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/wire"
)

const (
	// origin is when a recording begins on the replay's clock: Nova's conductor is at
	// work before the first message.
	origin = 2 * time.Second
	// longestGap is for how long, at most, nothing happens at a given speed.
	longestGap = 5 * time.Second
)

// Options are what may be chosen.
type Options struct {
	Policy handover.Policy
	// Speed is how many times as fast as recorded, 0: as fast as possible. Gaps are
	// cut to 5 s.
	Speed float64
	// Follow, if set, is told of each moment as it comes; at is since the
	// recording began.
	Follow func(at time.Duration, instance, who, what string)
	// Audit, if set, is given each line of the audit log, at since the recording began.
	Audit func(at time.Duration, line audit.Line)
}

// Run replays a recording and tells each handover's story, in the order in which they
// began. The error is the context's, which ends a replay.
func Run(ctx context.Context, h recording.Header, messages []recording.Message, o Options) ([]Story, error) {
	now := clock.NewVirtual()
	told := newChronicle(now, o.Follow)
	all := migrations(h, messages)
	ports := map[string]string{} // port to instance
	cloud := newCloud(now, all, func(who, method, path, port string, status int) {
		told.request(ports[port], who, timeline.OfRequest(method, path, port, status))
	})
	defer cloud.neutron.Close()
	of := map[string][]string{} // instance to ports
	for _, m := range all {
		for _, p := range m.Ports {
			if ports[p.ID] == "" {
				ports[p.ID] = m.Instance
				of[m.Instance] = append(of[m.Instance], p.ID)
			}
		}
		cloud.play(m, func(what string) { told.simulated(m.Instance, what) })
	}

	record := told.line
	if o.Audit != nil {
		record = func(l audit.Line) {
			o.Audit(now.Now()-origin, l)
			told.line(l)
		}
	}
	offline := consumer.NewOffline(settings(h, o), consumer.NewNeutron(cloud.client(timeline.ByEarlybind)), true, now, record)
	r := &run{clock: now, cloud: cloud, offline: offline, told: told, messages: messages, speed: o.Speed}
	r.deliverNext()
	r.tidy()
	err := r.until(ctx)
	offline.Stop()
	for now.Step() { // what waited on the consumer's context returns
	}
	stories := told.close(func(instance string) []string {
		var rows []string
		for _, id := range of[instance] {
			rows = append(rows, cloud.rows(id))
		}
		return rows
	})
	return stories, err
}

// settings are a consumer's, as shipped but for the policy.
func settings(h recording.Header, o Options) consumer.Settings {
	return consumer.Settings{
		Settings: broker.Settings{AMQPUser: "earlybind"},
		Policy:   o.Policy, Repair: handover.RepairOwn, BreakerFailures: 3, BreakerPause: time.Hour,
		NovaExchange: h.NovaExchange, HostUserPrefix: h.HostUserPrefix,
		CommitWindow: 5 * time.Second, UpWithin: time.Minute, HoldMessages: 10 * time.Minute,
	}
}

// run is a replay that goes on.
type run struct {
	clock    *clock.Virtual
	cloud    *cloud
	offline  *consumer.Offline
	told     *chronicle
	messages []recording.Message // yet to be delivered
	speed    float64
}

// deliverNext delivers the next message at its time, and then the one after it.
func (r *run) deliverNext() {
	if len(r.messages) == 0 {
		return
	}
	m := r.messages[0]
	r.clock.At(origin+m.At(), func() {
		r.messages = r.messages[1:]
		if m.Unreadable == nil {
			r.hear(m)
			r.offline.Deliver(m.Exchange, m.User, m.Redelivered, m.Body)
		}
		r.deliverNext()
	})
}

// hear notes what a host has said.
func (r *run) hear(m recording.Message) {
	n, err := wire.Decode(m.Body)
	if err != nil {
		return
	}
	if e, err := wire.ParseHostEvent(n); err == nil {
		r.told.event(e.Instance, e.Host, string(e.Event), string(e.Detail))
	}
}

func (r *run) tidy() {
	r.clock.At(r.clock.Now()+time.Minute, func() { r.offline.Tidy(); r.tidy() })
}

// until goes on until all is delivered, Nova is done and no handover goes on.
func (r *run) until(ctx context.Context) error {
	for {
		for r.clock.Step() {
		}
		next, ok := r.clock.Next()
		if !ok || len(r.messages) == 0 && r.cloud.playing == 0 && r.offline.Idle() {
			return nil
		}
		if err := r.pass(ctx, next-r.clock.Now()); err != nil {
			return err
		}
		r.clock.Advance(next)
	}
}

// pass lets real time pass, at the speed that was asked for.
func (r *run) pass(ctx context.Context, d time.Duration) error {
	if r.speed == 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(time.Duration(float64(min(d, longestGap)) / r.speed))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
