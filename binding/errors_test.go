package binding_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	th "github.com/gophercloud/gophercloud/v2/testhelper"

	"github.com/earlybind/earlybind/binding"
)

var sentinels = map[string]error{
	"ErrAlreadyActive":   binding.ErrAlreadyActive,
	"ErrAlreadyExists":   binding.ErrAlreadyExists,
	"ErrNotFound":        binding.ErrNotFound,
	"ErrBindingNotFound": binding.ErrBindingNotFound,
	"ErrPortNotFound":    binding.ErrPortNotFound,
	"ErrInternal":        binding.ErrInternal,
	"ErrNotBindable":     binding.ErrNotBindable,
	"ErrNotCompute":      binding.ErrNotCompute,
	"ErrForbidden":       binding.ErrForbidden,
	"ErrUnauthorized":    binding.ErrUnauthorized,
	"ErrChanged":         binding.ErrChanged,
	"ErrOtherHost":       binding.ErrOtherHost,
	"ErrNoAnswer":        binding.ErrNoAnswer,
}

// Every answer matches exactly the sentinels named, and no other.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		name      string
		status    int
		body      string
		is        string
		kind      string
		transient bool
		unknown   bool
	}{
		{
			"already active", 409,
			`{"NeutronError": {"type": "PortBindingAlreadyActive", "message": "Binding for port p on host compute2 is already active.", "detail": ""}}`,
			"ErrAlreadyActive", "PortBindingAlreadyActive", false, false,
		},
		{
			"exists", 409,
			`{"NeutronError": {"type": "PortBindingAlreadyExists", "message": "Binding for port p on host compute1 already exists.", "detail": ""}}`,
			"ErrAlreadyExists", "PortBindingAlreadyExists", false, false,
		},
		{
			"no row", 404,
			`{"NeutronError": {"type": "PortBindingNotFound", "message": "Binding for port p for host nohost could not be found.", "detail": ""}}`,
			"ErrNotFound ErrBindingNotFound", "PortBindingNotFound", false, false,
		},
		{
			"no port", 404,
			`{"NeutronError": {"type": "PortNotFound", "message": "Port p could not be found.", "detail": ""}}`,
			"ErrNotFound ErrPortNotFound", "PortNotFound", false, false,
		},
		{"not Neutron's 404", 404, `<html>not here</html>`, "ErrNotFound", "", false, false},
		{
			"no ACTIVE row", 500,
			`{"NeutronError": {"type": "HTTPInternalServerError", "message": "Request Failed: internal server error while processing your request.", "detail": ""}}`,
			"ErrInternal", "HTTPInternalServerError", false, true,
		},
		{
			"no live agent", 500,
			`{"NeutronError": {"type": "PortBindingError", "message": "Binding for port p on host deadhost could not be created or updated.", "detail": ""}}`,
			"ErrNotBindable", "PortBindingError", false, true,
		},
		{
			"policy check", 500,
			`{"NeutronError": {"type": "PolicyCheckError", "message": "Failed to check policy tenant_id:%(tenant_id)s because Unable to verify match:%(tenant_id)s as the parent resource: tenant was not found.", "detail": ""}}`,
			"ErrForbidden", "PolicyCheckError", false, true,
		},
		{
			"forbidden", 403,
			`{"NeutronError": {"type": "PolicyNotAuthorized", "message": "rule:activate is disallowed by policy", "detail": ""}}`,
			"ErrForbidden", "PolicyNotAuthorized", false, false,
		},
		{
			"not compute", 400,
			`{"NeutronError": {"type": "BadRequest", "message": "Bad port request: Invalid port p. Operation only valid on compute ports.", "detail": ""}}`,
			"ErrNotCompute", "BadRequest", false, false,
		},
		{
			"not compute, newer text", 400,
			`{"NeutronError": {"type": "BadRequest", "message": "Bad port request: Invalid port p. Operation only valid on compute and shared filesystem ports.", "detail": ""}}`,
			"ErrNotCompute", "BadRequest", false, false,
		},
		{
			"bad request", 400,
			`{"NeutronError": {"type": "HTTPBadRequest", "message": "Unrecognized attribute(s) 'x'", "detail": ""}}`,
			"", "HTTPBadRequest", false, false,
		},
		{
			"changed", 412,
			`{"NeutronError": {"type": "RevisionNumberConstraintFailed", "message": "Constrained to 3, but current revision is 5", "detail": ""}}`,
			"ErrChanged", "RevisionNumberConstraintFailed", false, false,
		},
		{"plain text error", 409, `{"NeutronError": "state invalid"}`, "", "", false, false},
		{"unauthorized", 401, `{"error": {"code": 401, "title": "Unauthorized"}}`, "ErrUnauthorized", "", false, false},
		{"too many", 429, ``, "", "", true, false},
		{"bad gateway", 502, `<html>`, "", "", true, true},
		{"unavailable", 503, `<html>`, "", "", true, true},
		{"gateway timeout", 504, `<html>`, "", "", true, true},
		{"200 without JSON", 200, `<html>`, "ErrNoAnswer", "", true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := serve(t, "PUT", "/ports/"+portID+"/bindings/compute2/activate", "", c.status, c.body)
			_, err := binding.Activate(t.Context(), client, portID, "compute2").Extract()

			var e *binding.Error
			if !errors.As(err, &e) {
				t.Fatalf("error: %T %v", err, err)
			}
			if e.Op != binding.OpActivate || e.PortID != portID || e.Host != "compute2" || e.Type != c.kind {
				t.Errorf("error: %+v", e)
			}
			for name, sentinel := range sentinels {
				if want := contains(c.is, name); errors.Is(err, sentinel) != want {
					t.Errorf("is %s: %v", name, !want)
				}
			}
			if binding.IsTransient(err) != c.transient || binding.OutcomeUnknown(err) != c.unknown {
				t.Errorf("transient %v, unknown %v", binding.IsTransient(err), binding.OutcomeUnknown(err))
			}
			if c.status == 200 {
				return
			}
			if e.Status != c.status || e.RequestID != requestID || !gophercloud.ResponseCodeIs(err, c.status) {
				t.Errorf("status %d, request id %q", e.Status, e.RequestID)
			}
			if strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), requestID) {
				t.Errorf("not one line with the request id: %v", err)
			}
		})
	}
}

