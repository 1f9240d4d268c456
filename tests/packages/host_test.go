//go:build integration

package packages

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	root  = "../.."
	suite = "bookworm" // the oldest that is promised; its systemd runs in both versions of control groups
	image = "earlybind-packages:" + suite
)

// command runs one on this machine, in the repository, and gives what it wrote.
func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := tried(name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func tried(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return strings.TrimSpace(out.String()), err
}

// host is a container in which systemd runs, and the release is in /dist.
type host struct {
	*testing.T
	name string
}

// newHost starts one; what docker has to say, and the host's journal, are shown if the test fails.
func newHost(t *testing.T) host {
	t.Helper()
	command(t, "deploy/lab/base-image", suite)
	command(t, "docker", "build", "--build-arg", "DEBIAN="+suite, "-t", image, "tests/packages")
	dist, err := filepath.Abs(filepath.Join(root, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	h := host{t, fmt.Sprintf("earlybind-packages-%d", os.Getpid())}
	// Namespaces, mounts and their kin are what the units' hardening is made of; `--privileged` cannot be given where
	// docker itself has no CAP_SYS_RESOURCE.
	command(t, "docker", "run", "--detach", "--name", h.name, "--network", "none", "--tmpfs", "/run", "--tmpfs", "/run/lock",
		"--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--volume", "/sys/fs/cgroup:/sys/fs/cgroup", "--volume", dist+":/dist:ro", image)
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := tried("docker", "exec", h.name, "journalctl", "--no-pager", "-n", "60")
			t.Log(journal)
		}
		command(t, "docker", "rm", "-f", "-v", h.name)
	})
	h.await("systemd to be up", "systemctl is-system-running 2>&1", func(said string) bool { return said == "running" || said == "degraded" })
	return h
}

// sh runs a script of the shell in the container; it has to succeed.
func (h host) sh(script string) string {
	h.Helper()
	out, code := h.code(script)
	if code != 0 {
		h.Fatalf("%s\nended with %d:\n%s", script, code, out)
	}
	return out
}

// code gives what a script wrote, and its exit code.
func (h host) code(script string) (string, int) {
	h.Helper()
	out, err := tried("docker", "exec", h.name, "sh", "-c", script)
	var ended *exec.ExitError
	if err != nil && !asExit(err, &ended) {
		h.Fatalf("%s: %v", script, err)
	}
	if ended != nil {
		return out, ended.ExitCode()
	}
	return out, 0
}

// await repeats a script until what it says is as wanted, for a minute and a half: the machine may be a busy one.
func (h host) await(what, script string, wanted func(string) bool) string {
	h.Helper()
	var said string
	for limit := time.Now().Add(90 * time.Second); time.Now().Before(limit); time.Sleep(300 * time.Millisecond) {
		if said, _ = h.code(script); wanted(said) {
			return said
		}
	}
	h.Fatalf("waited for %s; last: %s", what, said)
	return ""
}

// is compares.
func (h host) is(what, got, want string) {
	h.Helper()
	if got != want {
		h.Errorf("%s:\n%s\nwanted:\n%s", what, got, want)
	}
}
