package binding_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	th "github.com/gophercloud/gophercloud/v2/testhelper"

	"github.com/earlybind/earlybind/binding"
)

const secret = "s3cret: [ & <"

// cloud is a Keystone with a catalog, and a Neutron that knows one call.
type cloud struct {
	*httptest.Server

	connections atomic.Int32

	mu      sync.Mutex
	tokens  int    // handed out so far
	valid   string // the token that Neutron accepts
	refuse  int    // status that Keystone answers, 0 for 201, -1 for none
	auth    string // body of the last authentication
	agent   string // user agent of the last request
	fails   int    // status that Neutron answers, 0 for 200
	arrived func() // called by Neutron for each request
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "OS_") {
			t.Setenv(name, "")
		}
	}
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", "")

	c := &cloud{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v3/auth/tokens", c.authenticate)
	for _, endpoint := range []string{"public", "internal", "two"} {
		mux.HandleFunc("/"+endpoint+"/{$}", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"versions": [{"id": "v2.0", "status": "CURRENT", "links": []}]}`)
		})
		mux.HandleFunc("/"+endpoint+"/v2.0/", c.neutron)
	}
	c.Server = httptest.NewUnstartedServer(mux)
	c.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			c.connections.Add(1)
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func (c *cloud) authenticate(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.auth, c.agent = string(body), r.UserAgent()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Openstack-Request-Id", "req-keystone")
	if c.refuse < 0 {
		panic(http.ErrAbortHandler)
	}
	if c.refuse != 0 {
		w.WriteHeader(c.refuse)
		_, _ = w.Write(body) // as bad as can be
		return
	}
	c.tokens++
	c.valid = fmt.Sprintf("token-%d", c.tokens)
	w.Header().Set("X-Subject-Token", c.valid)
	w.WriteHeader(http.StatusCreated)
	endpoint := func(kind, region, path string) map[string]any {
		return map[string]any{"interface": kind, "region": region, "region_id": region, "url": c.URL + path}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"token": map[string]any{
		"expires_at": "2126-11-23T06:00:00.000000Z", "issued_at": "2026-11-23T05:00:00.000000Z",
		"catalog": []any{map[string]any{"type": "network", "name": "neutron", "endpoints": []any{
			endpoint("public", "RegionOne", "/public"),
			endpoint("internal", "RegionOne", "/internal"),
			endpoint("public", "RegionTwo", "/two"),
			endpoint("public", "Broken", "/nothing-there"),
		}}},
	}})
}

func (c *cloud) neutron(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	ok, fails, arrived := r.Header.Get("X-Auth-Token") == c.valid, c.fails, c.arrived
	c.agent = r.UserAgent()
	c.mu.Unlock()
	if arrived != nil {
		arrived()
	}
	w.Header().Set("X-Openstack-Request-Id", requestID)
	if !ok {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if fails != 0 {
		w.WriteHeader(fails)
	}
	_, _ = io.WriteString(w, `{"bindings": []}`)
}

func (c *cloud) expireToken(refuse int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.valid, c.refuse = "", refuse
}

// wantAuth compares what Keystone was sent.
func (c *cloud) wantAuth(t *testing.T, want string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	th.CheckJSONEquals(t, want, json.RawMessage(c.auth))
}

func env(t *testing.T, c *cloud, more map[string]string) {
	t.Helper()
	for name, value := range map[string]string{
		"OS_AUTH_URL": c.URL + "/v3", "OS_USERNAME": "earlybind", "OS_PASSWORD": secret,
		"OS_PROJECT_NAME": "service", "OS_USER_DOMAIN_NAME": "users", "OS_PROJECT_DOMAIN_NAME": "projects",
	} {
		t.Setenv(name, value)
	}
	for name, value := range more {
		t.Setenv(name, value)
	}
}

func passwordAuth(password string) string {
	p, _ := json.Marshal(password)
	return `{"auth": {
		"identity": {"methods": ["password"], "password": {"user": {"name": "earlybind", "domain": {"name": "users"}, "password": ` + string(p) + `}}},
		"scope": {"project": {"name": "service", "domain": {"name": "projects"}}}}}`
}

func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	th.AssertNoErr(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

func cloudsYAML(c *cloud, password string) string {
	return fmt.Sprintf(`
clouds:
  lab:
    region_name: RegionOne
    interface: internal
    auth:
      auth_url: %s/v3
      username: earlybind
      %s
      project_name: service
      user_domain_name: users
      project_domain_name: projects
`, c.URL, password)
}

func TestNewClientFromEnvironment(t *testing.T) {
	for _, c := range []struct {
		name     string
		env      map[string]string
		opts     binding.ClientOpts
		endpoint string
	}{
		{"defaults", nil, binding.ClientOpts{Region: "RegionOne"}, "/public/"},
		{"interface", map[string]string{"OS_INTERFACE": "internal"}, binding.ClientOpts{Region: "RegionOne"}, "/internal/"},
		{"endpoint type", map[string]string{"OS_ENDPOINT_TYPE": "internalURL"}, binding.ClientOpts{Region: "RegionOne"}, "/internal/"},
		{"region", map[string]string{"OS_REGION_NAME": "RegionTwo"}, binding.ClientOpts{}, "/two/"},
		{
			"options win",
			map[string]string{"OS_REGION_NAME": "RegionTwo", "OS_INTERFACE": "admin"},
			binding.ClientOpts{Region: "RegionOne", Interface: "internal"}, "/internal/",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cloud := newCloud(t)
			env(t, cloud, c.env)
			client, err := binding.NewClient(t.Context(), c.opts)
			th.AssertNoErr(t, err)
			cloud.wantAuth(t, passwordAuth(secret))
			th.AssertEquals(t, cloud.URL+c.endpoint, client.Endpoint)
			th.AssertEquals(t, cloud.URL+c.endpoint+"v2.0/", client.ResourceBase)
		})
	}
}

func TestNewClientFromPasswordFile(t *testing.T) {
	cloud := newCloud(t)
	env(t, cloud, map[string]string{"OS_PASSWORD": "", "OS_PASSWORD_FILE": file(t, "password", "from file\n")})
	_, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
	th.AssertNoErr(t, err)
	cloud.wantAuth(t, passwordAuth("from file"))
}

func TestNewClientFromApplicationCredential(t *testing.T) {
	cloud := newCloud(t)
	t.Setenv("OS_AUTH_URL", cloud.URL+"/v3")
	t.Setenv("OS_APPLICATION_CREDENTIAL_ID", "id")
	t.Setenv("OS_APPLICATION_CREDENTIAL_SECRET_FILE", file(t, "secret", secret))
	_, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
	th.AssertNoErr(t, err)
	s, _ := json.Marshal(secret)
	cloud.wantAuth(t, `{"auth": {"identity": {"methods": ["application_credential"],
		"application_credential": {"id": "id", "secret": `+string(s)+`}}}}`)
}

func TestNewClientFromCloudsYAML(t *testing.T) {
	for name, c := range map[string]struct {
		password string
		env      map[string]string
		opts     binding.ClientOpts
		want     string
	}{
		"OS_CLOUD":      {`password: "in yaml"`, map[string]string{"OS_CLOUD": "lab"}, binding.ClientOpts{}, "in yaml"},
		"option":        {`password: "in yaml"`, map[string]string{"OS_CLOUD": "other"}, binding.ClientOpts{Cloud: "lab"}, "in yaml"},
		"own secret":    {`password: "in yaml"`, map[string]string{"OS_PASSWORD_FILE": file(t, "p", "from file")}, binding.ClientOpts{Cloud: "lab", OwnSecret: true}, "in yaml"},
		"password file": {"", map[string]string{"OS_CLOUD": "lab", "OS_PASSWORD_FILE": file(t, "p", "from file")}, binding.ClientOpts{}, "from file"},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", cloudsYAML(cloud, c.password)))
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			client, err := binding.NewClient(t.Context(), c.opts)
			th.AssertNoErr(t, err)
			cloud.wantAuth(t, passwordAuth(c.want))
			th.AssertEquals(t, cloud.URL+"/internal/", client.Endpoint)
		})
	}
}

// No way to fail may show a secret.
func TestNewClientErrors(t *testing.T) {
	const password = "verysecret"
	for name, c := range map[string]struct {
		env    map[string]string
		yaml   string // clouds.yaml, %s is the cloud
		refuse int
		opts   binding.ClientOpts
		want   string
	}{
		"nothing":         {env: map[string]string{"OS_AUTH_URL": ""}, want: "neither OS_CLOUD nor OS_AUTH_URL is set"},
		"no password":     {env: map[string]string{"OS_PASSWORD": ""}, want: "a secret is needed, here or in the file that OS_PASSWORD_FILE names: OS_PASSWORD ("},
		"no file":         {env: map[string]string{"OS_PASSWORD_FILE": "/nonexistent/password"}, want: "OS_PASSWORD_FILE: open /nonexistent/password"},
		"empty file":      {env: map[string]string{"OS_PASSWORD_FILE": os.DevNull}, want: "is empty"},
		"URL":             {env: map[string]string{"OS_AUTH_URL": "http://u:" + password + "@%zz"}, want: "not a URL"},
		"password in URL": {env: map[string]string{"OS_AUTH_URL": "http://u:" + password + "@localhost/v3"}, want: "holds a user or a password"},
		"scheme":          {env: map[string]string{"OS_AUTH_URL": "localhost:5000"}, want: "not an http or https URL"},
		"wrong password":  {refuse: 401, want: "authenticate: 401 Unauthorized (req-keystone)"},
		"bad request":     {refuse: 400, want: "authenticate: 400 Bad Request (req-keystone)"},
		"keystone away":   {refuse: 503, want: "authenticate: 503 Service Unavailable (req-keystone)"},
		"no such region":  {opts: binding.ClientOpts{Region: "Nowhere"}, want: `region "Nowhere", interface "public"`},
		"neutron away":    {opts: binding.ClientOpts{Region: "Broken"}, want: `region "Broken", interface "public": find neutron: 404`},
		"no such cloud":   {yaml: "clouds: {}", want: `there is none of that name, it has none at all; another file is set by OS_CLIENT_CONFIG_FILE`},
		"other clouds":    {yaml: "clouds: {b: {}, a: {auth: {password: " + password + "}}}", want: `there is none of that name, it has "a", "b"; another file is set by OS_CLIENT_CONFIG_FILE`},
		"many clouds":     {yaml: "clouds: {a: , b: , c: , d: , e: , f: , g: , h: , i: , j: }", want: `"g", "h" and 2 more; another file is`},
		"which file":      {yaml: "clouds: {}", want: `entry "lab" of /`},
		"no auth":         {yaml: "clouds:\n  lab:\n    region_name: RegionOne", want: `/clouds.yaml: it has no auth`},
		"empty entry":     {yaml: "clouds:\n  lab:", want: `/clouds.yaml: it has no auth`},
		"no URL":          {yaml: "clouds:\n  lab:\n    auth:\n      username: u", want: `/clouds.yaml: the auth URL is not an http or https URL`},
		"yaml quotes":     {yaml: "clouds:\n  lab:\n    auth: " + password, want: "line 3"},
		"yaml syntax":     {yaml: "clouds:\n\tlab: " + password, want: "line 2"},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.refuse = c.refuse
			env(t, cloud, map[string]string{"OS_PASSWORD": password})
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			if c.yaml != "" {
				t.Setenv("OS_CLOUD", "lab")
				t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", c.yaml))
			}
			client, err := binding.NewClient(t.Context(), c.opts)
			if err == nil || client != nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("error: %v, want: %s", err, c.want)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if strings.Contains(fmt.Sprintf("%v %+v %#v", e, e, e), password) {
					t.Errorf("the error holds the password: %T", e)
				}
			}
			if c.refuse == 503 != binding.IsTransient(err) {
				t.Errorf("transient: %v", binding.IsTransient(err))
			}
		})
	}
}

// Somebody with several entries and files has to know which of them was refused.
func TestARefusalNamesWhoWasRefused(t *testing.T) {
	for name, c := range map[string]struct {
		env  map[string]string
		want string
	}{
		"entry":     {map[string]string{"OS_CLOUD": "lab"}, `entry "lab", user "earlybind", project "service", auth URL %q: authenticate: 401 Unauthorized (req-keystone)`},
		"variables": {nil, `user "earlybind", project "service", auth URL %q: authenticate: 401 Unauthorized (req-keystone)`},
		"application credential": {
			map[string]string{"OS_USERNAME": "", "OS_PROJECT_NAME": "", "OS_PASSWORD": "", "OS_APPLICATION_CREDENTIAL_ID": "id", "OS_APPLICATION_CREDENTIAL_SECRET": secret},
			`application credential "id", auth URL %q: authenticate: 401 Unauthorized (req-keystone)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			cloud := newCloud(t)
			cloud.refuse = 401
			t.Setenv("OS_CLIENT_CONFIG_FILE", file(t, "clouds.yaml", cloudsYAML(cloud, `password: "in yaml"`)))
			env(t, cloud, c.env)
			_, err := binding.NewClient(t.Context(), binding.ClientOpts{})
			if want := fmt.Sprintf(c.want, cloud.URL+"/v3"); err == nil || err.Error() != want {
				t.Errorf("error: %v, want: %s", err, want)
			}
		})
	}
}

