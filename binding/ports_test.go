package binding_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	th "github.com/gophercloud/gophercloud/v2/testhelper"
	"github.com/gophercloud/gophercloud/v2/testhelper/client"

	"github.com/earlybind/earlybind/binding"
)

var boundPort = binding.Port{
	ID:             "e37de52a-f847-47b8-a480-f6c63c5bedf2",
	NetworkID:      "8ea8cb6b-09f1-45aa-9c97-64e0531e6d59",
	ProjectID:      "1eb3faed665e41d9b6618e17dae5fde7",
	DeviceID:       "27f0f4cb-ce7b-4388-a98a-120ddf252e6e",
	MACAddress:     "fa:16:3e:37:7b:92",
	DeviceOwner:    "compute:nova",
	Status:         "DOWN",
	RevisionNumber: 10,
	HostID:         "compute1",
	VIFType:        "ovs",
	VNICType:       "normal",
	Profile:        map[string]any{"foo": "bar"},
	VIFDetails: map[string]any{
		"connectivity": "l2", "port_filter": true, "ovs_hybrid_plug": false,
		"datapath_type": "netdev", "bridge_name": "br-int",
		"bound_drivers": map[string]any{"0": "openvswitch"},
	},
	HasActiveRow: true,
}

func TestGetPort(t *testing.T) {
	c := serve(t, "GET", "/ports/"+portID, "", 200, fixture(t, "port.json"))
	p, err := binding.GetPort(t.Context(), c, portID)
	th.AssertNoErr(t, err)
	th.CheckDeepEquals(t, &boundPort, p)
	th.CheckDeepEquals(t, []string{"openvswitch"}, p.BoundDrivers())
	if !p.Bound() || p.MigratingTo() != "" {
		t.Errorf("port: %+v", p)
	}
}

func TestGetPortWithoutActiveRow(t *testing.T) {
	c := serve(t, "GET", "/ports/"+portID, "", 200, fixture(t, "port-without-active-row.json"))
	p, err := binding.GetPort(t.Context(), c, portID)
	th.AssertNoErr(t, err)
	if p.HasActiveRow || p.Bound() || len(p.BoundDrivers()) != 0 || p.RevisionNumber != 7 {
		t.Errorf("port: %+v", p)
	}
}

func TestListPorts(t *testing.T) {
	one := fixture(t, "port.json")
	one = one[len(`{ "port": `) : len(one)-2] // what is in the envelope
	server := th.SetupHTTP()
	t.Cleanup(server.Teardown)
	server.Mux.HandleFunc("/ports", func(w http.ResponseWriter, r *http.Request) {
		th.TestMethod(t, r, "GET")
		th.TestHeader(t, r, "X-Auth-Token", client.TokenID)
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Query().Get("marker") != "" {
			_, _ = io.WriteString(w, `{"ports": [{"id": "second", "status": "ACTIVE", "binding:profile": {"big": 9007199254740993}}]}`)
			return
		}
		th.TestFormValues(t, r, map[string]string{"device_id": boundPort.DeviceID})
		_, _ = io.WriteString(w, `{"ports": [`+one+`], "ports_links": [{"rel": "next", "href": "`+server.Endpoint()+`ports?marker=1"}]}`)
	})

	list, err := binding.ListPorts(t.Context(), client.ServiceClient(server), boundPort.DeviceID)
	th.AssertNoErr(t, err)
	th.AssertEquals(t, 2, len(list))
	th.CheckDeepEquals(t, boundPort, list[0])
	th.AssertEquals(t, "second", list[1].ID)
	same(t, list[1].Profile, `{"big": 9007199254740993}`)
}

// A page without ports is the last one, whatever it says of a next one.
func TestListPortsEndsWithAnEmptyPage(t *testing.T) {
	server := th.SetupHTTP()
	t.Cleanup(server.Teardown)
	pages := 0
	server.Mux.HandleFunc("/ports", func(w http.ResponseWriter, _ *http.Request) {
		pages++
		w.Header().Set("Content-Type", "application/json")
		ports := `{"id": "first"}`
		if pages > 1 {
			ports = ""
		}
		_, _ = io.WriteString(w, `{"ports": [`+ports+`], "ports_links": [{"rel": "next", "href": "`+server.Endpoint()+`ports?marker=1"}]}`)
	})
	list, err := binding.ListPortsOnHost(t.Context(), client.ServiceClient(server), "compute1")
	th.AssertNoErr(t, err)
	if len(list) != 1 || pages != 2 {
		t.Errorf("%d pages: %+v", pages, list)
	}
}

