package wire

import (
	"encoding/json"
	"reflect"
	"testing"
)

func TestAResumeTakesBackItsOwnPause(t *testing.T) {
	some := Halt{Hosts: []string{"b"}}
	for _, c := range []struct {
		name string
		got  Halt
		want Halt
	}{
		{"all", some.With(), Halt{All: true, Hosts: []string{"b"}}},
		{"all, and back", some.With().Without(), some},
		{"a host", some.With("a"), Halt{Hosts: []string{"a", "b"}}},
		{"a host twice", some.With("c", "a", "c", "b"), Halt{Hosts: []string{"a", "b", "c"}}},
		{"a host, and back", some.With("a").Without("a"), some},
		{"one that is not paused", some.Without("z"), some},
		{"a host while all is", some.With().Without("b"), Halt{All: true, Hosts: []string{}}},
	} {
		if !reflect.DeepEqual(c.got, c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, c.got, c.want)
		}
	}
	if !reflect.DeepEqual(some, Halt{Hosts: []string{"b"}}) {
		t.Errorf("the one before was changed: %+v", some)
	}
}

func TestWhatIsPausedMustMakeSense(t *testing.T) {
	for payload, good := range map[string]bool{
		`{"schema": 1, "revision": 1}`:                                  true,
		`{"schema": 1, "revision": 1, "hosts": ["a", "b"], "later": 1}`: true,
		`{"schema": 1, "revision": 0}`:                                  false,
		`{"schema": 1, "revision": -1}`:                                 false,
		`{"schema": 1, "revision": 1, "hosts": ["b", "a"]}`:             false,
		`{"schema": 1, "revision": 1, "hosts": ["a", "a"]}`:             false,
		`{"schema": 1, "revision": 1, "hosts": [""]}`:                   false,
		`{"schema": 1, "revision": 1, "hosts": ["a b"]}`:                false,
		`{"schema": 1, "revision": 1, "all": "yes"}`:                    false,
		`[]`: false,
	} {
		if p, err := ParseHalt(Notification{EventType: EventPaused, Payload: json.RawMessage(payload)}); (err == nil) != good {
			t.Errorf("%s: %+v, %v", payload, p, err)
		}
	}
}
