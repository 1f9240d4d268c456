package handover

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/earlybind/earlybind/wire"
)

// announcement is a line of testdata/notifications: of a real Nova (26.2.2), off
// RabbitMQ, without its payload but for the host.
type announcement struct {
	Ms          float64 `json:"ms"`
	PublisherID string  `json:"publisher_id"`
	EventType   string  `json:"event_type"`
	Host        string  `json:"host"`
}

// announced are the captures by how the migration ended.
func announced(t testing.TB, failed bool) [][]announcement {
	t.Helper()
	captures := map[bool][]string{false: {"success", "success-own-disk"}, true: {"rollback", "abort", "rollback-after-early-activation", "rollback-own-disk"}}
	var out [][]announcement
	for _, name := range captures[failed] {
		out = append(out, readLines[announcement](t, filepath.Join("testdata", "notifications", name+".jsonl")))
	}
	return out
}

// announce puts a capture into a leg: what comes before the migration, before
// its STARTED, and what comes of its end, so long after that.
func (l leg) announce(t rapid.TB, capture []announcement, lag time.Duration) []fact {
	t.Helper()
	hosts := strings.NewReplacer("compute1", l.source, "compute2", l.destination)
	var prepared, ending float64
	for _, a := range capture {
		switch {
		case strings.Contains(a.EventType, "pre.") || strings.Contains(a.EventType, "_pre"):
			prepared = a.Ms
		case ending == 0 && (strings.Contains(a.EventType, "_post") || strings.Contains(a.EventType, "_rollback")):
			ending = a.Ms
		}
	}
	var out []fact
	for _, a := range capture {
		kind, host, _ := strings.Cut(a.PublisherID, map[bool]string{true: ":", false: "."}[strings.Contains(a.PublisherID, ":")])
		id := kind + a.PublisherID[len(kind):len(kind)+1] + hosts.Replace(host)
		payload, err := json.Marshal(map[string]string{"instance_id": "guest", "host": hosts.Replace(a.Host)})
		if err != nil {
			t.Fatal(err)
		}
		request := l.request
		if strings.Contains(a.EventType, "abort") {
			request += "-abort"
		}
		e, ok, err := wire.ParseNova(wire.Notification{EventType: a.EventType, PublisherID: id, RequestID: request, Payload: versioned(a.EventType, payload)})
		if err != nil || !ok {
			t.Fatalf("%+v: %v", a, err)
		}
		f := fact{inputs: []Input{NovaSign{NovaEvent: e}}}
		if a.Ms <= prepared {
			f.at = l.from - 50*time.Millisecond - time.Duration((prepared-a.Ms)*float64(time.Millisecond))
		} else {
			f.at = l.till + lag + time.Duration((a.Ms-ending)*float64(time.Millisecond))
		}
		switch e.Step {
		case wire.NovaRollback, wire.NovaRollbackDest:
			f.tells = fails
		case wire.NovaPost, wire.NovaPostDest:
			f.tells = due
		}
		out = append(out, f)
	}
	return out
}

func versioned(eventType string, payload []byte) []byte {
	if strings.HasPrefix(eventType, "compute.") {
		return payload
	}
	return []byte(`{"nova_object.data": ` + strings.Replace(string(payload), "instance_id", "uuid", 1) + `}`)
}

func readLines[T any](t testing.TB, file string) []T {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []T
	for d := json.NewDecoder(strings.NewReader(string(raw))); d.More(); {
		var line T
		if err := d.Decode(&line); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		out = append(out, line)
	}
	return out
}
