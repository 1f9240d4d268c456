package program

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/earlybind/earlybind/internal/health"
	"github.com/earlybind/earlybind/internal/nettest"
	"github.com/earlybind/earlybind/internal/prom"
)

// asProgram names the variable that makes the test binary a program; its value is
// what the work does when it is to stop.
const asProgram = "PROGRAM_TEST_STOPS"

func TestMain(m *testing.M) {
	if how := os.Getenv(asProgram); how != "" {
		about := About{Name: "test-program", Version: "dev", Does: "Waits to be stopped.", Sample: []string{"THIS=that", "HERE=there"}}
		os.Exit(Run(about, &struct{}{}, prom.NewRegistry("1.2.3"), func(ctx context.Context, _ time.Duration, board *health.Board) error {
			board.Has("work", "at work")
			fmt.Println("began")
			<-ctx.Done()
			fmt.Println("stopping")
			if how == "never" {
				select {}
			}
			return nil
		}))
	}
	goleak.VerifyTestMain(m)
}

// process is the test binary as a program.
type process struct {
	*exec.Cmd
	out    *bufio.Reader
	faults *strings.Builder
}

func start(t *testing.T, how string, environment ...string) *process {
	t.Helper()
	return startWith(t, nil, append(environment, asProgram+"="+how)...)
}

func startWith(t *testing.T, args []string, environment ...string) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(t.Context(), os.Args[0], args...), faults: &strings.Builder{}}
	p.Env = append(os.Environ(), environment...)
	p.Stderr = p.faults
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *process) says(t *testing.T, want string) {
	t.Helper()
	if line, err := p.out.ReadString('\n'); line != want+"\n" {
		t.Fatalf("said %q, %v; %s", line, err, p.faults)
	}
}

// ends gives the exit code and what was written to standard error.
func (p *process) ends(t *testing.T) (int, string) {
	t.Helper()
	if _, err := io.Copy(io.Discard, p.out); err != nil {
		t.Fatal(err)
	}
	var code *exec.ExitError
	if err := p.Wait(); err != nil && !errors.As(err, &code) {
		t.Fatal(err)
	}
	return p.ProcessState.ExitCode(), p.faults.String()
}

func (p *process) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

func TestFirstSignalStops(t *testing.T) {
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		p := start(t, "at once")
		p.says(t, "began")
		p.signal(t, s)
		p.says(t, "stopping")
		if code, said := p.ends(t); code != stopped || said != "" {
			t.Errorf("%s: ended with %d: %s", s, code, said)
		}
	}
}

func TestSecondSignalEndsAtOnceAndSaysSo(t *testing.T) {
	p := start(t, "never", "EARLYBIND_DRAIN=10m")
	p.says(t, "began")
	p.signal(t, syscall.SIGTERM)
	p.says(t, "stopping")
	p.signal(t, os.Interrupt)
	if code, said := p.ends(t); code != cutShort || said != "test-program: interrupt again: ends at once, without having finished\n" {
		t.Errorf("ended with %d: %s", code, said)
	}
}

func TestDrainIsBounded(t *testing.T) {
	p := start(t, "never", "EARLYBIND_DRAIN=1s")
	p.says(t, "began")
	p.signal(t, syscall.SIGTERM)
	if code, said := p.ends(t); code != cutShort || said != "test-program: has not finished within EARLYBIND_DRAIN=1s: ends without\n" {
		t.Errorf("ended with %d: %s", code, said)
	}
}

func TestWrongSettingsAreNamedTogether(t *testing.T) {
	p := start(t, "at once", "EARLYBIND_DRAIN=0s", "EARLYBIND_HEALTH=8642", "EARLYBIND_HAELTH=x")
	code, said := p.ends(t)
	if code != wrongSettings {
		t.Errorf("ended with %d", code)
	}
	for _, want := range []string{"EARLYBIND_DRAIN must be at least 1s and at most 10m0s", "EARLYBIND_HEALTH must be host:port", "EARLYBIND_HAELTH is not a setting of this program; EARLYBIND_HEALTH is"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not in %q", want, said)
		}
	}
	lines := strings.Split(strings.TrimSuffix(said, "\n"), "\n")
	if last := lines[len(lines)-1]; len(lines) != 4 || last != "All settings: test-program(8), or docs/settings.md; what it needs: test-program -h" {
		t.Errorf("it says %q", lines)
	}
	for _, fault := range lines[:len(lines)-1] {
		if !strings.HasPrefix(fault, "test-program: EARLYBIND_") {
			t.Errorf("%q does not say whose it is", fault)
		}
	}
}

