package bindingtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
	"github.com/earlybind/earlybind/binding/bindingtest"
)

func activate(t *testing.T, n *bindingtest.Neutron, port, host string) error {
	t.Helper()
	_, err := binding.Activate(t.Context(), n.Client(), port, host).Extract()
	return err
}

// prepared is a port as Nova's conductor leaves it before a live migration.
func prepared(t *testing.T) (n *bindingtest.Neutron, port string) {
	t.Helper()
	n = bindingtest.New(t)
	port = n.AddPort(bindingtest.PortOpts{Host: "compute1", DeviceID: "vm", Status: binding.PortActive})
	create(t, n, port, "compute2")
	return n, port
}

func create(t *testing.T, n *bindingtest.Neutron, port, host string) {
	t.Helper()
	if err := binding.Create(t.Context(), n.Client(), port, binding.CreateOpts{Host: host}).Err; err != nil {
		t.Fatal(err)
	}
}

func wantRows(t *testing.T, n *bindingtest.Neutron, port string, want string) {
	t.Helper()
	var got []string
	for _, row := range n.Rows(port) {
		got = append(got, row.Host+" "+row.Status+" "+row.VIFType)
	}
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("rows: %s, want: %s", s, want)
	}
}

// The bodies are those that Neutron was recorded to send.
func TestAnswersAsRecorded(t *testing.T) {
	n := bindingtest.New(t)
	port := n.AddPort(bindingtest.PortOpts{Host: "compute1", Profile: map[string]any{"foo": "bar"}})
	base := n.URL() + "/v2.0/ports/" + port + "/bindings"
	neutronError := func(kind, message string) string {
		return fmt.Sprintf(`{"NeutronError": {"type": %q, "message": %q, "detail": ""}}`, kind, strings.ReplaceAll(message, "PORT", port))
	}
	recorded := func(name string) string {
		data, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"POST", "", `{"binding": {"host": "compute2", "profile": {"migrating_to": "compute2"}}}`, 201, recorded("create.json")},
		{"GET", "/compute2", "", 200, recorded("create.json")},
		{"PUT", "/compute2/activate", "", 200, recorded("activate.json")},
		{"PUT", "/compute2/activate", "", 409, neutronError("PortBindingAlreadyActive", "Binding for port PORT on host compute2 is already active.")},
		{"GET", "", "", 200, recorded("list.json")},
		{"PUT", "/nohost/activate", "", 404, neutronError("PortBindingNotFound", "Binding for port PORT for host nohost could not be found.")},
		{"POST", "", `{"binding": {"host": "compute2"}}`, 409, neutronError("PortBindingAlreadyExists", "Binding for port PORT on host compute2 already exists.")},
		{"POST", "", `{"binding": {"host": "deadhost"}}`, 500, neutronError("PortBindingError", "Binding for port PORT on host deadhost could not be created or updated.")},
		{"PUT", "/compute1/activate", "", 200, recorded("activate-back.json")},
		{"DELETE", "/compute1", "", 204, ""},
		{"PUT", "/compute2/activate", "", 500, neutronError("HTTPInternalServerError", "Request Failed: internal server error while processing your request.")},
		{"PUT", "/compute1/activate", "", 404, neutronError("PortBindingNotFound", "Binding for port PORT for host compute1 could not be found.")},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, base+c.path, strings.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Auth-Token", bindingtest.Token)
		resp, err := n.Client().HTTPClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != c.status || !strings.HasPrefix(resp.Header.Get("X-Openstack-Request-Id"), "req-") {
			t.Errorf("%s %s: %d %v, %v", c.method, c.path, resp.StatusCode, resp.Header, err)
		}
		if !sameJSON(got, []byte(c.want)) {
			t.Errorf("%s %s: %s\nwant: %s", c.method, c.path, got, c.want)
		}
	}
}

