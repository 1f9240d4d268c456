package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const (
	guest  = "67322275-37eb-4301-9b66-d8d416b4cca1"
	portID = "76ce37ea-1f94-4b58-a8bb-fc04243591c2"
	// of the migration whose disk is not shared
	otherGuest = "8a8ade9a-b2f1-4251-bb53-a50320e62024"
	otherPort  = "46acfb50-9b1d-4478-8ea8-9eb3c51644d4"

	success = "req-6cc97249-3bac-4830-8004-c294b219b0dd"
	shared  = "req-b026bd13-f4d1-4ba9-aaaf-2c63107f57e2"
	own     = "req-1be08119-876f-43cd-907c-99c8cb2c50b2"
	abort   = "req-632eeb51-4837-4d1d-9caa-c1cb9929ae4e"
	refused = "req-44dd4107-ec2e-4d07-b0b7-cbaa17bf472f"
)

// tiny is the flavour of every captured guest.
var tiny = Flavor{Name: "m1.tiny", MemoryMB: 64, VCPUs: 1}

// captured are messages of Nova 26.2.2 as they came off RabbitMQ, and what they
// say. In the first five the guest goes from compute2 to compute1.
var captured = map[string]NovaEvent{
	"legacy-compute.instance.live_migration.pre.start":           {guest, success, NovaPre, false, "compute1", "compute2", nil, tiny},
	"versioned-instance.live_migration_pre.start":                {guest, success, NovaPre, false, "compute1", "compute2", []string{portID}, tiny},
	"versioned-instance.live_migration_pre.end":                  {guest, success, NovaPre, true, "compute1", "compute2", []string{portID}, tiny},
	"legacy-compute.instance.live_migration._post.start":         {guest, success, NovaPost, false, "compute2", "compute2", nil, tiny},
	"versioned-instance.live_migration_post.start":               {guest, success, NovaPost, false, "compute2", "compute2", []string{portID}, tiny},
	"legacy-compute.instance.live_migration.post.dest.start":     {guest, success, NovaPostDest, false, "compute1", "compute2", nil, tiny},
	"versioned-instance.live_migration_post_dest.end":            {guest, success, NovaPostDest, true, "compute1", "compute1", []string{portID}, tiny},
	"legacy-compute.instance.live_migration._rollback.start":     {guest, shared, NovaRollback, false, "compute1", "compute1", nil, tiny},
	"versioned-instance.live_migration_rollback.end":             {guest, shared, NovaRollback, true, "compute1", "compute1", []string{portID}, tiny},
	"legacy-compute.instance.live_migration.rollback.dest.start": {otherGuest, own, NovaRollbackDest, false, "compute2", "compute1", nil, tiny},
	"versioned-instance.live_migration_rollback_dest.end":        {otherGuest, own, NovaRollbackDest, true, "compute2", "compute1", []string{otherPort}, tiny},
	"legacy-compute.instance.live.migration.abort.start":         {guest, abort, NovaAbort, false, "compute1", "compute1", nil, tiny},
	"versioned-instance.live_migration_abort.end":                {guest, abort, NovaAbort, true, "compute1", "compute1", []string{portID}, tiny},
	"legacy-compute_task.migrate_server":                         {guest, refused, NovaRefused, false, "ctl", "", nil, Flavor{}},
	"versioned-compute_task.migrate_server.error":                {guest, refused, NovaRefused, false, "ctl", "", nil, Flavor{}},
}

const irrelevant = "versioned-scheduler.select_destinations.end"

