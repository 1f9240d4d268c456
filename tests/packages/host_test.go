//go:build integration

package packages

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
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

// boot starts systemd as a container's first process. Control groups of version 2 are mounted read-only by docker, which systemd
// cannot do with; those of version 1, which hosts of before 2022 have, a systemd of Debian 13 takes if it is told twice.
const boot = `
if [ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ]; then mount -o remount,rw /sys/fs/cgroup
else export SYSTEMD_PROC_CMDLINE='systemd.unified_cgroup_hierarchy=0 SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1'; fi
exec /lib/systemd/systemd`

// newHost starts a compute host of Debian's oldest suite that is promised, with libvirt and without a network.
func newHost(t *testing.T, name string) host {
	t.Helper()
	base(t, suite)
	making.Lock()
	command(t, "docker", "build", "--build-arg", "DEBIAN="+suite, "-t", image, "tests/packages")
	making.Unlock()
	h := start(t, name, "none", image, boot, newer(t)+":/newer:ro")
	h.awaitSystemd()
	return h
}

// making is held by who makes an image: others then find it made.
var making sync.Mutex

func base(t *testing.T, suite string) {
	t.Helper()
	making.Lock()
	defer making.Unlock()
	command(t, "deploy/lab/base-image", suite)
}

// start starts a container in which systemd can run, with the release in /dist; what docker has to say, and the host's journal,
// are shown if the test fails.
func start(t *testing.T, name, network, image, script string, volumes ...string) host {
	t.Helper()
	dist, err := filepath.Abs(filepath.Join(root, "dist"))
	if err != nil {
		t.Fatal(err)
	}
	h := host{t, fmt.Sprintf("earlybind-packages-%d-%s", os.Getpid(), name)}
	// Namespaces, mounts and their kin are what the units' hardening is made of; `--privileged` cannot be given where
	// docker itself has no CAP_SYS_RESOURCE.
	run := []string{"run", "--detach", "--name", h.name, "--network", network, "--tmpfs", "/run", "--tmpfs", "/run/lock",
		"--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE", "--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined",
		"--volume", "/sys/fs/cgroup:/sys/fs/cgroup", "--volume", dist + ":/dist:ro"}
	for _, volume := range volumes {
		run = append(run, "--volume", volume)
	}
	command(t, "docker", append(run, image, "sh", "-c", script)...)
	t.Cleanup(func() {
		if t.Failed() {
			journal, _ := tried("docker", "exec", h.name, "journalctl", "--no-pager", "-n", "60")
			t.Log(journal)
		}
		command(t, "docker", "rm", "-f", "-v", h.name)
	})
	return h
}

func (h host) awaitSystemd() {
	h.Helper()
	h.await("systemd to be up", "systemctl is-system-running 2>&1", func(said string) bool { return said == "running" || said == "degraded" })
}

// newer makes the services' packages of a later release, in a directory, as deploy/packages/release makes those in dist/.
func newer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, program := range []string{"consumer", "publisher"} {
		for _, format := range []string{"deb", "rpm"} {
			command(t, "env", "PACKAGE_VERSION="+next, "ARCH="+runtime.GOARCH, "GLIBC=2.34", "var/release/tools/nfpm", "package",
				"--config", "deploy/packages/earlybind-"+program+".yaml", "--packager", format, "--target", dir)
		}
	}
	return dir
}

// next is a version that is after every other.
const next = "99"

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
