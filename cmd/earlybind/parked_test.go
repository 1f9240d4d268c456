package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/consumer"
	"github.com/earlybind/earlybind/internal/nettest"
)

// lying is what lay in the parking queues of four cells.
func lying() []consumer.ParkedIn {
	at := time.Date(2026, 11, 23, 4, 0, 12, 0, time.UTC)
	return []consumer.ParkedIn{
		{Cell: "r1:5672", Missing: 3, Messages: []consumer.Parked{
			{At: at, Reason: "broken JSON at byte 1", Bytes: 72, SHA256: "aa11", Exchange: "nova", Key: "notifications.info"},
			{At: at, Reason: "a \x1b[2Jreason", Bytes: 8, SHA256: "aa22", Exchange: "earlybind", Key: "libvirt.\x1b]0;x\x07", User: "earlybind-compute1"},
		}},
		{Cell: "r2:5672"},
		{Cell: "r3:5672", Err: errors.New("it is away\ndial tcp: refused")},
		{Cell: "r4:5672/nova", Messages: []consumer.Parked{{SHA256: "bb11"}}},
	}
}

func TestWhatIsParkedAsText(t *testing.T) {
	var out bytes.Buffer
	if err := parkedText(&out, lying()); err != nil {
		t.Error(err)
	}
	const want = `r1:5672: 2 messages parked, 80 bytes; times are UTC
  and 3 more when the look began, which have expired meanwhile, or another program has taken them
  2026-11-23 04:00:12  72 bytes  sha256 aa11
    broken JSON at byte 1
    from exchange nova, key notifications.info, no user
  2026-11-23 04:00:12  8 bytes  sha256 aa22
    a  [2Jreason
    from exchange earlybind, key libvirt. ]0;x , user earlybind-compute1
r2:5672: nothing is parked
r4:5672/nova: 1 message parked, 0 bytes; times are UTC
  at an unknown time  0 bytes  sha256 bb11
    no reason is given: it was not a consumer that parked it
    from exchange (none), key (none), no user
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	if err := faultsOf(lying()); err == nil || err.Error() != "r3:5672: it is away; dial tcp: refused" {
		t.Error(err)
	}
}

func TestWhatIsParkedAsJSON(t *testing.T) {
	var out bytes.Buffer
	if err := parkedJSON(&out, lying()); err != nil {
		t.Error(err)
	}
	var list struct {
		Version  int              `json:"earlybind_parked"`
		Messages []map[string]any `json:"messages"`
	}
	if err := json.Unmarshal(out.Bytes(), &list); err != nil || list.Version != 1 || len(list.Messages) != 3 {
		t.Fatalf("%v\n%s", err, &out)
	}
	m := list.Messages[0]
	if m["cell"] != "r1:5672" || m["sha256"] != "aa11" || m["bytes"] != 72.0 || m["at"] != "2026-11-23T04:00:12Z" || m["routing_key"] != "notifications.info" {
		t.Errorf("%v", m)
	}
	if _, has := list.Messages[2]["at"]; has {
		t.Errorf("%v", list.Messages[2])
	}
	out.Reset()
	if err := parkedJSON(&out, nil); err != nil || !strings.Contains(out.String(), `"messages": []`) {
		t.Errorf("%v %s", err, &out)
	}
}

func TestContentOfOneMessageAlone(t *testing.T) {
	const token = "a token\x00"
	for _, c := range []struct {
		hash        string
		contents    map[string][]byte
		found       []consumer.ParkedIn
		out, faults string
	}{
		{"aa11", map[string][]byte{"aa11": []byte(token)}, lying(), token, ""}, // whatever is wrong with another cell
		{"aa", map[string][]byte{"aa11": []byte(token), "aa22": nil}, lying(), "", "2 messages have a SHA-256 that begins with aa: aa11, aa22"},
		{"cc", nil, lying(), "", "r3:5672: it is away"},
		{"cc", nil, lying()[:2], "", "begins with cc; 2 lie there"},
	} {
		var out bytes.Buffer
		err := printContent(&out, c.hash, c.contents, c.found)
		if out.String() != c.out || (err == nil) != (c.faults == "") || err != nil && !strings.Contains(err.Error(), c.faults) {
			t.Errorf("%s: %q, %v", c.hash, &out, err)
		}
		if err != nil && strings.Contains(err.Error(), "token") {
			t.Errorf("it is shown: %v", err)
		}
	}
	for text, want := range map[string]bool{"{\n\t\"é\": 1}\n": true, "\x1b[2J": false, "a\rb": false, "\xff": false, "\u202e": false, "": true} {
		if harmless([]byte(text)) != want {
			t.Errorf("%q", text)
		}
	}
}

func TestWhatWasDropped(t *testing.T) {
	found := lying()
	found[0].Dropped, found[2].Dropped = 2, 1 // of the third nothing is certain
	var out bytes.Buffer
	if err := reportDropped(&out, "aa", found); err == nil || out.String() != "r1:5672: dropped 2 messages\n" || !strings.Contains(err.Error(), "r3:5672: it is away") {
		t.Errorf("%q, %v", &out, err)
	}
	if err := reportDropped(&out, "cc", lying()[:2]); err == nil || !strings.Contains(err.Error(), "no message that is parked has") {
		t.Error(err)
	}
}

// A broker that is away is told of in one line, without the password.
func TestParkedWithoutABroker(t *testing.T) {
	address := nettest.FreeAddress(t)
	t.Setenv("EARLYBIND_AMQP_URLS", "amqp://"+address)
	t.Setenv("EARLYBIND_AMQP_USER", "u")
	t.Setenv("EARLYBIND_AMQP_PASSWORD", "hunter2")
	for _, args := range [][]string{{"parked"}, {"parked", "-json"}, {"parked", "-raw", "abcd"}, {"parked", "-drop", strings.Repeat("ab", 32)}} {
		var out, faults bytes.Buffer
		code := run(t.Context(), args, &out, &faults)
		if said := faults.String(); code != failed || !strings.Contains(said, address) || strings.Count(said, "\n") != 1 || strings.Contains(said, "hunter2") {
			t.Errorf("%v: %d %s%s", args, code, &out, said)
		}
	}
}
