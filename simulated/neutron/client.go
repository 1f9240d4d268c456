package neutron

import (
	"net/http"
	"net/http/httptest"

	"github.com/gophercloud/gophercloud/v2"
)

// InMemory stands for the address of a Neutron that is reached by a [Transport].
const InMemory = "http://neutron.invalid"

// NewClient is a client with all rights of the Neutron at url.
func NewClient(url string, transport http.RoundTripper) *gophercloud.ServiceClient {
	return &gophercloud.ServiceClient{
		ProviderClient: &gophercloud.ProviderClient{TokenID: Token, HTTPClient: http.Client{Transport: transport}},
		Endpoint:       url + "/",
		ResourceBase:   url + "/v2.0/",
	}
}

// Transport has a handler answer requests at once, without a network. Faults that
// break the connection need a server.
type Transport struct{ http.Handler }

// RoundTrip answers a request.
func (t Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	defer r.Body.Close()
	answer := httptest.NewRecorder()
	t.ServeHTTP(answer, r)
	response := answer.Result()
	response.Request = r
	return response, nil
}
