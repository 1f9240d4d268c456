package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/earlybind/earlybind/binding/bindingtest"
	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/internal/program"
)

// asProgram names the variable that makes the test binary the program itself.
const asProgram = "CONSUMER_TEST_AS_PROGRAM"

// password is RabbitMQ's and Keystone's, which is seen nowhere.
const password = "pa55word-of-the-tests"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	goleak.VerifyTestMain(m)
}

// openstack is a Keystone and, behind the same address, bindingtest's Neutron.
// It answers 503 while it is away.
type openstack struct {
	*httptest.Server
	away   atomic.Bool
	writes atomic.Int64 // that came to Neutron
	role   string       // of whoever asks
}

func newOpenStack(t *testing.T) *openstack {
	t.Helper()
	neutron, err := url.Parse(bindingtest.New(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	c := &openstack{role: "service"}
	c.away.Store(true)
	mux := http.NewServeMux()
	says := func(pattern string, status int, body string) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Subject-Token", bindingtest.Token)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.NewReplacer("@URL@", c.URL, "@ROLE@", c.role).Replace(body))
		})
	}
	says("POST /v3/auth/tokens", http.StatusCreated, `{"token":{"expires_at":"2100-01-01T00:00:00.000000Z","roles":[{"id":"r","name":"@ROLE@"}],"catalog":[
		{"type":"network","endpoints":[{"interface":"public","region_id":"RegionOne","region":"RegionOne","url":"@URL@/"}]}]}}`)
	says("GET /{$}", http.StatusOK, `{"versions":[{"id":"v2.0","status":"CURRENT","links":[{"rel":"self","href":"@URL@/v2.0/"}]}]}`)
	proxy := httputil.NewSingleHostReverseProxy(neutron)
	mux.HandleFunc("/v2.0/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			c.writes.Add(1)
		}
		proxy.ServeHTTP(w, r)
	})
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c.away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections) // the proxy's
	t.Cleanup(c.Close)
	return c
}

func (c *openstack) comes() { c.away.Store(false) }

// process is a process of the consumer.
type process struct {
	*exec.Cmd
	lines  *bufio.Scanner
	faults strings.Builder
	health string
}

func start(t *testing.T, c *openstack, broker string, settings ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0]), health: nettest.FreeAddress(t)}
	p.Env = append(settings,
		asProgram+"=yes", "EARLYBIND_AMQP_URLS=amqp://"+broker+"/", "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD="+password,
		"EARLYBIND_HEALTH="+p.health, "OS_AUTH_URL="+c.URL+"/v3", "OS_USERNAME=earlybind", "OS_PASSWORD="+password,
		"OS_PROJECT_NAME=service", "OS_USER_DOMAIN_NAME=Default", "OS_PROJECT_DOMAIN_NAME=Default", "OS_REGION_NAME=RegionOne",
	)
	p.Stderr = &p.faults
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.lines = bufio.NewScanner(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// writes waits for a line of the audit log with that event and outcome.
func (p *process) writes(t *testing.T, event, outcome string) string {
	t.Helper()
	var said []string
	for p.lines.Scan() {
		said = append(said, p.lines.Text())
		var line struct{ Event, Outcome string }
		if err := json.Unmarshal(p.lines.Bytes(), &line); err != nil {
			t.Fatalf("not a line of the audit log: %s", p.lines.Text())
		}
		if line.Event == event && line.Outcome == outcome {
			return p.lines.Text()
		}
	}
	t.Fatalf("ended without a line %s %s: %q, %s", event, outcome, said, &p.faults)
	return ""
}

func (p *process) wantHealth(t *testing.T, path string, status int, says string) {
	t.Helper()
	if got, body := p.get(t, path); got != status || !strings.Contains(body, says) {
		t.Errorf("%s: %d %q, want %d and %q", path, got, body, status, says)
	}
}

func (p *process) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	answer, err := client.Get("http://" + p.health + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// stops has it stop, and wants it to end in order.
func (p *process) stops(t *testing.T) {
	t.Helper()
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for p.lines.Scan() {
	}
	if err := p.Wait(); err != nil || p.faults.Len() > 0 {
		t.Errorf("ended with %v: %s", err, &p.faults)
	}
}

func TestStartsWithNothingThereAndStops(t *testing.T) {
	p := start(t, newOpenStack(t), nettest.FreeAddress(t))
	p.writes(t, "consumer.started", "Neutron is away")
	p.wantHealth(t, "/live", http.StatusOK, "live")
	p.wantHealth(t, "/ready", http.StatusServiceUnavailable, "neutron: ")
	p.stops(t)
}

// Whom Keystone refuses is told in the log what to look at.
func TestARefusalOfKeystonesIsToldWithWhatToLookAt(t *testing.T) {
	refuses := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }))
	defer refuses.Close()
	p := start(t, &openstack{Server: refuses}, nettest.FreeAddress(t))
	line := p.writes(t, "consumer.started", "could not begin")
	if want := `"decided":"to end; user, password, project or domain is not right: OS_* or the entry of clouds.yaml"`; !strings.Contains(line, want) {
		t.Errorf("%s, want %s", line, want)
	}
	if _ = p.Wait(); p.ProcessState.ExitCode() != 1 {
		t.Errorf("ended with %d", p.ProcessState.ExitCode())
	}
}

