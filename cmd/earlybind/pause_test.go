package main

import (
	"os"
	"os/user"
	"testing"
)

// An order tells which person gave it, where it can: by docker exec and sudo all are one user.
func TestWhoGivesAnOrder(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ by, sudo, want string }{
		{"", "", me.Username},
		{"", "alice", "alice"},
		{"bob", "alice", "bob"},
		{"bob", "", "bob"},
	} {
		t.Setenv("SUDO_USER", c.sudo)
		if got := operator(c.by); got != c.want+"@"+host {
			t.Errorf("-by %q, SUDO_USER=%q: %s", c.by, c.sudo, got)
		}
	}
}
