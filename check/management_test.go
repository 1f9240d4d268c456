package check

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// management is an API that knows some things; each answer needs the right password.
func management(t *testing.T, known map[string]string) Management {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, ok := r.BasicAuth(); !ok || user != "monitor" || password != "secret" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method != http.MethodGet {
			t.Errorf("it was sent %s %s", r.Method, r.URL)
		}
		body, ok := known[r.URL.EscapedPath()]
		switch {
		case !ok:
			w.WriteHeader(http.StatusNotFound)
		case body == "":
			w.WriteHeader(http.StatusForbidden)
		default:
			_, _ = w.Write([]byte(body))
		}
	}))
	t.Cleanup(server.Close)
	return Management{URL: server.URL + "/", User: "monitor", Password: "secret"}
}

func TestManagement(t *testing.T) {
	known := map[string]string{
		"/api/exchanges/%2F/nova":          `{"type": "topic", "durable": false, "user_who_performed_action": "openstack"}`,
		"/api/users/openstack/permissions": `[{"vhost": "/", "configure": "d", "write": "e", "read": "f"}]`,
		"/api/queues/%2F/earlybind":        `{"type": "quorum", "durable": true, "effective_policy_definition": {}}`,
		"/api/queues/%2F/notifications.in": `{"type": "classic", "policy": "ttl", "effective_policy_definition": {"message-ttl": 70000, "overflow": "drop-head"}}`,
		"/api/queues/%2F/old":              `{"type": "classic", "effective_policy_definition": []}`,
		"/api/queues/%2F/new":              `{"type": "classic"}`,
		"/api/queues/%2F/operated":         `{"type": "classic", "operator_policy": "op", "effective_policy_definition": {"expires": 5}}`,
		"/api/users/earlybind/permissions": `[{"vhost": "other", "configure": "x"}, {"vhost": "/", "configure": "a", "write": "b", "read": "c"}]`,
	}
	m := management(t, known)
	queues := []string{"earlybind", "notifications.in", "operated", "old", "new", "absent"}
	got, err := m.Made(t.Context(), "/", "earlybind", []string{"nova", "absent"}, queues)
	if err != nil {
		t.Fatal(err)
	}
	if e := got.Exchanges["nova"]; len(got.Exchanges) != 1 || e.Type != "topic" || e.Durable || e.By != "openstack" {
		t.Errorf("%+v", got.Exchanges)
	}
	if q := got.Queues["earlybind"]; len(got.Queues) != 5 || q.Type != "quorum" || !q.Durable || q.Policy != "" {
		t.Errorf("%+v", got.Queues)
	}
	if q := got.Queues["notifications.in"]; q.Policy != "ttl" || q.Durable {
		t.Errorf("%+v", q)
	}
	if q := got.Queues["operated"]; q.Policy != "op" {
		t.Errorf("%+v", q)
	}
	for name, want := range map[string]map[string]float64{
		"earlybind": {}, "old": {}, "notifications.in": {"message-ttl": 70000}, "operated": {"expires": 5}, "new": nil,
	} {
		if limits, seen := got.Queues[name].Limits.Get(); !maps.Equal(limits, want) || seen != (want != nil) {
			t.Errorf("%s: %v %t", name, limits, seen)
		}
	}
	if p, ok := got.Permissions.Get(); !ok || p != (Permissions{"a", "b", "c"}) {
		t.Errorf("%+v", got.Permissions)
	}
	if p, ok := got.Novas.Get(); !ok || p != (Permissions{"d", "e", "f"}) {
		t.Errorf("%+v", got.Novas)
	}

	// Rights are told to administrators alone; the rest is told all the same.
	known["/api/users/earlybind/permissions"] = ""
	known["/api/exchanges/%2F/nova"] = `{"type": "topic"}`
	if got, err = m.Made(t.Context(), "/", "earlybind", []string{"nova"}, queues); err != nil || len(got.Queues) != 5 {
		t.Errorf("%+v %v", got, err)
	}
	if _, ok := got.Novas.Get(); ok {
		t.Errorf("%+v, and nobody has made the exchange", got.Novas)
	}
	if _, ok := got.Permissions.Get(); ok || !strings.Contains(got.Permissions.Why(), "may not see it") {
		t.Errorf("%+v", got.Permissions)
	}
	known["/api/queues/%2F/earlybind"] = "<html>"
	if _, err = m.Made(t.Context(), "/", "earlybind", nil, queues); err == nil || !strings.Contains(err.Error(), "no JSON") {
		t.Error(err)
	}
	m.Password = "wrong"
	if _, err = m.Made(t.Context(), "/", "earlybind", []string{"nova"}, nil); err == nil || strings.Contains(err.Error(), "wrong") || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
}

// The API has a queue at once, and its statistics some seconds later.
func TestStatisticsAreWaitedFor(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		if asked < 2 {
			_, _ = w.Write([]byte(`{"type": "classic"}`))
			return
		}
		_, _ = w.Write([]byte(`{"type": "classic", "effective_policy_definition": {}}`))
	}))
	defer server.Close()
	Management{URL: server.URL}.Await(t.Context(), "/", "q")
	if asked != 2 {
		t.Errorf("it was asked %d times", asked)
	}
}

func TestAddressOfTheManagement(t *testing.T) {
	for address, want := range map[string]string{
		"http://rabbit1:15672": "", "https://rabbit1:15671/": "", "rabbit1:15672": "must be http://", "amqp://rabbit1": "must be http://",
		"http://admin:hunter2@rabbit1:15672": "holds credentials", "http://admin:hunter2@[": "must be http://",
	} {
		err := Management{URL: address}.CheckURL()
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%s: %v", address, err)
		}
	}
}