func TestStartsBeforeNeutronAndBeforeTheBroker(t *testing.T) {
	c := newOpenStack(t)
	p := start(t, c, nettest.FreeAddress(t))
	p.writes(t, "consumer.started", "Neutron is away")
	c.comes()
	p.writes(t, "consumer.started", "ready")
	p.writes(t, "consumer.lost", "")
	p.wantHealth(t, "/live", http.StatusOK, "live")
	p.wantHealth(t, "/ready", http.StatusServiceUnavailable, "broker: connect: no node of RabbitMQ could be used")
	p.wantHealth(t, "/ready", http.StatusServiceUnavailable, "neutron: met at the start")
	status, scrape := p.get(t, "/metrics")
	for _, want := range []string{
		`earlybind_build_info{version="dev"} 1`, "earlybind_live 1", "earlybind_ready 0",
		`earlybind_dependency_up{dependency="broker"} 0`, `earlybind_dependency_up{dependency="neutron"} 1`,
		`earlybind_audit_lines_total{cell="",event="consumer.started"} `, `earlybind_audit_lines_total{cell="",event="consumer.lost"} `,
		`earlybind_consumer_active{cell="",share=""} 0`, `earlybind_alarms_total{cell="",kind="rows"} 0`,
		`earlybind_consumer_info{concurrent_activate="safe",policy="observe",repair="own"} 1`, "process_start_time_seconds ",
	} {
		if !strings.Contains(scrape, "\n"+want) {
			t.Errorf("no %s in %d %s", want, status, scrape)
		}
	}
	if strings.Contains(scrape, password) {
		t.Errorf("a secret in %s", scrape)
	}
	p.stops(t)
}

// Neither the list of processes nor what Go writes of a crash has a password or the token, with as much of it as Go can be told to
// write.
func TestACrashShowsNoSecret(t *testing.T) {
	c := newOpenStack(t)
	c.comes()
	p := start(t, c, nettest.FreeAddress(t), "GOTRACEBACK=system")
	p.writes(t, "consumer.started", "ready")
	p.writes(t, "consumer.lost", "")
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGABRT); err != nil {
		t.Fatal(err)
	}
	logged := ""
	for p.lines.Scan() {
		logged += p.lines.Text()
	}
	_ = p.Wait()
	if dump := p.faults.String(); !strings.Contains(dump, "SIGABRT: abort") || !strings.Contains(dump, "consumer.Replica.Run(") {
		t.Errorf("no dump: %s", dump)
	}
	for name, text := range map[string]string{"the list of processes": string(list), "the dump": p.faults.String(), "the log": logged} {
		if strings.Contains(text, password) || strings.Contains(text, bindingtest.Token) {
			t.Errorf("a secret in %s: %s", name, text)
		}
	}
}

// A broker that takes connections and says nothing does not hold a stop up.
func TestStopsWhileTheBrokerIsFrozen(t *testing.T) {
	frozen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	c := newOpenStack(t)
	c.comes()
	p := start(t, c, frozen.Addr().String())
	p.writes(t, "consumer.started", "ready")
	conn, err := frozen.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.wantHealth(t, "/live", http.StatusOK, "live")
	p.wantHealth(t, "/ready", http.StatusServiceUnavailable, "broker: not connected yet")
	p.stops(t)
}

