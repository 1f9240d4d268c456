package watch

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/earlybind/earlybind/audit"
	"github.com/earlybind/earlybind/audit/report"
	"github.com/earlybind/earlybind/handover"
	"github.com/earlybind/earlybind/recording"
	"github.com/earlybind/earlybind/replay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var update = flag.Bool("update", false, "write the golden files anew")

// noon is when the story begins.
var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// story is a log of two replicas: what consumers write of some recordings, one after the
// other, and of themselves.
var story = func() []audit.Entry {
	var lines []audit.Entry
	say := func(after time.Duration, replica string, l audit.Line) {
		lines = append(lines, audit.Entry{Line: l, Time: noon.Add(after), Replica: replica})
	}
	say(0, "controller1-812", audit.Line{Event: audit.ConsumerActive, Why: "the queue earlybind delivers to this replica"})
	for _, r := range []struct {
		after   time.Duration
		file    string
		mark    string
		policy  handover.Policy
		replica string
	}{
		{time.Second, "two-guests", "a", handover.PolicySuspended, "controller1-812"},
		{time.Minute, "failed-in-switchover", "b", handover.PolicySuspended, "controller1-812"},
		{2 * time.Minute, "nova-success-local-disks", "c", handover.PolicyObserve, "controller1-812"},
		{3 * time.Minute, "lab-success", "d", handover.PolicySuspended, "controller2-799"},
		{4 * time.Minute, "post-copy-failed", "e", handover.PolicyAuto, "controller2-799"},
		{4*time.Minute + 500*time.Millisecond, "lab-success", "f", handover.PolicyObserve, "controller2-799"},
	} {
		lines = append(lines, replayed(r.file, r.policy, noon.Add(r.after), r.mark, r.replica)...)
	}
	say(150*time.Second, "controller1-812", audit.Line{Event: audit.ConsumerLost, Decided: "to connect again"})
	say(151*time.Second, "controller2-799", audit.Line{Event: audit.ConsumerActive, Why: "the queue earlybind delivers to this replica"})
	say(5*time.Minute, "controller2-799", audit.Line{Event: audit.ConsumerPaused, Decided: "nothing is committed", Why: "by root@controller1: \x1b[31man upgrade"})
	stopped := handover.Change{Circuit: handover.Circuit{Source: "compute1", Destination: "compute2"}, Stopped: true, Bar: handover.Bar{At: noon.Add(time.Hour)}}
	say(5*time.Minute, "controller2-799", audit.Line{Event: audit.CommitsStopped, Decided: stopped.String()})
	slices.SortStableFunc(lines, func(a, b audit.Entry) int { return a.Time.Compare(b.Time) })
	return lines
}()

// replayed is what a consumer writes of a recording.
func replayed(file string, policy handover.Policy, began time.Time, mark, replica string) []audit.Entry {
	in, err := os.Open(filepath.Join("../../recordings", file+".jsonl"))
	if err != nil {
		panic(err)
	}
	defer in.Close()
	header, messages, err := recording.Read(in)
	if err != nil {
		panic(err)
	}
	var lines []audit.Entry
	_, err = replay.Run(context.Background(), header, messages, replay.Options{Policy: policy, Audit: func(at time.Duration, l audit.Line) {
		if len(l.Handover.Instance) > len(mark) {
			l.Handover.Instance = mark + l.Handover.Instance[len(mark):]
		}
		lines = append(lines, audit.Entry{Line: l, Time: began.Add(at), Replica: replica})
	}})
	if err != nil {
		panic(err)
	}
	return lines
}

// until has the story read up to a moment.
func until(after time.Duration) (*report.Live, time.Time) {
	live := report.NewLive(10)
	for _, e := range story {
		if !e.Time.After(noon.Add(after)) {
			live.Add(e)
		}
	}
	return live, noon.Add(after)
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s is not what it was (-update writes it anew):\n%s", file, got)
	}
}

// lookOf makes control sequences readable.
func lookOf(frame string) string { return strings.ReplaceAll(frame, "\x1b", "␛") + "\n" }
