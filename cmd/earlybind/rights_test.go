package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The lab's users have what is printed, and Nova's what docs/security.md says: on it the tests of the real broker rest.
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
		{"openstack", "^(?!earlybind)", "^(?!earlybind)", "^(?!earlybind)"},
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

// A host that comes later needs its own user and not the consumers' again, which are there. What is
// printed is a script, and says of whom each part is.
func TestRightsOfHostsAlone(t *testing.T) {
	for args, want := range map[string][]string{
		"rights compute1 compute2":             {"# the consumers", "# the publisher on compute1", "# the publisher on compute2"},
		"rights -hosts-only compute3":          {"# the publisher on compute3"},
		"rights compute3 -hosts-only -user me": {"# the publisher on compute3"},
		"rights -consumers-only":               {"# the consumers"},
	} {
		var out, faults bytes.Buffer
		if code := run(t.Context(), strings.Fields(args), &out, &faults); code != done || faults.Len() > 0 {
			t.Errorf("%s: %d %s", args, code, &faults)
		}
		var comments []string
		for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
			if command := []string{"# ", "rabbitmqctl add_user ", "rabbitmqctl set_permissions "}[i%3]; !strings.HasPrefix(line, command) {
				t.Errorf("%s: line %d is no %s: %s", args, i+1, command, line)
			}
			if i%3 == 0 {
				comments = append(comments, line)
			}
		}
		if !slices.Equal(comments, want) {
			t.Errorf("%s: %q, want %q", args, comments, want)
		}
	}
}
