package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program of earlybind, or this one in another part.
type process struct {
	cmd   *exec.Cmd
	lines chan string // what it writes; closed at its end
	fatal string      // a text after which nothing is worth waiting for; may be empty
	once  sync.Once
}

// start starts a program with these variables of EARLYBIND_ and OS_ and no others.
func start(ctx context.Context, environment []string, program string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, program, args...), lines: make(chan string, 1024)}
	for _, pair := range os.Environ() {
		if !strings.HasPrefix(pair, "EARLYBIND_") && !strings.HasPrefix(pair, "OS_") {
			p.cmd.Env = append(p.cmd.Env, pair)
		}
	}
	p.cmd.Env = append(p.cmd.Env, environment...)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<24)
		for lines.Scan() {
			p.lines <- lines.Text()
		}
	}()
	return p, nil
}

// await reads what the process writes until a line holds all of the text.
func (p *process) await(within time.Duration, text ...string) (string, error) {
	late := time.NewTimer(within)
	defer late.Stop()
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				return "", fmt.Errorf("%s has ended before it said %q", filepath.Base(p.cmd.Path), text)
			}
			if p.fatal != "" && strings.Contains(line, p.fatal) {
				return "", fmt.Errorf("%s says %s", filepath.Base(p.cmd.Path), line)
			}
			if containsAll(line, text) {
				return line, nil
			}
		case <-late.C:
			return "", fmt.Errorf("%s has not said %q within %s", filepath.Base(p.cmd.Path), text, within)
		}
	}
}

func containsAll(line string, text []string) bool {
	for _, t := range text {
		if !strings.Contains(line, t) {
			return false
		}
	}
	return true
}

// end stops it and tells how much CPU it has used.
func (p *process) end() (cpu time.Duration, err error) {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		for range p.lines {                       // so that it does not wait for a reader
		}
		err = p.cmd.Wait()
	})
	if p.cmd.ProcessState == nil {
		return 0, errors.Join(err, errors.New("it has not ended"))
	}
	return p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime(), err
}

// resident is the memory of a process that is resident, in KiB.
func resident(pid int) (float64, error) {
	text, _, _ := strings.Cut(after(fmt.Sprintf("/proc/%d/status", pid), "VmRSS"), " ")
	return strconv.ParseFloat(text, 64)
}

// wakeUps counts, by thread, how often a process's were put on a CPU.
func wakeUps(pid int) (map[string]float64, error) {
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) == 0 {
		return nil, errors.Join(err, fmt.Errorf("process %d has ended", pid))
	}
	counts := map[string]float64{}
	for _, task := range tasks {
		if n, err := strconv.ParseFloat(after(task, "voluntary_ctxt_switches"), 64); err == nil { // else the thread has ended
			counts[task] = n
		}
	}
	return counts, nil
}

// between sums up what was counted since: a thread that has ended takes its count with it.
func between(before, now map[string]float64) float64 {
	sum := 0.0
	for task, n := range now {
		sum += n - before[task]
	}
	return sum
}
