package recording

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/earlybind/earlybind/wire"
)

// To search for longer: go test -fuzz '^FuzzRead$' -fuzztime 10m -fuzzminimizetime 10x ./recording

// shipped are the repository's recordings.
func shipped(f *testing.F) [][]byte {
	f.Helper()
	files, err := filepath.Glob("../recordings/*.jsonl")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d recordings, %v", len(files), err)
	}
	var all [][]byte
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, raw)
	}
	return all
}

var namesTheLine = regexp.MustCompile(`^line [0-9]+`)

// FuzzRead: a file that is no recording is refused by its line, and of one that is every line
// is read: it can be written again, and is then read as the same.
func FuzzRead(f *testing.F) {
	for _, raw := range shipped(f) {
		lines := bytes.SplitAfter(raw, []byte("\n"))
		f.Add(raw)
		f.Add(bytes.Join(lines[:min(3, len(lines))], nil)) // short ones are changed to more effect
	}
	f.Add([]byte(`{"earlybind_recording":1}` + "\n" + `{"ms":0,"exchange":"x","key":"k","redelivered":true,"unreadable":{"bytes":15,"sha256":"3656"}}` + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		header, messages, err := Read(bytes.NewReader(raw))
		if err != nil {
			if messages != nil || !reflect.DeepEqual(header, Header{}) || !namesTheLine.MatchString(err.Error()) {
				t.Fatalf("%+v, %d messages, %v", header, len(messages), err)
			}
			return
		}
		lines := bytes.SplitAfter(raw, []byte("\n"))
		if last := lines[len(lines)-1]; len(last) > 0 || len(lines) != len(messages)+2 {
			t.Fatalf("%d messages of %d lines", len(messages), len(lines)-1)
		}
		for _, line := range lines[:len(lines)-1] {
			if !json.Valid(line) {
				t.Fatalf("%q is read", line)
			}
		}
		latest := time.Duration(0)
		for _, m := range messages {
			if m.At() < latest || (len(m.Body) > 0) == (m.Unreadable != nil) {
				t.Fatalf("after %s: %+v", latest, m)
			}
			latest = m.At()
		}
		var file bytes.Buffer
		w, err := NewWriter(&file, header)
		for _, m := range messages {
			if err == nil {
				err = w.Write(m)
			}
		}
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		again, messagesAgain, err := Read(&file)
		if err != nil || !sameJSON(t, header, again) || !sameJSON(t, messages, messagesAgain) {
			t.Fatalf("%+v\ncomes back as %+v\n%+v\n%+v\n%v", header, again, messages, messagesAgain, err)
		}
	})
}

// sameJSON compares what is written of two values: a time has more than one form in memory, and a
// body more than one way to be set.
func sameJSON(t *testing.T, a, b any) bool {
	t.Helper()
	one, errOne := json.Marshal(a)
	other, errOther := json.Marshal(b)
	if errOne != nil || errOther != nil {
		t.Fatal(errOne, errOther)
	}
	return bytes.Equal(one, other)
}

var hidden = regexp.MustCompile(`^host[0-9]+$`)

