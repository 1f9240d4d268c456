package binding_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"github.com/earlybind/earlybind/binding"
)

// canned answers every request with the same bytes, without a network.
type canned []byte

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		Request: r, StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}},
		ContentLength: int64(len(c)), Body: io.NopCloser(bytes.NewReader(c)),
	}, nil
}

func (c canned) client() *gophercloud.ServiceClient {
	provider := &gophercloud.ProviderClient{TokenID: "token"}
	provider.HTTPClient.Transport = c
	return &gophercloud.ServiceClient{ProviderClient: provider, Endpoint: "http://neutron/v2.0/"}
}

// What is read for each port when a handover is armed, and after its activate.
func BenchmarkRead(b *testing.B) {
	read := func(name string) string {
		data, err := testdata.ReadFile("testdata/" + name)
		if err != nil {
			b.Fatal(err)
		}
		return string(data)
	}
	port := read("port.json")
	list := `{"ports": [` + port[len(`{ "port": `):len(port)-2] + `]}`
	for _, c := range []struct {
		name, answer string
		ask          func(*gophercloud.ServiceClient) error
	}{
		{"List", read("list.json"), func(c *gophercloud.ServiceClient) error {
			_, err := binding.List(b.Context(), c, portID).Extract()
			return err
		}},
		{"GetPort", port, func(c *gophercloud.ServiceClient) error {
			_, err := binding.GetPort(b.Context(), c, portID)
			return err
		}},
		{"ListPorts", list, func(c *gophercloud.ServiceClient) error {
			_, err := binding.ListPorts(b.Context(), c, "vm")
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			client := canned(c.answer).client()
			for b.Loop() {
				if err := c.ask(client); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
