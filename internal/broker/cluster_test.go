package broker

import (
	"strings"
	"testing"
)

func TestNodesOfOneClusterHaveOneVirtualHost(t *testing.T) {
	for text, ok := range map[string]bool{
		"amqp://a,amqp://b:5673/":          true,
		"amqp://a,amqps://b//":             true, // the virtual host / in full
		"amqp://a/nova,amqp://b/nova":      true,
		"amqp://a/nova,amqp://b":           false,
		"amqp://a/%2Fnova,amqp://b/nova":   false, // /nova is another than nova
		"amqp://a/nova,amqp://b/neutron":   false,
		"amqp://a/nova,amqp://b/nova%2Fv1": false,
	} {
		err := Cluster(strings.Split(text, ",")).Check("SETTING")
		if (err == nil) != ok || !ok && err.Error() != "SETTING: the entries name different virtual hosts: they are the nodes of one cluster, and each URL ends with the same one" {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAClusterIsShownWithoutCredentials(t *testing.T) {
	for text, want := range map[string]string{
		"amqp://a":                             "a:5672",
		"amqp://a:5672/,amqps://b/":            "a:5672,b:5671",
		"amqp://a/nova,amqp://[::1]:5673/nova": "a:5672,[::1]:5673/nova",
		"amqp://u:" + password + "@a/v":        "a:5672/v",
		"amqp://u:" + password + "@a:bad/":     unreadable,
	} {
		if got := Cluster(strings.Split(text, ",")).String(); got != want {
			t.Errorf("%s: %s", text, got)
		}
	}
}

func TestClustersWithANodeAndAVirtualHostInCommonAreTheSame(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"amqp://a", "amqp://a:5672/", true},
		{"amqp://a,amqp://b", "amqp://c,amqp://b", true},
		{"amqp://a/cell1", "amqp://a/cell2", false},
		{"amqp://a:5672", "amqp://a:5673", false},
		{"amqp://a", "amqp://b", false},
	} {
		if Cluster(strings.Split(c.a, ",")).Meets(strings.Split(c.b, ",")) != c.same {
			t.Errorf("%s and %s", c.a, c.b)
		}
	}
}