func contains(list, name string) bool {
	for _, s := range strings.Fields(list) {
		if s == name {
			return true
		}
	}
	return false
}

func TestErrorText(t *testing.T) {
	const body = `{"NeutronError": {"type": "PortBindingAlreadyActive", "message": "Binding is already active.", "detail": ""}}`
	c := serve(t, "PUT", "/ports/"+portID+"/bindings/compute2/activate", "", 409, body)
	err := binding.Activate(t.Context(), c, portID, "compute2").Err
	th.AssertEquals(t, "activate binding port "+portID+" host compute2: 409 PortBindingAlreadyActive Binding is already active. ("+requestID+")", err.Error())

	c = serve(t, "GET", "/ports/"+portID+"/bindings", "", 503, "")
	err = binding.List(t.Context(), c, portID).Err
	th.AssertEquals(t, "list bindings port "+portID+": 503 Service Unavailable ("+requestID+")", err.Error())

	c = serve(t, "DELETE", "/ports/"+portID+"/bindings/compute2", "", 500, "")
	err = binding.Delete(t.Context(), c, portID, "compute2").ExtractErr()
	th.AssertEquals(t, "delete binding port "+portID+" host compute2: 500 Internal Server Error ("+requestID+"); it may have taken effect", err.Error())
}

// What failed to be read has changed nothing.
func TestReadsHaveNoUnknownOutcome(t *testing.T) {
	c := serve(t, "GET", "/ports/"+portID+"/bindings", "", 503, "")
	err := binding.List(t.Context(), c, portID).Err
	if binding.OutcomeUnknown(err) || !binding.IsTransient(err) {
		t.Errorf("error: %v", err)
	}
}