func sameJSON(a, b []byte) bool {
	if len(a) == 0 || len(b) == 0 {
		return len(a) == len(b)
	}
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

func TestLying200WhenNovaDeletesTheActiveRowInBetween(t *testing.T) {
	n, port := prepared(t)
	if err := activate(t, n, port, "compute2"); err != nil {
		t.Fatal(err)
	}
	n.Inject(bindingtest.Fault{
		Op:      binding.OpActivate,
		Between: func() { n.DeleteRow(port, "compute2") },
	})

	err := activate(t, n, port, "compute1")

	var e *binding.Error
	if !errors.Is(err, binding.ErrOtherHost) || !errors.As(err, &e) {
		t.Fatalf("error: %v", err)
	}
	if e.Status != http.StatusOK || e.RequestID == "" || !strings.Contains(err.Error(), `host "compute2"`) {
		t.Errorf("error: %v", err)
	}
	if !binding.OutcomeUnknown(err) {
		t.Error("the outcome of a 200 that lies is unknown")
	}
	wantRows(t, n, port, "compute1 INACTIVE unbound")
}

func TestDeleteOfTheInactiveRowInBetweenUnbindsTheSource(t *testing.T) {
	n, port := prepared(t)
	n.Inject(bindingtest.Fault{
		Op:      binding.OpActivate,
		Between: func() { n.DeleteRow(port, "compute2") },
	})
	if err := activate(t, n, port, "compute2"); !errors.Is(err, binding.ErrInternal) {
		t.Errorf("error: %v", err)
	}
	wantRows(t, n, port, "compute1 ACTIVE unbound")
}

func TestTwoActivates(t *testing.T) {
	for _, c := range []struct {
		name  string
		old   bool
		loser error
	}{
		{"from 23.0.0", false, binding.ErrAlreadyActive},
		{"before 23.0.0", true, binding.ErrInternal},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, port := prepared(t)
			if c.old {
				n.MakeOld()
			}
			safe, err := binding.ConcurrentActivateSafe(t.Context(), n.Client())
			if err != nil || safe == c.old {
				t.Errorf("safe: %v, %v", safe, err)
			}
			n.Inject(bindingtest.Fault{Op: binding.OpActivate, Between: func() {
				if err := activate(t, n, port, "compute2"); err != nil {
					t.Errorf("winner: %v", err)
				}
			}})
			if err := activate(t, n, port, "compute2"); !errors.Is(err, c.loser) {
				t.Errorf("loser: %v, want: %v", err, c.loser)
			}
			wantRows(t, n, port, "compute1 INACTIVE unbound, compute2 ACTIVE ovs")
		})
	}
}

func TestActivatesFromManySides(t *testing.T) {
	n, port := prepared(t)
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = activate(t, n, port, "compute2") })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		switch {
		case err == nil:
			won++
		case !errors.Is(err, binding.ErrAlreadyActive):
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d calls won", won)
	}
	wantRows(t, n, port, "compute1 INACTIVE unbound, compute2 ACTIVE ovs")
}

func TestErrorAfterTheCallTookEffect(t *testing.T) {
	n, port := prepared(t)
	n.Inject(bindingtest.Fault{Op: binding.OpActivate, Status: 500, Type: "HTTPInternalServerError", Apply: true})
	if err := activate(t, n, port, "compute2"); !errors.Is(err, binding.ErrInternal) || !binding.OutcomeUnknown(err) {
		t.Errorf("error: %v", err)
	}
	wantRows(t, n, port, "compute1 INACTIVE unbound, compute2 ACTIVE ovs")
}

