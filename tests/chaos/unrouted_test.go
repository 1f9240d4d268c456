package main

import (
	"strings"
	"testing"
	"time"
)

// What no queue takes may be Nova's, from the broker's restart on until a consumer has
// bound its queue again; nothing else, and nothing later.
func TestUnrouted(t *testing.T) {
	began := time.Date(2026, 11, 29, 20, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	for name, c := range map[string]struct {
		exchange string
		sent     int
		fine     bool
	}{
		"before the first binding":         {"nova", 1, true},
		"once it is bound":                 {"nova", 3, false},
		"before a consumer has bound":      {"nova", 27, true},
		"a consumer has bound":             {"nova", 28, false},
		"a host's, whose exchange is kept": {"earlybind", 20, false},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAccount(1)
			a.unrouted.unbinds(at(0))
			a.unrouted.bound(1, at(2))
			a.unrouted.unbinds(at(18))
			a.unrouted.bound(1, at(17)) // read late: what it had bound went with the broker
			a.unrouted.bound(1, at(28))
			a.unrouted.bound(1, at(31)) // the other replica
			a.unrouted.add(c.exchange, "k", at(c.sent))
			b := a.balance()
			if b.Unrouted != 1 || b.UnboundMS != 10_000 {
				t.Errorf("%+v", b)
			}
			if err := b.routedVerdict(); (err == nil) != c.fine || err != nil && !strings.Contains(err.Error(), "exchange "+c.exchange+", key k") {
				t.Errorf("%v", err)
			}
		})
	}
}

// A queue that nobody binds again excuses nothing for long.
func TestUnroutedWithoutABinding(t *testing.T) {
	for after, fine := range map[time.Duration]bool{boundWithin - time.Second: true, boundWithin + time.Second: false} {
		a, began := newAccount(1), time.Now()
		a.unrouted.unbinds(began)
		a.unrouted.add("nova", "k", began.Add(after))
		if err := a.balance().routedVerdict(); (err == nil) != fine {
			t.Errorf("%s: %v", after, err)
		}
	}
}