// What is there and cannot be read is not missing: the program's user may not, mostly. Here it
// is a directory, or stands below a file, since root may read everything.
func TestAFileThatCannotBeReadIsNamed(t *testing.T) {
	const mayNot = "the program's user must be able to read it"
	directory := func(t *testing.T, path string) {
		t.Helper()
		th.AssertNoErr(t, os.MkdirAll(path, 0o700))
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, clouds string)
		named   string // in the directory of clouds.yaml
		want    string
	}{
		"clouds.yaml": {directory, "clouds.yaml", mayNot},
		"secure.yaml": {func(t *testing.T, clouds string) {
			t.Helper()
			th.AssertNoErr(t, os.WriteFile(clouds, []byte("clouds: {}"), 0o600))
			directory(t, filepath.Join(filepath.Dir(clouds), "secure.yaml"))
		}, "secure.yaml", mayNot},
		"directory": {func(t *testing.T, clouds string) {
			t.Helper()
			th.AssertNoErr(t, os.Remove(filepath.Dir(clouds)))
			th.AssertNoErr(t, os.WriteFile(filepath.Dir(clouds), nil, 0o600))
		}, "clouds.yaml", mayNot},
		"nothing": {func(*testing.T, string) {}, "clouds.yaml", "there is no"},
	} {
		for _, searched := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, searched for: %t", name, searched), func(t *testing.T) {
				newCloud(t)
				t.Setenv("OS_CLOUD", "lab")
				config := t.TempDir()
				dir := filepath.Join(config, "openstack")
				directory(t, dir)
				if searched {
					t.Setenv("XDG_CONFIG_HOME", config)
				} else {
					t.Setenv("OS_CLIENT_CONFIG_FILE", filepath.Join(dir, "clouds.yaml"))
				}
				c.prepare(t, filepath.Join(dir, "clouds.yaml"))
				_, err := binding.NewClient(t.Context(), binding.ClientOpts{})
				if err == nil || !strings.Contains(err.Error(), filepath.Join(dir, c.named)) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error: %v", err)
				}
			})
		}
	}
}

