//go:build integration

package integration

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/earlybind/earlybind/binding/bindingtest"
)

// credentials start a Keystone whose catalog has the cloud's Neutron, and give the
// environment of a program that finds it.
func (c cloud) credentials(t testing.TB) []string {
	t.Helper()
	neutron, err := url.Parse(c.fake.URL())
	must(t, err)
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("POST /v3/auth/tokens", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Subject-Token", bindingtest.Token)
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
			"expires_at": "2126-11-23T06:00:00.000000Z", "issued_at": "2026-11-23T05:00:00.000000Z",
			"catalog": []any{map[string]any{"type": "network", "endpoints": []any{
				map[string]any{"interface": "public", "region": "RegionOne", "url": server.URL + "/network/"},
			}}},
		}})
	})
	mux.HandleFunc("GET /network/{$}", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}`)
	})
	mux.Handle("/network/", http.StripPrefix("/network", httputil.NewSingleHostReverseProxy(neutron)))
	return []string{
		"OS_AUTH_URL=" + server.URL + "/v3", "OS_USERNAME=earlybind", "OS_PASSWORD=secret", "OS_PROJECT_NAME=service",
		"OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default",
	}
}