// Where nothing may be written nothing is, not even to learn whether it might be: the token's roles say what is missing.
func TestWhatIsAskedOfNeutronAtTheStart(t *testing.T) {
	for _, c := range []struct {
		role, settings string
		writes         int64
		says           string
	}{
		{"service", "", 0, ""},
		{"admin", "", 0, ""},
		{"member", "", 0, `this user's roles are [\"member\"]`},
		{"service", "EARLYBIND_REPAIR=off", 0, ""},
		{"service", "EARLYBIND_REPAIR=all", 1, ""},
		{"member", "EARLYBIND_POLICY=auto", 1, ""}, // Neutron's answer counts
		{"service", "EARLYBIND_POLICY=resumed", 1, ""},
	} {
		cloud := newOpenStack(t)
		cloud.role = c.role
		cloud.comes()
		p := start(t, cloud, nettest.FreeAddress(t), strings.Fields(c.settings)...)
		line := p.writes(t, "consumer.started", "ready")
		if strings.Contains(line, `"error"`) != (c.says != "") || !strings.Contains(line, c.says) || cloud.writes.Load() != c.writes {
			t.Errorf("%+v: %d writes, %s", c, cloud.writes.Load(), line)
		}
		p.stops(t)
	}
}

// What is wrong in the settings, in clouds.yaml and with what they name is said in one go, and with the exit code that tells a
// supervisor not to try again.
func TestWrongSettingsOfACloudStopTheStart(t *testing.T) {
	clouds := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(clouds, []byte("clouds: {mine: {auth: {auth_url: http://127.0.0.1:1/v3, username: u, project_name: p, user_domain_name: d, project_domain_name: d}}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		env  []string
		want string
	}{
		"no such entry":    {[]string{"OS_CLOUD=yours"}, `entry "yours" of ` + clouds},
		"of earlybind's":   {[]string{"OS_CLOUD=mine", "EARLYBIND_CLOUD=yours"}, `entry "yours" of ` + clouds},
		"no password":      {[]string{"OS_CLOUD=mine"}, "You must provide a password to authenticate"},
		"no password file": {[]string{"OS_CLOUD=mine", "OS_PASSWORD_FILE=/nowhere/password"}, "OS_PASSWORD_FILE: open /nowhere/password"},
		"no file":          {[]string{"OS_CLOUD=mine", "OS_CLIENT_CONFIG_FILE=/nowhere/clouds.yaml"}, "there is no /nowhere/clouds.yaml"},
		"no cloud":         {nil, "neither OS_CLOUD nor OS_AUTH_URL is set"},
		"no domain":        {[]string{"OS_AUTH_URL=http://127.0.0.1:1/v3", "OS_USERNAME=u", "OS_PASSWORD=p", "OS_PROJECT_NAME=p"}, "You must provide exactly one of DomainID or DomainName"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append([]string{
			asProgram + "=yes", "OS_CLIENT_CONFIG_FILE=" + clouds, "EARLYBIND_AMQP_USER=earlybind", "EARLYBIND_AMQP_PASSWORD=secret",
			"EARLYBIND_DRAIN=0s", "EARLYBIND_SHARES=99", "EARLYBIND_PLOICY=auto",
		}, c.env...)
		said, _ := cmd.CombinedOutput()
		if code := cmd.ProcessState.ExitCode(); code != 78 {
			t.Errorf("%s: ended with %d", name, code)
		}
		for _, want := range []string{c.want, "EARLYBIND_DRAIN must be", "EARLYBIND_SHARES must be", "EARLYBIND_PLOICY is not a setting"} {
			if !strings.Contains(string(said), want) {
				t.Errorf("%s: %q is not in %s", name, want, said)
			}
		}
		if n := strings.Count(string(said), "\n"); n != 5 { // a line for each fault, and where settings are told of
			t.Errorf("%s: said in %d lines: %s", name, n, said)
		}
	}
}

// What -h shows of settings is enough to begin with, and has none that there is not.
func TestSampleOfSettings(t *testing.T) {
	shown := map[string]bool{}
	for _, line := range about().Sample {
		name, _, _ := strings.Cut(line, "=")
		shown[name] = true
	}
	for _, v := range config.Variables("EARLYBIND", &program.Settings{}, &settings{}) {
		if v.Required && !shown[v.Name] && !shown[v.Name+"_FILE"] {
			t.Errorf("%s is required, and not shown", v.Name)
		}
		delete(shown, v.Name)
	}
	for name := range shown {
		if strings.HasPrefix(name, "EARLYBIND_") {
			t.Errorf("%s is no setting", name)
		}
	}
}