func TestListPortsWhosePagesLeadBack(t *testing.T) {
	server := th.SetupHTTP()
	t.Cleanup(server.Teardown)
	server.Mux.HandleFunc("/ports", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ports": [{"id": "first"}], "ports_links": [{"rel": "next", "href": "`+server.Endpoint()+`ports?marker=1"}]}`)
	})
	list, err := binding.ListPortsOnHost(t.Context(), client.ServiceClient(server), "compute1")
	if err == nil || !strings.Contains(err.Error(), "lead back") || list != nil {
		t.Errorf("%d ports, %v", len(list), err)
	}
}

func TestAnswersThatAreNoPorts(t *testing.T) {
	for _, body := range []string{`{"ports": 5, "port": 5}`, `{"ports": [5], "port": [5]}`, `{"ports": [{"id": 5}], "port": {"id": 5}}`, `{"ports": [], "ports_links": 5, "port": ""}`} {
		list, err := binding.ListPorts(t.Context(), serve(t, "GET", "/ports", "", 200, body), "vm")
		if e := (*binding.Error)(nil); !errors.As(err, &e) || list != nil {
			t.Errorf("%s: %+v, %v", body, list, err)
		}
		p, err := binding.GetPort(t.Context(), serve(t, "GET", "/ports/"+portID, "", 200, body), portID)
		if e := (*binding.Error)(nil); !errors.As(err, &e) || p != nil {
			t.Errorf("%s: %+v, %v", body, p, err)
		}
	}
	_, err := binding.GetPort(t.Context(), serve(t, "GET", "/ports/"+portID, "", 200, `{"ports": []}`), portID)
	if !errors.Is(err, binding.ErrOtherHost) || errors.Is(err, binding.ErrNoAnswer) {
		t.Errorf("an answer that is another's: %v", err)
	}
}

func TestListPortsOfNoInstance(t *testing.T) {
	c := serve(t, "GET", "/ports", "", 200, `{"ports": []}`)
	list, err := binding.ListPorts(t.Context(), c, "none")
	th.AssertNoErr(t, err)
	th.AssertEquals(t, 0, len(list))
}

func TestListPortsError(t *testing.T) {
	c := serve(t, "GET", "/ports", "", 503, "")
	_, err := binding.ListPorts(t.Context(), c, "vm")
	var e *binding.Error
	if !errors.As(err, &e) || e.RequestID != requestID || !binding.IsTransient(err) {
		t.Errorf("error: %v", err)
	}
}

func TestUpdateProfile(t *testing.T) {
	for name, c := range map[string]struct {
		profile map[string]any
		body    string
	}{
		"some":  {map[string]any{"foo": "bar"}, `{"port": {"binding:profile": {"foo": "bar"}}}`},
		"empty": {map[string]any{}, `{"port": {"binding:profile": {}}}`},
		"nil":   {nil, `{"port": {"binding:profile": {}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			server := th.SetupHTTP()
			t.Cleanup(server.Teardown)
			server.Mux.HandleFunc("/ports/"+portID, func(w http.ResponseWriter, r *http.Request) {
				th.TestMethod(t, r, "PUT")
				th.TestHeader(t, r, "X-Auth-Token", client.TokenID)
				th.TestHeader(t, r, "If-Match", "revision_number=9")
				th.TestJSONRequest(t, r, c.body)
				w.Header().Set("Content-Type", "application/json")
				_, _ = io.WriteString(w, fixture(t, "port.json"))
			})
			p, err := binding.UpdateProfile(t.Context(), client.ServiceClient(server), portID, c.profile, 9)
			th.AssertNoErr(t, err)
			th.CheckDeepEquals(t, &boundPort, p)
		})
	}
}

func TestBoundDriversAreOrdered(t *testing.T) {
	p := binding.Port{VIFDetails: map[string]any{"bound_drivers": map[string]any{
		"10": "c", "0": "a", "2": "b", "x": "ignored", "3": 1,
	}}}
	th.CheckDeepEquals(t, []string{"a", "b", "c"}, p.BoundDrivers())
}