// As openstacksdk has it: below $XDG_CONFIG_HOME or $HOME/.config, and the secret in a file beside.
func TestCloudsYAMLIsSearchedFor(t *testing.T) {
	for _, variable := range []string{"HOME", "XDG_CONFIG_HOME"} {
		t.Run(variable, func(t *testing.T) {
			cloud := newCloud(t)
			config := t.TempDir()
			t.Setenv(variable, config)
			if variable == "HOME" {
				config = filepath.Join(config, ".config")
			}
			dir := filepath.Join(config, "openstack")
			th.AssertNoErr(t, os.MkdirAll(dir, 0o700))
			th.AssertNoErr(t, os.WriteFile(filepath.Join(dir, "clouds.yaml"), []byte(cloudsYAML(cloud, "")), 0o600))
			th.AssertNoErr(t, os.WriteFile(filepath.Join(dir, "secure.yaml"), []byte("clouds: {lab: {auth: {password: beside}}}"), 0o600))
			_, err := binding.NewClient(t.Context(), binding.ClientOpts{Cloud: "lab"})
			th.AssertNoErr(t, err)
			cloud.wantAuth(t, passwordAuth("beside"))
		})
	}
}

func TestClientRenewsItsToken(t *testing.T) {
	cloud := newCloud(t)
	env(t, cloud, nil)
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne", Version: "1.2.3"})
	th.AssertNoErr(t, err)
	cloud.expireToken(0)

	_, err = binding.List(t.Context(), client, portID).Extract()
	th.AssertNoErr(t, err)
	th.AssertEquals(t, 2, cloud.tokens)
	if !strings.HasPrefix(cloud.agent, "earlybind/1.2.3 gophercloud/") {
		t.Errorf("user agent %q", cloud.agent)
	}
}

