package lab

import (
	"context"
	"encoding/json"
	"fmt"
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

// Server reads the guest.
func (l *Lab) Server(ctx context.Context) (Server, error) {
	pages, err := servers.List(l.Nova, servers.ListOpts{Name: "^" + Guest + "$", AllTenants: true}).AllPages(ctx)
	if err != nil {
		return Server{}, err
	}
	found, err := servers.ExtractServers(pages)
	if err != nil {
		return Server{}, err
	}
	if len(found) != 1 {
		return Server{}, fmt.Errorf("there are %d instances %s", len(found), Guest)
	}
	return Server{ID: found[0].ID, Host: found[0].Host, Status: found[0].Status, TaskState: found[0].TaskState}, nil
}

// Migration is one of Nova's migrations.
type Migration struct {
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

// SetPolicy has the consumers run with a policy; those that do already are left
// alone. It returns when one of them acts.
func (l *Lab) SetPolicy(ctx context.Context, policy string) error {
	same := true
	for _, c := range Consumers {
		environment, err := l.docker(ctx, "inspect", "-f", "{{range .Config.Env}}{{println .}}{{end}}", l.Container(c))
		if err != nil {
			return err
		}
		same = same && strings.Contains(environment, "EARLYBIND_POLICY="+policy+"\n")
	}
	if same {
		return nil
	}
	began := time.Now()
	args := append([]string{"compose", "up", "-d", "--no-deps", "--no-build"}, Consumers...)
	if err := l.Script(ctx, []string{"EARLYBIND_POLICY=" + policy}, args...); err != nil {
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

// HandoverEnded waits until a consumer has closed the guest's handover, at most
// 90 s.
func (l *Lab) HandoverEnded(ctx context.Context, since time.Time, instance string) error {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	return Until(ctx, "earlybind to end the handover", func() (bool, error) {
		lines, err := l.Lines(ctx, since, Consumers...)
		for _, line := range lines {
			if line.Text("instance") != instance {
				continue
			}
			if line.Text("event") == "handover.ended" {
				return true, nil
			}
		}
		return false, err
	})
}
