//go:build integration

package integration

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/earlybind/earlybind/tests/lab"
)

// runInside runs the integration tests of a package whose names match, in a
// container of the lab, where the programs are that they need.
func runInside(t *testing.T, l *lab.Lab, service, pkg, match string, variables ...string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "inside.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "libvirt_dlopen,integration", "-o", program,
		"github.com/earlybind/earlybind/"+pkg)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	inside := "/tmp/" + newUUID() + ".test"
	must(t, l.Copy(ctx, program, service, inside))
	t.Cleanup(func() { _, _ = l.Exec(context.WithoutCancel(ctx), service, "rm", "-f", inside) })
	command := append(append([]string{"env"}, variables...), inside, "-test.run", match, "-test.v", "-test.timeout", "2m")
	out, err := l.Exec(ctx, service, command...)
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "=== RUN") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	must(t, err)
	if strings.Contains(out, "no tests to run") {
		t.Errorf("%s has no tests %s", pkg, match)
	}
}