func TestClientCannotRenewItsToken(t *testing.T) {
	for _, c := range []struct {
		status    int
		transient bool
		want      string
	}{
		{401, false, "keystone answered 401 (req-keystone)"},
		{503, true, "keystone answered 503 (req-keystone)"},
		{-1, true, "keystone gave no new one"},
	} {
		t.Run(fmt.Sprint(c.status), func(t *testing.T) {
			cloud := newCloud(t)
			env(t, cloud, nil)
			client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
			th.AssertNoErr(t, err)
			cloud.expireToken(c.status)

			_, err = binding.Activate(t.Context(), client, portID, "compute2").Extract()
			if !errors.Is(err, binding.ErrUnauthorized) || binding.OutcomeUnknown(err) || binding.IsTransient(err) != c.transient {
				t.Errorf("error: %v", err)
			}
			for _, want := range []string{requestID, c.want} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error without %s: %v", want, err)
				}
			}
			if strings.Contains(fmt.Sprintf("%+v", err), "s3cret") {
				t.Errorf("secret in %v", err)
			}
		})
	}
}

func TestErrorAfterARenewedToken(t *testing.T) {
	cloud := newCloud(t)
	env(t, cloud, nil)
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
	th.AssertNoErr(t, err)
	cloud.expireToken(0)
	cloud.fails = http.StatusNotFound

	err = binding.List(t.Context(), client, portID).Err
	var e *binding.Error
	if !errors.Is(err, binding.ErrNotFound) || !errors.As(err, &e) || e.RequestID != requestID {
		t.Errorf("error: %v", err)
	}
}