// Who starts a program by hand is told what it needs, and what it ends with.
func TestHelp(t *testing.T) {
	for _, arg := range []string{"-h", "--help"} {
		p := startWith(t, []string{arg}, asProgram+"=at once", "EARLYBIND_HAELTH=x")
		said, err := io.ReadAll(p.out)
		if err != nil {
			t.Fatal(err)
		}
		if code, faults := p.ends(t); code != stopped || faults != "" {
			t.Errorf("%s: ended with %d: %s", arg, code, faults)
		}
		for _, want := range []string{
			"usage: test-program [-h | -version]\n", "Waits to be stopped.\n", "\n\n  THIS=that\n  HERE=there\n\n", "docs/settings.md", "test-program(8)",
			fmt.Sprintf("%d wrong settings or arguments", wrongSettings),
		} {
			if !strings.Contains(string(said), want) {
				t.Errorf("%s: %q is not in %q", arg, want, said)
			}
		}
	}
}

func TestWrongArguments(t *testing.T) {
	for arg, want := range map[string]string{
		"-verison": "test-program: flag provided but not defined: -verison\n",
		"start":    "test-program: it takes no arguments\n",
	} {
		p := startWith(t, []string{arg}, asProgram+"=at once")
		if code, said := p.ends(t); code != wrongSettings || !strings.HasPrefix(said, want) || !strings.Contains(said, "test-program -h") {
			t.Errorf("%s: ended with %d: %s", arg, code, said)
		}
	}
}

// systemd starts again whatever ends by itself, but for wrong settings. Go's own end is none of them: by a panic, and by
// SIGABRT, which systemd's watchdog sends to a program that hangs.
func TestWhatHangsIsStartedAgainAndWrongSettingsAreNot(t *testing.T) {
	p := start(t, "never")
	p.says(t, "began")
	p.signal(t, syscall.SIGABRT)
	crashed, said := p.ends(t)
	if crashed <= stopped || !strings.Contains(said, "SIGABRT: abort") {
		t.Fatalf("ended with %d: %s", crashed, said)
	}
	for _, program := range []string{"consumer", "publisher"} {
		unit, err := os.ReadFile("../../deploy/packages/systemd/earlybind-" + program + ".service")
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\nRestart=on-failure\n", fmt.Sprintf("\nRestartPreventExitStatus=%d\n", wrongSettings)} {
			if !strings.Contains(string(unit), want) {
				t.Errorf("%s: its unit has no %q", program, want)
			}
		}
	}
	for _, ours := range []int{stopped, couldNotBegin, wrongSettings, cutShort} {
		if ours == crashed {
			t.Errorf("%d is how a program ends that crashes", ours)
		}
	}
}

func TestHealthIsAnsweredUntilTheEnd(t *testing.T) {
	address := nettest.FreeAddress(t)
	p := start(t, "never", "EARLYBIND_HEALTH="+address)
	p.says(t, "began")
	get := func(path string) (int, string) {
		t.Helper()
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		answer, err := client.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		return answer.StatusCode, string(body)
	}
	if status, body := get("/ready"); status != http.StatusOK || body != "ready\nwork: at work\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, body := get("/metrics"); status != http.StatusOK || !strings.Contains(body, "\nearlybind_build_info{version=\"1.2.3\"} 1\n") ||
		!strings.Contains(body, "\nearlybind_dependency_up{dependency=\"work\"} 1\n") {
		t.Errorf("%d %q", status, body)
	}
	p.signal(t, syscall.SIGTERM)
	p.says(t, "stopping")
	if status, body := get("/ready"); status != http.StatusServiceUnavailable || body != "not ready\nprogram: is stopping\nwork: at work\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _ := get("/live"); status != http.StatusOK {
		t.Errorf("live: %d", status)
	}
	p.signal(t, syscall.SIGTERM)
	if code, _ := p.ends(t); code != cutShort {
		t.Errorf("ended with %d", code)
	}
}

func TestHealthAddressThatIsTakenIsNamed(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := start(t, "at once", "EARLYBIND_HEALTH="+taken.Addr().String())
	if code, said := p.ends(t); code != couldNotBegin || !strings.Contains(said, "EARLYBIND_HEALTH") || !strings.Contains(said, taken.Addr().String()) {
		t.Errorf("ended with %d: %s", code, said)
	}
}

// systemd is told of the beginning at once, then that the program lives, and of
// the stop.
func TestSystemdIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	p := start(t, "at once", "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=100000")
	hears := func(want string) {
		t.Helper()
		for datagram := make([]byte, 1000); ; {
			n, err := manager.Read(datagram)
			if err != nil {
				t.Fatal(err)
			}
			if string(datagram[:n]) == want {
				return
			}
		}
	}
	hears("READY=1")
	p.says(t, "began")
	hears("WATCHDOG=1")
	hears("STATUS=ready: work: at work")
	hears("WATCHDOG=1")
	p.signal(t, syscall.SIGTERM)
	hears("STOPPING=1")
	if code, _ := p.ends(t); code != stopped {
		t.Errorf("ended with %d", code)
	}
}
