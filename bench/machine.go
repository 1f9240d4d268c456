package main

import (
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// machine is what the figures depend on.
type machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	// Load is the load average when the run began: what else went on.
	Load      string `json:"load_at_start"`
	LoadAtEnd string `json:"load_at_end"`
}

func describeMachine() machine {
	m := machine{Cores: runtime.NumCPU(), CPU: after("/proc/cpuinfo", "model name"), Memory: after("/proc/meminfo", "MemTotal")}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	m.Load = load()
	return m
}

// load is the load average: of 1, 5 and 15 minutes.
func load() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}

// after gives the value of the first line "name: value" of a file of /proc.
func after(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// versions names what was measured and what it was measured with.
func versions() map[string]string {
	found := map[string]string{"go": runtime.Version()}
	if out, err := exec.Command("git", "describe", "--always", "--dirty").Output(); err == nil {
		found["earlybind"] = strings.TrimSpace(string(out))
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range info.Deps {
			switch m.Path {
			case "github.com/rabbitmq/amqp091-go", "github.com/gophercloud/gophercloud/v2":
				found[m.Path] = m.Version
			}
		}
	}
	return found
}
