package check

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/wire"
)

func TestSkewIsNoMoreThanWhatIsCertain(t *testing.T) {
	from := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	until := from.Add(40 * time.Millisecond)
	for name, c := range map[string]struct{ sent, want time.Duration }{
		"between":      {20 * time.Millisecond, 0},
		"at the start": {0, 0},
		"at the end":   {40 * time.Millisecond, 0},
		"ahead":        {time.Minute, time.Minute - 40*time.Millisecond},
		"behind":       {-time.Minute, -time.Minute},
	} {
		if got := skew(from.Add(c.sent), from, until); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestWhereANotificationComesFrom(t *testing.T) {
	inner := func(publisher, payload string) string {
		return `{"message_id":"1","publisher_id":"` + publisher + `","event_type":"e","priority":"INFO","payload":` + payload + `,"timestamp":"t"}`
	}
	enveloped := func(text string) string {
		return `{"oslo.version":"2.0","oslo.message":"` + strings.ReplaceAll(text, `"`, `\"`) + `"}`
	}
	for _, c := range []struct {
		key, body string
		want      Source
		ok        bool
	}{
		{"notifications.info", enveloped(inner("compute.node1.example", `{"host":"x"}`)), Source{"compute", "node1.example", "notifications", false, true}, true},
		{"versioned_notifications.info", enveloped(inner("nova-compute:node1.example", `{"nova_object.name":"InstancePayload"}`)),
			Source{"nova-compute", "node1.example", "versioned_notifications", true, true}, true},
		{"notifications.error", inner("conductor.c1", `"a text"`), Source{"conductor", "c1", "notifications", false, false}, true},
		{"my.topic.info", inner("odd", `{}`), Source{Topic: "my.topic"}, true},
		{"notifications.info", "{}", Source{}, false},
	} {
		if got, ok := sourceOf(c.key, []byte(c.body)); got != c.want || ok != c.ok {
			t.Errorf("%s %s: %+v %t", c.key, c.body, got, ok)
		}
	}
}

// A notification as Nova 26.2.2 sent it.
func TestWhereANotificationOfNovaComesFrom(t *testing.T) {
	raw, err := os.ReadFile("../wire/testdata/versioned-instance.live_migration_pre.start.json")
	if err != nil {
		t.Fatal(err)
	}
	got, ok := sourceOf("versioned_notifications.info", raw)
	if !ok || got.Service != "nova-compute" || got.Host == "" || !got.Versioned || !got.Enveloped {
		t.Errorf("%+v %t", got, ok)
	}
}

func TestAnswersAreKeptByHost(t *testing.T) {
	since := time.Now()
	h := newHearing(since)
	states := wire.HostStates{Host: here, Domains: []wire.DomainState{
		{Instance: guest, State: "running"}, {Instance: other, State: "paused", Incoming: true}, {Instance: resized, State: "shutoff"},
	}}
	h.answer(consumer.Answer{Host: here, User: "u", States: states, Sent: since.Add(time.Hour)}, since.Add(50*time.Millisecond))
	h.answer(consumer.Answer{Host: here, User: "u", States: states}, since.Add(time.Second)) // that another has asked for
	refused := consumer.Answer{Host: there, User: "nova", Refused: wire.ErrUnknownSchema}
	h.answer(refused, since)
	h.answer(refused, since)
	h.silent("compute3")
	got := h.so()
	a := got.Answers[here]
	if len(got.Answers) != 1 || a.After != 50*time.Millisecond || !slices.Equal(a.Domains, []string{guest, resized}) || !slices.Equal(a.Running, []string{guest}) {
		t.Errorf("%+v", got.Answers)
	}
	if len(got.Refused) != 1 || !got.Refused[0].Unknown || got.Refused[0].Host != there || got.Refused[0].User != "nova" {
		t.Errorf("%+v", got.Refused)
	}
	if len(got.Silent) != 1 {
		t.Errorf("%+v", got.Silent)
	}
	h.notification("notifications.info", []byte(`{"event_type":"e","publisher_id":"compute.a","payload":{}}`))
	h.notification("notifications.info", []byte(`no notification`))
	if len(got.Notifications) != 0 {
		t.Error("what was handed out has changed since")
	}
	if got := h.so().Notifications; !maps.Equal(got, map[Source]int{{"compute", "a", "notifications", false, false}: 1}) {
		t.Errorf("%+v", got)
	}
}

// A delivery may come at any time: what was handed out before is read by then.
func TestWhatWasHeardIsReadWhileMoreComes(t *testing.T) {
	h := newHearing(time.Now())
	got, read := h.so(), make(chan struct{})
	go func() {
		defer close(read)
		for range 100 {
			_, _ = maps.Clone(got.Answers), maps.Clone(got.Notifications)
		}
	}()
	for range 100 {
		h.answer(consumer.Answer{Host: here}, time.Now())
		h.notification("notifications.info", []byte(`{"event_type":"e","publisher_id":"compute.a","payload":{}}`))
	}
	<-read
	if len(got.Answers) > 0 {
		t.Error("what was handed out has changed since")
	}
}
