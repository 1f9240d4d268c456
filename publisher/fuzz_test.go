package publisher

import (
	"bytes"
	"testing"
	"time"

	"github.com/earlybind/earlybind/wire"
)

// Any bytes on a host's queue for requests are a request for states, or an error that quotes
// nothing of them. To search for longer:
// go test -fuzz FuzzReadRequest -fuzztime 10m -fuzzminimizetime 10x ./publisher
func FuzzReadRequest(f *testing.F) {
	const secret = "gAAAAABsecret"
	encoded := func(kind string, payload any) []byte {
		n, err := wire.NewNotification("earlybind-consumer:r", kind, payload, "id", time.Unix(0, 0))
		if err != nil {
			f.Fatal(err)
		}
		raw, err := n.Encode()
		if err != nil {
			f.Fatal(err)
		}
		return raw
	}
	f.Add(encoded(wire.EventStatesRequest, wire.StatesRequest{Schema: wire.SchemaVersion, Reason: "a consumer has started"}))
	f.Add(encoded(wire.EventStatesRequest, wire.StatesRequest{Schema: 99, Reason: "of a later version"}))
	f.Add(encoded(wire.EventTick, wire.Tick{Schema: wire.SchemaVersion}))
	f.Add([]byte(`{"event_type": "` + wire.EventStatesRequest + `", "payload": {"schema": "` + secret + `"}}`))
	f.Add([]byte(`{"event_type": "` + wire.EventStatesRequest + `", "payload": null}`))
	f.Add([]byte(secret))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := readRequest(body)
		if err != nil {
			if r != (wire.StatesRequest{}) || err.Error() == "" || bytes.Contains([]byte(err.Error()), []byte(secret)) {
				t.Fatalf("%+v, %v", r, err)
			}
			return
		}
		again, err := readRequest(encoded(wire.EventStatesRequest, r))
		if r.Schema != wire.SchemaVersion || err != nil || again != r {
			t.Fatalf("%+v comes back as %+v, %v", r, again, err)
		}
	})
}
