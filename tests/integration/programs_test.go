//go:build integration

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// programs is where the tests' programs are built.
var programs string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "earlybind-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)
	programs = dir
	m.Run()
}

// builds has each program built as make build does, when it is first asked for: once for all
// tests. Those in bin/ may be of another day.
var builds = map[string]func() (string, error){
	"earlybind":           buildOnce("earlybind", "CGO_ENABLED=0"),
	"earlybind-consumer":  buildOnce("earlybind-consumer", "CGO_ENABLED=0"),
	"earlybind-publisher": buildOnce("earlybind-publisher", "CGO_ENABLED=1"),
}

func buildOnce(name, cgo string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		program := filepath.Join(programs, name)
		build := exec.Command("go", "build", "-tags", "libvirt_dlopen", "-o", program, "github.com/earlybind/earlybind/cmd/"+name)
		build.Env = append(build.Environ(), cgo)
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		return program, nil
	})
}

// built tells where a program is. A test that runs beside others asks before it does: building
// takes the processor that they need.
func built(t testing.TB, name string) string {
	t.Helper()
	program, err := builds[name]()
	must(t, err)
	return program
}

// builtTests gives the integration tests of a package as a program.
func builtTests(t testing.TB, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "inside.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "libvirt_dlopen,integration", "-o", program,
		"github.com/earlybind/earlybind/"+pkg)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}
