package recording

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/wire"
)

const guest = "67322275-37eb-4301-9b66-d8d416b4cca1"

func ofEventOn(t *testing.T, host, instance string) Delivery {
	t.Helper()
	e := fullEvent
	e.Host, e.Instance = host, instance
	n, err := wire.NewNotification(wire.PublisherID(host), e.EventType(), e, "id", time.Unix(0, 0))
	if err != nil {
		t.Fatal(err)
	}
	body, err := n.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return Delivery{At: 1500 * time.Microsecond, Exchange: "earlybind", Key: e.RoutingKey(), User: "earlybind-" + host, Redelivered: true, Body: body}
}

func TestARecordingIsReadAsItWasWritten(t *testing.T) {
	header := Header{
		MadeBy: "test", Began: time.Unix(5, 0).UTC(), About: "<a> & b", NovaExchange: "nova",
		Topics: []string{"notifications"}, HostUserPrefix: "earlybind-",
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, header)
	if err != nil {
		t.Fatal(err)
	}
	var want []Message
	for _, d := range []Delivery{ofEventOn(t, "compute1", guest), {At: time.Second, Exchange: "nova", Key: "notifications.info", Body: []byte("no notification")}} {
		m, ok := Recorder{}.Take(d)
		if !ok {
			t.Fatal("not taken")
		}
		want = append(want, m)
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	gotHeader, got, err := Read(&file)
	header.Version = Version
	if err != nil || !reflect.DeepEqual(gotHeader, header) || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\n%+v, %v, want\n%+v", gotHeader, got, err, want)
	}
	if m := want[0]; m.At() != 1500*time.Microsecond || m.User != "earlybind-compute1" || !m.Redelivered || m.Unreadable != nil {
		t.Errorf("%+v", m)
	}
	const sum = "3656ac0fe50989e2c92e3dd3aa2434008fd12076f2d1c422a2d6447373d6a0a6"
	if u := want[1].Unreadable; u == nil || *u != (Unreadable{15, sum}) || want[1].Body != nil {
		t.Errorf("%+v", want[1])
	}
}

func TestFilesThatAreNoRecordingAreRefusedByTheirLine(t *testing.T) {
	const header = `{"earlybind_recording":1,"nova_exchange":"nova"}` + "\n"
	const message = `{"ms":5,"exchange":"nova","key":"k","body":{}}` + "\n"
	for want, file := range map[string]string{
		"line 1: there is no header":                   "",
		"line 1: this is no header":                    message,
		"line 1: this is no header of a recording":     "text\n",
		"line 1: the recording is of version 2":        `{"earlybind_recording":2}` + "\n",
		"line 1 is cut off":                            strings.TrimSpace(header),
		"line 3 is cut off":                            header + message + message[:20],
		"line 2: message: invalid character":           header + message[:20] + "\n",
		"line 2: message: json: unknown field":         header + `{"ms":1,"color":"blue"}` + "\n",
		"line 2: message: it needs a body, or else":    header + `{"ms":1,"exchange":"nova","key":"k"}` + "\n",
		"line 3: message: ms goes back":                header + message + strings.Replace(message, "5", "4", 1),
		"line 2: message: ms goes back":                header + strings.Replace(message, "5", "-1", 1),
		"line 2: message: something stands behind it":  header + strings.TrimSpace(message) + "x\n",
		"line 3: message: something stands behind it":  header + message + strings.TrimSpace(message) + message,
		"line 2: message: ms is 1e+300, which is more": header + strings.Replace(message, "5", "1e300", 1),
		"line 2: message: it needs a body, or else ":   header + `{"ms":1,"body":{},"unreadable":{"bytes":1,"sha256":"x"}}` + "\n",
	} {
		if _, messages, err := Read(strings.NewReader(file)); err == nil || messages != nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("want %q: %+v, %v", want, messages, err)
		}
	}
	if _, messages, err := Read(strings.NewReader(header + message)); err != nil || len(messages) != 1 {
		t.Errorf("%+v, %v", messages, err)
	}
}

