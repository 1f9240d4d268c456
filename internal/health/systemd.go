package health

import (
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// Manager is the service manager that has started the program, if it listens:
// systemd, for a unit of Type=notify (sd_notify(3)).
type Manager struct {
	socket string
	// Watchdog is within what it wants to hear that the program lives
	// (WatchdogSec= of the unit); 0: it does not.
	Watchdog time.Duration
}

// ManagerFromEnvironment reads what systemd says: NOTIFY_SOCKET, and WATCHDOG_USEC where
// WATCHDOG_PID is this process or not set.
func ManagerFromEnvironment() Manager {
	m := Manager{socket: os.Getenv("NOTIFY_SOCKET")}
	pid := os.Getenv("WATCHDOG_PID")
	if usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64); err == nil && (pid == "" || pid == strconv.Itoa(os.Getpid())) {
		m.Watchdog = time.Duration(usec) * time.Microsecond
	}
	return m
}

// Tell sends assignments such as READY=1 in one datagram. A manager that is not
// there, or does not listen, is none of the program's business.
func (m Manager) Tell(assignments ...string) {
	if m.socket == "" {
		return
	}
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: m.socket, Net: "unixgram"})
	if err != nil {
		return
	}
	defer conn.Close()
	if conn.SetWriteDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = conn.Write([]byte(strings.Join(assignments, "\n")))
	}
}
