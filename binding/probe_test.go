package binding_test

import (
	"errors"
	"io"
	"net/http"
	"regexp"
	"testing"

	th "github.com/gophercloud/gophercloud/v2/testhelper"
	"github.com/gophercloud/gophercloud/v2/testhelper/client"

	"github.com/earlybind/earlybind/binding"
)

func TestExtensions(t *testing.T) {
	for _, c := range []struct {
		body           string
		safe, extended bool
	}{
		{`{"extensions": [{"alias": "binding", "links": []}, {"alias": "binding-extended", "links": []}]}`, false, true},
		{`{"extensions": [{"alias": "binding-extended"}, {"alias": "security-groups-default-rules"}]}`, true, true},
		{`{"extensions": []}`, false, false},
	} {
		client := serve(t, "GET", "/extensions", "", 200, c.body)
		safe, err := binding.ConcurrentActivateSafe(t.Context(), client)
		th.AssertNoErr(t, err)
		extended, err := binding.HasBindingExtended(t.Context(), client)
		th.AssertNoErr(t, err)
		if safe != c.safe || extended != c.extended {
			t.Errorf("%s: %v %v", c.body, safe, extended)
		}
	}
}

// An unknown Neutron must not pass for an old or a new one.
func TestExtensionsError(t *testing.T) {
	client := serve(t, "GET", "/extensions", "", 404, "")
	if _, err := binding.ConcurrentActivateSafe(t.Context(), client); !errors.Is(err, binding.ErrNotFound) {
		t.Errorf("error: %v", err)
	}
}

func TestProbePermission(t *testing.T) {
	path := regexp.MustCompile(`^/ports/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}/bindings$`)
	for _, c := range []struct {
		status int
		kind   string
		want   error // nil: allowed
		failed bool  // neither allowed nor forbidden
	}{
		{403, "PolicyNotAuthorized", binding.ErrForbidden, false},
		{500, "PolicyCheckError", binding.ErrForbidden, false},
		{404, "PortNotFound", nil, false},
		{500, "HTTPInternalServerError", nil, false},
		{503, "", nil, true},
		{401, "", binding.ErrUnauthorized, true},
		{404, "", binding.ErrNotFound, true},
		{201, "", nil, true},
	} {
		seen := map[string]bool{}
		server := th.SetupHTTP()
		server.Mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			th.TestMethod(t, r, "POST")
			if !path.MatchString(r.URL.Path) || seen[r.URL.Path] {
				t.Errorf("path %s", r.URL.Path)
			}
			seen[r.URL.Path] = true
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, `{"binding": {}, "NeutronError": {"type": "`+c.kind+`", "message": "m"}}`)
		})
		for range 2 {
			err := binding.ProbePermission(t.Context(), client.ServiceClient(server))
			var e *binding.Error
			switch {
			case c.want == nil && !c.failed:
				th.AssertNoErr(t, err)
			case !errors.As(err, &e) || e.Op != binding.OpProbe:
				t.Errorf("%d %s: %v", c.status, c.kind, err)
			case c.want != nil && !errors.Is(err, c.want):
				t.Errorf("%d %s: %v", c.status, c.kind, err)
			case errors.Is(err, binding.ErrForbidden) == c.failed:
				t.Errorf("%d %s: %v", c.status, c.kind, err)
			}
		}
		server.Teardown()
	}
}