// FuzzTake: whatever comes off a queue is recorded as what it says and no more, and the line can
// be read again.
func FuzzTake(f *testing.F) {
	kinds := map[string]bool{}
	for _, raw := range shipped(f) {
		_, messages, err := Read(bytes.NewReader(raw))
		if err != nil {
			f.Fatal(err)
		}
		for _, m := range messages {
			n, err := wire.Decode(m.Body)
			if err != nil {
				f.Fatal(err)
			}
			if kind := n.EventType + " " + m.User; !kinds[kind] { // one of each
				kinds[kind] = true
				f.Add(m.Exchange, m.Key, m.User, []byte(m.Body), true)
				f.Add(m.Exchange, m.Key, m.User, []byte(m.Body), false)
			}
		}
	}
	captured, err := filepath.Glob("../wire/testdata/*.json")
	if err != nil || len(captured) == 0 {
		f.Fatalf("%d captures, %v", len(captured), err)
	}
	for _, name := range captured {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add("nova", "notifications.info", "", raw, true)
	}
	for _, odd := range []string{
		`{"memory_mb": {"token": "x"}}`, `{"flavor": [[{"token": "x"}]]}`, `{"uuid": "U", "args": {"instance": {"uuid": ["U", {"token": "x"}]}}}`, `{"ip_addresses": {"token": "x"}}`,
	} {
		f.Add("nova", "notifications.info", "", []byte(`{"event_type": "instance.live_migration_pre.start", "publisher_id": "nova-compute:a", "payload": `+strings.Replace(odd, "{", `{"instance_id": "U", `, 1)+`}`), false)
	}
	f.Fuzz(func(t *testing.T, exchange, key, user string, body []byte, hide bool) {
		r := Recorder{}
		if hide {
			r.Hosts = NewHosts("earlybind-")
		}
		d := Delivery{At: time.Second, Exchange: exchange, Key: key, User: user, Body: body}
		m, ok := r.Take(d)
		if !ok {
			if n, err := wire.Decode(body); err != nil || n.EventType != wire.EventTick {
				t.Fatalf("not recorded: %+v, %v", n, err)
			}
			return
		}
		if again, ok := r.Take(d); !ok || !reflect.DeepEqual(m, again) {
			t.Fatalf("%+v, the second time %+v", m, again)
		}
		if m.Unreadable == nil {
			tellsNoMore(t, body, m, hide)
		}
		var file bytes.Buffer
		w, err := NewWriter(&file, Header{})
		if err == nil {
			err = w.Write(m)
		}
		if err != nil {
			t.Fatalf("what was recorded cannot be written: %v", err)
		}
		_, messages, err := Read(&file)
		if err != nil || len(messages) != 1 {
			t.Fatalf("%d messages, %v", len(messages), err)
		}
		if utf8.ValidString(exchange+key+user) && !sameJSON(t, m, messages[0]) {
			t.Fatalf("%+v comes back as %+v", m, messages[0])
		}
	})
}

// tellsNoMore checks that of a body what is read stays, with other names for hosts if they are
// hidden, and nothing but it.
func tellsNoMore(t *testing.T, body []byte, m Message, hide bool) {
	t.Helper()
	before, err := wire.Decode(body)
	if err != nil {
		t.Fatal(err)
	}
	after, err := wire.Decode(m.Body)
	if err != nil {
		t.Fatalf("what was recorded is no notification: %v", err)
	}
	if clean, err := Scrub(m.Body); err != nil || !bytes.Equal(clean, m.Body) {
		t.Fatalf("%s, scrubbed again %s, %v", m.Body, clean, err)
	}
	var payload any
	if err := json.Unmarshal(after.Payload, &payload); err != nil {
		t.Fatal(err)
	}
	if name := unknownIn(payload); name != "" {
		t.Fatalf("%q is left in %s", name, m.Body)
	}
	said, saidAfter := read(before), read(after)
	if !hide {
		if !reflect.DeepEqual(said, saidAfter) {
			t.Fatalf("said %+v, recorded is %+v", said, saidAfter)
		}
		return
	}
	hosts := []string{}
	switch nova := saidAfter[0].(wire.NovaEvent); {
	case nova.Instance != "":
		hosts = append(hosts, nova.PublisherHost, nova.PayloadHost)
	case len(saidAfter) > 3:
		hosts = append(hosts, saidAfter[3].(wire.HostEvent).Host, saidAfter[5].(wire.HostStates).Host)
		if strings.HasPrefix(after.PublisherID, wire.PublisherID("")) {
			hosts = append(hosts, strings.TrimPrefix(after.PublisherID, wire.PublisherID("")))
		}
	}
	for _, host := range hosts {
		if host != "" && !hidden.MatchString(host) {
			t.Fatalf("host %q is left in %s", host, m.Body)
		}
	}
}

// unknownIn gives a name in a value that is none of those that are read; empty if there is none.
func unknownIn(value any) string {
	switch v := value.(type) {
	case []any:
		for _, element := range v {
			if name := unknownIn(element); name != "" {
				return name
			}
		}
	case map[string]any:
		for name, below := range v {
			if !knownNames[name] {
				return name
			}
			if name := unknownIn(below); name != "" {
				return name
			}
		}
	}
	return ""
}

var knownNames = func() map[string]bool {
	names := map[string]bool{}
	var add func(fields)
	add = func(f fields) {
		for name, below := range f {
			names[name] = true
			add(below)
		}
	}
	for _, f := range []fields{ofNova, ofEvent, ofStates} {
		add(f)
	}
	return names
}()
