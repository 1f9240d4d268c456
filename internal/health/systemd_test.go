package health

import (
	"net"
	"path/filepath"
	"strconv"
	"testing"
	"time"
)

// listen is systemd's end of the socket.
func listen(t *testing.T, name string) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestManagerIsToldInOneDatagram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	for _, name := range []string{path, "@earlybind-test-" + filepath.Base(filepath.Dir(path)) + strconv.Itoa(int(time.Now().UnixNano()))} {
		conn := listen(t, name)
		t.Setenv("NOTIFY_SOCKET", name)
		ManagerFromEnvironment().Tell("READY=1", "STATUS=ready")
		got := make([]byte, 100)
		n, err := conn.Read(got)
		if err != nil || string(got[:n]) != "READY=1\nSTATUS=ready" {
			t.Errorf("%s: %q, %v", name, got[:n], err)
		}
	}
}

func TestManagerThatIsNotThereIsNotMissed(t *testing.T) {
	for _, name := range []string{"", filepath.Join(t.TempDir(), "nobody")} {
		t.Setenv("NOTIFY_SOCKET", name)
		ManagerFromEnvironment().Tell("READY=1")
	}
}

func TestWatchdogIsOfThisProcess(t *testing.T) {
	for pid, want := range map[string]time.Duration{"": 30 * time.Second, "1": 0} {
		t.Setenv("WATCHDOG_USEC", "30000000")
		t.Setenv("WATCHDOG_PID", pid)
		if got := ManagerFromEnvironment().Watchdog; got != want {
			t.Errorf("WATCHDOG_PID=%q: %s", pid, got)
		}
	}
}
