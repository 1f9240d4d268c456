package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"libvirt.org/go/libvirt"

	"github.com/earlybind/earlybind/internal/config"
	"github.com/earlybind/earlybind/internal/program"
	"github.com/earlybind/earlybind/publisher"
)

// asProgram names the variable that makes the test binary the program.
const asProgram = "PUBLISHER_TEST_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
	}
	os.Exit(m.Run())
}

const toInstall = "Install the package libvirt0 (Debian, Ubuntu) or libvirt-libs (rpm)"

// Without libvirt's library it says in one line what to install, and has not begun.
func TestWithoutLibvirtsLibrary(t *testing.T) {
	// Where there is one, the loader meets these before it.
	unloadable := t.TempDir()
	for _, name := range []string{"libvirt.so.0", "libvirt-admin.so.0"} {
		if err := os.WriteFile(filepath.Join(unloadable, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p := exec.CommandContext(t.Context(), os.Args[0])
	p.Env = append(os.Environ(), asProgram+"=1", "EARLYBIND_HOST=compute1", "EARLYBIND_AMQP_USER=earlybind-compute1", "EARLYBIND_AMQP_PASSWORD=hunter2",
		"EARLYBIND_STATE_DIR="+t.TempDir(), "LD_LIBRARY_PATH="+unloadable)
	out, err := p.CombinedOutput()
	var ended *exec.ExitError
	if !errors.As(err, &ended) || ended.ExitCode() != 1 {
		t.Errorf("ended with %v", err)
	}
	var line struct{ Level, Error, Message string }
	if err := json.Unmarshal(out, &line); err != nil || strings.Count(string(out), "\n") != 1 { // which is that of one line
		t.Fatalf("%v: %s", err, out)
	}
	if line.Level != "error" || line.Message != "publisher could not begin" || !strings.Contains(line.Error, "libvirt.so.0") || !strings.HasSuffix(line.Error, toInstall) ||
		strings.Contains(line.Error, "virError") {
		t.Errorf("%s", out)
	}
}

// Either library may be the one that is not there. What else libvirt says is left as it is.
func TestWhatIsToBeInstalled(t *testing.T) {
	for message, explains := range map[string]bool{
		"Failed to open libvirt.so.0": true,
		"libvirt-admin.so.0: cannot open shared object file: No such file or directory": true,
		"Failed to connect socket to '/var/run/libvirt/libvirt-sock-ro'":                false,
	} {
		fault := fmt.Errorf("libvirt's event loop: %w", libvirt.Error{Code: libvirt.ERR_INTERNAL_ERROR, Message: message})
		if got := explained(fault).Error(); strings.HasSuffix(got, toInstall) != explains || !strings.Contains(got, message) {
			t.Errorf("%s", got)
		}
	}
	if explained(nil) != nil {
		t.Error("nothing was wrong")
	}
}

// What -h shows of settings is enough to begin with, and has none that there is not.
func TestSampleOfSettings(t *testing.T) {
	shown := map[string]bool{}
	for _, line := range about().Sample {
		name, _, _ := strings.Cut(line, "=")
		shown[name] = true
	}
	for _, v := range config.Variables("EARLYBIND", &program.Settings{}, &publisher.Settings{}) {
		if v.Required && !shown[v.Name] && !shown[v.Name+"_FILE"] {
			t.Errorf("%s is required, and not shown", v.Name)
		}
		delete(shown, v.Name)
	}
	for name := range shown {
		if strings.HasPrefix(name, "EARLYBIND_") {
			t.Errorf("%s is no setting", name)
		}
	}
}
