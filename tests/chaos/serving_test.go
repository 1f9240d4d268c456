package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/simulated/nova"
	"github.com/earlybind/earlybind/wire"
)

// a history of one share or of several, told in seconds.
type history struct {
	t     *testing.T
	began time.Time
	proxy *proxy
	n     int
}

func newHistory(t *testing.T) *history {
	h := &history{t: t, began: time.Now(), proxy: &proxy{moves: map[string]string{}, calls: map[string][]string{}, apart: map[string]time.Time{}, serving: newServing()}}
	h.proxy.serving.owns(&instance{id: "instance", ports: []nova.Port{{ID: portID}}})
	return h
}

const portID = "11111111-2222-3333-4444-555555555555"

func (h *history) at(seconds float64) time.Time {
	return h.began.Add(time.Duration(seconds * float64(time.Second)))
}

// tick has a process send a tick.
func (h *history) tick(identity string, sent float64) []byte {
	h.t.Helper()
	h.n++
	n, err := wire.NewNotification("earlybind-consumer:"+identity, wire.EventTick, wire.Tick{Schema: wire.SchemaVersion, Replica: identity, SentNS: int64(h.n)}, fmt.Sprint(h.n), h.at(sent))
	if err != nil {
		h.t.Fatal(err)
	}
	body, err := n.Encode()
	if err != nil {
		h.t.Fatal(err)
	}
	h.proxy.serving.ticked(body)
	return body
}

// settles has a replica, whose process calls itself like it, acknowledge a tick.
func (h *history) settles(replica, share string, body []byte, at float64) {
	h.proxy.serving.line(replica, auditLine{
		Event: "message.settled", Replica: replica, Share: share, Time: h.at(at), Saw: "exchange earlybind, key consumer.tick.q, sha256 " + digest(body),
	})
}

// serve has the share's queue serve a replica each second.
func (h *history) serve(replica, share string, from, until float64) {
	for at := from; at <= until; at++ {
		h.settles(replica, share, h.tick(replica, at), at+.1)
	}
}

func (h *history) writes(replica string, at float64) {
	r, err := http.NewRequestWithContext(h.t.Context(), http.MethodPut, "http://x/v2.0/ports/"+portID+"/bindings/compute2/activate", nil)
	if err != nil {
		h.t.Fatal(err)
	}
	r.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(replica+":")))
	h.proxy.note(r, h.at(at), 200)
}

func TestTwoWriters(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(h *history)
		says    string // empty: nothing is wrong
	}{
		"one acts": {func(h *history) { h.serve("a", "", 0, 20); h.writes("a", 0.1); h.writes("a", 20) }, ""},
		"one takes over, the other's lease ends": {func(h *history) {
			h.serve("a", "", 0, 10)
			h.serve("b", "", 11, 30)
			h.writes("b", 12)
			h.writes("a", 15.5)
			h.writes("b", 30)
		}, ""},
		"the first writes beyond its lease": {func(h *history) {
			h.serve("a", "", 0, 10)
			h.serve("b", "", 11, 30)
			h.writes("b", 12)
			h.writes("a", 16.5)
		}, "since then it has served b"},
		"and nobody else acts": {func(h *history) { h.serve("a", "", 0, 10); h.writes("a", 16.5) }, "since then it has served nobody"},
		"it never acted":       {func(h *history) { h.serve("a", "", 0, 10); h.writes("b", 5) }, "it was never served"},
		"the queue comes back without a word": {func(h *history) {
			h.serve("a", "", 0, 10)
			h.serve("b", "", 11, 13)
			h.serve("a", "", 14, 30)
			h.writes("b", 12)
			h.writes("a", 29)
		}, ""},
		"a frozen one reads what had come before": {func(h *history) {
			old := [][]byte{h.tick("a", 10), h.tick("a", 11), h.tick("a", 12)}
			h.serve("a", "", 0, 9)
			h.serve("b", "", 13, 50)
			for i, body := range old {
				h.settles("a", "", body, 40+float64(i)) // between those of b
			}
			h.writes("a", 42.5)
		}, "30.5 s before; since then it has served b"},
		"another's tick gives no lease": {func(h *history) {
			h.serve("a", "", 0, 10)
			for at := 0.0; at < 20; at++ {
				h.settles("b", "", h.tick("a", at), at+.1)
			}
			h.writes("b", 15)
		}, "it was never served"},
		"another share's lease is not this one's": {func(h *history) {
			h.proxy.serving.line("a", auditLine{Event: "handover.armed", Instance: "instance", Share: "2 of 2"})
			h.serve("a", "1 of 2", 0, 20)
			h.serve("b", "2 of 2", 0, 20)
			h.writes("b", 10)
			h.writes("a", 11)
		}, "share 2: it was never served"},
		"one acts in each share": {func(h *history) {
			h.proxy.serving.line("a", auditLine{Event: "handover.armed", Instance: "instance", Share: "2 of 2"})
			h.serve("a", "1 of 2", 0, 20)
			h.serve("b", "2 of 2", 0, 20)
			h.writes("b", 11)
		}, ""},
		"an instance of no share": {func(h *history) {
			h.serve("a", "1 of 2", 0, 20)
			h.serve("a", "2 of 2", 0, 20)
			h.writes("a", 10)
		}, "no line tells"},
		"what a consumer may do is asked of no port": {func(h *history) {
			h.serve("a", "", 0, 10)
			h.proxy.serving.owners = map[string]string{}
			h.writes("b", 5)
		}, ""},
		"an instance of two shares": {func(h *history) {
			h.proxy.serving.line("a", auditLine{Event: "handover.armed", Instance: "instance", Share: "2 of 2"})
			h.proxy.serving.line("b", auditLine{Event: "handover.armed", Instance: "instance", Share: "1 of 2"})
		}, "instance: [1 2]"},
		"the queue serves two in turn": {func(h *history) {
			for at := 0.0; at < 4; at++ {
				h.serve("a", "", at, at)
				h.serve("b", "", at+.5, at+.5)
			}
		}, "served two replicas in turn"},
		"it goes there and back": {func(h *history) { h.serve("a", "", 0, 3); h.serve("b", "", 4, 5); h.serve("a", "", 6, 9) }, ""},
		"ticks that were not seen sent": {func(h *history) {
			for at := 0.0; at < 9; at++ {
				h.settles("a", "", []byte(fmt.Sprint("tick", at)), at)
			}
			h.writes("a", 8)
		}, "who acts is not known"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory(t)
			c.happens(h)
			v := h.proxy.serving.verdict()
			if inTurn := strings.Contains(c.says, "in turn"); inTurn != (len(v.pairs) > 0) {
				t.Errorf("served in turn: %q", v.pairs)
			}
			switch err := v.fault(); {
			case c.says == "" && err != nil:
				t.Error(err)
			case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
				t.Errorf("%v lacks %q", err, c.says)
			}
		})
	}
}
