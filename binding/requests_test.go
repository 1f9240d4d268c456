package binding_test

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	th "github.com/gophercloud/gophercloud/v2/testhelper"
	"github.com/gophercloud/gophercloud/v2/testhelper/client"

	"github.com/earlybind/earlybind/binding"
)

const (
	portID    = "e37de52a-f847-47b8-a480-f6c63c5bedf2"
	requestID = "req-65f294c3-9f03-4408-9a64-0d6db34b862a"
)

//go:embed testdata/*.json
var testdata embed.FS

func fixture(t *testing.T, name string) string {
	t.Helper()
	data, err := testdata.ReadFile("testdata/" + name)
	th.AssertNoErr(t, err)
	return string(data)
}

// serve answers one method and path, and fails the test on any other, on a wrong
// token, and on a body that is not the one wanted; "" is no body at all.
func serve(t *testing.T, method, path, wantBody string, status int, body string) *gophercloud.ServiceClient {
	t.Helper()
	server := th.SetupHTTP()
	t.Cleanup(server.Teardown)
	server.Mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		th.TestMethod(t, r, method)
		th.TestHeader(t, r, "X-Auth-Token", client.TokenID)
		if r.URL.EscapedPath() != path {
			t.Errorf("path %s, want %s", r.URL.EscapedPath(), path)
		}
		if wantBody == "" {
			data, _ := io.ReadAll(r.Body)
			if len(data) != 0 || r.ContentLength > 0 || r.Header.Get("Content-Type") != "" {
				t.Errorf("body %q, content type %q, want none", data, r.Header.Get("Content-Type"))
			}
		} else {
			th.TestJSONRequest(t, r, wantBody)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Openstack-Request-Id", requestID)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	})
	return client.ServiceClient(server)
}

var destination = binding.Binding{
	Host: "compute2", Status: "ACTIVE", VIFType: "ovs", VNICType: "normal",
	Profile: map[string]any{"migrating_to": "compute2"},
	VIFDetails: map[string]any{
		"connectivity": "l2", "port_filter": true, "ovs_hybrid_plug": false,
		"datapath_type": "netdev", "bridge_name": "br-int",
	},
}

func TestList(t *testing.T) {
	c := serve(t, "GET", "/ports/"+portID+"/bindings", "", 200, fixture(t, "list.json"))
	r := binding.List(t.Context(), c, portID)
	rows, err := r.Extract()
	th.AssertNoErr(t, err)
	th.AssertEquals(t, requestID, r.RequestID())
	th.CheckDeepEquals(t, []binding.Binding{{
		Host: "compute1", Status: "INACTIVE", VIFType: "unbound", VNICType: "normal",
		Profile: map[string]any{"foo": "bar"}, VIFDetails: map[string]any{},
	}, destination}, rows)

	active, ok := binding.ActiveRow(rows)
	if !ok || active.Host != "compute2" || !active.Bound() || active.MigratingTo() != "compute2" {
		t.Errorf("active row: %+v", active)
	}
	source, ok := binding.RowOn(rows, "compute1")
	if !ok || source.Active() || source.Bound() || source.MigratingTo() != "" {
		t.Errorf("source row: %+v", source)
	}
	if _, ok := binding.RowOn(rows, "compute3"); ok {
		t.Error("a row of compute3")
	}
	if _, ok := binding.ActiveRow(rows[:1]); ok {
		t.Error("an ACTIVE row among none")
	}
}

func TestListEmpty(t *testing.T) {
	c := serve(t, "GET", "/ports/"+portID+"/bindings", "", 200, `{"bindings": []}`)
	rows, err := binding.List(t.Context(), c, portID).Extract()
	th.AssertNoErr(t, err)
	th.AssertEquals(t, 0, len(rows))
}

func TestGet(t *testing.T) {
	c := serve(t, "GET", "/ports/"+portID+"/bindings/compute2", "", 200, fixture(t, "create.json"))
	row, err := binding.Get(t.Context(), c, portID, "compute2").Extract()
	th.AssertNoErr(t, err)
	th.AssertEquals(t, "INACTIVE", row.Status)
}

func TestGetEscapesTheHost(t *testing.T) {
	c := serve(t, "GET", "/ports/"+portID+"/bindings/rack%2F1%20a", "", 200, fixture(t, "create.json"))
	_, err := binding.Get(t.Context(), c, portID, "rack/1 a").Extract()
	th.AssertNoErr(t, err)
}

func TestCreate(t *testing.T) {
	const body = `{"binding": {"host": "compute2", "vnic_type": "normal", "profile": {"migrating_to": "compute2"}}}`
	c := serve(t, "POST", "/ports/"+portID+"/bindings", body, 201, fixture(t, "create.json"))
	row, err := binding.Create(t.Context(), c, portID, binding.CreateOpts{
		Host: "compute2", VNICType: "normal", Profile: map[string]any{"migrating_to": "compute2"},
	}).Extract()
	th.AssertNoErr(t, err)
	want := destination
	want.Status = "INACTIVE"
	th.CheckDeepEquals(t, &want, row)
}

func TestCreateSendsNoEmptyFields(t *testing.T) {
	c := serve(t, "POST", "/ports/"+portID+"/bindings", `{"binding": {"host": "compute2"}}`, 201, fixture(t, "create.json"))
	_, err := binding.Create(t.Context(), c, portID, binding.CreateOpts{Host: "compute2", Profile: map[string]any{}}).Extract()
	th.AssertNoErr(t, err)
}

func TestActivate(t *testing.T) {
	c := serve(t, "PUT", "/ports/"+portID+"/bindings/compute2/activate", "", 200, fixture(t, "activate.json"))
	r := binding.Activate(t.Context(), c, portID, "compute2")
	row, err := r.Extract()
	th.AssertNoErr(t, err)
	th.AssertEquals(t, requestID, r.RequestID())
	th.CheckDeepEquals(t, &destination, row)
}

func TestActivateOfAnUnboundRowIsNoError(t *testing.T) {
	c := serve(t, "PUT", "/ports/"+portID+"/bindings/compute1/activate", "", 200, fixture(t, "activate-back.json"))
	row, err := binding.Activate(t.Context(), c, portID, "compute1").Extract()
	th.AssertNoErr(t, err)
	if !row.Active() || row.Bound() {
		t.Errorf("row: %+v", row)
	}
}

func TestActivateBelievesNoOtherRow(t *testing.T) {
	for name, body := range map[string]string{
		"other host": fixture(t, "activate-back.json"),
		"not ACTIVE": strings.Replace(fixture(t, "activate.json"), "ACTIVE", "INACTIVE", 1),
		"wrapped":    fixture(t, "create.json"),
		"empty":      `{}`,
		"no row":     `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, "PUT", "/ports/"+portID+"/bindings/compute2/activate", "", 200, body)
			row, err := binding.Activate(t.Context(), c, portID, "compute2").Extract()
			if row != nil || !errors.Is(err, binding.ErrOtherHost) || !binding.OutcomeUnknown(err) || binding.IsTransient(err) {
				t.Errorf("row %v, error %v", row, err)
			}
			if !strings.Contains(fmt.Sprint(err), requestID) {
				t.Errorf("no request id: %v", err)
			}
		})
	}
}

func TestDelete(t *testing.T) {
	c := serve(t, "DELETE", "/ports/"+portID+"/bindings/compute2", "", 204, "")
	r := binding.Delete(t.Context(), c, portID, "compute2")
	th.AssertNoErr(t, r.ExtractErr())
	th.AssertEquals(t, requestID, r.RequestID())
}

// An empty part of a URL would name something else: all rows, or all ports.
func TestEmptyPartsAreNotSent(t *testing.T) {
	c := serve(t, "none", "none", "", 200, "{}")
	ctx := t.Context()
	_, errPort := binding.GetPort(ctx, c, "")
	_, errPorts := binding.ListPorts(ctx, c, "")
	_, errProfile := binding.UpdateProfile(ctx, c, "", nil, 1)
	for name, err := range map[string]error{
		"list":          binding.List(ctx, c, "").Err,
		"get":           binding.Get(ctx, c, portID, "").Err,
		"create":        binding.Create(ctx, c, "", binding.CreateOpts{Host: "x"}).Err,
		"create host":   binding.Create(ctx, c, portID, binding.CreateOpts{}).Err,
		"activate":      binding.Activate(ctx, c, portID, "").Err,
		"activate port": binding.Activate(ctx, c, "", "x").Err,
		"delete":        binding.Delete(ctx, c, portID, "").Err,
		"port":          errPort,
		"ports":         errPorts,
		"profile":       errProfile,
	} {
		var missing gophercloud.ErrMissingInput
		if !errors.As(err, &missing) || binding.OutcomeUnknown(err) || binding.IsTransient(err) || errors.Is(err, binding.ErrNoAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Numbers that float64 cannot hold have to survive a profile's way through us.
func TestProfileKeepsItsNumbers(t *testing.T) {
	const profile = `{"big": 9007199254740993, "ratio": 1.10, "list": [18446744073709551615]}`
	row := `{"host": "compute2", "status": "ACTIVE", "profile": ` + profile + `}`

	c := serve(t, "PUT", "/ports/"+portID+"/bindings/compute2/activate", "", 200, row)
	got, err := binding.Activate(t.Context(), c, portID, "compute2").Extract()
	th.AssertNoErr(t, err)
	same(t, got.Profile, profile)

	c = serve(t, "GET", "/ports/"+portID+"/bindings", "", 200, `{"bindings": [`+row+`]}`)
	rows, err := binding.List(t.Context(), c, portID).Extract()
	th.AssertNoErr(t, err)
	same(t, rows[0].Profile, profile)

	body, err := binding.CreateOpts{Host: "compute2", Profile: rows[0].Profile}.ToBindingCreateMap()
	th.AssertNoErr(t, err)
	same(t, body, `{"binding": {"host": "compute2", "profile": `+profile+`}}`)
}

// same compares digits, which th.CheckJSONEquals does not.
func same(t *testing.T, got any, want string) {
	t.Helper()
	data, err := json.Marshal(got)
	th.AssertNoErr(t, err)
	if strings.ReplaceAll(sorted(t, string(data)), " ", "") != strings.ReplaceAll(sorted(t, want), " ", "") {
		t.Errorf("%s, want %s", data, want)
	}
}

func sorted(t *testing.T, text string) string {
	t.Helper()
	var v any
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	th.AssertNoErr(t, d.Decode(&v))
	data, err := json.Marshal(v)
	th.AssertNoErr(t, err)
	return string(data)
}

func TestWithoutMigratingTo(t *testing.T) {
	profile := map[string]any{"migrating_to": "compute2", "os_vif_delegation": true}
	th.CheckDeepEquals(t, map[string]any{"os_vif_delegation": true}, binding.WithoutMigratingTo(profile))
	th.AssertEquals(t, 2, len(profile))
	if p := binding.WithoutMigratingTo(nil); p == nil || len(p) != 0 {
		t.Errorf("of nil: %v", p)
	}
}

func TestBound(t *testing.T) {
	for _, c := range []struct {
		host, vifType string
		want          bool
	}{
		{"compute1", "ovs", true},
		{"compute1", "unbound", false},
		{"compute1", "binding_failed", false},
		{"compute1", "", false},
		{"", "unbound", false},
		{"", "ovs", false},
	} {
		if got := (binding.Binding{Host: c.host, VIFType: c.vifType}).Bound(); got != c.want {
			t.Errorf("row %q %q: %v", c.host, c.vifType, got)
		}
		if got := (binding.Port{HostID: c.host, VIFType: c.vifType}).Bound(); got != c.want {
			t.Errorf("port %q %q: %v", c.host, c.vifType, got)
		}
	}
}
