package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/port"
)

// Server is what Nova says of the guest.
type Server struct {
	ID, Host, Status, TaskState string
}

// ErrNoInstance is of a guest that has not been booted.
var ErrNoInstance = errors.New("there is no instance")

// Server reads the guest; [ErrNoInstance] if Nova has none of its name.
func (l *Lab) Server(ctx context.Context) (Server, error) {
	pages, err := servers.List(l.Nova, servers.ListOpts{Name: "^" + l.guest + "$", AllTenants: true}).AllPages(ctx)
	if err != nil {
		return Server{}, err
	}
	found, err := servers.ExtractServers(pages)
	if err != nil {
		return Server{}, err
	}
	if len(found) == 0 {
		return Server{}, fmt.Errorf("%w %s", ErrNoInstance, l.guest)
	}
	if len(found) != 1 {
		return Server{}, fmt.Errorf("there are %d instances %s", len(found), l.guest)
	}
	return Server{ID: found[0].ID, Host: found[0].Host, Status: found[0].Status, TaskState: found[0].TaskState}, nil
}

// Migration is one of Nova's migrations.
type Migration struct {
	ID     int    `json:"id"`
	UUID   string `json:"uuid"`
	Status string `json:"status"`
	Source string `json:"source_compute"`
	Dest   string `json:"dest_compute"`
}

// LastMigration reads the guest's newest migration.
func (l *Lab) LastMigration(ctx context.Context, instance string) (Migration, error) {
	var body struct {
		Migrations []Migration `json:"migrations"`
	}
	_, err := l.Nova.Get(ctx, l.Nova.ServiceURL("os-migrations")+"?limit=1&instance_uuid="+instance, &body, nil)
	if err != nil || len(body.Migrations) == 0 {
		return Migration{}, err
	}
	return body.Migrations[0], nil
}

// Migrate asks Nova to live-migrate the guest; it returns when Nova has
// accepted.
func (l *Lab) Migrate(ctx context.Context, instance, host string) error {
	automatic := json.RawMessage(`"auto"`)
	body := map[string]any{"os-migrateLive": map[string]any{"host": host, "block_migration": automatic}}
	_, err := l.Nova.Post(ctx, l.Nova.ServiceURL("servers", instance, "action"), body, nil, accepted)
	return err
}

// Settled waits until Nova works on the guest no more. It asks every 2 s: the
// lab's two cores have better to do during a switchover.
func (l *Lab) Settled(ctx context.Context) (Server, error) {
	for {
		s, err := l.Server(ctx)
		if err != nil {
			return s, err
		}
		if s.TaskState == "" {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("waiting for Nova to finish with the guest (status %s, task %s): %w", s.Status, s.TaskState, ctx.Err())
		case <-time.After(2 * time.Second):
		}
	}
}

// Ports reads the guest's ports with all their rows, as the administrator.
func (l *Lab) Ports(ctx context.Context, instance string) ([]port.Port, error) {
	return consumer.NewNeutron(l.Neutron).Ports(ctx, instance)
}

var accepted = &gophercloud.RequestOpts{OkCodes: []int{202}}

// SetPolicy has the consumers run with a policy, and with more variables, "NAME=value"; those
// that do already are left alone. It returns when one of them acts.
func (l *Lab) SetPolicy(ctx context.Context, policy string, more ...string) error {
	began := time.Now()
	if changed, err := l.runWith(ctx, append(more, "EARLYBIND_POLICY="+policy), Consumers); err != nil || !changed {
		return err
	}
	return Until(ctx, "a consumer to act", func() (bool, error) {
		lines, err := l.Lines(ctx, began, Consumers...)
		for _, line := range lines {
			if line.Text("event") == "consumer.active" {
				return true, nil
			}
		}
		return false, err
	})
}

// OVSDB is where a compute's Open vSwitch database is, for its publisher.
const OVSDB = "unix:/run/openvswitch/db.sock"

// SetReplug has the publishers plug ports in again, or not; those that do already
// are left alone. It returns when both have told of their domains.
func (l *Lab) SetReplug(ctx context.Context, on bool) error {
	address := ""
	if on {
		address = OVSDB
	}
	began := time.Now()
	if changed, err := l.runWith(ctx, []string{"EARLYBIND_OVSDB=" + address}, Publishers); err != nil || !changed {
		return err
	}
	return Until(ctx, "the publishers to begin", func() (bool, error) {
		ready := 0
		for _, p := range Publishers {
			lines, err := l.Lines(ctx, began, p)
			if err != nil {
				return false, err
			}
			published, connected := false, !on
			for _, line := range lines {
				published = published || line.Text("message") == "host states published"
				connected = connected || line.Text("message") == "Open vSwitch database connected"
			}
			if published && connected {
				ready++
			}
		}
		return ready == len(Publishers), nil
	})
}

// runWith has services run with variables, "NAME=value". It leaves them alone if
// all do, and starts them anew otherwise.
func (l *Lab) runWith(ctx context.Context, variables, services []string) (changed bool, err error) {
	for _, s := range services {
		environment, err := l.docker(ctx, "inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", l.Container(s))
		if err != nil {
			return false, err
		}
		for _, v := range variables {
			changed = changed || !strings.Contains("\n"+environment, "\n"+v+"\n")
		}
	}
	if !changed {
		return false, nil
	}
	args := append([]string{"compose", "up", "-d", "--no-deps", "--no-build"}, services...)
	return true, l.Script(ctx, variables, args...)
}

// HandoversEnded waits until the consumers have begun that many handovers of the guest, and
// closed the last, at most 150 s: one that another replica has taken over is watched for a
// minute.
func (l *Lab) HandoversEnded(ctx context.Context, since time.Time, instance string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 150*time.Second)
	defer cancel()
	return Until(ctx, "earlybind to end the handover", func() (bool, error) {
		lines, err := l.Lines(ctx, since, Consumers...)
		slices.SortStableFunc(lines, func(a, b Line) int { return a.Time.Compare(b.Time) })
		begun, over := 0, false
		for _, line := range lines {
			switch event := line.Text("event"); {
			case line.Text("instance") != instance:
			case event == "handover.begun":
				begun, over = begun+1, false
			case event == "handover.ended":
				over = true
			}
		}
		return over && begun >= n, err
	})
}
