package nova

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
)

// The profile's key and the vif_types that the calls look at
// (nova/network/constants.py, nova/network/model.py).
const (
	migratingTo   = "migrating_to"
	bindingHostID = "binding:host_id"
	profileKey    = "binding:profile"
)

// listed is a port as a list of Neutron has it; its binding attributes are those
// of the ACTIVE row.
type listed struct {
	ID      string          `json:"id"`
	Host    string          `json:"binding:host_id"`
	VIFType string          `json:"binding:vif_type"`
	Profile json.RawMessage `json:"binding:profile"`
}

// profile is never nil; its numbers are as they were sent.
func (p listed) profile() map[string]any {
	profile := map[string]any{}
	d := json.NewDecoder(bytes.NewReader(p.Profile))
	d.UseNumber()
	if d.Decode(&profile) != nil || profile == nil {
		return map[string]any{}
	}
	return profile
}

// BindPortsToHost makes the INACTIVE rows on the destination. After
// bind_ports_to_host, which the conductor calls
// (nova/conductor/tasks/live_migrate.py, _bind_ports_on_destination); when one
// is refused the ones before are deleted again.
func (n Network) BindPortsToHost(ctx context.Context, m Migration) []Harm {
	const after = "bind_ports_to_host"
	for i, p := range m.Ports {
		profile := p.Profile
		if profile == nil {
			profile = map[string]any{}
		}
		body := map[string]any{"binding": map[string]any{"host": m.Destination, "vnic_type": p.VNICType, "profile": profile}}
		c := n.call(ctx, Call{After: after, Method: http.MethodPost, Path: "/ports/" + p.ID + "/bindings", Port: p.ID}, body, nil)
		if !c.ok() {
			for _, done := range m.Ports[:i] {
				n.call(ctx, deletion(after, done.ID, m.Destination), nil, nil)
			}
			return []Harm{{Refused, c}}
		}
	}
	return nil
}

// SetUpMigration writes migrating_to into the profile of the ports' ACTIVE rows.
// After setup_networks_on_host with the destination as its host, which
// _do_pre_live_migration calls (nova/compute/manager.py).
func (n Network) SetUpMigration(ctx context.Context, m Migration) []Harm {
	const after = "setup_networks_on_host"
	ports, harms := n.list(ctx, after, m, m.Source)
	for _, p := range ports {
		profile := p.profile()
		if p.Host == m.Destination || profile[migratingTo] == m.Destination {
			continue
		}
		profile[migratingTo] = m.Destination
		harms = append(harms, n.update(ctx, "_setup_migration_port_profile", p.ID, map[string]any{profileKey: profile})...)
		if len(harms) > 0 {
			break
		}
	}
	return harms
}

// MigrateInstanceStart activates the destination's rows. After
// migrate_instance_start, which _post_live_migration calls, and, with post-copy,
// handle_lifecycle_event.
func (n Network) MigrateInstanceStart(ctx context.Context, m Migration) []Harm {
	const after = "migrate_instance_start"
	for _, p := range m.Ports {
		path := "/ports/" + p.ID + "/bindings/" + url.PathEscape(m.Destination)
		var row struct {
			Binding struct {
				Status string `json:"status"`
			} `json:"binding"`
		}
		c := n.call(ctx, Call{After: after, Method: http.MethodGet, Path: path, Port: p.ID}, nil, &row)
		switch {
		case c.Status == http.StatusNotFound:
			return []Harm{{Missing, c}}
		case !c.ok(), row.Binding.Status == "ACTIVE":
			continue
		}
		c = n.call(ctx, Call{After: after, Method: http.MethodPut, Path: path + "/activate", Port: p.ID}, nil, nil)
		if !c.ok() && c.Status != http.StatusConflict {
			return []Harm{{NotActivated, c}}
		}
	}
	return nil
}