func TestNoAnswer(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	client := &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{TokenID: "secret-token"},
		Endpoint:       server.URL + "/",
	}

	cancel()
	err := binding.Activate(ctx, client, portID, "compute2").Err
	if !errors.Is(err, binding.ErrNoAnswer) || !errors.Is(err, context.Canceled) || !binding.OutcomeUnknown(err) {
		t.Errorf("cancelled: %v", err)
	}

	client.HTTPClient.Timeout = 1 // ns: over before it began
	err = binding.Activate(t.Context(), client, portID, "compute2").Err
	if !errors.Is(err, binding.ErrNoAnswer) || !binding.IsTransient(err) {
		t.Errorf("timeout: %v", err)
	}
	if strings.Contains(err.Error(), "secret-token") {
		t.Errorf("token in %v", err)
	}
}

func TestNoConnectionIsAKnownOutcome(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client := &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{},
		Endpoint:       server.URL + "/",
	}
	err := binding.Delete(t.Context(), client, portID, "compute2").ExtractErr()
	if !errors.Is(err, binding.ErrNoAnswer) || binding.OutcomeUnknown(err) || !binding.IsTransient(err) {
		t.Errorf("error: %v", err)
	}
}

func TestOtherErrorsAreNeither(t *testing.T) {
	for _, err := range []error{nil, errors.New("x"), context.Canceled} {
		if binding.IsTransient(err) || binding.OutcomeUnknown(err) {
			t.Errorf("%v", err)
		}
	}
}

func TestBriefTellsTheMessageAndNoPage(t *testing.T) {
	answer := func(status int, body string) error {
		return gophercloud.ErrUnexpectedResponseCode{
			Method: "GET", URL: "http://nova/os-services", Actual: status, Body: []byte(body),
			ResponseHeader: http.Header{"X-Openstack-Request-Id": {"req-1"}},
		}
	}
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"nothing":        {nil, ""},
		"no answer":      {errors.New("connection refused"), "connection refused"},
		"page":           {answer(503, "<html>\nall of it</html>"), "GET http://nova/os-services: 503 Service Unavailable (req-1)"},
		"Nova's":         {answer(403, `{"forbidden": {"code": 403, "message": "Policy doesn't allow it."}}`), "GET http://nova/os-services: 403 Policy doesn't allow it. (req-1)"},
		"of two lines":   {answer(500, `{"computeFault": {"code": 500, "message": "Unexpected API Error.\n<class 'E'>"}}`), "GET http://nova/os-services: 500 Unexpected API Error. <class 'E'> (req-1)"},
		"of another API": {answer(406, `{"errors": [{"status": 406, "title": "not acceptable"}]}`), "GET http://nova/os-services: 406 Not Acceptable (req-1)"},
		"no new token": {
			&gophercloud.ErrUnableToReauthenticate{ErrOriginal: answer(401, "<html>"), ErrReauth: answer(400, "the request, "+secret)},
			"authenticate: 401 the token was refused, and keystone answered 400 (req-1) (req-1)",
		},
	} {
		got := ""
		if err := binding.Brief(c.err); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Whoever meets no cloud is told what to look at, and a server that is not Keystone is not taken for one.
func TestWhatToLookAtWhereACloudIsNotMet(t *testing.T) {
	says := func(status int, header map[string]string, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for name, value := range header {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	plain := map[string]string{"Content-Type": "text/plain; charset=utf-8"}
	inJSON := map[string]string{"Content-Type": "application/json"}
	const lookAtURL, lookAtUser = "is the URL Keystone's, with /v3?", "user, password, project or domain is not right: OS_* or the entry of clouds.yaml"
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		url     string // of Keystone; %s is the server's
		want    string // the error's end
		next    string
		later   bool
	}{
		"says hello":          {says(200, plain, "hello"), "%s/v3", "authenticate: what answers there is not Keystone (200, text/plain)", lookAtURL, false},
		"says hello, no /v3":  {says(200, plain, "hello"), "%s", "authenticate: what answers there is not Keystone (invalid character 'h' looking for beginning of value)", lookAtURL, false},
		"another API":         {says(200, inJSON, "{}"), "%s/v3", "authenticate: what answers there is not Keystone (200, application/json)", lookAtURL, false},
		"another API, no /v3": {says(200, inJSON, "{}"), "%s", "no supported version available from endpoint %s/)", lookAtURL, false},
		"created":             {says(201, inJSON, `"hello"`), "%s/v3", "cannot unmarshal string into Go value of type map[string]interface {})", lookAtURL, false},
		"redirects":           {says(302, map[string]string{"Location": "/elsewhere"}, ""), "%s/v3", "authenticate: what answers there is not Keystone (302, of no type)", lookAtURL, false},
		"has no such page":    {says(404, plain, "no such page"), "%s/v3", "authenticate: what answers there is not Keystone (404, text/plain)", lookAtURL, false},
		"a type of its own":   {says(405, map[string]string{"Content-Type": "<b>/plain"}, ""), "%s/v3", "authenticate: what answers there is not Keystone (405, of no type)", lookAtURL, false},
		"Keystone, elsewhere": {says(404, inJSON, `{"error": {}}`), "%s/v3", "authenticate: 404 Not Found", lookAtURL, false},
		"refused":             {says(401, inJSON, `{"error": {}}`), "%s/v3", "authenticate: 401 Unauthorized", lookAtUser, false},
		"refused, no word":    {says(401, nil, ""), "%s/v3", "authenticate: 401 Unauthorized", lookAtUser, false},
		"away":                {says(503, plain, "no server"), "%s/v3", "authenticate: 503 Service Unavailable", "does Keystone run? Its log tells why, or that of the proxy before it", true},
		"nobody there":        {nil, "http://127.0.0.1:1/v3", "connection refused", "does Keystone run there, may this host reach it, is the URL right?", true},
		"no TLS":              {says(200, plain, "hello"), "https%s/v3", "", "is the URL one of http:// in place of https://?", true},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			env(t, cloud, nil)
			server := httptest.NewServer(c.handler)
			defer server.Close()
			at := strings.Replace(c.url, "https%s", "https"+strings.TrimPrefix(server.URL, "http"), 1)
			t.Setenv("OS_AUTH_URL", strings.Replace(at, "%s", server.URL, 1))
			_, err := binding.NewClient(t.Context(), binding.ClientOpts{})
			if want := strings.Replace(c.want, "%s", server.URL, 1); err == nil || !strings.HasSuffix(err.Error(), want) {
				t.Errorf("%v, want %s", err, want)
			}
			if next := binding.Next(err); next != c.next || binding.IsTransient(err) != c.later {
				t.Errorf("%q of %v, want %q; transient: %t", next, err, c.next, binding.IsTransient(err))
			}
		})
	}
}