func TestOneInstanceIsRecordedAlone(t *testing.T) {
	r := Recorder{Instances: []string{guest}}
	if _, ok := r.Take(ofEventOn(t, "compute1", guest)); !ok {
		t.Error("its event is missed")
	}
	if _, ok := r.Take(ofEventOn(t, "compute1", "another")); ok {
		t.Error("another's event is recorded")
	}
	both := Recorder{Instances: []string{"third", "another", guest}}
	for _, instance := range []string{guest, "another"} {
		if _, ok := both.Take(ofEventOn(t, "compute1", instance)); !ok {
			t.Errorf("the event of %s is missed, which is one of several", instance)
		}
	}
	if _, ok := r.Take(Delivery{Body: []byte("no notification")}); ok {
		t.Error("what cannot be read is recorded")
	}
	states := fullStates
	states.Domains = append(states.Domains, wire.DomainState{Instance: guest, State: "running"})
	m, ok := r.Take(Delivery{Body: own(t, wire.EventStates, states)})
	if !ok || strings.Contains(string(m.Body), `\"instance\":\"i\"`) || !strings.Contains(string(m.Body), guest) {
		t.Errorf("%s", m.Body)
	}
	if clean, err := Scrub(m.Body); err != nil || !bytes.Equal(clean, m.Body) {
		t.Errorf("%s, %v, want it as it is scrubbed: %s", m.Body, err, clean)
	}
	recorded := 0
	for _, raw := range captures(t) {
		if _, ok := r.Take(Delivery{Exchange: "nova", Body: raw}); ok {
			recorded++
		}
	}
	if recorded != 13 { // the other three are of another instance, or of none
		t.Errorf("%d of Nova's are recorded", recorded)
	}
}

func TestConsumersTicksAreNotRecorded(t *testing.T) {
	tick := wire.Tick{Schema: wire.SchemaVersion, Replica: "r", SentNS: 1}
	if _, ok := (Recorder{}).Take(Delivery{Body: own(t, wire.EventTick, tick)}); ok {
		t.Error("a tick is recorded")
	}
}

func TestHostsGetOtherNames(t *testing.T) {
	r := Recorder{Hosts: NewHosts("earlybind-")}
	const first, second = "node-a.example.org", "node-b.example.org"
	var lines bytes.Buffer
	for _, d := range []Delivery{
		ofEventOn(t, first, guest), ofEventOn(t, second, guest), ofEventOn(t, first, guest),
		{Exchange: "nova", Key: "k", User: "somebody", Body: []byte(`{"event_type": "instance.live_migration_pre.start",
			"publisher_id": "nova-compute:` + second + `", "payload": {"nova_object.data": {"uuid": "U", "host": "` + first + `"}}}`)},
		{Exchange: "nova", Key: first, User: second, Body: []byte(first)},
	} {
		m, ok := r.Take(d)
		if !ok {
			t.Fatal("not recorded")
		}
		if err := json.NewEncoder(&lines).Encode(m); err != nil {
			t.Fatal(err)
		}
		if m.Unreadable != nil {
			continue
		}
		n, err := wire.Decode(m.Body)
		if err != nil {
			t.Fatal(err)
		}
		if d.Exchange == "nova" {
			if e, _, err := wire.ParseNova(n); err != nil || e.PublisherHost != "host2" || e.PayloadHost != "host1" || m.User != "" {
				t.Errorf("%+v, %v", e, err)
			}
			continue
		}
		want := "host2"
		if strings.Contains(d.Key, first) {
			want = "host1"
		}
		e, err := wire.ParseHostEvent(n)
		if err != nil || e.Host != want || n.PublisherID != wire.PublisherID(want) || m.Key != e.RoutingKey() || m.User != "earlybind-"+want {
			t.Errorf("%+v, %+v, %v", m, e, err)
		}
	}
	if strings.Contains(lines.String(), "node-") || strings.Contains(lines.String(), "example.org") {
		t.Errorf("a name is left: %s", lines.String())
	}
}
