package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The lab's users have what is printed: on it the tests of the real broker rest.
func TestRightsAreThoseThatTheLabHas(t *testing.T) {
	text, err := os.ReadFile("../../deploy/lab/rabbitmq/definitions.json")
	if err != nil {
		t.Fatal(err)
	}
	var lab struct {
		Permissions []struct{ User, Configure, Write, Read string }
	}
	if err := json.Unmarshal(text, &lab); err != nil {
		t.Fatal(err)
	}
	has := map[string]rights{}
	for _, p := range lab.Permissions {
		has[p.User] = rights{p.User, p.Configure, p.Write, p.Read}
	}
	for _, want := range []rights{
		rightsOfConsumers("earlybind", "earlybind", "nova"),
		rightsOfHost("earlybind-", "compute1"),
		rightsOfHost("earlybind-", "compute2"),
	} {
		if got := has[want.user]; got != want {
			t.Errorf("the lab has %+v, printed is %+v", got, want)
		}
	}
}

func TestRightsOfAHostReachNoOther(t *testing.T) {
	r := rightsOfHost("earlybind-", "a.b")
	for pattern, names := range map[string]map[string]bool{
		r.configure: {"earlybind-publisher.a.b": true, "earlybind-publisher.aXb": false, "earlybind-publisher.a.b.c": false, "earlybind": false, "earlybind.journal": false},
		r.write:     {"earlybind": true, "earlybind-publisher.a.b": true, "earlybind.journal": false, "earlybind-publisher.aXb": false, "nova": false},
		r.read:      {"earlybind.requests": true, "earlybind-publisher.a.b": true, "earlybind": false, "earlybind.parked": false, "earlybindXrequests": false},
	} {
		for name, want := range names {
			if got := regexp.MustCompile(pattern).MatchString(name); got != want {
				t.Errorf("%s lets %s: %t", pattern, name, got)
			}
		}
	}
}

func TestRightsOfConsumersWithAQueueOfAnotherName(t *testing.T) {
	r := rightsOfConsumers("earlybind", "foo.bar", "nova")
	for name, want := range map[string]bool{"foo.bar": true, "foo.bar.2.journal": true, "earlybind.requests": true, "fooXbar": false, "nova": false} {
		if got := regexp.MustCompile(r.configure).MatchString(name); got != want {
			t.Errorf("%s lets %s: %t", r.configure, name, got)
		}
	}
	if read := regexp.MustCompile(r.read); !read.MatchString("nova") || !read.MatchString("foo.bar.notifications") || read.MatchString("nova.x") {
		t.Error(r.read)
	}
}

func TestCommandsAreSafeInAShell(t *testing.T) {
	got := rights{"it's", "^a$", "b", "c"}.commands("/")
	if want := `rabbitmqctl add_user 'it'\''s'`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
}