// A certificate that is not trusted, a region that is not there, a Neutron that is away: what each is set by.
func TestWhatToLookAtInACatalog(t *testing.T) {
	cloud := newCloud(t)
	env(t, cloud, nil)
	_, region := binding.NewClient(t.Context(), binding.ClientOpts{Region: "Nowhere"})
	_, away := binding.NewClient(t.Context(), binding.ClientOpts{Region: "Broken"})
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	defer stranger.Close()
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Setenv("OS_AUTH_URL", stranger.URL+"/v3")
	_, trust := binding.NewClient(t.Context(), binding.ClientOpts{})
	for err, want := range map[error]string{
		region: "are region and interface right: OS_REGION_NAME and OS_INTERFACE, or region_name and interface of the entry?",
		away:   "",
		trust:  "are OS_CACERT, or cacert of the entry, and EARLYBIND_OS_SERVER_NAME right for its certificate?",
		&binding.Error{Op: binding.OpFindNeutron, Status: 503}: "does the service run? Its log tells why, or that of the proxy before it",
		&binding.Error{Op: binding.OpProbe, Status: 403}:       "",
		errors.New("of another kind"):                          "",
		&binding.Error{Op: binding.OpAuthenticate, Err: &url.Error{Op: "Post", Err: &net.DNSError{IsNotFound: true}}}: "does this host know the name, is the URL right?",
		&url.Error{Op: "Get", Err: &net.DNSError{IsTimeout: true}}:                                                    "does the service run there, may this host reach it, is its URL in the catalog, for that region and interface, right?",
	} {
		if got := binding.Next(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