func capture(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// bare takes the envelope off, as driver messaging (1.0) sends it.
func bare(t testing.TB, raw []byte) []byte {
	t.Helper()
	var e envelope
	if err := json.Unmarshal(raw, &e); err != nil || e.Message == nil {
		t.Fatal("no envelope", err)
	}
	return []byte(*e.Message)
}

func TestCapturedNotificationsWithAndWithoutEnvelope(t *testing.T) {
	for name, want := range captured {
		t.Run(name, func(t *testing.T) {
			raw := capture(t, name)
			for form, body := range map[string][]byte{"2.0": raw, "1.0": bare(t, raw)} {
				n, err := Decode(body)
				if err != nil {
					t.Fatal(form, err)
				}
				if n.MessageID == "" || n.Timestamp == "" || n.Priority == "" || n.EventType != name[strings.Index(name, "-")+1:] {
					t.Errorf("%s: %+v", form, n)
				}
				got, relevant, err := ParseNova(n)
				if err != nil || !relevant || !reflect.DeepEqual(got, want) {
					t.Errorf("%s: got %+v, %t, %v\nwant %+v", form, got, relevant, err, want)
				}
			}
		})
	}
}

func TestOtherNotificationsAreNotLookedInto(t *testing.T) {
	n, err := Decode(capture(t, irrelevant))
	if err != nil {
		t.Fatal(err)
	}
	n.Payload = json.RawMessage(`"not what is expected"`)
	for _, kind := range []string{n.EventType, "compute.instance.update", "instance.update", "compute.instance.live_migration", "", ".start", "pre_live_migration.x"} {
		n.EventType = kind
		if e, relevant, err := ParseNova(n); relevant || err != nil || !reflect.DeepEqual(e, NovaEvent{}) {
			t.Errorf("%s: %+v, %t, %v", kind, e, relevant, err)
		}
	}
}

func TestEveryEventTypeInBothFormats(t *testing.T) {
	pairs := map[NovaStep][2]string{
		NovaPre:           {"compute.instance.live_migration.pre", "instance.live_migration_pre"},
		NovaPost:          {"compute.instance.live_migration._post", "instance.live_migration_post"},
		NovaPostDest:      {"compute.instance.live_migration.post.dest", "instance.live_migration_post_dest"},
		NovaRollback:      {"compute.instance.live_migration._rollback", "instance.live_migration_rollback"},
		NovaRollbackDest:  {"compute.instance.live_migration.rollback.dest", "instance.live_migration_rollback_dest"},
		NovaAbort:         {"compute.instance.live.migration.abort", "instance.live_migration_abort"},
		NovaForceComplete: {"compute.instance.live.migration.force.complete", "instance.live_migration_force_complete"},
	}
	tested := 0
	check := func(kind, payload, publisher string, want NovaEvent) {
		t.Helper()
		n := Notification{EventType: kind, PublisherID: publisher, RequestID: "req", Payload: json.RawMessage(payload)}
		if got, ok, err := ParseNova(n); err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %t, %v\nwant %+v", kind, got, ok, err, want)
		}
	}
	for step, names := range pairs {
		tested += 2
		for edge, ended := range map[string]bool{".start": false, ".end": true} {
			check(names[0]+edge, `{"instance_id": "U", "host": "a.example.org", "node": "x"}`, "compute.b.example.org",
				NovaEvent{"U", "req", step, ended, "b.example.org", "a.example.org", nil, Flavor{}})
			check(names[1]+edge, `{"nova_object.data": {"uuid": "U", "host": "a.example.org", "ip_addresses": [
				{"nova_object.data": {"port_uuid": "p1"}}, {"nova_object.data": {"port_uuid": "p2"}},
				{"nova_object.data": {"port_uuid": "p1"}}, {"nova_object.data": {"port_uuid": null}}]}}`, "nova-compute:b.example.org",
				NovaEvent{"U", "req", step, ended, "b.example.org", "a.example.org", []string{"p1", "p2"}, Flavor{}})
		}
	}
	check("pre_live_migration", `{"exception": "e", "args": {"instance": {"uuid": "U", "host": "a"}, "context": {}}}`, "compute.b",
		NovaEvent{"U", "req", NovaPreFailed, false, "b", "", nil, Flavor{}})
	check("compute_task.migrate_server", `{"instance_id": "U"}`, "compute_task.ctl", NovaEvent{"U", "req", NovaRefused, false, "ctl", "", nil, Flavor{}})
	check("compute_task.migrate_server.error", `{"nova_object.data": {"instance_uuid": "U"}}`, "nova-conductor:ctl",
		NovaEvent{"U", "req", NovaRefused, false, "ctl", "", nil, Flavor{}})
	if tested+3 != len(novaSteps) {
		t.Errorf("%d of %d event types", tested+3, len(novaSteps))
	}
	for step := NovaPre; step <= NovaRefused; step++ {
		if step.String() == "" {
			t.Errorf("step %d has no name", int(step))
		}
	}
}