func TestErrorInsteadOfTheCall(t *testing.T) {
	n, port := prepared(t)
	n.Inject(bindingtest.Fault{Host: "compute2", Status: 503, Times: 2})
	n.Inject(bindingtest.Fault{Host: "compute2", Status: 504, Times: -1})
	for _, status := range []int{503, 503, 504, 504} {
		err := activate(t, n, port, "compute2")
		if !binding.IsTransient(err) || !gophercloud.ResponseCodeIs(err, status) {
			t.Errorf("error: %v, want %d", err, status)
		}
	}
	wantRows(t, n, port, "compute1 ACTIVE ovs, compute2 INACTIVE ovs")
	n.ClearFaults()
	if err := activate(t, n, port, "compute2"); err != nil {
		t.Errorf("without faults: %v", err)
	}
}

func TestBrokenConnection(t *testing.T) {
	n, port := prepared(t)
	n.Inject(bindingtest.Fault{Op: binding.OpActivate, Drop: true, Apply: true})
	err := activate(t, n, port, "compute2")
	if !errors.Is(err, binding.ErrNoAnswer) || !binding.OutcomeUnknown(err) || !binding.IsTransient(err) {
		t.Errorf("error: %v", err)
	}
	wantRows(t, n, port, "compute1 INACTIVE unbound, compute2 ACTIVE ovs")
}

func TestAbandonedCallTakesEffectLater(t *testing.T) {
	n, port := prepared(t)
	release, done := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	n.Inject(bindingtest.Fault{
		Op: binding.OpActivate, Arrived: cancel, Until: release, After: func() { close(done) },
	})

	_, err := binding.Activate(ctx, n.Client(), port, "compute2").Extract()
	if !errors.Is(err, context.Canceled) || !binding.OutcomeUnknown(err) {
		t.Errorf("error: %v", err)
	}
	wantRows(t, n, port, "compute1 ACTIVE ovs, compute2 INACTIVE ovs")

	close(release)
	<-done
	wantRows(t, n, port, "compute1 INACTIVE unbound, compute2 ACTIVE ovs")
}

func TestAutoWire(t *testing.T) {
	n, port := prepared(t)
	if n.PortStatus(port) != binding.PortActive {
		t.Errorf("at first: %s", n.PortStatus(port))
	}
	step := func(name, want string, err error) {
		t.Helper()
		if err != nil || n.PortStatus(port) != want {
			t.Errorf("after %s: %s, %v; want %s", name, n.PortStatus(port), err, want)
		}
	}
	step("activate without agents", binding.PortDown, activate(t, n, port, "compute2"))
	n.AutoWire(true)
	step("activate of an unbound row", binding.PortDown, activate(t, n, port, "compute1"))
	p, err := binding.GetPort(t.Context(), n.Client(), port)
	if err != nil {
		t.Fatal(err)
	}
	_, err = binding.UpdateProfile(t.Context(), n.Client(), port, p.Profile, p.RevisionNumber)
	step("update that bound it", binding.PortActive, err)

	n.DeleteRow(port, "compute1")
	n.DeleteRow(port, "compute2")
	create(t, n, port, "compute1")
	step("create without an ACTIVE row", binding.PortDown, nil)
}

