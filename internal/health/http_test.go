package health

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBoard()
		h := handler(b, http.NotFoundHandler())
		want := func(method, path string, status int, body string) {
			t.Helper()
			got := httptest.NewRecorder()
			h.ServeHTTP(got, httptest.NewRequest(method, path, nil))
			if got.Code != status || body != "" && got.Body.String() != body {
				t.Errorf("%s %s: %d %q", method, path, got.Code, got.Body)
			}
		}
		want("GET", "/live", http.StatusOK, "live\n")
		want("GET", "/ready", http.StatusServiceUnavailable, "not ready\nnothing is known yet\n")
		b.Has("libvirt", "connected")
		b.Lacks("broker", "refused")
		want("GET", "/live", http.StatusOK, "live\n")
		want("GET", "/ready", http.StatusServiceUnavailable, "not ready\nbroker: refused\nlibvirt: connected\n")
		b.Has("broker", "this replica stands by")
		want("GET", "/ready", http.StatusOK, "ready\nbroker: this replica stands by\nlibvirt: connected\n")
		b.Loop("session", time.Minute).Beat()
		time.Sleep(2 * time.Minute)
		want("GET", "/live", http.StatusServiceUnavailable, "not live\nsession: stuck: has not come round for 2m0s, and may take 1m0s\n")
		want("GET", "/ready", http.StatusServiceUnavailable, "")
		want("POST", "/live", http.StatusMethodNotAllowed, "")
		want("GET", "/", http.StatusNotFound, "")
	})
}

func TestServeNamesAnAddressThatIsTaken(t *testing.T) {
	server := httptest.NewServer(nil)
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	if _, err := Serve(address, NewBoard(), http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("got %v", err)
	}
}