// A flavour only counts for figures: whatever stands there, the rest is read.
func TestAFlavorThatIsNotUnderstoodIsNoFault(t *testing.T) {
	const legacy, versioned = "compute.instance.live_migration.pre.start", "instance.live_migration_pre.start"
	for _, c := range []struct {
		kind, payload string
		want          Flavor
	}{
		{legacy, `"instance_type": "m1.large", "memory_mb": 8192, "vcpus": 4`, Flavor{"m1.large", 8192, 4}},
		{legacy, `"instance_type": "", "memory_mb": null, "vcpus": null`, Flavor{}},
		{legacy, `"instance_type": {"name": "x"}, "memory_mb": "8192", "vcpus": 1.5`, Flavor{}},
		{legacy, `"instance_type": ["x"], "memory_mb": -1, "vcpus": 2`, Flavor{VCPUs: 2}},
		{legacy, `"instance_type": "x", "memory_mb": 99999999999999999999, "vcpus": -7`, Flavor{Name: "x"}},
		{legacy, `"instance_type": "` + strings.Repeat("ä", 255) + `"`, Flavor{Name: strings.Repeat("ä", 255)}},
		{legacy, `"instance_type": "` + strings.Repeat("x", 256) + `", "memory_mb": 1`, Flavor{MemoryMB: 1}},
		{versioned, `"flavor": {"nova_object.data": {"name": "m1.large", "memory_mb": 8192, "vcpus": 4}}`, Flavor{"m1.large", 8192, 4}},
		{versioned, `"flavor": {"nova_object.data": {"name": null, "memory_mb": 8192, "vcpus": "4"}}`, Flavor{MemoryMB: 8192}},
		{versioned, `"flavor": {"nova_object.data": {}}, "memory_mb": 5`, Flavor{MemoryMB: 5}},
		{versioned, `"flavor": null`, Flavor{}},
		{versioned, `"flavor": "m1.large"`, Flavor{}},
		{versioned, `"flavor": {"nova_object.data": [1]}`, Flavor{}},
	} {
		payload := `{"instance_id": "U", ` + c.payload + `}`
		if c.kind == versioned {
			payload = `{"nova_object.data": {"uuid": "U", ` + c.payload + `}}`
		}
		got, ok, err := ParseNova(Notification{EventType: c.kind, PublisherID: "compute.a", Payload: json.RawMessage(payload)})
		if err != nil || !ok || got.Instance != "U" || got.Flavor != c.want {
			t.Errorf("%.80s: %+v, %t, %v, want %+v", c.payload, got, ok, err, c.want)
		}
	}
}

const secret = "gAAAAABsecret-token"

// broken are bodies that Decode refuses.
var broken = map[string]string{
	"empty":                       ``,
	"not JSON":                    secret,
	"cut off":                     `{"oslo.version": "2.0", "oslo.message": "{\"` + secret,
	"a list":                      `["` + secret + `"]`,
	"a string":                    `"` + secret + `"`,
	"null":                        `null`,
	"no event_type":               `{"payload": "` + secret + `"}`,
	"event_type is a list":        `{"event_type": ["` + secret + `"]}`,
	"envelope without message":    `{"oslo.version": "2.0", "secret": "` + secret + `"}`,
	"envelope with null":          `{"oslo.version": "2.0", "oslo.message": null}`,
	"envelope with an object":     `{"oslo.version": "2.0", "oslo.message": {"event_type": "` + secret + `"}}`,
	"envelope around no JSON":     `{"oslo.version": "2.0", "oslo.message": "` + secret + `"}`,
	"envelope around a list":      `{"oslo.version": "2.0", "oslo.message": "[\"` + secret + `\"]"}`,
	"envelope around nothing":     `{"oslo.version": "2.0", "oslo.message": ""}`,
	"an RPC":                      `{"oslo.version": "2.0", "oslo.message": "{\"method\": \"` + secret + `\", \"args\": {}}"}`,
	"two documents":               `{"event_type": "x"} {"token": "` + secret + `"}`,
	"invalid UTF-8 in the middle": "{\"event_type\": \"x\", \xff\"" + secret + "\"}",
}