// Eight ports at once, twice: the second time over the connections of the first.
func TestConnectionsStayWarm(t *testing.T) {
	const n = 8
	cloud := newCloud(t)
	env(t, cloud, nil)
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne"})
	th.AssertNoErr(t, err)

	var opened [2]int32
	for round := range opened {
		var together sync.WaitGroup
		together.Add(n)
		cloud.mu.Lock()
		cloud.arrived = func() { together.Done(); together.Wait() }
		cloud.mu.Unlock()
		var calls sync.WaitGroup
		for range n {
			calls.Go(func() {
				if err := binding.List(t.Context(), client, portID).Err; err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
		opened[round] = cloud.connections.Load()
	}
	// A connection can be dialled for a call that then takes one that came free:
	// the second round may open no more than it misses.
	if opened[0] < n || opened[1] != opened[0] {
		t.Errorf("%d connections after the first round, %d after the second", opened[0], opened[1])
	}
}

func TestRequestTimeout(t *testing.T) {
	cloud := newCloud(t)
	env(t, cloud, nil)
	client, err := binding.NewClient(t.Context(), binding.ClientOpts{Region: "RegionOne", RequestTimeout: time.Minute})
	th.AssertNoErr(t, err)
	th.AssertEquals(t, time.Minute, client.HTTPClient.Timeout)

	release := make(chan struct{})
	defer close(release)
	cloud.arrived = func() { <-release }
	client.HTTPClient.Timeout = time.Millisecond
	err = binding.List(t.Context(), client, portID).Err
	if !errors.Is(err, binding.ErrNoAnswer) || !errors.Is(err, os.ErrDeadlineExceeded) && !strings.Contains(err.Error(), "Client.Timeout") {
		t.Errorf("error: %v", err)
	}
}
