package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
)

// answering is Nova's API with these answers, by path.
func answering(t *testing.T, answers map[string]string) Nova {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok || r.Header.Get("X-OpenStack-Nova-API-Version") != microversion {
			t.Errorf("%s %s, microversion %q", r.Method, r.URL, r.Header.Get("X-OpenStack-Nova-API-Version"))
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, answer)
	}))
	t.Cleanup(server.Close)
	return NewNova(&gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Endpoint: server.URL + "/", Type: "compute"})
}

// Of a cell that is down Nova gives its services without id, state and all
// (nova/api/openstack/compute/services.py, _get_service_detail).
func TestACellThatIsDownIsTold(t *testing.T) {
	n := answering(t, map[string]string{"/os-services": `{"services": [
		{"binary": "nova-compute", "host": "compute1", "status": "enabled", "id": "f9b6dc8e", "state": "up", "zone": "nova", "updated_at": "2026-11-29T02:00:00.000000", "disabled_reason": null, "forced_down": false},
		{"binary": "nova-compute", "host": "compute2", "status": "UNKNOWN"}]}`})
	hosts, gap, err := n.Hosts(t.Context())
	if err != nil || !reflect.DeepEqual(hosts, []string{"compute1", "compute2"}) || !strings.Contains(gap, "compute2 is down") {
		t.Errorf("%q, %q, %v", hosts, gap, err)
	}
}

func TestEveryMigrationIsReadWhateverItsEnd(t *testing.T) {
	n := answering(t, map[string]string{"/os-migrations": `{"migrations": [
		{"id": 2, "uuid": "b", "instance_uuid": "` + instance + `", "migration_type": "live-migration", "status": "error", "source_compute": "compute1", "dest_compute": "compute2", "created_at": "2026-11-29T02:00:00.000000", "updated_at": null},
		{"id": 1, "uuid": "a", "instance_uuid": "` + instance + `", "migration_type": "resize", "status": "confirmed", "source_compute": "compute2", "dest_compute": "compute1", "created_at": "2026-11-28T02:00:00.000000", "updated_at": null}]}`})
	got, err := n.Migrations(t.Context(), instance)
	want := []Migration{{"b", "live-migration", "error", "compute1", "compute2"}, {"a", "resize", "confirmed", "compute2", "compute1"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Nova lists an instance that is soft-deleted to who asks for those too, and to nobody by its status
// or vm_state alone: what is said of deleted and soft_deleted in instance_get_all_by_filters_sort
// (nova/db/main/api.py, 00a0304).
func TestAnInstanceThatIsSoftDeletedIsKnown(t *testing.T) {
	states := map[string]string{"runs": "active", "kept": softDeleted} // what is gone is in none
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		id, list := q.Get("uuid"), []any{}
		state, known := states[id]
		if deleted := q.Get("deleted"); deleted != "" || r.URL.Path != "/servers/detail" || q.Get("all_tenants") != "1" {
			t.Errorf("%s", r.URL)
		}
		if known && (state != softDeleted || q.Get("soft_deleted") != "") {
			list = append(list, map[string]any{
				"id": id, "status": "SOFT_DELETED", "OS-EXT-SRV-ATTR:host": here, "OS-EXT-STS:vm_state": state, "OS-EXT-STS:task_state": nil, "OS-EXT-STS:power_state": 4,
			})
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"servers": list})
	}))
	defer server.Close()
	n := NewNova(&gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Endpoint: server.URL + "/", Type: "compute"})
	for id, want := range states {
		if s, err := n.Server(t.Context(), id); err != nil || s.VMState != want || s.Host != here {
			t.Errorf("%s: %+v, %v", id, s, err)
		}
	}
	if s, err := n.Server(t.Context(), "gone"); !errors.Is(err, ErrNoInstance) {
		t.Errorf("%+v, %v", s, err)
	}
}

// Nova's own message names the rule that is missing; a page of a proxy's says nothing more than its status.
func TestAnAnswerThatIsAFaultIsToldInALine(t *testing.T) {
	const page = "<html>\n<head><title>502 Bad Gateway</title></head>\n<body>the proxy's whole page</body>\n</html>\n"
	const refusal = `{"forbidden": {"code": 403, "message": "Policy doesn't allow os_compute_api:servers:detail to be performed."}}`
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{http.StatusBadGateway, page, ": 502 Bad Gateway (req-1)"},
		{http.StatusForbidden, refusal, ": 403 Policy doesn't allow os_compute_api:servers:detail to be performed. (req-1)"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Openstack-Request-Id", "req-1")
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		}))
		n := NewNova(&gophercloud.ServiceClient{ProviderClient: &gophercloud.ProviderClient{}, Endpoint: server.URL + "/", Type: "compute"})
		for path, ask := range map[string]func() error{
			"/os-services":    func() error { _, _, err := n.Hosts(t.Context()); return err },
			"/servers/detail": func() error { _, err := n.OnHost(t.Context(), here); return err },
			"/servers/detail?all_tenants=1&soft_deleted=1&uuid=" + instance: func() error { _, err := n.Server(t.Context(), instance); return err },
			"/os-migrations?instance_uuid=" + instance:                      func() error { _, err := n.Migrations(t.Context(), instance); return err },
		} {
			err := ask()
			if err == nil || !strings.HasPrefix(err.Error(), "GET "+server.URL+path) || !strings.HasSuffix(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v", path, err)
			}
		}
		server.Close()
	}
}
