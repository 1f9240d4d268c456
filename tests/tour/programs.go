package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/earlybind/earlybind/audit/report"
	"github.com/earlybind/earlybind/tests/lab"
)

// program is what an operator would ask after the tour; make build makes it.
const program = "bin/earlybind"

// logs are what the consumers have logged in the tour. They are read after each story: the next one's policy makes the
// containers anew, and their logs go.
type logs struct {
	lines bytes.Buffer
	ends  []time.Time // the tour's beginning, and each story's end
}

func (g *logs) read(ctx context.Context, l *lab.Lab) error {
	end := time.Now()
	lines, err := l.Lines(ctx, g.ends[len(g.ends)-1], lab.Consumers...)
	for _, line := range lines {
		if !line.Time.Before(end) {
			continue // it is the next story's
		}
		text, err := json.Marshal(line.Fields)
		if err != nil {
			return err
		}
		g.lines.Write(append(text, '\n'))
	}
	g.ends = append(g.ends, end)
	return err
}

// audit has earlybind audit judge the consumers by what they have logged in the tour.
func (g *logs) audit(ctx context.Context, l *lab.Lab, samples []*sample) error {
	cmd := exec.CommandContext(ctx, l.Path(program), "audit", "-json", "-")
	var out, faults bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = &g.lines, &out, &faults
	err := cmd.Run()
	var r report.Report
	if json.Unmarshal(out.Bytes(), &r) != nil {
		return fmt.Errorf("earlybind audit: %w: %s", err, &faults)
	}
	said, err := g.judge(r, cmd.ProcessState.ExitCode(), samples)
	if err != nil {
		return fmt.Errorf("earlybind audit: %w", err)
	}
	fmt.Println("earlybind audit:", said)
	return nil
}

// judge says what an audit has found, and what of it no story was to lead to: all is right, but for ports that are DOWN
// where a story has the guest cut off.
func (g *logs) judge(r report.Report, code int, samples []*sample) (string, error) {
	var faults []error
	var down []string
	for _, h := range r.Handovers {
		of := slices.IndexFunc(g.ends[1:], h.From.Before)
		switch {
		case h.Verdict == report.Right:
		case of >= 0 && samples[of].unplugged() && isDown(h):
			down = append(down, samples[of].Scenario)
		default:
			faults = append(faults, fmt.Errorf("the handover of %s is %s: %s", h.From.UTC().Format(time.TimeOnly), h.Verdict, strings.Join(h.Why, "; ")))
		}
	}
	for _, rule := range r.Rules {
		if rule.Broken > 0 {
			faults = append(faults, fmt.Errorf("%d times not so: %s", rule.Broken, rule.Says))
		}
	}
	want := 0
	if slices.ContainsFunc(samples, (*sample).unplugged) {
		want = 3
	}
	if n := len(r.Alarms) + len(r.Journal); n > 0 || code != want || len(r.Handovers) < len(samples) {
		faults = append(faults, fmt.Errorf("exit status %d, and not %d; %d handovers of %d stories; %d alarms and ports of the journal beside them", code, want, len(r.Handovers), len(samples), n))
	}
	return fmt.Sprintf("%d handovers, %d right; ports DOWN, as they are to be, after %s; every rule of the log held", len(r.Handovers), r.Counts.Right, strings.Join(down, ", ")), errors.Join(faults...)
}

// isDown tells whether all that is not right with a handover is that its ports were not reported up.
func isDown(h report.Handover) bool {
	return h.Outcome == "restored" && len(h.Why) == 1 && len(h.Alarms) > 0 && !slices.ContainsFunc(h.Alarms, func(a report.Alarm) bool {
		return !strings.Contains(a.Why, "has not reported the port up")
	})
}

// doctor has earlybind doctor look at all ports, with a consumer's settings, and the publishers say where the guests are.
// It is to find nothing.
func doctor(ctx context.Context, l *lab.Lab) error {
	const at = "/tmp/earlybind-of-the-tour"
	if err := l.Copy(ctx, l.Path(program), "consumer1", at); err != nil {
		return err
	}
	out, err := l.Exec(ctx, "consumer1", at, "doctor", "-ask", "-nova-cloud", "admin", "-json")
	var r struct {
		Hosts, Silent []string
		Ports         int
		Gap           string
		Cases         []json.RawMessage
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &r)
	}
	if err != nil || r.Gap != "" || len(r.Silent) > 0 || len(r.Cases) > 0 || r.Ports < len(lab.Addresses) {
		return fmt.Errorf("earlybind doctor: %v: %s", err, out)
	}
	fmt.Printf("earlybind doctor: %d ports on %d hosts, and nothing found\n", r.Ports, len(r.Hosts))
	return nil
}
