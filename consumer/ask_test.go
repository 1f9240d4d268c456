package consumer

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/earlybind/earlybind/wire"
)

func TestAnAnswerIsReadAsAConsumerTakesIt(t *testing.T) {
	ours := wire.HostStates{Schema: wire.SchemaVersion, Host: src, Domains: []wire.DomainState{{Instance: guest, State: "running"}}}
	future := map[string]any{"schema": wire.SchemaVersion + 1, "host": src}
	own := "earlybind-" + src
	for _, c := range []struct {
		name, user, publisher, kind string
		payload                     any
		is                          bool
		host                        string
		refused                     error
	}{
		{"its own user", own, wire.PublisherID(src), wire.EventStates, ours, true, src, nil},
		{"another's user", "earlybind-" + dst, wire.PublisherID(src), wire.EventStates, ours, true, src, errRefused},
		{"another version", own, wire.PublisherID(src), wire.EventStates, future, true, src, wire.ErrUnknownSchema},
		{"an event", own, wire.PublisherID(src), hostEvent().EventType(), hostEvent(), false, "", nil},
	} {
		a, is := defaults().ReadAnswer(c.user, encoded(t, c.publisher, c.kind, c.payload))
		if is != c.is || a.Host != c.host || !errors.Is(a.Refused, c.refused) || (c.refused == nil) != (a.Refused == nil) {
			t.Errorf("%s: %+v %t", c.name, a, is)
		}
		if is && (a.User != c.user || time.Since(a.Sent).Abs() > time.Minute) {
			t.Errorf("%s: from %q, sent %s", c.name, a.User, a.Sent)
		}
		if c.refused == nil && is && len(a.States.Domains) != 1 {
			t.Errorf("%s: %+v", c.name, a.States)
		}
	}
	if _, is := defaults().ReadAnswer(own, []byte("{")); is {
		t.Error("broken JSON is taken for an answer")
	}
}

func TestTheQuestionIsOneThatAPublisherUnderstands(t *testing.T) {
	m, err := StatesRequest("earlybind-check", "u", "to see who answers")
	if err != nil {
		t.Fatal(err)
	}
	n, err := wire.Decode(m.Body)
	if err != nil {
		t.Fatal(err)
	}
	var payload map[string]any
	if err := json.Unmarshal(n.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	if r, err := wire.ParseStatesRequest(n); err != nil || r.Reason != "to see who answers" || n.EventType != wire.EventStatesRequest {
		t.Errorf("%+v %+v %v", n, r, err)
	}
	if m.UserId != "u" || m.Expiration != "60000" {
		t.Errorf("user %q, expires after %q", m.UserId, m.Expiration)
	}
}