// MigrateInstanceFinish gives the destination to ports that are not there, or not
// bound. After _do_post_live_migration_at_destination up to its first
// notification: setup_networks_on_host, then migrate_instance_finish, which is
// _update_port_binding_for_instance.
func (n Network) MigrateInstanceFinish(ctx context.Context, m Migration) []Harm {
	if harms := n.SetUpMigration(ctx, m); len(harms) > 0 {
		return harms
	}
	const after = "_update_port_binding_for_instance"
	ports, harms := n.list(ctx, after, m, "")
	for _, p := range ports {
		if p.Host == m.Destination && p.VIFType != "unbound" && p.VIFType != "binding_failed" {
			continue
		}
		update := map[string]any{bindingHostID: m.Destination, "device_owner": "compute:nova"}
		if profile := p.profile(); profile[migratingTo] != nil {
			delete(profile, migratingTo)
			update[profileKey] = profile
		}
		if failed := n.update(ctx, after, p.ID, update); failed != nil {
			return append(harms, failed...)
		}
	}
	return harms
}

// TearDownSource deletes the source's rows. After setup_networks_on_host with
// teardown, which _do_post_live_migration_at_destination calls once the
// instance's host is the destination.
func (n Network) TearDownSource(ctx context.Context, m Migration) []Harm {
	return n.tearDown(ctx, m, m.Destination, m.Source)
}

// TearDownDestination takes migrating_to away and deletes the destination's rows,
// ACTIVE or not. After setup_networks_on_host with teardown, which
// _rollback_live_migration calls where the disks are shared, and
// _do_rollback_live_migration_at_destination where they are not.
func (n Network) TearDownDestination(ctx context.Context, m Migration) []Harm {
	return n.tearDown(ctx, m, m.Source, m.Destination)
}

// tearDown lists the ports that have a row on the instance's host, then clears
// all profiles (_clear_migration_port_profile), then deletes all rows on other
// (_delete_port_bindings).
func (n Network) tearDown(ctx context.Context, m Migration, host, other string) []Harm {
	ports, harms := n.list(ctx, "setup_networks_on_host", m, host)
	for _, p := range ports {
		profile := p.profile()
		if _, set := profile[migratingTo]; !set {
			continue
		}
		delete(profile, migratingTo)
		if failed := n.update(ctx, "_clear_migration_port_profile", p.ID, map[string]any{profileKey: profile}); failed != nil {
			return append(harms, failed...)
		}
	}
	for _, p := range ports {
		c := n.call(ctx, deletion("_delete_port_bindings", p.ID, other), nil, nil)
		if !c.ok() && c.Status != http.StatusNotFound {
			harms = append(harms, Harm{NotDeleted, c})
		}
	}
	return harms
}

// list gives the instance's ports; with a host, those that have a row there.
// Each of the migration's ports is expected.
func (n Network) list(ctx context.Context, after string, m Migration, host string) ([]listed, []Harm) {
	query := url.Values{"device_id": {m.Instance}}
	if host != "" {
		query.Set(bindingHostID, host)
	}
	var answer struct {
		Ports []listed `json:"ports"`
	}
	c := n.call(ctx, Call{After: after, Method: http.MethodGet, Path: "/ports?" + query.Encode()}, nil, &answer)
	if !c.ok() {
		return nil, []Harm{{NotUpdated, c}}
	}
	var harms []Harm
	for _, p := range m.Ports {
		if !slices.ContainsFunc(answer.Ports, func(l listed) bool { return l.ID == p.ID }) {
			missing := c
			missing.Port = p.ID
			missing.Answer = "port " + p.ID + " is not listed"
			harms = append(harms, Harm{Missing, missing})
		}
	}
	return answer.Ports, harms
}

func (n Network) update(ctx context.Context, after, port string, fields map[string]any) []Harm {
	c := n.call(ctx, Call{After: after, Method: http.MethodPut, Path: "/ports/" + port, Port: port}, map[string]any{"port": fields}, nil)
	if !c.ok() {
		return []Harm{{NotUpdated, c}}
	}
	return nil
}

func deletion(after, port, host string) Call {
	return Call{After: after, Method: http.MethodDelete, Path: "/ports/" + port + "/bindings/" + url.PathEscape(host), Port: port}
}