func TestWhatIsNoNotificationIsSaidWithoutItsContent(t *testing.T) {
	for name, body := range broken {
		n, err := Decode([]byte(body))
		if !errors.Is(err, ErrNotNotification) {
			t.Errorf("%s: %+v, %v", name, n, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "gAAAA") {
			t.Errorf("%s: the error quotes the content: %v", name, err)
		}
	}
}

func TestARelevantNotificationThatCannotBeUnderstoodIsAnErrorWithoutItsContent(t *testing.T) {
	for name, c := range map[string]struct{ payload, publisher string }{
		"no payload":           {``, "compute.a"},
		"null":                 {`null`, "compute.a"},
		"a string":             {`"` + secret + `"`, "compute.a"},
		"a list":               {`[{"token": "` + secret + `"}]`, "compute.a"},
		"no instance":          {`{"auth_token": "` + secret + `"}`, "compute.a"},
		"instance is an int":   {`{"instance_id": 5, "auth_token": "` + secret + `"}`, "compute.a"},
		"host is an object":    {`{"instance_id": "U", "host": {"token": "` + secret + `"}}`, "compute.a"},
		"nested is a string":   {`{"nova_object.data": "` + secret + `"}`, "compute.a"},
		"addresses are a map":  {`{"nova_object.data": {"uuid": "U", "ip_addresses": {"` + secret + `": 1}}}`, "compute.a"},
		"no publisher":         {`{"instance_id": "U", "token": "` + secret + `"}`, ""},
		"publisher of no host": {`{"instance_id": "U", "token": "` + secret + `"}`, "compute"},
	} {
		n := Notification{EventType: "compute.instance.live_migration.pre.start", PublisherID: c.publisher, Payload: json.RawMessage(c.payload)}
		e, relevant, err := ParseNova(n)
		if err == nil || !relevant || !reflect.DeepEqual(e, NovaEvent{}) {
			t.Errorf("%s: %+v, %t, %v", name, e, relevant, err)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error quotes the content: %v", name, err)
		}
	}
}

// FuzzRead: whatever stands on the bus, reading it ends without panic, and no
// error quotes a payload.
func FuzzRead(f *testing.F) {
	for name := range captured {
		raw := capture(f, name)
		f.Add(raw)
		f.Add(bare(f, raw))
	}
	f.Add(capture(f, irrelevant))
	for _, body := range broken {
		f.Add([]byte(body))
	}
	for _, n := range ownNotifications(f) {
		raw, err := n.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, err := Decode(raw)
		if err != nil {
			if !errors.Is(err, ErrNotNotification) {
				t.Fatalf("%v", err)
			}
			if marker := []byte("gAAAA"); bytes.Contains(raw, marker) && strings.Contains(err.Error(), "gAAAA") {
				t.Fatalf("quotes content: %v", err)
			}
			return
		}
		if n.EventType == "" {
			t.Fatal("no event_type and no error")
		}
		e, relevant, err := ParseNova(n)
		if relevant && err == nil && (e.Instance == "" || e.PublisherHost == "" || e.Step == 0) {
			t.Fatalf("%+v", e)
		}
		if event, err := ParseHostEvent(n); err == nil && (event.Schema != SchemaVersion || event.Host == "" || event.Instance == "" || event.EventType() != n.EventType) {
			t.Fatalf("%+v", event)
		}
		if states, err := ParseHostStates(n); err == nil && (states.Schema != SchemaVersion || states.Host == "") {
			t.Fatalf("%+v", states)
		}
		_, _ = ParseTick(n)
		_, _ = ParseStatesRequest(n)
		again, err := n.Encode()
		if err != nil {
			return // the payload can be nothing at all
		}
		if back, err := Decode(again); err != nil || back.EventType != n.EventType {
			t.Fatalf("%+v, %v", back, err)
		}
	})
}