func TestForbidden(t *testing.T) {
	n, port := prepared(t)
	n.Forbid(true)
	ctx, client := t.Context(), n.Client()
	for name, err := range map[string]error{
		"probe":    binding.ProbePermission(ctx, client),
		"create":   binding.Create(ctx, client, port, binding.CreateOpts{Host: "x"}).Err,
		"activate": activate(t, n, port, "compute2"),
		"delete":   binding.Delete(ctx, client, port, "compute2").Err,
		"update":   func() error { _, err := binding.UpdateProfile(ctx, client, port, nil, 1); return err }(),
	} {
		if !errors.Is(err, binding.ErrForbidden) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := binding.List(ctx, client, port).Extract(); err != nil {
		t.Errorf("list: %v", err)
	}
}

func TestNotCompute(t *testing.T) {
	n := bindingtest.New(t)
	port := n.AddPort(bindingtest.PortOpts{Host: "compute1", DeviceOwner: "network:dhcp"})
	ctx, client := t.Context(), n.Client()
	for name, err := range map[string]error{
		"list":     binding.List(ctx, client, port).Err,
		"create":   binding.Create(ctx, client, port, binding.CreateOpts{Host: "compute2"}).Err,
		"activate": activate(t, n, port, "compute2"),
		"delete":   binding.Delete(ctx, client, port, "compute1").Err,
	} {
		if !errors.Is(err, binding.ErrNotCompute) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDeadAgent(t *testing.T) {
	n, port := prepared(t)
	n.SetAgent("compute1", false)
	if err := activate(t, n, port, "compute2"); err != nil {
		t.Fatal(err)
	}
	if err := activate(t, n, port, "compute1"); err != nil {
		t.Fatal(err)
	}
	p, err := binding.GetPort(t.Context(), n.Client(), port)
	if err != nil {
		t.Fatal(err)
	}
	p, err = binding.UpdateProfile(t.Context(), n.Client(), port, nil, p.RevisionNumber)
	if err != nil || p.VIFType != binding.VIFTypeBindingFailed || p.Bound() {
		t.Errorf("port: %+v, %v", p, err)
	}
}

func TestWrongToken(t *testing.T) {
	client, n := bindingtest.Client(t)
	port := n.AddPort(bindingtest.PortOpts{Host: "compute1"})
	client.TokenID = "expired"
	_, err := binding.List(t.Context(), client, port).Extract()
	if !errors.Is(err, binding.ErrUnauthorized) || strings.Contains(err.Error(), "expired") {
		t.Errorf("error: %v", err)
	}
}

func TestRequests(t *testing.T) {
	n, port := prepared(t)
	r := binding.Activate(t.Context(), n.Client(), port, "compute2")
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if _, err := binding.List(t.Context(), n.Client(), port).Extract(); err != nil {
		t.Fatal(err)
	}
	writes := n.Writes()
	if len(writes) != 2 || len(n.Requests()) != 3 {
		t.Fatalf("requests: %+v", n.Requests())
	}
	got := writes[1]
	if got.Op != binding.OpActivate || got.Method != http.MethodPut || got.PortID != port || got.Host != "compute2" ||
		got.Path != "/v2.0/ports/"+port+"/bindings/compute2/activate" || got.Body != "" || got.Status != 200 ||
		got.RequestID != r.RequestID() || got.Ended.Before(got.Began) {
		t.Errorf("request: %+v", got)
	}
}

func TestListPortsByHostFindsInactiveRows(t *testing.T) {
	n, port := prepared(t)
	resp, err := n.Client().Get(t.Context(), n.URL()+"/v2.0/ports?binding:host_id=compute2&fields=id&fields=binding:host_id", new(any), nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(err)
	}
	list, err := binding.ListPorts(t.Context(), n.Client(), "vm")
	if err != nil || len(list) != 1 || list[0].ID != port || list[0].HostID != "compute1" {
		t.Errorf("ports: %+v, %v", list, err)
	}
}

func TestPutRowAndDeletePort(t *testing.T) {
	n, port := prepared(t)
	n.PutRow(port, binding.Binding{Host: "compute9", Status: binding.StatusInactive, VIFType: binding.VIFTypeUnbound})
	wantRows(t, n, port, "compute1 ACTIVE ovs, compute2 INACTIVE ovs, compute9 INACTIVE unbound")
	n.DeletePort(port)
	if _, err := binding.GetPort(t.Context(), n.Client(), port); !errors.Is(err, binding.ErrPortNotFound) {
		t.Errorf("error: %v", err)
	}
	if n.Rows(port) != nil || n.PortStatus(port) != "" {
		t.Error("the port is still there")
	}
}

func TestBodyOfActivateIsRefused(t *testing.T) {
	n, port := prepared(t)
	_, err := n.Client().Put(t.Context(), n.URL()+"/v2.0/ports/"+port+"/bindings/compute2/activate",
		map[string]any{}, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "500") {
		t.Errorf("error: %v", err)
	}
}
